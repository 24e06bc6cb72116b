"""The report of a sensitivity study: rankings with intervals."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anajax._core.units import human
from anajax.analysis.hardware import NON_IDEALITIES
from anajax.chip import Strategies
from anajax.studies.kinds.tolerance import curves_figure as _curves_figure
from anajax.studies.kinds.tolerance import (
    factor_text,
    interval,
    least,
    of_subsets,
    subsets_text,
    tolerated,
)  # fmt: skip
from anajax.studies.names import parameter, place, program, short, valued
from anajax.studies.report import assumptions as assumed
from anajax.studies.report import costs
from anajax.studies.report.blocks import (
    Block,
    Cell,
    Drawing,
    cells,
    format_of,
    in_units,
    loss_unit,
)  # fmt: skip
from anajax.studies.report.plots import (
    OPTIMIZED,
    Z90,
    band,
    bars,
    factor_axis,
    names_below,
    panels,
)
from anajax.studies.report.statistics import over


def title(data: xr.Dataset) -> str:
    """Title of the report."""
    how = f"{program(data.attrs['strategy'])}, {human(float(data.time[-1]))}"
    return f"Sensitivity of {place(data)}: {how} after programming"


def blocks(data: xr.Dataset, _: Mapping[str, Strategies]) -> list[Block]:
    """Tables with their figures, analysis by analysis."""
    there = {
        "gap": _tolerance,
        "elasticity": _gradients,
        "screening_total": _screening,
        "variance_total": _variance,
        "alone_metric": _layers,
    }
    made = [make(data) for name, make in there.items() if name in data]
    return [*made, *costs.blocks(data)]


def assumptions(data: xr.Dataset) -> list[str]:
    """Assumptions behind the numbers."""
    return [
        *assumed.sources(data),
        *assumed.hardware(data),
        "Targets are chosen for the nominal hardware, and stay fixed at all factors.",
        "Elasticities assume normally distributed conductances with exact mean and "
        "variance, compensation in the limit of large layers, and converter steps as "
        "equivalent noise.",
        "Morris and Sobol: outputs are means over the same chips at all points, so "
        "that shares of variance come from the hardware, not from random draws.",
        *costs.assumptions(data),
    ]


# --- one at a time --------------------------------------------------------------------


def _tolerance(data: xr.Dataset) -> Block:
    show, rows = format_of(data), []
    for i in ranked(data):
        one = data.isel(imperfection=i)
        nominal = f"{float(one.amount_nominal):.3g} {one.unit.values}"
        factor = factor_text(one.largest_factor)
        head = str(one.title.values)
        subsets = [show.number(v) for v in of_subsets(one)]
        rows.append(
            cells(head, nominal, factor, interval(one), tolerated(one), *subsets)
        )
    reference = {
        "digital": "the digital network",
        "nominal": "the same chips at factor 1",
    }[data.attrs["against"]]
    worst = f"{show.number(float(data.gap_item_error.max()))} {show.points}"
    worst = worst.removesuffix(" 1")
    return Block(
        title=f"Tolerance: until the network has lost {_accepted(data)}",
        text="One imperfection is scaled by a factor, all others stay fixed. The loss "
        f"is relative to {reference}; the largest tolerated factor is where its mean "
        f"over {data.sizes['chip']} chips first exceeds the accepted loss. Intervals: "
        "90 %, bootstrap over chips, the same chips at all factors. The standard error "
        f"of a loss over test items is at most {worst}."
        f"{assumed.stopping(data, 'factor')}{subsets_text(data)}",
        header=[
            "imperfection",
            "nominal",
            "factor",
            "90 % interval",
            "tolerated",
            *map(str, data.subset.values),
        ],
        rows=rows,
        points=least(data, ranked(data), _accepted(data)),
        drawings=[
            Drawing(
                "tolerance",
                "Largest tolerated factor of each imperfection, least tolerated first",
                partial(tolerance_figure, data),
            ),
            Drawing(
                "loss_by_factor",
                "Loss against factor; bands: 90 % intervals over chips",
                partial(curves_figure, data),
            ),
        ],
        summary=True,
    )


def _accepted(data: xr.Dataset) -> str:
    """The accepted loss as text, such as "1 percentage point of accuracy"."""
    show = format_of(data)
    return f"{show.amount(data.attrs['gap'])} of {show.title}"


def ranked(data: xr.Dataset) -> list[int]:
    """Indices of imperfections, least tolerated first."""
    return [int(i) for i in np.argsort(data.largest_factor.values, kind="stable")]


def tolerance_figure(data: xr.Dataset) -> Figure:
    """The largest tolerated factor of every imperfection, ranked, with its interval."""
    title = f"Up to a loss of {_accepted(data)}; lines: 90 % intervals"
    size = (7.0, max(1.8, 0.35 * data.sizes["imperfection"] + 0.6))
    return panels([(title, partial(_limits, data))], size=size, legend=0)


def _limits(data: xr.Dataset, axis: Axes) -> None:
    order, (low, high) = ranked(data), data.factor.values[[0, -1]]
    for row, i in enumerate(order):
        one = data.isel(imperfection=i)
        factor = float(one.largest_factor)
        ends = [float(one[f"largest_{e}"]) for e in ("low", "high")]
        left, middle, right = np.clip([ends[0], factor, ends[1]], low, high)
        axis.barh(row, middle - low, left=low, color=OPTIMIZED, alpha=0.3, height=0.62)
        axis.plot([left, right], [row, row], color=OPTIMIZED, lw=2)
        marker = "<" if factor == 0 else "o" if np.isfinite(factor) else ">"
        axis.plot(middle, row, marker, color=OPTIMIZED, ms=5)
        axis.text(
            1.01, row, tolerated(one), transform=axis.get_yaxis_transform(),
            va="center", fontsize=8,
        )  # fmt: skip
    axis.axvline(1, color="black", lw=1)
    factor_axis(axis, data.factor.values)
    axis.set_xlim(low, high * 1.02)
    axis.set_yticks(range(len(order)), [str(data.title.values[i]) for i in order])
    axis.invert_yaxis()
    axis.set_xlabel("largest tolerated factor on the nominal value (1)")


def curves_figure(data: xr.Dataset) -> Figure:
    """Loss against the factor of every imperfection, least tolerated first."""
    return _curves_figure(data, ranked(data))


# --- slopes ---------------------------------------------------------------------------


_OUTPUTS = {"loss": "network's loss", "weight_rms_error": "rms weight error"}


def _gradients(data: xr.Dataset) -> Block:
    rows = []
    for i in by_elasticity(data):
        one = data.isel(parameter=i)
        found = zip(one.elasticity.values, one.elasticity_error.values, strict=True)
        value = valued(one.parameter_value, one.get("parameter_unit", ""))
        slopes = [Cell(f"{v:+.3f}", f"± {e:.3f}") for v, e in found]
        path = str(one.parameter.values)
        rows.append(cells(Cell(parameter(path), path), value, *slopes))
    return Block(
        title="Elasticities",
        text="Relative change of the loss (divergence from the digital network) and of "
        "the rms weight error per relative change of each hardware parameter, with "
        f"standard errors over {data.sizes['gradient_chip']} chips. One backward pass "
        "per chip; converter parameters are varied in all layers together; parameters "
        "without any effect are left out.",
        header=["parameter", "value", "of the loss (%/%)", "of the weight error (%/%)"],
        rows=rows,
        drawings=[
            Drawing(
                "elasticities",
                "Elasticities with respect to every hardware parameter",
                partial(gradients_figure, data),
            )
        ],
    )


def by_elasticity(data: xr.Dataset) -> list[int]:
    """Indices of parameters, largest |elasticity| of the loss first; without zeros."""
    size = np.abs(data.elasticity.sel(output="loss").values)
    other = np.abs(data.elasticity.values).max(0)
    order = np.lexsort((-other, -size))
    return [int(i) for i in order if other[i] > 1e-6]


def gradients_figure(data: xr.Dataset) -> Figure:
    """Elasticities of loss and weight error, largest first, with 90 % intervals."""
    order = by_elasticity(data)[:24]
    some = data.isel(parameter=order)

    def draw(axis: Axes) -> None:
        bars(
            axis,
            [parameter(str(path)) for path in some.parameter.values],
            {
                label: (of.elasticity.values, Z90 * of.elasticity_error.values)
                for output, label in _OUTPUTS.items()
                for of in [some.sel(output=output)]
            },
            xlabel="elasticity (% per % of the parameter), 90 % interval over chips",
        )

    return panels([("", draw)], size=(7.0, max(1.8, 0.3 * len(order) + 0.8)))


# --- all at once ----------------------------------------------------------------------


def _screening(data: xr.Dataset) -> Block:
    text = (
        "Mean |elementary effect| on the metric over the range of each factor, and the "
        "spread of the effects, which is large if an effect depends on the others."
    )
    points = format_of(data).points
    columns = {"total": f"mean |effect| ({points})", "spread": f"spread ({points})"}
    return _design(data, "screening", "Screening (Morris)", text, columns)


def _variance(data: xr.Dataset) -> Block:
    text = (
        "Shares of the variance of the metric if all factors are log-uniform: total "
        "index (with interactions) and first-order index of each factor. ± half-width "
        "of 90 % intervals."
    )
    columns = {"total": "total (share)", "first": "first order (share)"}
    return _design(data, "variance", "Shares of the variance (Sobol)", text, columns)


def _design(
    data: xr.Dataset, name: str, title: str, text: str, columns: dict[str, str]
) -> Block:
    """The indices of a design, by what the table calls them."""
    rows = []
    digits = 2 if name == "screening" else 3
    for i in _order(data, name):
        row = cells(_titles(data, name)[i])
        for part in columns:
            value, half = (v[i] for v in indices(data, name, "metric", part))
            small = f"± {half:.{digits}f}" if np.isfinite(half) else ""
            row.append(Cell(f"{value:.{digits}f}", small))
        rows.append(row)
    caption = f"{name.capitalize()}: all imperfections at once, 90 % intervals"
    drawing = Drawing(name, caption, partial(indices_figure, data, name))
    header = ["imperfection", *columns.values()]
    return Block(title=title, text=text, header=header, rows=rows, drawings=[drawing])


def indices(
    data: xr.Dataset, name: str, output: str, part: str
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of a design and half-widths of their intervals, in display units."""
    one = data.sel({f"{name}_output": output})
    effect = name == "screening" and output == "metric"
    value = one[f"{name}_{part}"] * (format_of(data).factor if effect else 1.0)
    half = one.get(f"{name}_{part}_error", np.nan * value)
    return value.values, half.values * (format_of(data).factor if effect else 1.0)


def _order(data: xr.Dataset, name: str) -> np.ndarray:
    """Imperfections of a design by their effect on the metric, the largest first."""
    return np.argsort(-indices(data, name, "metric", "total")[0], kind="stable")


def _titles(data: xr.Dataset, name: str) -> list[str]:
    return [NON_IDEALITIES[str(n)].title for n in data[f"{name}_imperfection"].values]


def indices_figure(data: xr.Dataset, name: str) -> Figure:
    """Sobol or Morris indices of the metric and of the loss, with 90 % intervals."""
    show, shares = format_of(data), name == "variance"
    order = _order(data, name)
    names = [_titles(data, name)[i] for i in order]
    columns = {"total": "total", "first order": "first"} if shares else {"": "total"}

    def draw(output: str, unit: str, axis: Axes) -> None:
        series = {}
        for label, part in columns.items():
            value, half = indices(data, name, output, part)
            series[label] = value[order], half[order]
        what = "share of the variance" if shares else f"mean |effect| ({unit})"
        bars(axis, names, series, xlabel=what)

    return panels(
        [
            (show.title, partial(draw, "metric", show.points)),
            ("loss", partial(draw, "loss", loss_unit(data))),
        ],
        size=(4.0, 0.3 * len(order) + 1.0),
        legend=2 * shares,
        sharey=True,
    )


# --- layers ---------------------------------------------------------------------------


def _layers(data: xr.Dataset) -> Block:
    show, order = format_of(data), list(map(str, data.order.values))
    found, rows = over(data.alone_metric, "layer_chip"), []
    losses = over(data.alone_loss, "layer_chip")
    for path in map(str, data.layer.values):
        one = found.sel(layer=path)
        size = str(int(data["weights"].sel(layer=path)))
        metric = show.cell(float(one["value"]), float(one["error"]))
        of = losses.sel(layer=path)
        loss = Cell(f"{float(of['value']):.4f}", f"± {float(of['error']):.4f}")
        place = str(order.index(path) + 1)
        rows.append(cells(short(path), size, metric, loss, place))
    how = {
        "greedy": "greedy: the next layer is the one that, made digital, leaves the "
        "lowest mean loss, given those before it",
        "single": "by the mean loss of each layer alone",
    }[data.attrs["order"]]
    metric, loss = show.label, f"loss{in_units(loss_unit(data))}"
    caption = "Single layers analog, and layers made digital; 90 % intervals"
    return Block(
        title="Layers",
        text=f"Each layer alone analog, mean ± standard error over "
        f"{data.sizes['layer_chip']} chips; and the order of making layers digital, "
        f"{how}.",
        header=["layer alone analog", "weights", metric, loss, "digital order"],
        rows=rows,
        drawings=[Drawing("layers", caption, partial(layers_figure, data))],
        summary=True,
    )


def layers_figure(data: xr.Dataset) -> Figure:
    """The loss of each layer alone, and the loss with the first layers digital."""
    show = format_of(data)
    label = f"loss{in_units(show.points)}"

    def losses(name: str) -> tuple[np.ndarray, np.ndarray]:
        lost = show.sign * show.factor * (data.attrs["digital_metric"] - data[name])
        found = over(lost, "layer_chip")
        return found["value"].values, Z90 * found["error"].values

    def alone(axis: Axes) -> None:
        names = [short(p) for p in data.layer.values]
        bars(axis, names, {"": losses("alone_metric")}, xlabel=label)

    def ordered(axis: Axes) -> None:
        mean, half = losses("order_metric")
        x = np.arange(len(mean))
        band(axis, x, mean, half, marker="o", ms=4)
        names = ["none", *(f"+ {short(p)}" for p in data.order.values)]
        step = max(1, len(x) // 12)
        names_below(axis, names[::step], x[::step])
        axis.axhline(0, color="black", lw=0.8)
        axis.set(ylabel=label, xlabel="digital layers")

    return panels(
        [
            ("Each layer alone analog", alone),
            ("Layers made digital one after the other", ordered),
        ],
        size=(4.2, max(3.0, 0.25 * data.sizes["layer"] + 1.0)),
        legend=0,
    )
