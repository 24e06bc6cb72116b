"""Figures of devices, of the targets on them, and of strategies over time."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from anajax.chip import Strategies
from anajax.mapping.strategy import Strategy, encode
from anajax.studies.config.durations import human
from anajax.studies.report import plots
from anajax.studies.report.blocks import WEIGHT_ERROR, format_of
from anajax.studies.report.plots import COLORS, OPTIMIZED, SECOND, instants, panels
from anajax.studies.report.statistics import (
    DIGITAL,
    of_device,
    programmed,
    sign,
    spread,
    strategies,
)

Curves = dict[str, np.ndarray]
Look = Mapping[str, dict[str, Any]]
"""Styles of strategies by label."""


def device_figure(data: Any, name: str) -> Figure:
    """Programming error, drift, read noise and trajectories of a device.

    Args:
        data: mapping with the arrays of `device_curves`.
        name: of the device, for the title.
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
    """Targets of every strategy over the density of the weights.

    Args:
        data: has the density.
        strategies: by the titles of their panels.
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
    targets = np.asarray(encode(strategy, jnp.asarray(u)))
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
    """The strategy itself, or that of the last layer where layers have their own."""
    if isinstance(value, Strategy):
        return "", value
    path = list(value)[-1]
    return path, value[path]


# --- strategies over time ---


def metric_figure(data: xr.Dataset) -> Figure:
    """One panel per device: the metric of each strategy, and the digital network.

    Several devices share a range in which the better strategies can be told apart.
    """
    show = format_of(data)
    figure = _over_time(
        data,
        partial(metric_panel, look=plots.styles(strategies(data))),
        ylabel=f"{show.title} ({show.unit})",
        note="bands: ± sd over chips",
        sharey=True,
    )
    if data.sizes["device"] == 1:
        low, high = figure.axes[0].get_ylim()
        figure.axes[0].set_ylim(min(low, high - 0.02 * abs(high)), high)
        return figure
    alone = [of_device(data, device) for device in map(str, data.device.values)]
    shown = figure.axes[: len(alone)]
    one_range(shown, [focus(one) for one in alone])
    for axis, one in zip(shown, alone, strict=True):
        name_outside(axis, one)
    return figure


def metric_panel(axis: Axes, one: xr.Dataset, look: Look) -> None:
    """The metric of one device over time in bands, and the digital network a line."""
    show = format_of(one)
    digital = show.factor * one.attrs["digital_metric"]
    axis.axhline(digital, color="black", lw=1, label=DIGITAL)
    found = spread(one[one.attrs["metric"]].drop_sel(strategy=DIGITAL)) * show.factor
    x = plots.log_places(one.time.values)
    for label in map(str, found.strategy.values):
        line = found.sel(strategy=label)
        mean, sd = line["value"].values, line["sd"].values
        plots.band(axis, x, mean, sd, label, **look[label])


def focus(one: xr.Dataset) -> tuple[float, float]:
    """The range of all strategies but the worst one, if that is far behind.

    It spans a hundredth of the digital metric at least.

    Args:
        one: results of one device.
    """
    losses = _losses(one)
    digital = format_of(one).factor * float(one.attrs["digital_metric"])
    worst = np.sort(losses.max("time").values)
    loss, gain = worst[-1], float(-losses.min())
    if len(worst) > 2 and loss > 2.5 * worst[-2] > 0:
        loss = 1.5 * worst[-2]
    loss = max(1.15 * loss, 0.008 * abs(digital))
    gain = max(1.15 * gain, 0.15 * loss, 0.002 * abs(digital))
    down, up = (loss, gain) if sign(one) > 0 else (gain, loss)
    return digital - down, digital + up


def one_range(axes: Sequence[Axes], ranges: Sequence[tuple[float, float]]) -> None:
    """Give panels that are compared one range, which holds all of theirs."""
    ends = np.array(ranges)
    for axis in axes:
        axis.set_ylim(ends[:, 0].min(), ends[:, 1].max())


def name_outside(axis: Axes, one: xr.Dataset) -> None:
    """Say which strategies lie outside the range of a panel, and where they end."""
    losses, show = _losses(one), format_of(one)
    digital, (low, high) = show.factor * one.attrs["digital_metric"], axis.get_ylim()
    limit = digital - low if sign(one) > 0 else high - digital
    outside = losses.strategy.values[(losses.min("time") > limit).values]
    arrow = "↓" if sign(one) > 0 else "↑"
    for row, label in enumerate(map(str, outside)):
        last = digital - sign(one) * float(losses.sel(strategy=label).isel(time=-1))
        axis.annotate(
            f"{label}: {last:.3g} {arrow}", (0.98, 0.04 + 0.1 * row),
            xycoords="axes fraction", ha="right", fontsize=7, color="#555555",
        )  # fmt: skip


def _losses(one: xr.Dataset) -> xr.DataArray:
    """What each strategy loses against digital, as it is shown `[strategy time]`."""
    factor = format_of(one).factor
    found = (
        programmed(one)[one.attrs["metric"]].mean("chip").dropna("strategy", how="all")
    )
    lost = sign(one) * factor * (one.attrs["digital_metric"] - found)
    return lost.transpose("strategy", "time")


def error_figure(data: xr.Dataset) -> Figure:
    """Weight error over time: expected as lines, measured with its spread as marks."""
    return _over_time(
        data,
        partial(_errors, look=plots.styles(strategies(data))),
        ylabel=f"{WEIGHT_ERROR.title} ({WEIGHT_ERROR.unit})",
        note="marks: measured, mean ± sd over chips; lines: expected, exact",
        sharey=True,
    )


def _errors(axis: Axes, one: xr.Dataset, look: Look) -> None:
    some = programmed(one)
    found = spread(some.weight_rms_error).assign(expected=some.expected_rms_error) * 100
    x = plots.log_places(one.time.values)
    for label in map(str, found.strategy.values):
        line, style = found.sel(strategy=label), look[label]
        dashes = {k: style[k] for k in ("color", "linestyle")}
        axis.plot(x, line["expected"], lw=1.4, **dashes)
        marks: Any = style | {"linestyle": "none"}
        axis.errorbar(x, line["value"], line["sd"], capsize=2, label=label, **marks)
    axis.set_yscale("log", subs=[])
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axis.yaxis.set_major_formatter("{x:g}")


def _over_time(data: xr.Dataset, draw: Any, **labels: Any) -> Figure:
    """Panels of devices, each over its own times."""

    def panel(name: str, axis: Axes) -> None:
        one = of_device(data, name)
        draw(axis, one)
        outside = one["extrapolated"].values == 1
        plots.time_axis(axis, one.time.values, outside, slanted=len(names) > 1)

    names = list(map(str, data.device.values))
    return plots.panels(
        [(name, partial(panel, name)) for name in names],
        size=(6.5, 4.0) if len(names) == 1 else (2.6, 2.4),
        xlabel="time after programming",
        legend=4,
        **labels,
    )
