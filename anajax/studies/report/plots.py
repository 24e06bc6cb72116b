"""Common parts of all figures: panels, lines with bands, bars, an axis of time.

Colors are those of Okabe and Ito, then of Tol, which can be distinguished with all
common kinds of color vision; markers and dashes carry the same information. Every axis
states its unit.
"""

import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anajax._core.units import UNITS, human

COLORS = (
    "#999999",
    "#E69F00",
    "#009E73",
    "#56B4E9",
    "#CC79A7",
    "#D55E00",
    "#0072B2",
    "#882255",
    "#44AA99",
    "#332288",
    "#AA4499",
    "#117733",
)
OPTIMIZED, SECOND = "#0072B2", "#D55E00"
Z90 = 1.645
"""Half-width of a 90 % interval in standard errors."""
MARKERS = "osD^vPX*"
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "svg.hashsalt": "anajax",
    "figure.dpi": 150,
    "savefig.dpi": "figure",
}
DARK: Any = dict.fromkeys(
    ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"),
    "#E6EDF3",
) | dict.fromkeys(("figure.facecolor", "axes.facecolor"), "#0D1117")
"""Settings that differ on dark pages."""


def ink() -> str:
    """The color of text, and of whatever is black on white pages."""
    return str(matplotlib.rcParams["text.color"])


_UNDATED: dict[str, Any] = {
    "png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None},
}  # fmt: skip


def render(
    draw: Callable[[], Figure],
    kinds: Sequence[str] = ("png", "svg"),
    *,
    dark: bool = False,
) -> dict[str, bytes]:
    """The files of the figure that `draw` returns, without dates in them.

    Args:
        draw: makes the figure.
        kinds: types of the files: png, svg, pdf.
        dark: whether the figure is for dark pages.
    """
    with matplotlib.rc_context(STYLE | DARK if dark else STYLE):
        figure = draw()
        contents = {}
        for kind in kinds:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=_UNDATED[kind])
            contents[kind] = buffer.getvalue()
    return contents


class Chart(Figure):
    """A figure that a notebook shows as the value of a cell."""

    def _repr_png_(self) -> bytes:
        return render(lambda: self)["png"]


Panel = tuple[str, Callable[[Axes], None]]
"""The title of a panel, and the function that draws it."""


def panels(
    parts: Sequence[Panel],
    *,
    columns: int = 4,
    size: tuple[float, float] = (2.6, 2.3),
    xlabel: str = "",
    ylabel: str = "",
    note: str = "",
    legend: int = 6,
    **shared: Any,
) -> Figure:
    """A grid of panels with labels at its edges, and one legend for all.

    Args:
        parts: panels in reading order.
        columns: most columns of the grid; one less if fewer places stay empty.
        size: size of a panel in inches.
        xlabel: label below each column.
        ylabel: label to the left of each row.
        note: text above all panels.
        legend: columns of the legend below the panels; 0 for none.
        **shared: `sharex`, `sharey`.
    """
    columns = min(columns, len(parts))
    if len(parts) > columns > 2:
        columns = min(columns, columns - 1, key=lambda c: -len(parts) % c)
    rows = -(-len(parts) // columns)
    with matplotlib.rc_context(STYLE):
        width, height = columns * size[0] + 0.7, rows * size[1] + 0.7
        figure = Chart(figsize=(width, height), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, **shared)
        for axis in grid.flat[len(parts) :]:
            axis.set_axis_off()
        for axis, (title, draw) in zip(grid.flat, parts, strict=False):
            draw(axis)
            axis.set_title(_wrapped(title, int(11 * size[0])))
        for axis in grid.flat[max(0, len(parts) - columns) : len(parts)]:
            axis.set_xlabel(_wrapped(xlabel or axis.get_xlabel(), int(13 * size[0])))
            axis.tick_params(labelbottom=True)
        for axis in grid[:, 0]:
            axis.set_ylabel(_wrapped(ylabel or axis.get_ylabel(), int(13 * size[1])))
        if legend:
            _legend(figure, legend)
        if note:
            figure.suptitle(note, fontsize=9)
    return figure


def _wrapped(text: str, width: int) -> str:
    """Text in lines of at most this many characters; its line breaks are kept."""
    lines = (textwrap.wrap(line, width) for line in text.split("\n"))
    return "\n".join(line for part in lines for line in part)


def _legend(figure: Figure, columns: int) -> None:
    """Every label of a figure once, below its panels."""
    known: dict[str, Any] = {}
    for axis in figure.axes:
        handles, labels = axis.get_legend_handles_labels()
        known = dict(zip(labels, handles, strict=True)) | known
    if known:
        figure.legend(known.values(), known, loc="outside lower center", ncols=columns)


def band(
    axis: Axes,
    x: np.ndarray,
    mean: np.ndarray,
    half: np.ndarray,
    label: str | None = None,
    **style: Any,
) -> None:
    """A line with a band of ± `half`."""
    style = {"color": OPTIMIZED, "lw": 1.4} | style
    color = style["color"]
    if len(x) == 1:  # a band has no width
        axis.errorbar(x, mean, half, label=label, capsize=2, **style)
        return
    axis.fill_between(x, mean - half, mean + half, color=color, alpha=0.15, lw=0)
    axis.plot(x, mean, label=label, **style)


def bars(
    axis: Axes,
    names: Sequence[str],
    series: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    xlabel: str = "",
) -> None:
    """Horizontal bars with errors, the first name on top; one color per series."""
    y, height = np.arange(len(names)), 0.76 / len(series)
    colors = (OPTIMIZED, *COLORS[1:])
    for k, (label, (value, half)) in enumerate(series.items()):
        axis.barh(
            y + height * (k - (len(series) - 1) / 2), value, height, xerr=half,
            color=colors[k], alpha=0.6, label=label,
            error_kw={"lw": 1, "capsize": 2},
        )  # fmt: skip
    axis.axvline(0, color="black", lw=0.8)
    axis.set_yticks(y, names)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xlabel(xlabel)


def names_below(axis: Axes, names: Sequence[str], places: Any = None) -> None:
    """Tick labels, slanted so that they fit."""
    places = range(len(names)) if places is None else places
    axis.set_xticks(places, names, rotation=40, ha="right", rotation_mode="anchor")
    axis.minorticks_off()


def title_of(axis: Axes, title: str, below: str) -> None:
    """A title, and a line below it in plain type."""
    axis.set_title(title, loc="left", pad=20, fontsize=11, fontweight="bold")
    axis.annotate(
        below, (0, 1), (0, 6), xycoords="axes fraction", textcoords="offset points"
    )


def name_ends(axis: Axes, x: float, ends: Sequence[tuple[float, str, Any]]) -> None:
    """Names of lines to the right of their ends, without overlap.

    Args:
        axis: axis whose limits are set.
        x: where the lines end.
        ends: last value, name and color of each line.
    """
    low, high = axis.get_ylim()
    height = 0.7 * 72 * axis.get_figure(root=True).get_figheight()  # pyright: ignore
    least = 1.3 * matplotlib.rcParams["font.size"] / height
    order = sorted(ends, key=lambda end: end[0])
    places = np.array([(value - low) / (high - low) for value, _, _ in order])
    for (value, text, color), place in zip(order, apart(places, least), strict=True):
        axis.annotate(
            text, (x, value), (1.05, place), textcoords="axes fraction", va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": color, "lw": 0.8, "shrinkB": 6,
                        "relpos": (0, 0.5)},
        )  # fmt: skip


def apart(places: np.ndarray, least: float) -> np.ndarray:
    """Places in order, moved until neighbors are `least` apart and none is above 1."""
    places = np.array(places, float)
    for _ in range(200):
        lack = np.maximum(least - np.diff(places), 0) / 2
        if not lack.any():
            break
        places[:-1] -= lack
        places[1:] += lack
    return np.minimum(places, 1 - least * np.arange(len(places))[::-1])


def factor_axis(axis: Axes, factors: np.ndarray) -> None:
    """A log axis of factors with ticks at powers of 2."""
    low, high = np.log2(factors[[0, -1]])
    powers = np.arange(np.ceil(low), np.floor(high) + 0.5)
    ticks = 2.0 ** powers[:: -(-len(powers) // 6)]
    axis.set_xscale("log", base=2)
    axis.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axis.minorticks_off()


def time_axis(
    axis: Axes, times: np.ndarray, outside: np.ndarray, *, width: float = 2.0
) -> None:
    """A log axis of time with ticks in familiar units; 0 s has a place of its own.

    Args:
        axis: axis to set up.
        times: seconds `[times]`.
        outside: which of them the source of the device does not cover `[times]`.
        width: width of the panel in inches; labels that do not fit are slanted.
    """
    shown = times
    if times.size > 8:
        shown = np.array([*times[times == 0], *instants(times[times > 0])])
    axis.set_xscale("log")
    words, places = [human(t) for t in shown], log_places(shown)
    names_below(axis, words, places)
    if times.size == 1:  # otherwise the axis ends at the mark
        axis.set_xlim(places[0] / 10, places[0] * 10)
    if _fit(words, places, width):
        axis.tick_params("x", rotation=0)
        for label in axis.get_xticklabels():
            label.set_horizontalalignment("center")
    if outside.any():
        x = log_places(times)
        axis.axvspan(x[outside][0], x[-1], color="#F0E442", alpha=0.25, lw=0)
        axis.annotate(
            "extrapolated", (x[outside][0], 1), xycoords=("data", "axes fraction"),
            va="top", fontsize=8,
        )  # fmt: skip


def _fit(words: Sequence[str], places: np.ndarray, width: float) -> bool:
    """Whether words fit side by side on a log axis."""
    letter = 0.009 * matplotlib.rcParams["font.size"]  # inches
    long = letter * np.array([len(w) + 1 for w in words])
    room = width * np.diff(np.log(places)) / np.log(places[-1] / places[0])
    return bool(np.all(room > (long[:-1] + long[1:]) / 2)) if len(words) > 1 else True


def log_places(times: np.ndarray) -> np.ndarray:
    """Places on a log axis: 0 s is put a decade and a half before 1 s."""
    return np.where(times > 0, times, 0.03)


def instants(t: np.ndarray) -> list[float]:
    """Times in familiar units within the range of `t`; its ends if there are none."""
    low, high = t[0] * (1 - 1e-6), t[-1] * (1 + 1e-6)
    skipped = (UNITS["min"], UNITS["week"])
    wanted = [v for v in UNITS.values() if low <= v <= high and v not in skipped]
    return wanted if len(wanted) > 1 else sorted({float(t[0]), float(t[-1])})
