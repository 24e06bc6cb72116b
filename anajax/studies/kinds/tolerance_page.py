"""Which device would do: its table and figure in a report."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from anajax.analysis.hardware import NON_IDEALITIES
from anajax.studies.config.durations import human
from anajax.studies.report import page, results
from anajax.studies.report.page import Block, Cell, Row

if TYPE_CHECKING:  # costs a second to import
    import xarray as xr
    from matplotlib.figure import Figure
else:
    xr = Figure = Any

TITLES = {name: what.title for name, what in NON_IDEALITIES.items()} | {
    "ray": "programming, drift spread and read together"
}
FIGURE = "required"


def blocks(data: "xr.Dataset", drawn: Mapping[str, bytes]) -> list[Block]:
    """The section of a report, where the study asked for it.

    Args:
        data: results of a study of strategies.
        drawn: figures by file name.
    """
    if "required_gap" not in data:
        return []
    return [
        Block(
            title="Which device would do",
            text=f"Largest factor on the device's own imperfection at which the loss "
            f"against digital after {human(float(data.time[-1]))} stays within "
            f"{_accepted(data)}; the others stay as they are, and so do the targets. "
            "In brackets the 90 % interval over chips (bootstrap). Beyond the factors "
            "that were tried: < or >.",
            header=["strategy", *(TITLES[str(p)] for p in data.parameter.values)],
            rows=[_row(data, str(s)) for s in data.required_strategy.values],
            images=[
                page.image(drawn[f"{FIGURE}.svg"], "Loss against digital by factor")
            ],
        )
    ]


def figure(data: "xr.Dataset") -> "Figure":
    """Loss against digital over the factor on each imperfection, for every strategy."""
    import matplotlib.pyplot as plt

    from anajax.studies.report.figures import banded, styles

    show = results.shown(data.attrs["metric"])
    names = [str(p) for p in data.parameter.values]
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    chart, axes = plt.subplots(
        rows,
        columns,
        figsize=(4.2 * columns, 2.9 * rows + 0.6),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    look, x = styles(data), data.factor.values
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    for axis, name in zip(axes.flat, names, strict=False):
        for label in map(str, data.required_strategy.values):
            gap = data.required_gap.sel(required_strategy=label, parameter=name)
            mean, error = results.mean_and_error(gap.values[..., None])
            mean, error = show.factor * mean.ravel(), show.factor * error.ravel()
            banded(axis, x, mean, error, label, look[label])
        accepted = show.factor * data.attrs["required_gap"]
        axis.axhline(accepted, color="black", lw=1, label="accepted")
        axis.set(title=TITLES[name], xscale="log")
        axis.set_xticks(x[::2], [f"{f:.3g}" for f in x[::2]])
        axis.minorticks_off()
        axis.set_ylim(-accepted, 12 * accepted)
    for axis in axes[-1]:
        axis.set_xlabel("factor on the device's own")
    for axis in axes[:, 0]:
        axis.set_ylabel(f"loss of {show.title} ({_unit(show)})")
    handles = axes.flat[0].get_legend_handles_labels()
    chart.legend(*handles, loc="outside lower center", ncols=4)
    return chart


def _accepted(data: "xr.Dataset") -> str:
    show = results.shown(data.attrs["metric"])
    return f"{show.factor * data.attrs['required_gap']:g} {_unit(show)}"


def _unit(show: results.MetricFormat) -> str:
    return show.unit.replace("%", "percentage points")


def _row(data: "xr.Dataset", label: str) -> Row:
    one = data.sel(required_strategy=label)
    low, high = float(data.factor[0]), float(data.factor[-1])

    def text(value: float) -> str:
        if value <= 0:
            return f"< {low:.3g}"
        return f"> {high:.3g}" if np.isinf(value) else f"{value:.3g}"

    ends = zip(
        one.required_factor.values,
        one.required_low.values,
        one.required_high.values,
        strict=True,
    )
    cells = [
        Cell(text=text(found), small=f"[{text(a)}, {text(b)}]") for found, a, b in ends
    ]
    return Row(cells=[Cell(text=label), *cells])
