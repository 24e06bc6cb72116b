"""A device from measurements: maximum likelihood, uncertainty, and a test of the form.

`fit_device(measurements, form=...)` estimates the parameters of a form, which is any
device whose constants serve as the start: a published preset, or `table_form` with a
stated number of knots. All three stages are fitted at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anajax import _checks
from anajax._tree import replace
from anajax.devices import _clips, _likelihood, _likelihood_binary
from anajax.devices._parameters import Layout, Vector, layout
from anajax.devices._residuals import FormTest, Residuals, form_tests, residuals
from anajax.devices._ties import tied
from anajax.devices.base import Device
from anajax.devices.curves import Table
from anajax.devices.drift import PowerLawDrift
from anajax.devices.measurements import Measured, group
from anajax.devices.measurements import Table as Columns
from anajax.devices.mram import RetentionFlips
from anajax.devices.programming import GaussianProgramming
from anajax.devices.read_noise import FlickerRead


@dataclass(frozen=True)
class Parameter:
    """One estimated constant."""

    name: str
    """Dotted place in the device, with its index in brackets."""
    value: float
    se: float
    """Standard error from the observed information; infinite if the data do not
    determine the parameter, such as a clip of a curve that no cell reaches, or whose
    absence explains the data as well (likelihood ratio, 5 %). The other constants of
    that curve are then estimated with the clip out of reach."""

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval."""
        return self.value - 1.959964 * self.se, self.value + 1.959964 * self.se


@dataclass(frozen=True)
class FitResult:
    """A fitted device, how sure it is, and whether its form explains the data."""

    device: Device
    parameters: tuple[Parameter, ...]
    covariance: np.ndarray
    """Of the parameters, `[parameters parameters]`; NaN where undetermined."""
    log_likelihood: float
    converged: bool
    """Whether the last step promised less than 1e-3 of log likelihood, or the last
    seven gained less than 0.02."""
    residuals: Residuals
    tests: tuple[FormTest, ...]
    """Tests of the form, each with its p-value."""
    form_rejected: bool
    """Whether any test rejects the form, at 1 % for all tests together."""

    def __getitem__(self, name: str) -> Parameter:
        """The parameter of that name."""
        return next(p for p in self.parameters if p.name == name)


def fit_device(
    measurements: Columns | str | Path,
    *,
    form: Device,
    free: Sequence[str] | None = None,
    name: str = "fitted",
    source: str = "fitted to measurements",
    steps: int = 60,
) -> FitResult:
    """Estimate the parameters of a device form from measurements.

    Maximum likelihood with gradients (damped Gauss-Newton on the scores of the cells),
    in double precision. The frozen fact of each cell is integrated out.

    Args:
        measurements: columns cell, target, programmed, time, read (uS, s; one row per
            read), as a mapping or the path of a CSV or Parquet file. `programmed` is
            the conductance measured right after programming.
        form: a device; its constants are where the search starts, and those that are
            not free (ranges, times of the experiment, thresholds) are kept.
        free: dotted names such as "drift.nu_mean" of what is estimated; all by default.
        name: name of the fitted device.
        source: where the measurements come from.
        steps: largest number of steps of the search.

    Returns:
        The fitted device with uncertainty, residuals and tests of the form.

    Raises:
        ValueError: if the measurements are incomplete or not finite, the form has no
            likelihood, or `free` names nothing.
    """
    with jax.enable_x64(True):
        data = jax.tree.map(_double, group(measurements))
        start = tied(jax.tree.map(_double, replace(form, name=name, source=source)))
        places = layout(start, free)
        likelihood = _chosen(start, data)
        vector, value, converged = _search(likelihood, places, data, steps)
        covariance, se = _uncertainty(likelihood, places, data, vector)
        if steps:
            vector, value = _unclipped(likelihood, places, data, vector, value, se)
            covariance, se = _uncertainty(likelihood, places, data, vector)
        device = places.device(vector)
        rest = residuals(device, data)
        tests = form_tests(rest)
    values = [
        Parameter(name=n, value=float(v), se=float(s))
        for n, v, s in zip(places.names, vector, se, strict=True)
    ]
    return FitResult(
        device=jax.tree.map(lambda v: jnp.asarray(np.asarray(v), float), device),
        parameters=tuple(values),
        covariance=covariance,
        log_likelihood=float(value),
        converged=converged,
        residuals=rest,
        tests=tests,
        form_rejected=bool(min(t.p for t in tests) * len(tests) < 0.01),
    )


def table_form(
    *,
    g_max: float,
    knots: int | Sequence[float] = 6,
    t0: float = 20.0,
    t_read: float = 250e-9,
) -> Device:
    """A form without assumed curves: all statistics are tables over `knots` points.

    Offset and deviation of programming, mean and spread of the drift exponent, and
    read noise are continuous, linear between the points. A number of points is spread
    evenly in the root of g, since most memories change fastest at low conductance.

    Args:
        g_max: highest conductance, uS.
        knots: number of points of each table, or the points themselves, as fractions
            of g_max.
        t0: time of the first read after programming, s.
        t_read: duration of one read, s.

    Raises:
        ValueError: if there are less than 2 knots, or they do not increase.
    """
    if isinstance(knots, int):
        knots = [float(root) ** 2 for root in np.linspace(0.0, 1.0, max(knots, 0))]
    if len(knots) < 2:
        _checks.fail("knots", "be at least 2", knots, "Six serve most devices.")
    x = np.asarray(knots, float)

    def table(value: float) -> Table:
        return Table(x=x, value=np.full(x.shape, value))

    return Device(
        name="tables",
        g_min=0.0,
        g_max=g_max,
        programming=GaussianProgramming(
            sd=table(0.03 * g_max), shift=table(0.0), g_max=g_max
        ),
        drift=PowerLawDrift(nu_mean=table(0.05), nu_sd=table(0.02), g_max=g_max, t0=t0),
        read=FlickerRead(q=table(0.02), g_max=g_max, t0=t0, t_read=t_read),
        source="tables to be fitted",
    )


def _double(value: jax.Array) -> jax.Array:
    return jnp.asarray(np.asarray(value, np.float64))


def _chosen(form: Device, data: Measured) -> ModuleType:
    if isinstance(form.drift, RetentionFlips):
        return _likelihood_binary
    _likelihood.check(form, data)
    return _likelihood


def _search(
    likelihood: ModuleType, places: Layout, data: Measured, steps: int
) -> tuple[Vector, float, bool]:
    """Damped Gauss-Newton: the information is the sum of squared scores of cells."""
    vector, damping, converged = places.vector(), 1e-3, False
    value, window = _value(likelihood, places, vector, data)
    if not np.isfinite(value):
        _checks.fail("form", "give the data a likelihood", value, "Start elsewhere.")
    scores = _scores(likelihood, places, vector, data, window)
    path = [float(value)]
    for _ in range(steps):
        gradient, information = map(np.asarray, scores)
        step = _step(gradient, information, damping)
        promised = 0.5 * float(gradient @ step)
        trial = vector + jnp.asarray(step)
        new, window = _value(likelihood, places, trial, data)
        if np.isfinite(new) and float(new) > float(value) - 1e-9:
            vector, value, damping = trial, new, damping / 5
            scores = _scores(likelihood, places, vector, data, window)
            converged = promised < 1e-3 and damping < 1e-2
        else:
            damping = max(damping, 1e-4) * 6
            converged = promised < 1e-4
        path.append(float(value))  # at kinks the promise is not kept: then the gain
        converged = converged or (len(path) > 8 and path[-1] - path[-8] < 0.02)
        if converged:
            break
    return vector, float(value), converged


def _unclipped(
    likelihood: ModuleType,
    places: Layout,
    data: Measured,
    vector: Vector,
    value: float,
    se: np.ndarray,
) -> tuple[Vector, float]:
    """The fit without the clips that the data do not ask for, one after the other."""
    for i, edge in _clips.doubtful(places, vector, se, data):
        start = _clips.moved(places, vector, i, edge)
        other, less, _ = _search(likelihood, start, data, 20)
        if 2 * (value - less) < _clips.LIKELIHOOD_RATIO:
            vector, value = other, less
    return vector, value


@partial(jax.jit, static_argnums=0)
def _value(
    likelihood: ModuleType, places: Layout, vector: Vector, data: Measured
) -> tuple[jax.Array, Any]:
    device = places.device(vector)
    window = likelihood.windows(device, data)
    return jnp.sum(likelihood.log_likelihood(device, data, window)), window


@partial(jax.jit, static_argnums=0)
def _scores(
    likelihood: ModuleType, places: Layout, vector: Vector, data: Measured, window: Any
) -> tuple[jax.Array, jax.Array]:
    """Gradient of the log likelihood, and sum of squared scores of the cells."""

    def score(row: tuple[Measured, Any]) -> jax.Array:
        cell = jax.tree.map(lambda v: v[None], row)
        return jax.grad(
            lambda v: likelihood.log_likelihood(places.device(v), *cell)[0]
        )(vector)

    rows = jax.vmap(score)((data, window))
    return jnp.sum(rows, 0), rows.T @ rows


@partial(jax.jit, static_argnums=0)
def _curvature(
    likelihood: ModuleType, places: Layout, vector: Vector, data: Measured
) -> jax.Array:
    """Observed information, one column after the other."""
    window = likelihood.windows(places.device(vector), data)

    def loss(v: Vector) -> jax.Array:
        return -jnp.sum(likelihood.log_likelihood(places.device(v), data, window))

    def column(tangent: Vector) -> Vector:
        return jax.jvp(jax.grad(loss), (vector,), (tangent,))[1]

    return jax.lax.map(column, jnp.eye(vector.size, dtype=vector.dtype))


def _step(gradient: np.ndarray, information: np.ndarray, damping: float) -> np.ndarray:
    scale = np.sqrt(np.maximum(np.diag(information), 1e-30))
    scaled = information / np.outer(scale, scale)
    scaled[np.diag_indices_from(scaled)] += damping + 1e-12
    return np.linalg.solve(scaled, gradient / scale) / scale


def _uncertainty(
    likelihood: ModuleType, places: Layout, data: Measured, vector: Vector
) -> tuple[np.ndarray, np.ndarray]:
    """Inverse of the observed information; infinite where it has no curvature."""
    information = np.asarray(_curvature(likelihood, places, vector, data))
    information = (information + information.T) / 2
    diagonal = np.diag(information)
    size = np.asarray(vector) ** 2
    known = (
        np.isfinite(diagonal)
        & (diagonal > 0)
        & ((size == 0) | (diagonal * size > 1e-6))
    )
    scale = np.sqrt(np.where(known, diagonal, 1.0))
    scaled = (information / np.outer(scale, scale))[np.ix_(known, known)]
    values, vectors = np.linalg.eigh(scaled)
    loose = values < 1e-9
    inverse = (vectors / np.where(loose, np.inf, values)) @ vectors.T
    covariance = np.full(information.shape, np.nan)
    covariance[np.ix_(known, known)] = (
        inverse / np.outer(scale, scale)[np.ix_(known, known)]
    )
    se = np.sqrt(np.where(known, np.diag(covariance), np.inf))
    undetermined = np.zeros(len(se), bool)
    undetermined[known] = np.any(np.abs(vectors[:, loose]) > 0.1, axis=-1)
    return covariance, np.where(undetermined, np.inf, se)
