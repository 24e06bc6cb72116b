"""Figures of strategy studies: a few lines over time, with names for readers."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from anajax.studies import names
from anajax.studies.report import plots
from anajax.studies.report.assumptions import config_of
from anajax.studies.report.blocks import (
    WEIGHT_ERROR,
    format_of,
)
from anajax.studies.report.statistics import (
    DIGITAL,
    of_device,
    over,
    programmed,
    sign,
    spread,
    strategies,
    taken,
)

Look = Mapping[str, dict[str, Any]]
"""Styles of programs by name."""
BY_HAND, RECOMMENDED, SINGLE = "best by hand", "recommended", "single_pair"
LOOK: dict[str, dict[str, Any]] = {
    "single pair": {"color": "#888888", "marker": "o", "linestyle": "--"},
    BY_HAND: {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    "least weight error": {"color": "#0072B2", "marker": "^"},
    "least output error": {"color": "#0072B2", "marker": "^"},
    "learned targets": {"color": "#009E73", "marker": "D"},
}
"""Styles of programs that most figures show: the same in all of them."""
RING: dict[str, Any] = {"marker": "o", "markersize": 9, "markerfacecolor": "none"}
"""Style of the rings around the marks of the recommended program."""
STEP = 0.008
"""Shift between points at one time, relative to the axis: error bars do not overlap."""
ERRORS = "mean ± standard error over chips"


# --- what is drawn --------------------------------------------------------------------


def programs(one: xr.Dataset) -> dict[str, str]:
    """The programs in the figure of one device: names by label.

    If there are optimized programs, hand-designed ones share one line: the best one by
    the mean over times on these chips. A single pair has its own line.

    Args:
        one: results of one device.
    """
    known = strategies(one)
    mean = sign(one) * over(one[one.attrs["metric"]])["value"].mean("time")
    there = {s: v for s, v in known.items() if mean.sel(strategy=s).notnull()}
    hand = [s for s, v in there.items() if v == ("hand", False) and s != SINGLE]
    rest = list(there)
    if hand and any(family == "optimized" for family, _ in there.values()):
        best = max(hand, key=lambda s: float(mean.sel(strategy=s)))
        rest = [s for s in there if s not in hand or s == best]
        hand = [best]
    else:
        hand = []
    return {s: BY_HAND if s in hand else name_of(one, s) for s in rest}


def name_of(data: xr.Dataset, label: str) -> str:
    """Name of a strategy for readers."""
    trained = strategies(data)[label][1]
    if label == "optimized" and not trained:
        if config_of(data)["optimizer"].get("objective") == "output":
            return "least output error"
    return names.program(label, trained=trained)


def taken_by(one: xr.Dataset, shown: Mapping[str, str]) -> str | None:
    """The label of the shown program that was recommended; None if it is not shown.

    Args:
        one: results of one device.
        shown: programs by label.
    """
    if RECOMMENDED not in shown:
        return None
    values = one[one.attrs["metric"]]
    mine = values.sel(strategy=RECOMMENDED).values
    for label in shown:
        other = values.sel(strategy=label).values
        if label != RECOMMENDED and np.array_equal(mine, other, equal_nan=True):
            return label
    return None


def looks(
    shown: Mapping[str, str], data: xr.Dataset, *, used: Look | None = None
) -> dict[str, dict[str, Any]]:
    """Style of each program by its name.

    Args:
        shown: programs by label.
        data: results, including the families of programs.
        used: styles that other programs already have.
    """
    fixed = {style["color"] for style in LOOK.values()}
    free = [c for c in plots.COLORS if c not in fixed]
    known, made = strategies(data), {}
    for label, name in shown.items():
        if known[label][0] == DIGITAL:
            made[name] = {"color": plots.ink(), "linestyle": ":"}
        elif label == RECOMMENDED:
            made[name] = {"color": plots.ink(), **RING}
        elif name in LOOK:
            made[name] = LOOK[name]
        else:
            place = len(used or ()) + len(made)
            marker = plots.MARKERS[place % len(plots.MARKERS)]
            made[name] = {"color": free[place % len(free)], "marker": marker}
    return made


def every_look(*tables: xr.Dataset) -> Look:
    """Styles of all programs in a figure of several devices or networks."""
    found: dict[str, dict[str, Any]] = {}
    for data in tables:
        shown: dict[str, str] = {}
        for device in map(str, data.device.values):
            some = programs(of_device(data, device))
            shown |= {s: n for s, n in some.items() if n not in found}
        found |= looks(shown, data, used=found)
    return found


def chips(data: xr.Dataset) -> str:
    """Number of measured chips, in words."""
    most = int(taken(data).max())
    return f"{'up to ' * bool(data.attrs['stop_at_se'])}{most} chips"


def caption(data: xr.Dataset) -> str:
    """The labels behind the names in a figure, and where, if they differ."""
    where: dict[str, dict[str, list[str]]] = {}
    for device in map(str, data.device.values):
        for label, name in programs(of_device(data, device)).items():
            where.setdefault(name, {}).setdefault(label, []).append(device)
    said = []
    for name, labels in where.items():
        for label, found in labels.items():
            place = f" on {', '.join(found)}" if len(labels) > 1 else ""
            if name != label:
                said.append(f"{name}{place}: {label}")
    return "; ".join(said)


# --- the metric -----------------------------------------------------------------------


def metric_figure(data: xr.Dataset) -> Figure:
    """One panel per device: the metric of each strategy, and the digital network.

    With one device, lines are labeled at their ends, with the last value. Several
    devices share a range in which the better strategies can be distinguished.
    """
    show, alone = format_of(data), data.sizes["device"] == 1
    figure = _over_time(
        data,
        lambda axis, one: metric_panel(axis, one, every_look(data), ring=not alone),
        ylabel=show.label,
        legend=0 if alone else 4,
    )
    if alone:
        low, high = figure.axes[0].get_ylim()
        figure.axes[0].set_ylim(min(low, high - 0.02 * abs(high)), high)
        _name_ends(figure.axes[0], data)
        return figure
    each = [of_device(data, device) for device in map(str, data.device.values)]
    compare(figure.axes[: len(each)], each)
    return figure


def metric_panel(axis: Axes, one: xr.Dataset, look: Look, *, ring: bool = True) -> None:
    """The metric of one device over time, with the digital network as a line.

    Args:
        axis: axis to draw on.
        one: results of one device.
        look: styles of programs by name.
        ring: whether to mark the recommended program with rings.
    """
    show, shown = format_of(one), programs(one)
    digital = show.factor * one.attrs["digital_metric"]
    axis.axhline(digital, color=plots.ink(), lw=1, label=DIGITAL)
    found = over(one[one.attrs["metric"]]) * show.factor
    chosen = taken_by(one, shown)
    drawn = {s: n for s, n in shown.items() if chosen is None or s != RECOMMENDED}
    for (label, name), x in zip(drawn.items(), _places(one, len(drawn)), strict=True):
        line = found.sel(strategy=label)
        mean, error = line["value"].values, line["error"].values
        axis.errorbar(
            x, mean, error, label=name, capsize=2, lw=1.5,
            **({"markersize": 5} | look[name]),
        )  # fmt: skip
        if ring and label == chosen:
            axis.plot(x, mean, ls="none", color=plots.ink(), label=RECOMMENDED, **RING)


def compare(axes: Sequence[Axes], each: Sequence[xr.Dataset]) -> None:
    """Give panels the same range, and name the strategies outside it.

    Args:
        axes: panels.
        each: results of one device for each panel.
    """
    ends = np.array([focus(one) for one in each])
    for axis, one in zip(axes, each, strict=True):
        axis.set_ylim(ends[:, 0].min(), ends[:, 1].max())
        _name_outside(axis, one)


def focus(one: xr.Dataset) -> tuple[float, float]:
    """The range of all shown strategies except the worst one, if it is far behind.

    It spans at least a hundredth of the digital metric.

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


def _name_outside(axis: Axes, one: xr.Dataset) -> None:
    """Name the strategies outside the range of a panel, with their last values."""
    losses, show = _losses(one), format_of(one)
    digital, (low, high) = show.factor * one.attrs["digital_metric"], axis.get_ylim()
    limit = digital - low if sign(one) > 0 else high - digital
    outside = losses.strategy.values[(losses.min("time") > limit).values]
    arrow = "↓" if sign(one) > 0 else "↑"
    for row, label in enumerate(map(str, outside)):
        last = digital - sign(one) * float(losses.sel(strategy=label).isel(time=-1))
        axis.annotate(
            f"{name_of(one, label)}: {last:.3g} {arrow}", (0.98, 0.04 + 0.1 * row),
            xycoords="axes fraction", ha="right", fontsize=7, color="#777777",
        )  # fmt: skip


def _losses(one: xr.Dataset) -> xr.DataArray:
    """Displayed losses of shown strategies relative to digital `[strategy time]`."""
    shown = [s for s, v in strategies(one).items() if v[0] != DIGITAL]
    shown = [s for s in programs(one) if s in shown]
    means = one[one.attrs["metric"]].sel(strategy=shown).mean("chip")
    lost = sign(one) * format_of(one).factor * (one.attrs["digital_metric"] - means)
    return lost.transpose("strategy", "time")


def _places(one: xr.Dataset, count: int) -> list[np.ndarray]:
    """Positions of the points of each line, side by side."""
    x = plots.log_places(one.time.values)
    step = (x[-1] / x[0]) ** STEP
    return [x * step ** (i - (count - 1) / 2) for i in range(count)]


def _name_ends(axis: Axes, data: xr.Dataset) -> None:
    """Names of the lines of one device at their ends, with their last values."""
    one = of_device(data, str(data.device.values[0]))
    show, shown = format_of(one), programs(one)
    chosen, look = taken_by(one, shown), every_look(data)
    mean = over(one[one.attrs["metric"]])["value"].isel(time=-1)
    ends = [(show.factor * one.attrs["digital_metric"], DIGITAL, plots.ink())]
    for label, name in shown.items():
        if chosen is not None and label == RECOMMENDED:
            continue
        text = f"{name} ({RECOMMENDED})" if label == chosen else name
        value = show.factor * float(mean.sel(strategy=label))
        ends.append((value, text, look[name]["color"]))
    digits = max(show.digits - 1, 1)
    named = [(y, f"{y:.{digits}f}  {text}", color) for y, text, color in ends]
    plots.name_ends(axis, float(plots.log_places(one.time.values)[-1]), named)


# --- the weight error -----------------------------------------------------------------


def error_figure(data: xr.Dataset) -> Figure:
    """Weight error over time: lines are expected, marks are measured, with their sd."""
    return _over_time(
        data,
        partial(_errors, look=every_look(data)),
        ylabel=f"{WEIGHT_ERROR.title} ({WEIGHT_ERROR.unit})",
        note="; marks: measured, mean ± sd over chips; lines: expected, exact",
    )


def _errors(axis: Axes, one: xr.Dataset, look: Look) -> None:
    shown, some = programs(one), programmed(one)
    found = spread(some.weight_rms_error).assign(expected=some.expected_rms_error) * 100
    x = plots.log_places(one.time.values)
    for label in map(str, found.strategy.values):
        if label not in shown:
            continue
        line = found.sel(strategy=label)
        style = {"markersize": 4.5} | look[shown[label]]
        dashes = style.pop("linestyle", "-")
        axis.plot(x, line["expected"], dashes, lw=1.4, color=style["color"])
        axis.errorbar(
            x, line["value"], line["sd"], capsize=2, ls="none",
            label=shown[label], **style,
        )  # fmt: skip
    axis.set_yscale("log", subs=[])
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axis.yaxis.set_major_formatter("{x:g}")


# --- panels ---------------------------------------------------------------------------


def _over_time(
    data: xr.Dataset,
    draw: Callable[[Axes, xr.Dataset], None],
    *,
    ylabel: str,
    note: str = f"; {ERRORS}",
    legend: int = 4,
) -> Figure:
    """Panels of devices, each over its own times."""

    def panel(name: str, axis: Axes) -> None:
        one = of_device(data, name)
        draw(axis, one)
        outside = one["extrapolated"].values == 1
        plots.time_axis(axis, one.time.values, outside, width=size[0])

    every = list(map(str, data.device.values))
    size = (7.0, 3.9) if len(every) == 1 else (2.6, 2.4)
    network, alone = names.upper(names.network(data.attrs["workload"])), len(every) == 1
    figure = plots.panels(
        [("" if alone else names.device(d), partial(panel, d)) for d in every],
        size=size,
        xlabel="time after programming",
        ylabel=ylabel,
        note="" if alone else f"{network}: {chips(data)}{note}",
        legend=legend,
        sharey=True,
    )
    if alone:
        title = f"{network}, on {names.device(every[0])}"
        plots.title_of(figure.axes[0], title, f"{chips(data)}{note}")
    return figure
