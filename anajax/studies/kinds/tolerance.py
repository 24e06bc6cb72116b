"""Largest factor on each imperfection that the network tolerates."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anajax.analysis.hardware import NON_IDEALITIES
from anajax.analysis.tolerance import Requirement
from anajax.studies.kinds.strategies_figures import looks, name_of
from anajax.studies.report.blocks import (
    Block,
    Drawing,
    cells,
    format_of,
    in_units,
)
from anajax.studies.report.plots import SECOND, Z90, band, factor_axis, panels
from anajax.studies.report.statistics import over

TITLES = {name: what.title for name, what in NON_IDEALITIES.items()} | {
    "ray": "programming, drift spread and read together"
}


def dataset(
    found: Sequence[Requirement],
    losses: Sequence[np.ndarray],
    factors: np.ndarray,
    *,
    unit: str,
) -> xr.Dataset:
    """Largest tolerated factors with their intervals, and the losses behind them.

    Args:
        found: requirements by imperfection.
        losses: losses `[factors chips]` by imperfection.
        factors: all planned factors; a search may have stopped earlier.
        unit: unit of the metric.
    """
    shape = len(found), len(factors), losses[0].shape[1]
    gaps = np.full(shape, np.nan, losses[0].dtype)
    for i, one in enumerate(losses):
        gaps[i, : len(one)] = one
    factor = {"units": "1", "comment": "0 or infinite: beyond the tested factors"}
    loss = {"units": unit, "comment": "loss; NaN if not tested"}
    largest = {
        f"largest_{end}": (
            "imperfection", [float(getattr(r, end)) for r in found], factor,
        )
        for end in ("factor", "low", "high")
    }  # fmt: skip
    return xr.Dataset(
        {"gap": (("imperfection", "factor", "chip"), gaps, loss), **largest},
        coords={
            "imperfection": [r.parameter for r in found],
            "factor": ("factor", factors, {"units": "1"}),
            "title": ("imperfection", [TITLES[r.parameter] for r in found]),
        },
    )


def factor_text(value: xr.DataArray | float) -> str:
    """A tolerated factor, or that it is outside the tested ones."""
    value = float(value)
    if value == 0:
        return "below tested"
    return f"{value:.2f}" if np.isfinite(value) else "above tested"


def tolerated(one: xr.Dataset) -> str:
    """The tolerated value of an imperfection in its unit, as text."""
    factor = float(one.largest_factor)
    if factor == 0:
        return "below tested"
    if not np.isfinite(factor):
        return "above tested"
    return f"{float(one.amount_factor):.2g} {one.unit.values}"


def interval(one: xr.Dataset) -> str:
    """The 90 % interval of a tolerated factor."""
    ends = [factor_text(one[f"largest_{end}"]) for end in ("low", "high")]
    return " to ".join(dict.fromkeys(ends))


def least(data: xr.Dataset, order: Sequence[int], accepted: str) -> list[str]:
    """The least tolerated imperfection, and those not distinguishable from it.

    Args:
        data: results with largest tolerated factors.
        order: order of the imperfections, least tolerated first.
        accepted: the loss, in words.
    """
    each = [data.isel(imperfection=i) for i in order]
    first = each[0]
    if not np.isfinite(float(first.largest_factor)):
        return [f"No imperfection costs {accepted} at the tested factors."]
    rest = [
        str(one.title.values)
        for one in each[1:]
        if float(one.largest_low) <= float(first.largest_high)
    ]
    beside = f" Intervals overlap with that of {', '.join(rest)}." if rest else ""
    name = f"Least tolerated: {first.title.values}"
    if float(first.largest_factor) == 0:
        tested = f"{float(first.factor.min()):.4g}, the smallest factor tested"
        return [f"{name}: it costs more than {accepted} already at {tested}.{beside}"]
    factor = f"{factor_text(first.largest_factor)} (90 % interval {interval(first)})"
    return [f"{name}, up to a factor of {factor}.{beside}"]


def subsets_text(data: xr.Dataset) -> str:
    """Explanation of the columns of subsets in a table; "" if there are none."""
    if not data.sizes["subset"]:
        return ""
    return (
        " The last columns are losses on subsets of the items "
        f"({format_of(data).points}) at the largest tolerated factor of those tested."
    )


def of_subsets(one: xr.Dataset) -> np.ndarray:
    """Losses `[subsets]` at the largest tolerated factor; NaN if there is none."""
    within = np.flatnonzero(one.factor.values <= float(one.largest_factor))
    last = int(within[-1]) if within.size else 0
    mean = one.subset_gap.isel(factor=last).mean("chip").values
    return mean if within.size else np.full_like(mean, np.nan)


def blocks(data: xr.Dataset) -> list[Block]:
    """The section for a strategy study that requested it."""
    if "gap" not in data:
        return []
    dims = [d for d in data.largest_factor.dims if data.sizes[d] > 1 or d != "device"]
    found = data[["largest_factor", "largest_low", "largest_high"]]
    found = found.stack(row=data.largest_factor.dims)  # pyright: ignore
    rows = []
    for i in range(found.sizes["row"]):
        one = found.isel(row=i)
        names = {"device": one.device, "required_strategy": one.required_strategy}
        head = [str(names[d].item()) for d in dims if d in names]
        factor = factor_text(one.largest_factor)
        rows.append(cells(*head, str(one.title.item()), factor, interval(one)))
    accepted = format_of(data).amount(data.attrs["gap"])
    return [
        Block(
            title="Device requirements",
            text="Largest factor on an imperfection of the device at which the loss "
            f"relative to digital at the last time stays within {accepted}; other "
            "imperfections and the targets stay fixed. Intervals: 90 %, bootstrap over "
            "chips, the same chips at all factors.",
            header=[
                *(d.removeprefix("required_") for d in map(str, dims)),
                "factor", "90 % interval",
            ],
            rows=rows,
            drawings=[
                Drawing(
                    "tolerance",
                    "Loss relative to digital against factor; bands: 90 % intervals",
                    partial(curves_figure, data),
                )
            ],
        )
    ]  # fmt: skip


def curves_figure(data: xr.Dataset, order: Sequence[int] | None = None) -> Figure:
    """Loss against the factor of every imperfection, mean and 90 % band over chips.

    Args:
        data: results with `gap`.
        order: order of the imperfections.
    """
    show = format_of(data)
    order = range(data.sizes["imperfection"]) if order is None else order
    many = "device" in data.gap.dims and data.sizes["device"] > 1
    parts = []
    for device in data.device.values if "device" in data.gap.dims else [None]:
        one = data.gap if device is None else data.gap.sel(device=device)
        for i in order:
            title = str(data.title.values[i])
            title = f"{device}\n{title}" if many else title
            parts.append((title, partial(_curves, data, one.isel(imperfection=i))))
    return panels(
        parts,
        columns=min(4, max(2, len(order))) if many else 4,
        size=(2.4, 2.1),
        xlabel="factor (1 = nominal)",
        ylabel=f"loss{in_units(show.points)}",
        sharex=True,
        sharey=True,
    )


def _curves(data: xr.Dataset, gap: xr.DataArray, axis: Axes) -> None:
    show = format_of(data)
    accepted = show.factor * data.attrs["gap"]
    found = over(gap) * show.factor
    x = data.factor.values
    if "required_strategy" in gap.dims:
        shown = {str(s): name_of(data, str(s)) for s in data.required_strategy.values}
        look = looks(shown, data)
        for label, name in shown.items():
            one = found.sel(required_strategy=label)
            half = Z90 * one["error"].values
            band(axis, x, one["value"].values, half, name, **look[name])
    else:
        band(
            axis,
            x,
            found["value"].values,
            Z90 * found["error"].values,
            marker="o",
            ms=3,
        )
    axis.axhline(accepted, color=SECOND, lw=1, ls="--", label="accepted")
    factor_axis(axis, x)
    # high enough for the start of each curve
    start = show.factor * float(data.gap.mean("chip").min("factor").max())
    axis.set_ylim(-2 * accepted, max(8 * accepted, 1.5 * start))
