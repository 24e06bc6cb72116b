"""A device from measurements: maximum likelihood, uncertainty, and a test of the form.

`fit_device(measurements, form=...)` estimates the parameters of a form. A form is any
device; its constants are one starting point of the search, and the other comes from the
data. It may be a published preset, or `table_form` with a given number of knots. All
three stages are fitted at once.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from anajax._core import checks
from anajax._core.tree import replace
from anajax._core.units import unit_at
from anajax.devices.base import Device
from anajax.devices.curves import Table
from anajax.devices.drift import PowerLawDrift
from anajax.devices.fitting import clips, spans
from anajax.devices.fitting.ascent import highest
from anajax.devices.fitting.continuous import ContinuousLikelihood
from anajax.devices.fitting.likelihood import AbstractLikelihood
from anajax.devices.fitting.measurements import Measured, group, without_repeats
from anajax.devices.fitting.measurements import Table as Columns
from anajax.devices.fitting.parameters import Layout, layout
from anajax.devices.fitting.residuals import FormTest, Residuals, form_tests, residuals
from anajax.devices.fitting.search import Found, search
from anajax.devices.fitting.uncertainty import uncertainty
from anajax.devices.programming import GaussianProgramming
from anajax.devices.read_noise import FlickerRead
from anajax.devices.variation import share_constants


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One estimated parameter."""

    name: str
    """Dotted name in the device, with the index in brackets."""
    value: float
    se: float
    """Standard error from the observed information. For a bounded parameter, a third of
    the distance to the end of the three-sigma interval of its logarithm. Infinite if
    the data do not determine the parameter."""
    undetermined: str = ""
    """Why the data do not determine it; empty if they do."""
    unit: str = ""
    """Unit of the value and of its error; empty if there is none."""

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval."""
        return self.value - 1.959964 * self.se, self.value + 1.959964 * self.se


@dataclasses.dataclass(frozen=True)
class FitResult:
    """A fitted device, its uncertainty, and whether its form explains the data."""

    device: Device
    """The fitted device; its range and valid times end where the measurements end."""
    parameters: tuple[Parameter, ...]
    covariance: np.ndarray
    """Covariance of the parameters, `[parameters parameters]`; NaN where undetermined.
    """
    log_likelihood: float
    converged: bool
    """Whether this is a maximum: no step gains more than 1e-3 of log likelihood (0.1 if
    clips of curves make kinks), and no standard deviation falls below zero between the
    targets."""
    reason: str
    """Why the search ended, or what is wrong with its result."""
    residuals: Residuals
    tests: tuple[FormTest, ...]
    """Tests of the form, each with its p-value."""
    form_rejected: bool
    """Whether any test rejects the form, at a level of 1 % for all tests together."""

    def __getitem__(self, name: str) -> Parameter:
        """The parameter of that name."""
        return next(p for p in self.parameters if p.name == name)

    @property
    def undetermined(self) -> Mapping[str, str]:
        """The parameters that the data do not determine, and why."""
        return {p.name: p.undetermined for p in self.parameters if p.undetermined}


def fit_device(
    measurements: Columns | str | Path,
    *,
    form: Device,
    free: Sequence[str] | None = None,
    name: str = "fitted",
    source: str = "fitted to measurements",
    steps: int = 60,
    units: str | None = None,
) -> FitResult:
    """Estimate the parameters of a device form from measurements.

    Maximum likelihood by Newton's method in double precision, with the state of each
    cell integrated out. Parameters stay in the domains that their records declare.
    Searches start from the form and from moments of the data, and the best is used.
    Tables are cut where the targets end.

    Args:
        measurements: columns cell, target, programmed, time (s), read (one row per
            read), as a mapping or the path of a file, see
            `anajax.devices.fitting.sheets.clean`. `programmed` is
            the conductance measured right after programming; reads at time 0 that
            repeat it are left out.
        form: a device; its constants are one starting point of the search, and those
            that are not free (times of the experiment, thresholds) are kept.
        free: dotted names of the parameters to estimate, such as "drift.nu_mean"; all
            by default.
        name: name of the fitted device.
        source: where the measurements come from.
        steps: largest number of steps of each search; 0 evaluates the form as it is.
        units: units of the conductances: S, mS, uS, nS, or ohm for resistances; by
            default those in the headers of a file, or uS.

    Returns:
        The fitted device with uncertainty, residuals and tests of the form.

    Raises:
        ValueError: if the measurements are incomplete, not finite, fewer than the
            parameters, or have a single target; if they scatter although the form is
            exact; if the form has no likelihood, or `free` matches nothing.

    Example:
        >>> random = np.random.default_rng(0)
        >>> target = random.uniform(5, 20, 200)
        >>> g = target + random.normal(0, 0.5, 200)
        >>> measured = {"cell": np.arange(200), "target": target, "programmed": g}
        >>> measured |= {"time": np.zeros(200), "read": g}
        >>> quiet = {"drift": devices.NoDrift(), "read": devices.NoReadNoise()}
        >>> form = anajax.replace(devices.state_independent(), **quiet)
        >>> anajax.fit_device(measured, form=form).converged
        True
    """
    with jax.enable_x64(True):
        data = jax.tree.map(_double, group(measurements, units=units))
        form = replace(form, name="form", source="form", valid_times=(0.0, 0.0))
        form = share_constants(jax.tree.map(_double, form))
        if not form.read.exact:
            data = without_repeats(data)
        likelihood = _chosen(form, data)
        cut, knots = spans.ended(form, data)
        places = layout(cut, free, knots)
        _require_cells(places, data)
        found = highest(likelihood, places, data, steps)
        if steps:
            found = _unclipped(likelihood, places, data, found)
        covariance, se, reasons = uncertainty(likelihood, places, data, found.point)
        vector = places.values(jnp.asarray(found.point.at))
        device = places.device(vector)
        rest, wrong = residuals(likelihood, device, data), spans.beyond(device, data)
        tests = form_tests(rest)
        device = spans.measured_range(form, device, data)
        values = [
            Parameter(n, float(v), float(s), reasons.get(i, ""))
            for i, (n, v, s) in enumerate(zip(places.names, vector, se, strict=True))
        ]
        values, covariance = _with_dropped(values, covariance, form, free, device)
    device = jax.tree.map(lambda v: jnp.asarray(np.asarray(v), float), device)
    return FitResult(
        device=replace(device, name=name, source=source),
        parameters=tuple(dataclasses.replace(p, unit=_unit(form, p)) for p in values),
        covariance=covariance,
        log_likelihood=found.point.value,
        converged=found.converged and not wrong,
        reason=wrong or found.reason,
        residuals=rest,
        tests=tests,
        form_rejected=any(t.p * len(tests) < 0.01 for t in tests),
    )


def table_form(
    *,
    g_max: float,
    knots: int | Sequence[float] = 6,
    t0: float = 20.0,
    t_read: float = 250e-9,
) -> Device:
    """A form without assumed curves: every statistic is a table over `knots` points.

    Offset and standard deviation of programming, mean and spread of the drift exponent,
    and read noise are linear between the points. If `knots` is a number, the points are
    spaced evenly in the square root of g, since most memories change fastest at low
    conductance.

    Args:
        g_max: highest conductance, uS.
        knots: number of points of each table, or the points themselves as fractions of
            g_max.
        t0: time of the first read after programming, s.
        t_read: duration of one read, s.

    Raises:
        ValueError: if there are fewer than 2 knots, or they do not increase.
    """
    if isinstance(knots, int):
        knots = [float(root) ** 2 for root in np.linspace(0.0, 1.0, max(knots, 0))]
    if len(knots) < 2:
        checks.fail("knots", "be at least 2", knots, "Six serve most devices.")
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


def _chosen(form: Device, data: Measured) -> AbstractLikelihood:
    spans.check_range(form, data)
    likelihood = form.drift.likelihood() or ContinuousLikelihood()
    likelihood.check(form, data)
    return likelihood


def _require_cells(places: Layout, data: Measured) -> None:
    if data.target.size <= len(places.names):
        checks.fail(
            "measurements",
            f"have more cells than the form has parameters, {len(places.names)}",
            f"{data.target.size} cells",
            "Measure more cells, or take a form with fewer constants or knots.",
        )


def _unclipped(
    likelihood: AbstractLikelihood, places: Layout, data: Measured, found: Found
) -> Found:
    """The fit without the clips that the data do not ask for, one after the other."""
    vector = places.values(jnp.asarray(found.point.at))
    _, se, _ = uncertainty(likelihood, places, data, found.point)
    for i, edge in clips.unsupported_clips(places, vector, se, data):
        start = clips.with_clip(places, vector, i, edge)
        other = search(likelihood, start, data, start.coordinates(), 20)
        if 2 * (found.point.value - other.point.value) < clips.LIKELIHOOD_RATIO:
            found, vector = other, places.values(jnp.asarray(other.point.at))
    return found


def _unit(form: Device, parameter: Parameter) -> str:
    return unit_at(form, parameter.name.replace(".", "/").replace("[", "/"))


def _with_dropped(
    values: list[Parameter],
    covariance: np.ndarray,
    form: Device,
    free: Sequence[str] | None,
    device: Device,
) -> tuple[list[Parameter], np.ndarray]:
    """The parameters of the whole form: knots without data are named as such."""
    known = {p.name: i for i, p in enumerate(values)}
    all_names = layout(form, free).names
    span = f"{float(device.g_min):.4g} to {float(device.g_max):.4g} uS"
    full = np.full((len(all_names), len(all_names)), np.nan)
    places = [known.get(n) for n in all_names]
    there = np.array([p is not None for p in places])
    index = [p for p in places if p is not None]
    full[np.ix_(there, there)] = covariance[np.ix_(index, index)]

    def held(name: str) -> float:
        table, number = name.removesuffix("]").split(".value[")
        x = attrgetter(table)(form).x[int(number)]
        return float(attrgetter(table)(device)(x))

    reason = f"no target between its neighbors; the targets are {span}: dropped"
    return [
        values[known[n]] if n in known else Parameter(n, held(n), np.inf, reason)
        for n in all_names
    ], full
