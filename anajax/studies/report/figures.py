"""Figures of devices and of the targets on them."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anajax._core.units import human
from anajax.chip import Strategies
from anajax.mapping.strategy import Strategy, encode
from anajax.studies.report.plots import COLORS, OPTIMIZED, SECOND, instants, panels

Curves = dict[str, np.ndarray]


def device_figure(data: Any, name: str) -> Figure:
    """Programming error, drift, read noise and trajectories of a device.

    Args:
        data: mapping with the arrays of `device_curves`.
        name: name of the device, for the title.
    """
    curves = {n: np.asarray(data[n]) for n in _CURVES}
    start = human(curves["device_time"][0])
    parts: dict[str, Callable[..., None]] = {
        "Programming error": _programming,
        f"Mean change since {start}": _drift,
        "Read noise": _read,
        "Conductance as read, mean ± sd": _trajectories,
    }
    return panels(
        [(title, partial(draw, curves=curves)) for title, draw in parts.items()],
        columns=2,
        size=(3.7, 2.5),
        note=f"Device: {name}",
        legend=0,
    )


_CURVES = (
    "conductance",
    "device_time",
    "programming_bias",
    "programming_sd",
    "drift_mean",
    "drift_sd",
    "read_sd",
)


def _programming(axis: Axes, curves: Curves) -> None:
    g = curves["conductance"]
    axis.plot(g, curves["programming_sd"], color=OPTIMIZED, label="standard deviation")
    axis.plot(g, curves["programming_bias"], "--", color=SECOND, label="mean error")
    axis.set(xlabel="target (µS)", ylabel="error (µS)")
    axis.legend()


def _drift(axis: Axes, curves: Curves) -> None:
    since = dict(curves, change=curves["drift_mean"] - curves["drift_mean"][:, :1])
    _over_targets(axis, since, "change", "change (µS)", first=1)


def _read(axis: Axes, curves: Curves) -> None:
    _over_targets(axis, curves, "read_sd", "sd of a read (µS)", first=0)


def _over_targets(
    axis: Axes, curves: Curves, name: str, label: str, *, first: int
) -> None:
    """Curves at times that people think in, from the one of index `first` on."""
    chosen = list(zip(instants(curves["device_time"]), COLORS[1:], strict=False))
    for instant, color in chosen[first:]:
        values = _at(curves[name], curves["device_time"], instant)
        axis.plot(curves["conductance"], values, color=color, label=human(instant))
    axis.set(xlabel="target (µS)", ylabel=label)
    if chosen[first:]:
        axis.legend(ncols=2)


def _trajectories(axis: Axes, curves: Curves) -> None:
    g, t = curves["conductance"], curves["device_time"]
    sd = np.hypot(curves["drift_sd"], curves["read_sd"])
    x = t if t.size > 1 else np.array([0.5, 2.0])
    chosen = np.linspace(0, g.size - 1, 6).astype(int)[1:]
    for i, color in zip(chosen, COLORS[1:], strict=False):
        mean, spread = (
            np.broadcast_to(c[i], x.shape) for c in (curves["drift_mean"], sd)
        )
        axis.fill_between(x, mean - spread, mean + spread, color=color, alpha=0.2, lw=0)
        axis.plot(x, mean, color=color, label=f"{g[i]:.3g} µS")
    ticks = instants(t)
    axis.set(xscale="log", xlabel="time after programming", ylabel="conductance (µS)")
    axis.set_xticks(ticks if t.size > 1 else [1.0], [human(v) for v in ticks])
    axis.minorticks_off()


def _at(curves: np.ndarray, t: np.ndarray, instant: float) -> np.ndarray:
    """Curves `[g t]` at one time, linear in log t."""
    if t.size == 1:
        return curves[:, 0]
    x = np.log(t)
    return np.array([np.interp(np.log(instant), x, row) for row in curves])


def strategy_figure(data: xr.Dataset, strategies: Mapping[str, Strategies]) -> Figure:
    """Targets of every strategy, and the density of the weights.

    Args:
        data: results, including the density.
        strategies: strategies by the titles of their panels.
    """
    chosen = {label: _representative(value) for label, value in strategies.items()}
    return panels(
        [
            (label + (f"\n{path}" if path else ""), partial(_targets, data, strategy))
            for label, (path, strategy) in chosen.items()
        ],
        columns=3,
        size=(2.9, 2.5),
        xlabel="weight (w / w_max)",
        ylabel="target (µS)",
        sharex=True,
        sharey=data.sizes["device"] == 1,
    )


_DEVICE_NAMES = ("G+", "G−", "g+", "g−")
_DEVICE_COLORS = ("#0072B2", "#D55E00", "#56B4E9", "#E69F00")


def _targets(data: xr.Dataset, strategy: Strategy, axis: Axes) -> None:
    share = data["weight_share"].values
    behind = axis.twinx()
    behind.fill_between(data["weight"], share, color="#DDDDDD", step="mid", lw=0)
    behind.set(yticks=[], ylim=(0, 1.05 * share.max()))
    behind.spines["right"].set_visible(False)
    axis.set_zorder(behind.get_zorder() + 1)
    axis.patch.set_visible(False)
    u = np.linspace(-1, 1, 401)
    targets = np.asarray(jax.jit(encode)(strategy, jnp.asarray(u)))
    count = strategy.cell.devices
    style = "steps-mid" if strategy.stepped else "default"
    names = _DEVICE_NAMES[:count] if count <= 4 else [f"{i}" for i in range(count)]
    for i, name in enumerate(names):
        color = _DEVICE_COLORS[i % 4]
        dashes = "--" if strategy.cell.signs[i] < 0 else "-"
        axis.plot(
            u, targets[:, i], dashes, color=color, lw=1.5, label=name, drawstyle=style
        )
    f = np.asarray(strategy.significance)
    text = "" if f.size == 1 else "F = " + ", ".join(f"{v:.3g}" for v in f[:-1])
    axis.text(0.5, 1.0, text, transform=axis.transAxes, ha="center", va="top")
    axis.margins(y=0.12)


def _representative(value: Strategies) -> tuple[str, Strategy]:
    """The strategy itself, or that of the last layer if layers have their own."""
    if isinstance(value, Strategy):
        return "", value
    path = list(value)[-1]
    return path, value[path]
