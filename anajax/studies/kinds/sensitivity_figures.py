"""Figures of a study of sensitivity: ranked, with intervals, units on the axes."""

from typing import TYPE_CHECKING, Any

import numpy as np

from anajax.analysis.hardware import NOISE, NON_IDEALITIES
from anajax.studies.report.figures import COLORS, OPTIMIZED
from anajax.studies.report.results import mean_and_error, shown

if TYPE_CHECKING:  # costs a second to import
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:
    xr = Axes = Figure = Any

Z90 = 1.645
"""Half width of a 90 % interval in standard errors."""
_SECOND = "#D55E00"


def ranked(data: "xr.Dataset") -> list[int]:
    """Indices of imperfections, the least tolerated first."""
    return [int(i) for i in np.argsort(data.largest_factor.values, kind="stable")]


def tolerance_figure(data: "xr.Dataset") -> "Figure":
    """The largest tolerated factor of every imperfection, ranked, with its interval."""
    import matplotlib.pyplot as plt

    order = ranked(data)
    figure, axis = plt.subplots(figsize=(7.6, 0.42 * len(order) + 1.3))
    low, high = data.factor.values[[0, -1]]
    for row, i in enumerate(order):
        one = data.isel(imperfection=i)
        ends = [float(one[f"largest_{e}"]) for e in ("low", "factor", "high")]
        left, middle, right = np.clip(ends, low, high)
        width = middle - low
        axis.barh(row, width, left=low, color=OPTIMIZED, alpha=0.3, height=0.62)
        axis.plot(
            [left, right], [row, row], color=OPTIMIZED, lw=2, solid_capstyle="butt"
        )
        inside = np.isfinite(ends[1]) and ends[1] > 0
        marker = "o" if inside else "<" if ends[1] == 0 else ">"
        axis.plot(middle, row, marker, color=OPTIMIZED, ms=5)
        axis.text(
            1.01,
            row,
            tolerated(one),
            transform=axis.get_yaxis_transform(),
            va="center",
            fontsize=8,
        )
    axis.axvline(1, color="black", lw=1)
    axis.set_xscale("log", base=2)
    axis.set_xlim(low, high * 1.02)
    ticks = 2.0 ** np.arange(np.ceil(np.log2(low)), np.floor(np.log2(high)) + 0.5)
    axis.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axis.minorticks_off()
    axis.set_yticks(range(len(order)), [str(data.title.values[i]) for i in order])
    axis.invert_yaxis()
    axis.set_xlabel("largest tolerated factor on the nominal value (1)")
    axis.set_title(f"One at a time until {loss(data)} is lost; lines: 90 % intervals")
    return figure


def loss(data: "xr.Dataset") -> str:
    """The accepted loss as text, such as "1 % of accuracy"."""
    show = shown(data.attrs["metric"])
    amount = show.factor * data.attrs["gap"]
    unit = show.unit.replace("%", "point" if amount == 1 else "points")
    return f"{amount:g} {unit} of {show.title}"


def tolerated(one: "xr.Dataset") -> str:
    """The tolerated value of an imperfection in its unit, as text."""
    factor = float(one.largest_factor)
    if factor == 0:
        return "less than was tried"
    if not np.isfinite(factor):
        return "more than was tried"
    name = str(one.imperfection.values)
    amount = float(one.amount_factor)
    if name in NOISE:
        return f"{amount:.2g} × {one.unit.values}"
    return f"{amount:.2g} {one.unit.values}"


def curves_figure(data: "xr.Dataset") -> "Figure":
    """Loss over the factor of every imperfection, mean and 90 % band over chips."""
    import matplotlib.pyplot as plt

    order = ranked(data)
    columns = min(4, len(order))
    rows = -(-len(order) // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(2.3 * columns + 0.6, 1.9 * rows + 0.6),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    show = shown(data.attrs["metric"])
    for axis in axes.flat[len(order) :]:
        axis.set_axis_off()
    gap = show.factor * data.attrs["gap"]
    for axis, i in zip(axes.flat, order, strict=False):
        gaps = show.factor * data.gap.values[i]
        there = ~np.isnan(gaps[:, 0])
        x, gaps = data.factor.values[there], gaps[there]
        mean, error = (v[:, 0] for v in mean_and_error(gaps[..., None]))
        half = Z90 * error
        axis.fill_between(
            x, mean - half, mean + half, color=OPTIMIZED, alpha=0.25, lw=0
        )
        axis.plot(x, mean, "o-", color=OPTIMIZED, ms=2.5, lw=1.2)
        axis.axhline(gap, color=_SECOND, lw=1, ls="--")
        axis.set_title(str(data.title.values[i]))
        axis.set_xscale("log", base=2)
        axis.set_ylim(-2 * gap, 8 * gap)
    for axis in axes.flat[max(0, len(order) - columns) : len(order)]:
        axis.set_xlabel("factor (1 = nominal)")
        axis.tick_params(labelbottom=True)
    unit = show.unit.replace("%", "points")
    for axis in axes[:, 0]:
        axis.set_ylabel(f"loss ({unit})")
    return figure


def gradients_figure(data: "xr.Dataset") -> "Figure":
    """Elasticities of loss and weight error, largest first, with 90 % intervals."""
    import matplotlib.pyplot as plt

    order = by_elasticity(data)[:24]
    figure, axis = plt.subplots(figsize=(7.6, 0.3 * len(order) + 1.3))
    y = np.arange(len(order))
    for k, (name, color) in enumerate(_OUTPUTS.items()):
        one = data.sel(output=name)
        value = one.elasticity.values[order]
        half = Z90 * one.elasticity_error.values[order]
        axis.barh(
            y + 0.2 * (2 * k - 1),
            value,
            0.38,
            xerr=half,
            color=color,
            alpha=0.6,
            label=_LABELS[name],
            error_kw={"lw": 1, "capsize": 2},
        )
    axis.axvline(0, color="black", lw=0.8)
    axis.set_yticks(y, [str(data.parameter.values[i]) for i in order])
    axis.invert_yaxis()
    axis.set_xlabel("elasticity (% per % of the parameter), 90 % interval over chips")
    axis.legend(loc="best")
    return figure


def by_elasticity(data: "xr.Dataset") -> list[int]:
    """Indices of parameters, the largest |elasticity| of the loss first; zeros not."""
    size = np.abs(data.elasticity.sel(output="loss").values)
    other = np.abs(data.elasticity.values).max(0)
    order = np.lexsort((-other, -size))
    return [int(i) for i in order if other[i] > 1e-6]


def indices_figure(data: "xr.Dataset", name: str) -> "Figure":
    """Sobol or Morris indices of the metric and of the loss, with 90 % intervals."""
    import matplotlib.pyplot as plt

    outputs = ("metric", "loss")
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 4.2), sharey=True)
    names = data[f"{name}_imperfection"].values
    total = data[f"{name}_total"]
    main = total.sel({f"{name}_output": "loss"}).values
    order = np.argsort(-main, kind="stable")
    y = np.arange(len(order))
    for axis, output in zip(axes, outputs, strict=True):
        one = {
            part: data[f"{name}_{part}"].sel({f"{name}_output": output}).values[order]
            for part in ("first", "first_error", "total", "total_error")
        }
        scale, unit = _index_unit(data, name, output)
        label = "total" if name == "variance" else "mean |effect|"
        axis.errorbar(
            scale * one["total"], y - 0.12, xerr=scale * one["total_error"], fmt="o",
            color=OPTIMIZED, ms=4, capsize=2, label=label,
        )  # fmt: skip
        if name == "variance":
            axis.errorbar(
                one["first"], y + 0.12, xerr=one["first_error"], fmt="s", ms=4,
                color=_SECOND, capsize=2, label="alone", mfc="white",
            )  # fmt: skip
        axis.axvline(0, color="black", lw=0.8)
        title = shown(data.attrs["metric"]).title if output == "metric" else "loss"
        axis.set(title=title, xlabel=unit)
    axes[0].set_yticks(y, [NON_IDEALITIES[str(n)].title for n in names[order]])
    axes[0].invert_yaxis()
    axes[1].legend(loc="lower right")
    return figure


def _index_unit(data: "xr.Dataset", name: str, output: str) -> tuple[float, str]:
    if name == "variance":
        return 1.0, "share of the variance"
    if output == "loss":
        return 1.0, "mean |effect| of the whole range (nat)"
    show = shown(data.attrs["metric"])
    unit = show.unit.replace("%", "points")
    return show.factor, f"mean |effect| of the whole range ({unit})"


def layers_figure(data: "xr.Dataset") -> "Figure":
    """What each layer loses alone, and what is lost with the first ones digital."""
    import matplotlib.pyplot as plt

    show = shown(data.attrs["metric"])
    sign = 1 if data.attrs["better"] == "higher" else -1
    digital = data.attrs["digital_metric"]
    unit = show.unit.replace("%", "points")
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6))
    gaps = sign * show.factor * (digital - data.alone_metric.values)
    mean, half = _mean_half(gaps)
    y = np.arange(len(mean))
    left.barh(y, mean, xerr=half, color=OPTIMIZED, alpha=0.6, error_kw={"capsize": 2})
    left.set_yticks(y, [short(p) for p in data.layer.values])
    left.invert_yaxis()
    left.axvline(0, color="black", lw=0.8)
    left.set(title="Each layer alone analog", xlabel=f"loss ({unit})")
    gaps = sign * show.factor * (digital - data.order_metric.values)
    mean, half = _mean_half(gaps)
    x = np.arange(len(mean))
    right.fill_between(x, mean - half, mean + half, color=OPTIMIZED, alpha=0.25, lw=0)
    right.plot(x, mean, "o-", color=OPTIMIZED, ms=4)
    labels = ["none", *(f"+ {short(p)}" for p in data.order.values)]
    step = max(1, len(x) // 12)
    right.set_xticks(x[::step], labels[::step], rotation=30, ha="right")
    right.axhline(0, color="black", lw=0.8)
    right.set(
        title="Layers made digital one after the other",
        ylabel=f"loss ({unit})",
        xlabel="digital layers",
    )
    return figure


def short(path: object) -> str:
    """A layer's path without "/kernel"."""
    return str(path).removesuffix("/kernel")


def _mean_half(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    half = Z90 * values.std(1, ddof=1) / np.sqrt(values.shape[1])
    return values.mean(1), half


_OUTPUTS = {"loss": OPTIMIZED, "weight_rms_error": COLORS[1]}
_LABELS = {"loss": "network's loss", "weight_rms_error": "rms weight error"}
