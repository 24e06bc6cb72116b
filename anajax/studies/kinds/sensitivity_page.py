"""The page of a study of sensitivity."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anajax.analysis.hardware import NON_IDEALITIES
from anajax.studies.config.durations import human
from anajax.studies.kinds import sensitivity_figures as draw
from anajax.studies.report import figures, page, results
from anajax.studies.report.page import Block, Cell, Row

if TYPE_CHECKING:  # costs a second to import
    import xarray as xr
else:
    xr = Any


def build(data: "xr.Dataset", _: Path) -> tuple[dict[str, bytes], bytes]:
    """Figures by file name, and the page.

    Args:
        data: results of a study of sensitivity.
    """
    drawn: dict[str, bytes] = {}
    images = {}
    for name, (make, caption) in _figures(data).items():
        for kind, content in figures.render(make).items():
            drawn[f"{name}.{kind}"] = content
        images[name] = page.image(drawn[f"{name}.svg"], caption)
    time = human(data.attrs["time"])
    show = results.shown(data.attrs["metric"])
    digital = results.shown(data.attrs["metric"]).text(data.attrs["digital_metric"])
    html = page.render(
        title=f"What costs {data.attrs['workload']} on {data.attrs['device']} most",
        lead=f"At {time} after programming by {data.attrs['strategy']}, "
        f"{data.attrs['items']} test items, seed {data.attrs['seed']}. Digital "
        f"{show.title}: {digital}.",
        warnings=_warnings(data),
        blocks=[
            *blocks(data, images),
            Block(title="What is assumed", points=_assumed(data)),
            *page.provenance(data),
        ],
    )
    return drawn, html


def tables(data: "xr.Dataset") -> list[Block]:
    """What the terminal shows: the ranking, and the layers."""
    wanted = ("tolerance", "layers")
    return [make(data, []) for name, make in _blocks(data).items() if name in wanted]


def blocks(data: "xr.Dataset", images: dict[str, page.Image]) -> list[Block]:
    """Tables with their figures, analysis by analysis."""
    pictures = {
        "tolerance": ["tolerance", "loss_by_factor"],
        "gradients": ["elasticities"],
        "screening": ["screening"],
        "variance": ["variance"],
        "layers": ["layers"],
    }
    return [
        make(data, [images[p] for p in pictures[name]])
        for name, make in _blocks(data).items()
    ]


def _figures(data: "xr.Dataset") -> dict[str, tuple[Callable[[], Any], str]]:
    made: dict[str, tuple[Callable[[], Any], str]] = {}
    if "gap" in data:
        made["tolerance"] = (
            lambda: draw.tolerance_figure(data),
            "How far each imperfection may grow, the least tolerated first",
        )
        made["loss_by_factor"] = (
            lambda: draw.curves_figure(data),
            "Loss over the factor; bands: 90 % intervals; dashed: what is accepted",
        )
    if "elasticity" in data:
        made["elasticities"] = (
            lambda: draw.gradients_figure(data),
            "Elasticities in every number of the hardware",
        )
    for name in ("screening", "variance"):
        if f"{name}_total" in data:
            made[name] = (
                lambda name=name: draw.indices_figure(data, name),
                f"{name.capitalize()}: all imperfections at once, 90 % intervals",
            )
    if "alone_metric" in data:
        made["layers"] = (
            lambda: draw.layers_figure(data),
            "Layers alone, and made digital in order; 90 % intervals over chips",
        )
    return made


def _blocks(data: "xr.Dataset") -> dict[str, Callable[..., Block]]:
    there = {
        "tolerance": ("gap", _tolerance),
        "gradients": ("elasticity", _gradients),
        "screening": ("screening_total", _screening),
        "variance": ("variance_total", _variance),
        "layers": ("alone_metric", _layers),
    }
    return {name: make for name, (key, make) in there.items() if key in data}


def _tolerance(data: "xr.Dataset", images: list[page.Image]) -> Block:
    rows = []
    for i in draw.ranked(data):
        one = data.isel(imperfection=i)
        nominal = f"{float(one.amount_nominal):.3g} {one.unit.values}"
        ends = [_factor(one.largest_low), _factor(one.largest_high)]
        interval = " to ".join(dict.fromkeys(ends))
        texts = [
            str(one.title.values),
            nominal,
            _factor(one.largest_factor),
            interval,
            draw.tolerated(one),
        ]
        rows.append(Row(cells=[Cell(text=t) for t in texts]))
    reference = {
        "digital": "the digital network",
        "nominal": "the same chips at factor 1",
    }[data.attrs["against"]]
    return Block(
        title=f"Until the network has lost {draw.loss(data)}",
        text="One imperfection grows by a factor, all others stay as they are. The "
        f"loss is counted from {reference}; where its mean over {data.sizes['chip']} "
        "chips first passes what is accepted is the largest tolerated factor. "
        "Intervals: 90 %, bootstrap over chips, the same chips at all factors."
        f"{_of_items(data)} {page.stopping(data, 'factor')}",
        header=["imperfection", "nominal", "factor", "90 % interval", "tolerated"],
        rows=rows,
        images=images,
    )


def _of_items(data: "xr.Dataset") -> str:
    """How far other test items could change the losses."""
    if "gap_item_error" not in data:  # of an earlier version
        return ""
    show = results.shown(data.attrs["metric"])
    worst = f"{show.factor * float(data['gap_item_error'].max()):.{show.digits}f}"
    unit = show.unit.replace("%", "points")
    return f" The standard error of a loss over test items is at most {worst} {unit}."


def _factor(value: Any) -> str:
    value = float(value)
    if value == 0:
        return "below tried"
    return f"{value:.2f}" if np.isfinite(value) else "above tried"


def _gradients(data: "xr.Dataset", images: list[page.Image]) -> Block:
    rows = []
    for i in draw.by_elasticity(data):
        cells = [
            Cell(text=str(data.parameter.values[i])),
            Cell(text=f"{data.parameter_value.values[i]:.4g}"),
        ]
        for output in ("loss", "weight_rms_error"):
            one = data.isel(parameter=i).sel(output=output)
            small = f"± {float(one.elasticity_error):.3f}"
            cells.append(Cell(text=f"{float(one.elasticity):+.3f}", small=small))
        rows.append(Row(cells=cells))
    return Block(
        title="Elasticities",
        text="Relative change of the loss (divergence from the digital network) and of "
        "the rms weight error per relative change of each number of the hardware, with "
        f"standard errors over {data.sizes['gradient_chip']} chips. One backward pass "
        "per chip; numbers of all layers' converters count together; those without any "
        "effect are left out.",
        header=["parameter", "value", "of the loss", "of the weight error"],
        rows=rows,
        images=images,
    )


def _screening(data: "xr.Dataset", images: list[page.Image]) -> Block:
    return Block(
        title="Screening (Morris)",
        text="Mean |elementary effect| on the metric over the range of each factor, "
        "and the spread of the effects: large where an effect depends on the others.",
        header=["imperfection", "mean |effect|", "spread"],
        rows=_index_rows(data, "screening", ("total", "spread")),
        images=images,
    )


def _variance(data: "xr.Dataset", images: list[page.Image]) -> Block:
    return Block(
        title="Shares of the variance (Sobol)",
        text="Of the metric, where all factors are drawn evenly in their logarithm: "
        "what each explains alone, and what involves it. ± half 90 % intervals.",
        header=["imperfection", "alone", "total"],
        rows=_index_rows(data, "variance", ("first", "total")),
        images=images,
    )


def _index_rows(data: "xr.Dataset", name: str, parts: tuple[str, ...]) -> list[Row]:
    one = data.sel({f"{name}_output": "metric"})
    scale = 1.0 if name == "variance" else results.shown(data.attrs["metric"]).factor
    rows = []
    for i in np.argsort(-one[f"{name}_total"].values, kind="stable"):
        title = NON_IDEALITIES[str(data[f"{name}_imperfection"].values[i])].title
        cells = [Cell(text=title)]
        for part in parts:
            value = scale * one[f"{name}_{part}"].values[i]
            error = f"{name}_{part}_error"
            known = error in one and np.isfinite(one[error].values[i])
            small = f"± {scale * one[error].values[i]:.3f}" if known else ""
            cells.append(Cell(text=f"{value:.3f}", small=small))
        rows.append(Row(cells=cells))
    return rows


def _layers(data: "xr.Dataset", images: list[page.Image]) -> Block:
    show = results.shown(data.attrs["metric"])
    order = [str(p) for p in data.order.values]
    rows = []
    for i, path in enumerate(map(str, data.layer.values)):
        mean, error = results.mean_and_error(data.alone_metric.values[i][:, None])
        rows.append(
            Row(
                cells=[
                    Cell(text=draw.short(path)),
                    Cell(text=str(int(data["weights"].values[i]))),
                    Cell(
                        text=f"{show.factor * mean[0]:.{show.digits}f}",
                        small=f"± {show.factor * error[0]:.{show.digits}f}",
                    ),
                    Cell(text=f"{data.alone_loss.values[i].mean():.4f}"),
                    Cell(text=str(order.index(path) + 1)),
                ]
            )
        )
    how = {
        "greedy": "greedily: next comes the layer whose step to digital leaves the "
        "least mean loss, given those before it",
        "single": "by the mean loss of each layer alone",
    }[data.attrs["order"]]
    return Block(
        title="Layers",
        text=f"Each layer alone analog, mean ± standard error over "
        f"{data.sizes['layer_chip']} chips; and the order to keep them digital in, "
        f"{how}.",
        header=[
            "layer alone analog",
            "weights",
            f"{show.title} ({show.unit})",
            "loss (nat)",
            "digital as",
        ],
        rows=rows,
        images=images,
    )


def _warnings(data: "xr.Dataset") -> list[str]:
    if not data.attrs["extrapolated"]:
        return []
    time = human(data.attrs["time"])
    return [f"Extrapolated: the source of this device does not cover {time}."]


def _assumed(data: "xr.Dataset") -> list[str]:
    return [
        f"Device: {data.attrs['device_source']}.",
        *hardware_assumptions(data),
        "The program is that of the nominal hardware: it is not chosen anew where an "
        "imperfection grows.",
        "Elasticities: weights as read, conductances normal with exact mean and "
        "variance; compensation in the limit of large layers; steps of converters as "
        "the noise they amount to.",
        "Morris and Sobol: outputs are means over the same chips at all points, so "
        "that shares are of the hardware's variance, not of chance.",
    ]


def hardware_assumptions(data: "xr.Dataset") -> list[str]:
    """What the model of the periphery takes for granted."""
    return [
        page.physics(data) + " Converters and output noise act at every product.",
        page.compensation(data),
        *page.faults(data),
        "Input and ADC ranges are the largest that the trained network calls for on "
        "calibration inputs, and stay fixed. Output noise counts in the largest weight "
        "of a layer at full input.",
        "Wires attenuate every device's array on its own tile; what they take at the "
        "first read is not calibrated away.",
        "Biases, norms and embeddings are digital and exact.",
        page.mapping(data),
        *page.norms(data),
    ]
