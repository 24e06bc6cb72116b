"""The report of accuracy against energy: points, their front, digital."""

import textwrap
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anajax._core.units import human
from anajax.chip import Strategies
from anajax.studies.names import place
from anajax.studies.report import assumptions as assumed
from anajax.studies.report import costs
from anajax.studies.report.blocks import (
    Block,
    Drawing,
    cells,
    format_of,
    in_units,
)
from anajax.studies.report.plots import COLORS, Z90, panels
from anajax.studies.report.statistics import over, sign

BASE = "base"
"""The point without changes."""
KNOBS = {
    "weight": ("energy weight", COLORS[6], "o"),
    "pairs": ("pairs", COLORS[2], "s"),
    "dac_bits": ("DAC bits", COLORS[4], "v"),
    "adc_bits": ("ADC bits", COLORS[5], "D"),
    "tiles": ("tile lines", COLORS[1], "^"),
    "strategy": ("strategy", COLORS[7], "P"),
    BASE: (BASE, "black", "*"),
}
"""Title, color and marker of each knob."""
GRAY = "#BBBBBB"
COLUMN = (2.8, 3.2)
"""Size of a figure that fits one of two columns, in inches."""


def title(data: xr.Dataset) -> str:
    """Title of the report."""
    return f"Accuracy against energy: {place(data)}, {_time(data)} after programming"


def blocks(data: xr.Dataset, _: Mapping[str, Strategies]) -> list[Block]:
    """The table of all points with the figures, and their costs by layer."""
    show, last = format_of(data), data.isel(time=-1)
    whole, *layers = costs.blocks(data, ["knob", "value"], _names(data))
    return [
        Block(
            title=f"{show.title.capitalize()} and energy, one knob at a time, on "
            f"{costs.basis(data)}",
            text=f"Mean over chips ± standard error {_time(data)} after programming, "
            "and the paired difference to the base, chip by chip; energy of one "
            "inference. A point is on the front if no other is at least as good in "
            f"both means, and better in one. {costs.basis(data)}. Area "
            f"{costs.about(data)['area']}.{assumed.stopping(data, 'point')}",
            **_table(last),
            drawings=[_drawing(data, "energy"), _drawing(data, "array")],
            points=[*_conclusions(last), *whole.points],
            summary=True,
        ),
        *layers,
    ]


def assumptions(data: xr.Dataset) -> list[str]:
    """Assumptions behind the numbers."""
    return [
        "At the base:",
        *assumed.sources(data),
        *assumed.hardware(data),
        "Every point changes one knob and leaves all others at the base. The energy "
        "weight applies in the search for the strategy, equally for all weights. All "
        "points use the same chips (common random draws).",
        *costs.assumptions(data),
    ]


def front(energy: np.ndarray, metric: np.ndarray) -> np.ndarray:
    """Which points are not dominated: no other is as good in both and better in one.

    Args:
        energy: energy of each point.
        metric: metric of each point, higher is better.
    """
    no_more = energy[:, None] <= energy
    no_worse = metric[:, None] >= metric
    better = (energy[:, None] < energy) | (metric[:, None] > metric)
    return ~np.any(no_more & no_worse & better, axis=0)


def _on_front(last: xr.Dataset, energy: np.ndarray) -> np.ndarray:
    mean = over(last[last.attrs["metric"]])["value"].values
    return front(energy, sign(last) * mean)


def _names(data: xr.Dataset) -> list[list[str]]:
    """Name of the knob and its value, by point."""
    pairs = zip(data["knob"].values, data["turned"].values, strict=True)
    return [[KNOBS[str(knob)][0], str(value)] for knob, value in pairs]


def _table(last: xr.Dataset) -> dict[str, Any]:
    show, metric = format_of(last), last[last.attrs["metric"]]
    found, paired = over(metric), over(metric - metric.isel(point=0))
    energy, array = _energies(last)
    whole, unit = costs.unit_of(energy)
    small, of_array = costs.unit_of(array)
    chosen = _on_front(last, energy)
    rows = []
    for i, names in enumerate(_names(last)):
        difference = show.cell(
            float(paired["value"][i]), float(paired["error"][i]), signed=True
        )
        area = float(last["area"][i])
        rows.append(
            cells(
                *names,
                show.cell(float(found["value"][i]), float(found["error"][i])),
                "" if i == 0 else difference,
                f"{energy[i] / whole:.4g}",
                f"{array[i] / small:.3g}",
                f"{float(last['tops_per_watt'][i]):.3g}",
                f"{1e6 * float(last['latency'][i]):.4g}",
                "" if np.isnan(area) else f"{area:.3g}",
                "yes" if chosen[i] else "",
            )
        )
    header = [
        "knob", "value", show.label, f"minus base{in_units(show.points)}",
        f"energy ({unit})", f"array ({of_array})", "TOPS/W", "latency (µs)",
        "area (mm²)",
        "front",
    ]  # fmt: skip
    return {"header": header, "rows": rows, "bold": list(np.flatnonzero(chosen))}


def _conclusions(last: xr.Dataset) -> list[str]:
    """The best point, and the one of lowest energy that is no worse than the base."""
    show, metric = format_of(last), last[last.attrs["metric"]]
    found = sign(last) * over(metric)["value"].values
    paired = over(sign(last) * (metric - metric.isel(point=0)))
    energy, names = _energies(last)[0], list(map(" ".join, _names(last)))
    size, unit = costs.unit_of(energy)
    near = paired["value"].values >= -2 * np.nan_to_num(paired["error"].values)
    least = int(np.argmin(np.where(near, energy, np.inf)))
    best = int(np.nanargmax(found))

    def told(i: int) -> str:
        said = f"{names[i].strip()}, {energy[i] / size:.4g} {unit}"
        if i == 0:
            return said
        share = 100 * (energy[i] / energy[0] - 1)
        value, error = (float(paired[n][i]) for n in ("value", "error"))
        change = show.number(sign(last) * value, signed=True)
        amount = f"{change} ± {show.number(error)} {show.points}".removesuffix(" 1")
        return f"{said} ({share:+.0f} % relative to the base), {show.title} {amount}"

    return [
        f"Best {show.title} by the data: {told(best)}.",
        "Lowest energy of those not worse than the base by two standard errors, chip "
        f"by chip: {told(least)}.",
    ]


def _energies(last: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Energy of an inference, and of the array in it, by point, uJ."""
    array = last["part_energy"].sel(part="array").values
    return last["energy"].values, array


def _drawing(data: xr.Dataset, what: str) -> Drawing:
    words = {"energy": "energy of an inference", "array": "energy of the array alone"}
    name = {"energy": "pareto", "array": "pareto_array"}[what]
    caption = (
        f"{format_of(data).title.capitalize()} against {words[what]}; gray: "
        f"dominated; dashed: the digital network. {costs.basis(data)}"
    )
    return Drawing(name, caption, partial(figure, data, what))


def figure(data: xr.Dataset, what: str = "energy") -> Figure:
    """The metric against energy, with 90 % intervals; dominated points are gray.

    Args:
        data: results at the last time.
        what: "energy" of the inference, or of the "array" alone.
    """
    show, last = format_of(data), data.isel(time=-1)
    energy = _energies(last)[0 if what == "energy" else 1]
    size, unit = costs.unit_of(energy)
    whole = {"energy": "energy of an inference", "array": "energy of the array"}[what]
    return panels(
        [("", partial(_draw, last, energy / size, _on_front(last, energy)))],
        size=COLUMN,
        xlabel=f"{whole} ({unit})",
        ylabel=show.label,
        note=textwrap.fill(f"{costs.basis(data)}; {_time(data)}; 90 % intervals", 52),
        legend=2,
    )


def _draw(last: xr.Dataset, x: np.ndarray, chosen: np.ndarray, axis: Axes) -> None:
    show = format_of(last)
    found = show.factor * over(last[last.attrs["metric"]])
    y, half = found["value"].values, Z90 * found["error"].values
    digital = show.factor * last.attrs["digital_metric"]
    axis.axhline(digital, color="black", lw=1, ls="--", label="digital", zorder=0)
    order = np.flatnonzero(chosen)[np.argsort(x[chosen])]
    axis.plot(x[order], y[order], color="black", lw=0.8, zorder=1, label="front")
    for knob, (name, color, marker) in KNOBS.items():
        of_knob = last["knob"].values == knob
        for kept, shade in ((True, color), (False, GRAY)):
            i = np.flatnonzero(of_knob & (chosen == kept))
            bars: Any = {"fmt": marker, "ms": 8 if knob == BASE else 5, "lw": 1}
            axis.errorbar(x[i], y[i], half[i], color=shade, capsize=2, **bars)
        if of_knob.any():  # in its color, even if all of its points are gray
            axis.plot([], [], marker, color=color, ms=5, label=name)
    for side, i in enumerate(order):  # alternately above left and below right
        text = str(last["turned"].values[i]).replace("_", " ")
        below = side % 2 or len(text) > 6
        axis.annotate(
            text, (x[i], y[i]), fontsize=7,
            xytext=(4, -9) if below else (-4, 4), textcoords="offset points",
            ha="left" if below else "right",
            color=KNOBS[str(last["knob"].values[i])][1],
        )  # fmt: skip
    axis.margins(x=0.12)
    if x.min() > 0 and x.max() / x.min() > 10:
        axis.set_xscale("log")


def _time(data: xr.Dataset) -> str:
    return human(float(data.time[-1]))
