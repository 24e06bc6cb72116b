"""The page of a study of strategies: one network on one device."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anajax.chip import Strategies
from anajax.mapping.strategy import Strategy, full_scale
from anajax.programming import strategy_file
from anajax.programming.strategy_file import load_strategies
from anajax.studies.config.durations import human
from anajax.studies.kinds import tolerance_page
from anajax.studies.report import figures, page, results
from anajax.studies.report.page import Block, Cell, Row

if TYPE_CHECKING:  # costs a second to import
    import xarray as xr
else:
    xr = Any


def build(data: "xr.Dataset", folder: Path) -> tuple[dict[str, bytes], bytes]:
    """Figures by file name, and the page.

    Args:
        data: results of strategies on one device.
        folder: of the study, where the strategies are.
    """
    strategies = load_strategies(folder / strategy_file.FILE)
    drawn = draw_all(data, strategies)
    show = results.shown(data.attrs["metric"])
    html = page.render(
        title=f"{data.attrs['workload']} on {data.attrs['device']}",
        lead=f"{page.chips(data)}, {data.attrs['items']} test items, seed "
        f"{data.attrs['seed']}. Digital {show.title}: "
        f"{show.text(data.attrs['digital_metric'])}.",
        warnings=warnings(data),
        blocks=_blocks(data, strategies, drawn),
    )
    return drawn, html


def tables(data: "xr.Dataset") -> list[Block]:
    """What the terminal shows: the metric of all strategies, and what was gained."""
    return [metric_block(data, []), *gain_blocks(data)]


def _blocks(
    data: "xr.Dataset",
    strategies: Mapping[str, Strategies],
    drawn: Mapping[str, bytes],
) -> list[Block]:
    metric = data.attrs["metric"]
    captions = {
        metric: f"{results.shown(metric).title.capitalize()} over time, with the "
        "digital network",
        "weight_error": "Weight error over time",
        "strategies": "Target conductances over the share of weights (gray)",
        "device": "What the device model says",
    }
    pictures = {
        n: page.image(drawn[f"{n}.svg"], text)
        for n, text in captions.items()
        if f"{n}.svg" in drawn
    }
    if strategies:
        chosen = [strategy_block(data, strategies, pictures["strategies"])]
    else:
        chosen = []
    return [
        metric_block(data, [pictures[metric]]),
        *gain_blocks(data),
        gap_block(data),
        *tolerance_page.blocks(data, drawn),
        error_block(data, pictures["weight_error"]),
        *chosen,
        Block(
            title="Device",
            text=data.attrs["device_source"],
            images=[pictures["device"]],
        ),
        Block(title="What is assumed", points=_assumed(data)),
        *page.provenance(data),
    ]


def metric_rows(data: "xr.Dataset") -> list[Row]:
    """One row per strategy: mean and standard error at every time."""
    metric = data.attrs["metric"]
    show = results.shown(metric)
    rows = []
    for label, kind in zip(data.strategy.values, data.family.values, strict=True):
        mean, error = results.mean_and_error(data[metric].sel(strategy=label).values)
        cells = [
            Cell(
                text=f"{show.factor * m:.{show.digits}f}",
                small="" if kind == results.DIGITAL else _error(e, show),
            )
            for m, e in zip(mean, error, strict=True)
        ]
        name = Cell(text=str(label), small=page.taken(data, str(label)))
        rows.append(Row(cells=[name, *cells], kind=str(kind)))
    return rows


def gain_rows(gains: list[results.Gain], metric: str) -> list[Row]:
    """Differences with standard errors, and the hand strategy, at every time."""
    show = results.shown(metric)
    rows = []
    for gain in gains:
        numbers = [
            Cell(text=f"{show.factor * d:+.{show.digits}f}", small=_error(e, show))
            for d, e in zip(gain.difference, gain.error, strict=True)
        ]
        rows.append(Row(cells=[Cell(text=gain.label), *numbers]))
    names = [Cell(text=name) for name in gains[0].best_hand]
    return [*rows, Row(cells=[Cell(text="best hand strategy"), *names])]


def metric_block(data: "xr.Dataset", images: list[page.Image]) -> Block:
    """Table and figure of the metric."""
    show = results.shown(data.attrs["metric"])
    return Block(
        title=f"{show.title.capitalize()} ({show.unit}), mean over chips ± standard "
        "error",
        text=page.stopping(data, "strategy"),
        header=["strategy", *_times(data)],
        rows=metric_rows(data),
        images=images,
    )


def gain_blocks(data: "xr.Dataset") -> list[Block]:
    """Optimized strategies against the best hand strategy, with a verdict."""
    metric = data.attrs["metric"]
    unit = results.shown(metric).unit.replace("%", "percentage points")
    better = data[metric].attrs["better"]
    return [
        Block(
            title=f"{gain_title(gains)} ({unit})",
            text="Paired: chip by chip with the same random draws, mean ± standard "
            "error. The hand strategy is the best of each time on these very chips.",
            header=["", *_times(data)],
            rows=gain_rows(gains, metric),
            points=[f"{gain.label}: {verdict(gain, better)}" for gain in gains],
        )
        for gains in results.gains(data)
    ]


def gain_title(gains: list[results.Gain]) -> str:
    """What the differences of a table are."""
    where = ", all on trained weights" if gains[0].trained else ""
    return f"Optimized minus the best hand strategy{where}"


def gap_block(data: "xr.Dataset") -> Block:
    """What every strategy loses against the digital network."""
    show = results.shown(data.attrs["metric"])
    unit = show.unit.replace("%", "percentage points")
    rows = []
    for label, kind in zip(data.strategy.values, data.family.values, strict=True):
        if label == results.DIGITAL:
            continue
        losses, errors = results.gap_to_digital(data, str(label))
        cells = [
            Cell(text=f"{show.factor * g:.{show.digits}f}", small=_error(e, show))
            for g, e in zip(losses, errors, strict=True)
        ]
        rows.append(Row(cells=[Cell(text=str(label)), *cells], kind=str(kind)))
    return Block(
        title=f"Loss against the digital network ({unit})",
        text="On the same test items, ± standard error: of the mean over chips and of "
        "the paired difference over items together.",
        header=["strategy", *_times(data)],
        rows=rows,
    )


def verdict(gain: results.Gain, better: str) -> str:
    """At how many times the differences exceed two standard errors, and which way."""
    sign = 1 if better == "higher" else -1
    clear = np.abs(gain.difference) > 2 * gain.error
    ahead = int(np.sum(clear & (sign * gain.difference > 0)))
    behind = int(np.sum(clear & (sign * gain.difference < 0)))
    even = gain.difference.size - ahead - behind
    return (
        f"by two standard errors better at {ahead}, worse at {behind}, and not to be "
        f"told apart at {even} of {gain.difference.size} times."
    )


def error_block(data: "xr.Dataset", picture: page.Image) -> Block:
    """Table and figure of the weight error."""
    rows = []
    data = results.programmed(data)
    for label, kind in zip(data.strategy.values, data.family.values, strict=True):
        one = data.sel(strategy=label)
        mean, error = results.mean_and_error(one.weight_rms_error.values)
        cells = [
            Cell(text=f"{100 * m:.3f}", small=f"± {100 * e:.3f}{_expected(x)}")
            for m, e, x in zip(mean, error, one.expected_rms_error.values, strict=True)
        ]
        rows.append(Row(cells=[Cell(text=str(label)), *cells], kind=str(kind)))
    return Block(
        title="Weight error (rms, % of w_max)",
        text="Measured mean over chips ± standard error; in brackets the "
        "expectation without samples, which the optimizer minimizes (a closed loop has "
        "none).",
        header=["strategy", *_times(data)],
        rows=rows,
        images=[picture],
    )


def _expected(error: float) -> str:
    return "" if np.isnan(error) else f" ({100 * error:.3f})"


def strategy_block(
    data: "xr.Dataset", strategies: Mapping[str, Strategies], picture: page.Image
) -> Block:
    """F and K of every strategy, the share of clipped weights, and the targets."""
    rows = []
    for label, layer, strategy in _each(strategies):
        relative, clipped = _scale(data, strategy)
        factors = np.asarray(strategy.significance)[:-1]
        rows.append(
            Row(
                cells=[
                    Cell(text=label),
                    Cell(text=layer),
                    Cell(text=", ".join(f"{f:.3g}" for f in factors) or "–"),
                    Cell(text=f"{relative:.3f}"),
                    Cell(text="–" if layer != "all" else f"{100 * clipped:.1f} %"),
                ]
            )
        )
    text = "All targets of these with units are in strategy.json. Above K / K_max = 1 "
    text += "the largest weights are clipped." + _without_table(data, strategies)
    return Block(
        title="Strategies",
        text=text,
        header=["strategy", "layers", "F", "K / K_max", "weights clipped"],
        rows=rows,
        images=[picture],
    )


def _without_table(data: "xr.Dataset", strategies: Mapping[str, Strategies]) -> str:
    programmed = results.programmed(data).strategy.values
    others = [str(s) for s in programmed if str(s) not in strategies]
    if not others:
        return ""
    text = f" No table over weights describes {', '.join(others)}: they were learned,"
    text += " or measure as they program."
    return f"{text} Learned targets are in the folder targets, as safetensors."


def _assumed(data: "xr.Dataset") -> list[str]:
    source = f"Device: {data.attrs['device_source']}."
    return [source, *assumptions(data), *trained(data)]


def trained(data: "xr.Dataset") -> list[str]:
    """What training of weights was, where there was any."""
    if "training" not in data.attrs:
        return []
    options = json.loads(data.attrs["training"])
    goal = _GOALS[options.pop("goal")]
    said = ", ".join(f"{k} {v}" for k, v in options.items() if v is not None)
    behind = " and the converters" if "periphery" in data.attrs else ""
    return [
        f"Trained weights: hardware-aware training {goal} through the noise of the "
        f"device{behind} ({said}); weight errors count from the trained weights."
    ]


_GOALS = {
    "digital": "by distillation to the digital network",
    "labels": "on the labels of the training split",
}


def assumptions(data: "xr.Dataset") -> list[str]:
    """What the numbers do not contain, or take for granted."""
    return [
        "Matrices of products are analog (`anajax.chip.table` lists them); biases, "
        "norms and embeddings are digital and exact.",
        data.attrs.get("periphery", "Converters, wires and products are ideal."),
        page.physics(data),
        page.compensation(data),
        *page.faults(data),
        *page.norms(data),
        page.mapping(data),
        "Searches for tables minimize the expected weight error averaged over the "
        "times, not the metric: where they clip rare large weights, the metric can "
        "lose.",
        "Standard errors are over chips, for these test items; they do not say how "
        "the metric would vary with other items.",
        "Times count from the first read; a month is 30 days, a year 365.",
    ]


def warnings(data: "xr.Dataset") -> list[str]:
    """What a reader must know first: times that the source does not cover."""
    outside = data.time.values[data["extrapolated"].values > 0]
    if not outside.size:
        return []
    times = ", ".join(human(t) for t in outside)
    return [f"Extrapolated: the source of this device does not cover {times}."]


def _each(
    strategies: Mapping[str, Strategies],
) -> list[tuple[str, str, Strategy]]:
    rows = []
    for label, value in strategies.items():
        if isinstance(value, Strategy):
            rows.append((label, "all", value))
        else:
            rows += [(label, layer, strategy) for layer, strategy in value.items()]
    return rows


def _scale(data: "xr.Dataset", strategy: Strategy) -> tuple[float, float]:
    """K relative to the full range, and the share of weights beyond the last knot."""
    span = float(data.conductance[-1] - data.conductance[0])
    relative = float(strategy.scale) / float(full_scale(strategy, span))
    last = 1.0 if strategy.stepped else float(strategy.knots[-1])
    if relative <= 1 + 1e-6:
        return relative, 0.0
    beyond = np.abs(data.weight.values) > min(last, 1 / relative + 1e-9)
    return relative, float(data.weight_share.values[beyond].sum())


def _error(error: float, show: results.MetricFormat) -> str:
    return f"± {show.factor * error:.{show.digits}f}"


def _times(data: "xr.Dataset") -> list[str]:
    return [human(t) for t in data.time.values]


def draw_all(
    data: "xr.Dataset", strategies: Mapping[str, Strategies]
) -> dict[str, bytes]:
    """All figures of a study of strategies, as file contents by file name.

    Args:
        data: results of one device.
        strategies: by label, as read from the study's strategy file; none where all
            programs are learned and follow no table.
    """
    drawn = {
        "device": lambda: figures.device_figure(data, str(data.attrs["device"])),
        "weight_error": lambda: figures.error_figure(data),
        data.attrs["metric"]: lambda: figures.metric_figure(data),
    }
    if "required_gap" in data:
        drawn[tolerance_page.FIGURE] = lambda: tolerance_page.figure(data)
    if strategies:
        drawn["strategies"] = lambda: figures.strategy_figure(data, strategies)
    return {
        f"{name}.{kind}": content
        for name, draw in drawn.items()
        for kind, content in figures.render(draw).items()
    }
