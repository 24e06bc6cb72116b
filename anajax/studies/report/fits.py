"""The figure of a fit: device and measurements, and the residuals."""

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import norm

from anajax._core.units import human
from anajax.devices.base import Device
from anajax.devices.fitting.file import FileFit
from anajax.devices.fitting.fit import FitResult
from anajax.devices.fitting.likelihood import Measured
from anajax.devices.moments import conductance_moments
from anajax.devices.report import device_curves
from anajax.studies.report.plots import (
    COLORS,
    OPTIMIZED,
    SECOND,
    log_places,
    panels,
    time_axis,
)

GROUPS = 4
"""Number of groups of cells by target whose reads are shown over time."""
FEW = 8
"""Fewest cells for a mean and a standard deviation."""


def fit_figure(made: FileFit) -> Figure:
    """The fitted device with the measurements, and the residuals below.

    Args:
        made: from `anajax.devices.fitting.file.fit_file`.
    """
    found, aged = made.found, bool(np.any(_later(made.data)))
    parts: list[Any] = [("Programming error", partial(_programming, made))]
    for title, what in (("Mean of reads", "mean"), ("Spread of reads", "sd")) * aged:
        parts.append((title, partial(_over_time, made, what)))
    rest = found.residuals
    for stage, z in (("programming", rest.programming), ("read", rest.read)):
        if np.isfinite(z).any():
            parts += _residuals(found, stage, z, aged=aged)
    return panels(
        parts,
        columns=3,
        size=(3.2, 2.5),
        note=f"Device {found.device.name}, form {made.trials[0].form}: dots and marks "
        "are measured, lines and bands are the fit",
        legend=5,
    )


def _later(data: Measured) -> np.ndarray:
    """Reads that are not at time 0 `[cells reads]`."""
    return (np.asarray(data.valid) > 0) & (np.asarray(data.time) > 0)


def _programming(made: FileFit, axis: Axes) -> None:
    target, programmed = (
        np.asarray(v) for v in (made.data.target, made.data.programmed)
    )
    curves = device_curves(made.found.device)
    g, mean, sd = (
        curves[n] for n in ("conductance", "programming_bias", "programming_sd")
    )
    axis.fill_between(g, mean - 2 * sd, mean + 2 * sd, color=SECOND, alpha=0.2, lw=0)
    dots: Any = {"s": 4, "color": OPTIMIZED, "alpha": 0.4, "lw": 0}
    axis.scatter(target, programmed - target, **dots)
    axis.plot(g, mean, color=SECOND)
    axis.set(xlabel="target (µS)", ylabel="programmed - target (µS)\nband: ± 2 sd")


def _over_time(made: FileFit, what: str, axis: Axes) -> None:
    """Mean or sd of reads minus their targets over time, by groups of targets."""
    data = made.data
    target, time, read = (np.asarray(v) for v in (data.target, data.time, data.read))
    valid = np.asarray(data.valid) > 0
    edges = np.quantile(target, np.linspace(0, 1, GROUPS + 1))
    place = np.clip(np.searchsorted(edges, target, "right") - 1, 0, GROUPS - 1)
    off = read - target[:, None]
    last = float(np.max(time[valid]))
    times = np.geomspace(1.0, max(last, 1.0), 33)
    for group, color in zip(range(GROUPS), COLORS[1:], strict=False):
        cells = place == group
        if not cells.any():
            continue
        middle = float(target[cells].mean())
        points = _points(off[cells], time[cells], valid[cells], what)
        if points:
            x, value, error = map(np.array, zip(*points, strict=True))
            beside = 1.08 ** (group - 1.5)  # so that error bars do not overlap
            axis.errorbar(
                beside * log_places(x), value, error, fmt="o", ms=3.5, capsize=2,
                color=color, label=f"targets around {middle:.3g} µS",
            )  # fmt: skip
        mean, sd = _expected(made.found.device, middle, times)
        axis.plot(times, mean - middle if what == "mean" else sd, color=color)
    ticks = [t for t in (1.0, 60.0, 3600.0, 86400.0, 30 * 86400.0) if t <= last]
    axis.set(xscale="log", xlabel="time after programming")
    axis.set_xticks(ticks, [human(t) for t in ticks])
    axis.minorticks_off()
    axis.set_ylabel(f"{what} of read - target (µS)")


def _points(
    off: np.ndarray, time: np.ndarray, valid: np.ndarray, what: str
) -> list[tuple[float, float, float]]:
    """Time, value and standard error of the reads of a group at each of its times."""
    found = []
    for t in np.unique(time[valid]):
        some = off[valid & (time == t)]
        if some.size < FEW:
            continue
        sd = float(some.std(ddof=1))
        if what == "mean":
            found.append((t, float(some.mean()), sd / np.sqrt(some.size)))
        else:
            found.append((t, sd, sd / np.sqrt(2 * some.size - 2)))
    return found


def _expected(
    device: Device, target: float, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of reads of one target over time, uS."""
    each = [
        conductance_moments(device, jnp.asarray([target]), t=float(t)) for t in times
    ]
    mean = np.array([float(m.mean[0]) for m in each])
    return mean, np.array([float(m.var[0]) for m in each]) ** 0.5


def _residuals(found: FitResult, stage: str, z: np.ndarray, *, aged: bool) -> list[Any]:
    """Panels of the residuals of a stage: over target and time, and their quantiles."""
    known = np.isfinite(z)
    values, rest = z[known], found.residuals
    target, time = rest.target[known], rest.time[known]

    def scatter(x: np.ndarray, axis: Axes, **labels: Any) -> None:
        dots: Any = {"s": 4, "color": OPTIMIZED, "alpha": 0.4, "lw": 0}
        axis.scatter(x, values, **dots)
        axis.axhline(0, color=COLORS[0], lw=1)
        axis.set(ylim=(-5, 5), ylabel=f"{stage} residual (sd)", **labels)

    def quantiles(axis: Axes) -> None:
        expected = norm.ppf((np.arange(values.size) + 0.5) / values.size)
        axis.plot([-4, 4], [-4, 4], color=COLORS[0], lw=1)
        axis.plot(expected, np.sort(values), ".", ms=3, color=OPTIMIZED)
        axis.set(ylim=(-5, 5), ylabel=f"{stage} residual (sd)")
        axis.set_xlabel("standard normal quantile (sd)")

    def over_time(axis: Axes) -> None:
        scatter(log_places(time), axis, xlabel="time after programming")
        times = np.unique(time)
        time_axis(axis, times, np.zeros(times.shape, bool), width=4.0)

    each = [
        ("", lambda axis: scatter(target, axis, xlabel="target (µS)")),
        ("", over_time),
        ("", quantiles),
    ]
    return each if aged else [each[0], each[2]]
