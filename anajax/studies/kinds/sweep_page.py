"""The page and the figures of a sweep."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anajax.studies.config.durations import human
from anajax.studies.kinds.sensitivity_figures import Z90
from anajax.studies.kinds.sensitivity_page import hardware_assumptions
from anajax.studies.report import figures, page, results
from anajax.studies.report.figures import COLORS, OPTIMIZED
from anajax.studies.report.page import Block, Cell, Row

if TYPE_CHECKING:  # costs a second to import
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:
    xr = Axes = Figure = Any

ROWS = 60
"""Most rows of the table on the page."""
UNITS = {
    "device.noise": "factor",
    "device.options.g_max": "µS",
    "device.levels": "µS",
    "faults": "fraction",
    "periphery.dac_bits": "bits",
    "periphery.adc_bits": "bits",
    "periphery.output_noise": "w_max at full input",
    "periphery.wires": "Ω per segment",
    "strategy.k": "of the full range",
    "times": "s",
}
"""Units of keys, or of the sections that hold them."""


def build(data: "xr.Dataset", _: Path) -> tuple[dict[str, bytes], bytes]:
    """Figures by file name, and the page.

    Args:
        data: results of a sweep.
    """
    metric = data.attrs["metric"]
    show = results.shown(metric)
    drawn = {
        f"{metric}.{kind}": content
        for kind, content in figures.render(lambda: metric_figure(data)).items()
    }
    picture = page.image(
        drawn[f"{metric}.svg"],
        f"{show.title.capitalize()} over the sweep, 90 % intervals over chips",
    )
    traces = len(set(data.group.values))
    html = page.render(
        title=f"Sweep of {data.attrs['workload']} over {', '.join(short(keys(data)))}",
        lead=f"{data.sizes['point']} points in {traces} trace{'s' * (traces > 1)}, "
        f"up to {data.sizes['chip']} chips of each, {data.attrs['items']} test items, "
        f"seed {data.attrs['seed']}. Digital {show.title}: "
        f"{show.text(data.attrs['digital_metric'])}.",
        warnings=_warnings(data),
        blocks=[
            _table(data, [picture]),
            Block(title="What is assumed", points=_assumed(data)),
            *page.provenance(data),
        ],
    )
    return drawn, html


def tables(data: "xr.Dataset") -> list[Block]:
    """What the terminal shows."""
    return [_table(data, [])]


def keys(data: "xr.Dataset") -> list[str]:
    """The keys that change, in order."""
    return json.loads(data.attrs["keys"])


def short(names: list[str]) -> list[str]:
    """Last parts of keys, or whole keys where two would read the same."""
    last = [n.rpartition(".")[2] for n in names]
    return last if len(set(last)) == len(last) else names


def means(data: "xr.Dataset") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and standard error of the metric `[points times]`, and chips `[points]`."""
    values = np.asarray(data[data.attrs["metric"]].values, float)
    count = np.sum(~np.isnan(values[..., 0]), 1)
    return *results.mean_and_error(values), count


def item_errors(data: "xr.Dataset") -> np.ndarray:
    """Standard error over items of the loss against digital `[points times]`."""
    name = data.attrs["metric"]
    if f"item_{name}" not in data:  # of an earlier version
        return np.full((data.sizes["point"], data.sizes["time"]), np.nan)
    lost = data[f"digital_item_{name}"].values - data[f"item_{name}"].values
    return lost.std(-1, ddof=1) / np.sqrt(lost.shape[-1])


def metric_figure(data: "xr.Dataset") -> "Figure":
    """Lines over the axes of a grid of one or two, else one panel per key."""
    axes = json.loads(data.attrs["axes"])
    if 1 <= len(axes) <= 2:
        return _grid_figure(data, axes)
    return _scatter_figure(data)


def _grid_figure(data: "xr.Dataset", axes: list) -> "Figure":
    """One panel per time; a line for each place of the second axis."""
    import matplotlib.pyplot as plt

    mean, error, _ = means(data)
    show = results.shown(data.attrs["metric"])
    first = len_of(axes[0])
    lines = len_of(axes[1]) if len(axes) > 1 else 1
    mean, half = (
        show.factor * v.reshape(first, lines, -1) for v in (mean, Z90 * error)
    )
    panels = data.sizes["time"]
    figure, grid = plt.subplots(
        1, panels, figsize=(3.3 * panels + 1.6, 3.6), sharey=True, squeeze=False
    )
    places, labels, unit = _axis(data, axes[0][0], slice(0, None, lines))
    for t, axis in enumerate(grid[0]):
        for j in range(lines):
            color = OPTIMIZED if lines == 1 else COLORS[1:][j % (len(COLORS) - 1)]
            y, h = mean[:, j, t], half[:, j, t]
            axis.fill_between(places, y - h, y + h, color=color, alpha=0.2, lw=0)
            label = None if lines == 1 else _label(data, axes[1][0], j)
            axis.plot(places, y, "o-", color=color, ms=3.5, lw=1.3, label=label)
        _finish(axis, data, places, labels)
        axis.set_title(human(data.time.values[t]) if _same_times(data) else f"time {t}")
    grid[0][0].set_ylabel(f"{show.title} ({show.unit})")
    figure.supxlabel(f"{_names(axes[0][0])}{unit}", fontsize=9)
    if lines > 1:
        title = f"{_names(axes[1][0])}{_unit(axes[1][0][0])}"
        grid[0][-1].legend(
            title=title, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8
        )
    return figure


def len_of(axis: list) -> int:
    """Places of an axis `[keys, count]`."""
    return int(axis[1])


def _scatter_figure(data: "xr.Dataset") -> "Figure":
    """Every point at the last time over each key, with its interval."""
    import matplotlib.pyplot as plt

    mean, error, _ = means(data)
    show = results.shown(data.attrs["metric"])
    names = keys(data)
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(3.2 * columns + 0.6, 2.6 * rows + 0.7),
        sharey=True,
        squeeze=False,
    )
    for axis in grid.flat[len(names) :]:
        axis.set_axis_off()
    for axis, key in zip(grid.flat, names, strict=False):
        places, labels, unit = _axis(data, [key], slice(None))
        axis.errorbar(
            places,
            show.factor * mean[:, -1],
            Z90 * show.factor * error[:, -1],
            fmt="o",
            ms=3,
            capsize=2,
            color=OPTIMIZED,
            lw=1,
        )
        _finish(axis, data, places, labels)
        axis.set_xlabel(f"{key}{unit}")
    for axis in grid[:, 0]:
        axis.set_ylabel(f"{show.title} ({show.unit})")
    last = human(data.time.values[-1]) if _same_times(data) else "the last time"
    figure.suptitle(f"At {last}; lines: 90 % intervals over chips", fontsize=9)
    return figure


def _axis(
    data: "xr.Dataset", names: list[str], where: slice
) -> tuple[np.ndarray, list[str] | None, str]:
    """Places on an axis, labels where they are no numbers, and the unit."""
    values = data[f"set:{names[0]}"].values[where]
    if values.dtype.kind == "f":
        return values, None, _unit(names[0])
    known = list(dict.fromkeys(map(str, values)))
    return np.array([known.index(str(v)) for v in values]), known, _unit(names[0])


def _finish(
    axis: "Axes", data: "xr.Dataset", places: np.ndarray, labels: list[str] | None
) -> None:
    show = results.shown(data.attrs["metric"])
    digital = show.factor * data.attrs["digital_metric"]
    axis.axhline(digital, color="black", lw=1, zorder=0)
    if labels is not None:
        axis.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
    elif places.size > 1 and places.min() > 0 and places.max() / places.min() > 30:
        axis.set_xscale("log")


def _unit(key: str) -> str:
    for name, unit in UNITS.items():
        if key == name or key.startswith(f"{name}."):
            return f" ({unit})"
    return ""


def _names(names: list[str]) -> str:
    section = names[0].rpartition(".")[0]
    if len(names) > 1 and all(n.rpartition(".")[0] == section for n in names):
        return f"{section}: " + ", ".join(n.rpartition(".")[2] for n in names)
    return ", ".join(names)


def _label(data: "xr.Dataset", names: list[str], place: int) -> str:
    return _text(data[f"set:{names[0]}"].values[place])


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _same_times(data: "xr.Dataset") -> bool:
    return bool(np.all(data.seconds.values == data.seconds.values[0]))


def _table(data: "xr.Dataset", images: list[page.Image]) -> Block:
    mean, error, count = means(data)
    show = results.shown(data.attrs["metric"])
    names, of_items = keys(data), item_errors(data).max(1)
    rows = []
    for i in range(min(ROWS, data.sizes["point"])):
        cells = [Cell(text=_text(data[f"set:{n}"].values[i])) for n in names]
        cells.append(Cell(text=str(count[i])))
        for m, e in zip(mean[i], error[i], strict=True):
            text = f"{show.factor * m:.{show.digits}f}"
            cells.append(Cell(text=text, small=f"± {show.factor * e:.{show.digits}f}"))
        cells.append(Cell(text=f"{show.factor * of_items[i]:.{show.digits}f}"))
        rows.append(Row(cells=cells))
    more = data.sizes["point"] - len(rows)
    rest = f" {more} more points are in results.nc." if more > 0 else ""
    same = _same_times(data)
    times = [human(t) if same else f"time {i}" for i, t in enumerate(data.time.values)]
    return Block(
        title=f"{show.title.capitalize()} ({show.unit})",
        text="Mean over chips ± standard error of that mean; over items: the largest "
        "standard error of the paired loss against digital over test items. "
        f"{page.stopping(data, 'point')}{rest}",
        header=[*short(names), "chips", *times, "over items"],
        rows=rows,
        images=images,
    )


def _warnings(data: "xr.Dataset") -> list[str]:
    points = np.flatnonzero(data["extrapolated"].values.any(1))
    if not points.size:
        return []
    return [
        f"Extrapolated: at {points.size} points the source of the device does not "
        "cover some of the times."
    ]


def _assumed(data: "xr.Dataset") -> list[str]:
    config = json.loads(data.attrs["config"])
    program = {
        "once": "Targets are those of the config without the changes, chosen anew only "
        "where range, levels, strategy or weights change.",
        "each": "Targets are chosen anew at every point.",
    }[config["sweep"]["program"]]
    return [
        f"Device without the changes: {data.attrs['device_source']}.",
        program,
        "All points see the same chips (common random draws), unless the seed changes.",
        *hardware_assumptions(data),
    ]
