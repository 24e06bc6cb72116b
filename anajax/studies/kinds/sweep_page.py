"""The report of a sweep: the metric over the keys that change."""

import dataclasses
import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anajax._core.units import counted, human
from anajax.analysis.tolerance import requirement
from anajax.chip import Strategies
from anajax.studies.names import network, of_value, titles, unit
from anajax.studies.report import assumptions as assumed
from anajax.studies.report import costs
from anajax.studies.report.blocks import (
    Block,
    Cell,
    Drawing,
    cells,
    format_of,
    in_units,
)
from anajax.studies.report.plots import (
    COLORS,
    OPTIMIZED,
    Z90,
    band,
    names_below,
    panels,
)
from anajax.studies.report.statistics import lost, over, sign, taken

ROWS = 60
"""Most rows of the table in the report."""


def title(data: xr.Dataset) -> str:
    """Title of the report."""
    swept = ", ".join(titles(_keys(data)))
    return f"Sweep of {network(data.attrs['workload'])}: {swept}"


def blocks(data: xr.Dataset, _: Mapping[str, Strategies]) -> list[Block]:
    """The table of all points, and the metric over the keys."""
    show, names = format_of(data), _keys(data)
    traces, points = len(set(data.group.values)), data.sizes["point"]
    more = f" {points - ROWS} more points are in results.nc." if points > ROWS else ""
    return [
        Block(
            title=f"{show.title.capitalize()}{in_units(show.unit)}",
            text=f"{counted(points, 'point')} in {counted(traces, 'trace')}, mean over "
            "chips ± standard error of that mean; the best mean at each time is bold. "
            "The last column is the largest standard error, over test items, of the "
            f"paired loss relative to digital.{more}"
            f"{assumed.stopping(data, 'point')}",
            header=[*_with_units(names), "chips", *_times(data), "error over items"],
            rows=_rows(data),
            points=_ends(data),
            drawings=[
                Drawing(
                    data.attrs["metric"],
                    f"{show.title.capitalize()}; line: the digital network",
                    partial(metric_figure, data),
                )
            ],
            summary=True,
        ),
        *_limits(data),
        *_costs(data),
    ]


def _limits(data: xr.Dataset) -> list[Block]:
    """How far the first axis may go at an accepted loss, if the config has one."""
    if "gap" not in data.attrs:
        return []
    show, (first, *rest) = format_of(data), json.loads(data.attrs["axes"])
    keys, places = first
    others = [name for names, _ in rest for name in names]
    values = data[f"set:{keys[0]}"].values.reshape(places, -1)[:, 0]
    lost = data.attrs["digital_metric"] - data[data.attrs["metric"]].isel(time=-1)
    lost = sign(data) * lost.values.astype(float).reshape(places, -1, lost.shape[-1])
    rows, said = [], "up to" if values[-1] > values[0] else "down to"
    for j in range(lost.shape[1]):
        found = requirement(keys[0], values, lost[:, j], data.attrs["gap"])
        ends = dict.fromkeys(map(_limit, (found.low, found.high)))
        at = [_text(data[f"set:{name}"].values[j]) for name in others]
        rows.append(cells(*at, _limit(found.factor), " to ".join(ends)))
    accepted = f"{show.amount(data.attrs['gap'])} of {show.title}"
    name = ", ".join(titles(keys))
    return [
        Block(
            title=f"Until the network has lost {accepted}",
            text=f"{name[0].upper()}{name[1:]}: {said} this value the mean loss over "
            f"chips, relative to the digital network at {_times(data)[-1]}, is "
            "accepted. It is interpolated linearly in the logarithm. Intervals: 90 %, "
            "bootstrap over chips.",
            header=[*_with_units(others), f"{_together(keys)}, {said}",
                    "90 % interval"],
            rows=rows,
            summary=True,
        )
    ]  # fmt: skip


def _limit(value: float) -> str:
    if value == 0:
        return "none tested"
    return f"{value:.3g}" if np.isfinite(value) else "all tested"


def _costs(data: xr.Dataset) -> list[Block]:
    """What each point costs, where the study says on which chip."""
    some = data.isel(point=slice(0, ROWS))
    names = _keys(data)
    heads = [[_text(v) for v in row] for row in
             zip(*(some[f"set:{n}"].values for n in names), strict=True)]  # fmt: skip
    return costs.blocks(some, titles(names), heads)


def assumptions(data: xr.Dataset) -> list[str]:
    """Assumptions behind the numbers."""
    program = {
        "once": "Targets are those of the unchanged config; new ones are chosen only "
        "if range, levels, strategy or weights change.",
        "each": "Targets are chosen anew at every point.",
    }[assumed.config_of(data)["sweep"]["program"]]
    return [
        "What follows holds without the changes of a point.",
        *assumed.sources(data),
        *assumed.hardware(data),
        program,
        "All points use the same chips (common random draws), unless the seed changes.",
        *costs.assumptions(data),
    ]


def _ends(data: xr.Dataset) -> list[str]:
    """The best and the worst point at the last time, and how far they are apart."""
    show, last = format_of(data), data[data.attrs["metric"]].isel(time=-1)
    found = over(last)
    order = np.argsort(sign(data) * found["value"].values)
    if len(order) < 2 or not np.isfinite(found["value"].values).all():
        return []
    worst, best = int(order[0]), int(order[-1])
    if "seed" not in _keys(data):
        each = last.isel(point=best) - last.isel(point=worst)
        both, most = int(each.notnull().sum()), int(taken(data).max())
        on = f" on the {counted(both, 'chip')} of both" if both < most else ""
        how = f", chip by chip{on}"
        gap, error = (float(v) for v in over(each).values())
    else:
        one, other = (found.isel(point=i) for i in (best, worst))
        gap = float(one["value"] - other["value"])
        error, how = float(np.hypot(one["error"], other["error"])), ""
    clear = "" if abs(gap) > 2 * error else ", which is less than two standard errors"
    texts = [f"{_place(data, i)} ({show.text(float(found['value'][i]))})" for i in
             (best, worst)]  # fmt: skip
    amount = f"{show.number(abs(gap))} ± {show.number(error)} {show.points}"
    return [
        f"Best {show.title} by the data at {_times(data)[-1]}: {texts[0]}; worst: "
        f"{texts[1]}. They are {amount.removesuffix(' 1')} apart{how}{clear}."
    ]


def _place(data: xr.Dataset, point: int) -> str:
    names = _keys(data)
    values = (_text(data[f"set:{n}"].values[point]) for n in names)
    each = zip(names, titles(names), values, strict=True)
    return ", ".join(of_value(key, name, value) for key, name, value in each)


def _with_units(names: list[str]) -> list[str]:
    return [f"{t}{unit(n)}" for t, n in zip(titles(names), names, strict=True)]


def _rows(data: xr.Dataset) -> list[list[Cell]]:
    show, names = format_of(data), _keys(data)
    found, chips = over(data[data.attrs["metric"]]), taken(data)
    of_items, rows = lost(data)["of_items"].max("time"), []
    ranks = (sign(data) * found["value"]).fillna(-np.inf)
    best = (ranks == ranks.max("point")).values
    for i in range(min(ROWS, data.sizes["point"])):
        one = found.isel(point=i)
        texts = [_text(data[f"set:{n}"].values[i]) for n in names]
        metric = [
            dataclasses.replace(show.cell(value, error), bold=bool(top))
            for value, error, top in zip(
                one["value"].values, one["error"].values, best[i], strict=True
            )
        ]
        error = f"± {show.number(float(of_items[i]))}"
        rows.append(cells(*texts, str(int(chips[i])), *metric, error))
    return rows


def metric_figure(data: xr.Dataset) -> Figure:
    """Lines over the axes of a grid with one or two, otherwise one panel per key."""
    axes = json.loads(data.attrs["axes"])
    if 1 <= len(axes) <= 2:
        return _grid_figure(data, *axes)
    return _scatter_figure(data)


def _grid_figure(data: xr.Dataset, along: list, lines: list | None = None) -> Figure:
    """One panel per time; a line for each place of the second axis.

    Args:
        data: results.
        along: keys and number of places of the first axis.
        lines: of the second, if there is one.
    """
    show = format_of(data)
    (names, places), (of_lines, count) = along, lines or ([], 1)
    found = show.factor * over(data[data.attrs["metric"]])
    mean, half = (
        v.values.reshape(places, count, -1)
        for v in (found["value"], Z90 * found["error"])
    )
    first = f"{_together(of_lines)} = " if of_lines else ""

    def draw(t: int, axis: Axes) -> None:
        x, labels = _axis(data, names[0], slice(0, None, count))
        for j in range(count):
            style: Any = {"marker": "o", "ms": 3.5}
            label = None
            if of_lines:
                style["color"] = COLORS[1:][j % (len(COLORS) - 1)]
                label = first * (j == 0) + _text(data[f"set:{of_lines[0]}"].values[j])
            band(axis, x, mean[:, j, t], half[:, j, t], label, **style)
        _finish(axis, data, x, labels)

    return panels(
        [(name, partial(draw, t)) for t, name in enumerate(_times(data))],
        size=(3.2, 3.0),
        xlabel=_together(names),
        ylabel=show.label,
        note="bands: 90 % intervals over chips",
        sharey=True,
    )


def _scatter_figure(data: xr.Dataset) -> Figure:
    """Every point at the last time over each key, with its interval."""
    show = format_of(data)
    last = show.factor * over(data[data.attrs["metric"]].isel(time=-1))

    def draw(key: str, axis: Axes) -> None:
        x, labels = _axis(data, key, slice(None))
        axis.errorbar(
            x, last["value"], Z90 * last["error"], fmt="o", ms=3, capsize=2,
            color=OPTIMIZED, lw=1,
        )  # fmt: skip
        _finish(axis, data, x, labels)
        axis.set_xlabel(_together([key]))

    return panels(
        [("", partial(draw, key)) for key in _keys(data)],
        columns=3,
        size=(3.2, 2.5),
        ylabel=show.label,
        note=f"at {_times(data)[-1]}; bars: 90 % intervals over chips; black: digital",
        legend=0,
        sharey=True,
    )


def _axis(
    data: xr.Dataset, key: str, where: slice
) -> tuple[np.ndarray, list[str] | None]:
    """Places on an axis, and labels where they are no numbers."""
    values = data[f"set:{key}"].values[where]
    if values.dtype.kind == "f":
        return values, None
    known = list(dict.fromkeys(map(str, values)))
    return np.array([known.index(str(v)) for v in values]), known


def _finish(
    axis: Axes, data: xr.Dataset, places: np.ndarray, labels: list[str] | None
) -> None:
    digital = format_of(data).factor * data.attrs["digital_metric"]
    axis.axhline(digital, color="black", lw=1, label="digital", zorder=0)
    if labels is not None:
        names_below(axis, labels)
    elif places.size > 1 and places.min() > 0 and places.max() / places.min() > 30:
        axis.set_xscale("log")


def _keys(data: xr.Dataset) -> list[str]:
    """The keys that change, in order."""
    return json.loads(data.attrs["keys"])


def _together(names: list[str]) -> str:
    """Keys that change together, with the unit of the first."""
    return f"{', '.join(titles(names))}{unit(names[0])}"


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _times(data: xr.Dataset) -> list[str]:
    """Names of the times, which may be others at every point."""
    if np.all(data.seconds.values == data.seconds.values[0]):
        return list(map(human, data.time.values))
    return [f"time {i}" for i in range(data.sizes["time"])]
