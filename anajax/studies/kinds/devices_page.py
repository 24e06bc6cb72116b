"""The page of a study of devices: one network on every memory, over its own times."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anajax.chip import Strategies
from anajax.mapping.strategy import Strategy, full_scale
from anajax.programming import strategy_file
from anajax.programming.strategy_file import load_strategies
from anajax.studies.config.durations import human
from anajax.studies.kinds import strategies_page
from anajax.studies.report import figures, page, results
from anajax.studies.report.page import Block, Cell, Row

if TYPE_CHECKING:  # costs a second to import
    import xarray as xr
    from matplotlib.figure import Figure
else:
    xr = Figure = Any


def build(data: "xr.Dataset", folder: Path) -> tuple[dict[str, bytes], bytes]:
    """Figures by file name, and the page.

    Args:
        data: results with a dimension `device`.
        folder: of the study, where the strategies are, by "device/strategy".
    """
    strategies = load_strategies(folder / strategy_file.FILE)
    metric = data.attrs["metric"]
    show = results.shown(metric)
    best = {
        name: value
        for name, value in strategies.items()
        if data.family.sel(strategy=name.split("/")[-1]) == "optimized"
    }
    draw = {
        metric: lambda: metric_figure(data),
        "weight_error": lambda: error_figure(data),
    }
    if best:
        draw["strategies"] = lambda: figures.strategy_figure(
            data, best, same_range=False
        )
    drawn = {
        f"{name}.{kind}": content
        for name, make in draw.items()
        for kind, content in figures.render(make).items()
    }
    captions = {
        metric: f"{show.title.capitalize()} of every device at the times of its source",
        "weight_error": "Weight error of every device",
        "strategies": "Optimized target conductances over the share of weights (gray)",
    }
    images = {n: page.image(drawn[f"{n}.svg"], captions[n]) for n in draw}
    html = page.render(
        title=f"{data.attrs['workload']} on {data.sizes['device']} memories",
        lead=f"{page.chips(data)} of each, {data.attrs['items']} test items, "
        f"seed {data.attrs['seed']}. Digital {show.title}: "
        f"{show.text(data.attrs['digital_metric'])}.",
        warnings=_warnings(data),
        blocks=[
            _metric_block(data, images[metric]),
            _best_block(data, strategies, images.get("strategies")),
            _gain_block(data),
            _gap_block(data),
            Block(title="Weight error", images=[images["weight_error"]]),
            Block(title="Sources of the device models", points=_sources(data)),
            Block(title="What is assumed", points=assumptions(data)),
            *page.provenance(data),
        ],
    )
    return drawn, html


def tables(data: "xr.Dataset") -> list[Block]:
    """What the terminal shows: the tables of strategies, device by device."""
    return [
        dataclasses.replace(block, title=f"{name}: {block.title}")
        for name in data.device.values
        for block in strategies_page.tables(of_device(data, name))
    ]


def of_device(data: "xr.Dataset", device: str) -> "xr.Dataset":
    """The results of one device at its own times."""
    one = data.sel(device=device)
    return one.sel(time=one[data.attrs["metric"]].notnull().any(("strategy", "chip")))


def metric_figure(data: "xr.Dataset") -> "Figure":
    """One panel per device: the metric of each strategy, and the digital network."""
    show = results.shown(data.attrs["metric"])

    def panel(axis: Any, one: Any, styles: dict[str, Any]) -> None:
        digital = show.factor * data.attrs["digital_metric"]
        axis.axhline(digital, color="black", lw=1, label=results.DIGITAL)
        values = show.factor * one[data.attrs["metric"]]
        _lines(axis, one, values, styles)
        low, high = axis.get_ylim()
        axis.set_ylim(min(low, high - 0.02 * abs(high)), high)

    return _panels(data, panel, f"{show.title} ({show.unit})", same_range=False)


def error_figure(data: "xr.Dataset") -> "Figure":
    """One panel per device: measured weight error of each strategy."""
    from matplotlib.ticker import LogLocator

    def panel(axis: Any, one: Any, styles: dict[str, Any]) -> None:
        one = results.programmed(one)
        _lines(axis, one, 100 * one.weight_rms_error, styles)
        axis.set_yscale("log", subs=[])
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axis.yaxis.set_major_formatter("{x:g}")

    return _panels(data, panel, "rms weight error (% of w_max)", same_range=True)


def _panels(
    data: "xr.Dataset", panel: Any, label: str, *, same_range: bool
) -> "Figure":
    import matplotlib.pyplot as plt

    names = [str(n) for n in data.device.values]
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(2.6 * columns + 0.5, 2.3 * rows + 0.7),
        sharey=same_range,
        squeeze=False,
    )
    styles = figures.styles(data)
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    for axis, name in zip(axes.flat, names, strict=False):
        one = of_device(data, name)
        panel(axis, one, styles)
        figures.time_axis(axis, one)
        for text in axis.get_xticklabels():
            text.set(rotation=50, ha="right", rotation_mode="anchor")
        axis.set(title=name, xlabel="")
    for axis in axes[:, 0]:
        axis.set_ylabel(label)
    handles = axes.flat[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=max(1, 3 * columns // 2))
    note = "time after programming; bands: ± sd over chips"
    note += "" if same_range else "; every device has its own range"
    figure.suptitle(note, fontsize=9)
    return figure


def _lines(axis: Any, one: Any, values: Any, styles: dict[str, Any]) -> None:
    x = figures.places(one.time.values)
    for label in (str(s) for s in one.strategy.values if s != results.DIGITAL):
        mine = values.sel(strategy=label)
        mean, sd = mine.mean("chip").values, mine.std("chip").values
        figures.banded(axis, x, mean, sd, label, styles[label])


def _metric_block(data: "xr.Dataset", picture: page.Image) -> Block:
    show = results.shown(data.attrs["metric"])
    rows = []
    for name in data.device.values:
        one = of_device(data, name)
        for row in strategies_page.metric_rows(one):
            if row.cells[0].text != results.DIGITAL:
                cells = _at_all_times(data, one, row.cells[1:])
                head = [Cell(text=str(name)), row.cells[0]]
                rows.append(Row(cells=[*head, *cells], kind=row.kind))
    return Block(
        title=f"{show.title.capitalize()} ({show.unit})",
        text="Mean over chips ± standard error of that mean, at the times that the "
        f"source of each device covers. {page.stopping(data, 'strategy')}",
        header=["device", "strategy", *(human(t) for t in data.time.values)],
        rows=rows,
        images=[picture],
    )


def _best_block(
    data: "xr.Dataset",
    strategies: Mapping[str, Strategies],
    picture: page.Image | None,
) -> Block:
    """For each device the strategy of the best metric, averaged over its times."""
    metric = data.attrs["metric"]
    sign = 1 if data[metric].attrs["better"] == "higher" else -1
    rows = []
    for name in data.device.values:
        one = of_device(data, name)
        analog = results.programmed(one)
        means = analog[metric].mean(("chip", "time")).values
        label = str(analog.strategy.values[np.argmax(sign * means)])
        _, error = results.mean_and_error(
            analog[metric].sel(strategy=label).mean("time").values[:, None]
        )
        strategy = strategies.get(f"{name}/{label}")
        show = results.shown(metric)
        best = show.text(means.max() if sign > 0 else means.min())
        rows.append(
            Row(
                cells=[
                    Cell(text=str(name)),
                    Cell(text=label),
                    Cell(
                        text=best,
                        small=f"± {show.factor * error[0]:.{show.digits}f}",
                    ),
                    *(Cell(text=text) for text in _numbers(data, name, strategy)),
                ]
            )
        )
    return Block(
        title="Best strategy of each device",
        text="By the mean over its times and chips, on these very chips; differences "
        "below the standard errors do not rank strategies.",
        header=["device", "strategy", "mean", "F", "K / K_max"],
        rows=rows,
        images=[picture] if picture else [],
    )


def _numbers(
    data: "xr.Dataset", device: Any, strategy: Strategies | None
) -> tuple[str, str]:
    if strategy is None:
        return "learned", "learned"
    if not isinstance(strategy, Strategy):
        return "by layer", "by layer"
    one = data.sel(device=device)
    span = float(one.range_high - one.range_low)
    factors = [f"{float(f):.3g}" for f in strategy.significance[:-1]]
    relative = float(strategy.scale) / float(full_scale(strategy, span))
    return ", ".join(factors) or "–", f"{relative:.3f}"


def _gain_block(data: "xr.Dataset") -> Block:
    metric = data.attrs["metric"]
    rows = []
    for name in data.device.values:
        one = of_device(data, name)
        for gains in results.gains(one):
            for row in strategies_page.gain_rows(gains, metric):
                cells = _at_all_times(data, one, row.cells[1:])
                rows.append(Row(cells=[Cell(text=str(name)), row.cells[0], *cells]))
    unit = results.shown(metric).unit.replace("%", "percentage points")
    return Block(
        title=f"Optimized minus the best hand strategy ({unit})",
        text="Paired: chip by chip with the same random draws, mean ± standard error.",
        header=["device", "", *(human(t) for t in data.time.values)],
        rows=rows,
    )


def _gap_block(data: "xr.Dataset") -> Block:
    blocks = {
        n: strategies_page.gap_block(of_device(data, n)) for n in data.device.values
    }
    rows = [
        Row(
            cells=[
                Cell(text=str(name)),
                row.cells[0],
                *_at_all_times(data, of_device(data, name), row.cells[1:]),
            ],
            kind=row.kind,
        )
        for name, block in blocks.items()
        for row in block.rows
    ]
    return dataclasses.replace(
        next(iter(blocks.values())),
        header=["device", "strategy", *(human(t) for t in data.time.values)],
        rows=rows,
    )


def _at_all_times(data: "xr.Dataset", one: "xr.Dataset", cells: Any) -> list[Cell]:
    """Cells of a device at the times of all devices, empty where it has none."""
    mine = dict(zip(one.time.values.tolist(), cells, strict=True))
    return [mine.get(t, Cell(text="")) for t in data.time.values.tolist()]


def _sources(data: "xr.Dataset") -> list[str]:
    pairs = zip(data.device.values, data.device_source.values, strict=True)
    return [f"{name}: {source}." for name, source in pairs]


def _warnings(data: "xr.Dataset") -> list[str]:
    found = []
    for name in data.device.values:
        found += [
            f"{name}: {w}" for w in strategies_page.warnings(of_device(data, name))
        ]
    return found


def assumptions(data: "xr.Dataset") -> list[str]:
    """What the numbers take for granted, and which memories have few levels."""
    points = [*strategies_page.assumptions(data), *strategies_page.trained(data)]
    few = data.device.values[data.levels.values > 0]
    if few.size:
        points.append(
            f"{', '.join(few)}: cells have few levels. A target between them is "
            "programmed to the nearest; optimized strategies are the best codes of "
            "levels, found by enumeration."
        )
    return points
