"""Residuals of a fitted device, and tests of whether its form explains the data."""

from dataclasses import dataclass
from functools import partial

import jax
import numpy as np

from anajax.devices.base import Device
from anajax.devices.fitting.likelihood import AbstractLikelihood, Measured

BINS = 8


@dataclass(frozen=True)
class Residuals:
    """Standard normal variables if the form is right, one per cell and stage.

    If a value is censored (at zero, or at the edge of the reads), the residual is drawn
    within its range, from a fixed stream. NaN if a stage gives no information.
    """

    target: np.ndarray
    """uS, `[cells]`."""
    time: np.ndarray
    """Time of the read that is tested, s, `[cells]`; times take turns over cells."""
    programming: np.ndarray
    """Residual of the programmed value, given the target, `[cells]`."""
    read: np.ndarray
    """Residual of one read, given the programmed value, over cell states, `[cells]`."""


@dataclass(frozen=True)
class FormTest:
    """One test of the form."""

    name: str
    statistic: float
    p: float
    """Probability of a statistic at least as large if the form is right."""


def residuals(
    likelihood: AbstractLikelihood, device: Device, data: Measured
) -> Residuals:
    """Residuals of all cells under the device, in plain arrays."""
    shown = _one_read(data)
    written, read = map(np.asarray, _bounds(likelihood, device, shown))
    random = np.random.default_rng(0)
    return Residuals(
        target=np.asarray(data.target),
        time=np.asarray(shown.time[:, 0]),
        programming=_normal(written, random),
        read=_normal(read, random),
    )


@partial(jax.jit, static_argnums=0)
def _bounds(
    likelihood: AbstractLikelihood, device: Device, shown: Measured
) -> tuple[jax.Array, jax.Array]:
    written = likelihood.programming_cdf(device, shown)
    return written, likelihood.read_cdf(device, shown)


def form_tests(rest: Residuals) -> tuple[FormTest, ...]:
    """Shape (Kolmogorov-Smirnov), and means and deviations by target and by time."""
    from scipy.stats import kstest  # slow to import, as all of scipy

    tests = []
    for stage, z in (("programming", rest.programming), ("read", rest.read)):
        known = np.isfinite(z)
        if known.sum() < 10 * BINS:
            continue
        shape = kstest(z[known], "norm")
        tests.append(
            FormTest(
                f"{stage}: distribution", float(shape.statistic), float(shape.pvalue)
            )
        )
        groups = {"target": _quantile_bins(rest.target[known])}
        if stage == "read":
            groups["time"] = np.unique(rest.time[known], return_inverse=True)[1]
        for label, bins in groups.items():
            tests.append(_binned(f"{stage}: by {label}", z[known], bins))
    return tuple(tests)


def _binned(name: str, z: np.ndarray, bins: np.ndarray) -> FormTest:
    """Sum over bins of the squared errors of mean and second moment."""
    from scipy.special import chdtrc

    statistic, degrees = 0.0, 0
    z = np.clip(z, -6, 6)
    for b in np.unique(bins):
        inside = z[bins == b]
        if inside.size < 10:
            continue
        mean, square = inside.mean(), (inside**2).mean() - 1
        statistic += inside.size * (mean**2 + square**2 / 2)
        degrees += 2
    p = float(chdtrc(degrees, statistic)) if degrees else 1.0
    return FormTest(name, float(statistic), p)


def _quantile_bins(target: np.ndarray) -> np.ndarray:
    edges = np.quantile(target, np.linspace(0, 1, BINS + 1)[1:-1])
    return np.searchsorted(edges, target)


def _one_read(data: Measured) -> Measured:
    """One read of each cell; the reads take turns, so that all times are seen."""
    counts = np.asarray(data.valid.sum(-1), int)
    cells = np.arange(data.target.size)
    turn = cells % np.maximum(counts, 1)
    rows = (cells, turn)
    return Measured(
        target=data.target,
        programmed=data.programmed,
        time=data.time[rows][:, None],
        read=data.read[rows][:, None],
        valid=data.valid[rows][:, None],
    )


def _normal(bounds: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Normal variable of a probability, drawn where it is known as a range."""
    from scipy.special import ndtri

    low, high = bounds[:, 0], bounds[:, 1]
    u = low + (high - low) * random.random(len(low))
    return ndtri(np.clip(u, 1e-12, 1 - 1e-12))
