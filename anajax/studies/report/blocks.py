"""What a report is made of: sections with tables and figures, and how numbers look."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from anajax.studies.config.durations import human


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell of a table, with a smaller note behind."""

    text: str
    small: str = ""
    bold: bool = False


def cells(*values: str | Cell) -> list[Cell]:
    """A row of a table."""
    return [v if isinstance(v, Cell) else Cell(v) for v in values]


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A figure that is drawn when the page is written."""

    name: str
    """Of its files, without the ending."""
    caption: str
    draw: Callable[[], Figure]
    alt: str = ""
    """What it shows, for those who do not see it; the caption by default."""
    dark: bool = False
    """Whether there is one for dark pages, too, as pixels."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
    """One section of the page; what is empty is left out."""

    title: str
    text: str = ""
    header: Sequence[str] = ()
    rows: Sequence[Sequence[Cell]] = ()
    bold: Sequence[int] = ()
    """Rows that stand out."""
    drawings: Sequence[Drawing] = ()
    points: Sequence[str] = ()
    code: str = ""
    summary: bool = False
    """Whether the terminal shows the table, too."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetricFormat:
    """How a metric is shown: `factor * value` with `digits`, in `unit`."""

    title: str
    unit: str
    points: str
    """The unit of differences."""
    factor: float
    digits: int
    sign: int = -1
    """1 if more is better, -1 if less is."""

    def number(self, value: float, *, signed: bool = False) -> str:
        """A value without its unit."""
        plus = "+" if signed else ""
        return f"{self.factor * value:{plus}.{self.digits}f}"

    def text(self, value: float) -> str:
        """A value as people read it: 0.9833 of an accuracy is "98.33 %"."""
        return f"{self.number(value)} {self.unit}".removesuffix(" 1")

    def amount(self, difference: float) -> str:
        """An amount that was chosen, such as "5 percentage points"."""
        amount = self.factor * difference
        unit = self.points.removesuffix("s") if amount == 1 else self.points
        return f"{amount:g} {unit}".removesuffix(" 1")

    def cell(self, value: float, error: float, *, signed: bool = False) -> Cell:
        """A value ± its standard error; empty for a value that is not there."""
        if np.isnan(value):
            return Cell("")
        small = f"± {self.number(error)}" if error >= 0 else ""
        return Cell(self.number(value, signed=signed), small)

    def beside(self, cell: Cell, value: float) -> Cell:
        """A cell with another value behind it in brackets, if there is one."""
        aside = "" if np.isnan(value) else f"({self.number(value)})"
        small = f"{cell.small} {aside}".strip()
        return dataclasses.replace(cell, small=small)


UNITS = {"%": ("%", "percentage points", 1, 2), "bit": ("bit", "bit", 1, 4)}
"""Of a metric in results: how it is shown, so are differences, the factor, digits."""
SHARE = ("%", "percentage points", 100, 2)
"""The same of an accuracy, whose unit is 1."""
PLACES = 4
"""Significant digits of any other metric."""
WEIGHT_ERROR = MetricFormat(
    title="rms weight error", unit="% of w_max", points="% of w_max", factor=100,
    digits=3,
)  # fmt: skip


def format_of(data: xr.Dataset) -> MetricFormat:
    """How the metric of results is shown: an accuracy in percent."""
    unit, points, factor, digits = _shown(data)
    return MetricFormat(
        title=data.attrs["metric"].replace("_", " "),
        unit=unit,
        points=points,
        factor=factor,
        digits=digits,
        sign=1 if data.attrs["better"] == "higher" else -1,
    )


def _shown(data: xr.Dataset) -> tuple[str, str, float, int]:
    unit = str(data.attrs["unit"])
    if unit == "1" and data.attrs["metric"] == "accuracy":
        return SHARE
    name = str(data.attrs["metric"])
    values = [
        data.attrs["digital_metric"],
        *(data[name].values.flat if name in data else ()),
    ]
    size = float(np.nanmax(np.abs(values)))
    before = math.floor(math.log10(size)) + 1 if size > 0 else 0
    other = unit, unit, 1, min(max(PLACES - before, 0), 8)
    return UNITS.get(unit, other)


def loss_unit(data: xr.Dataset) -> str:
    """The unit of the loss in results."""
    return str(data.attrs.get("loss_unit", "nat"))


def table(
    found: xr.Dataset,
    show: MetricFormat,
    *,
    rows: Sequence[str] = ("device", "strategy"),
    signed: bool = False,
    notes: xr.DataArray | None = None,
    best: xr.DataArray | None = None,
) -> dict[str, Any]:
    """Header and rows of a block: values with errors, a column for each time.

    Args:
        found: `value` and `error` over the dimensions `rows` and time; `aside`, if
            there, is shown in brackets.
        show: how they are shown.
        rows: dimensions whose places are the rows; one device is not named. A row
            without a value is left out.
        signed: whether values are differences.
        notes: behind the last name of a row.
        best: which values stand out, true for them.
    """
    named = [d for d in rows if d != "device" or found.sizes[d] > 1]
    made: list[list[Cell]] = []
    known = set() if best is None else set(map(str, best["strategy"].values))
    for place in itertools.product(*(found[d].values for d in rows)):
        where = dict(zip(rows, place, strict=True))
        one = found.sel(where)
        if one["value"].isnull().all():
            continue
        head = cells(*(str(where[d]) for d in named))
        if notes is not None:
            head[-1] = Cell(head[-1].text, str(notes.sel(where).item()))
        pairs = zip(one["value"].values, one["error"].values, strict=True)
        row = [show.cell(v, e, signed=signed) for v, e in pairs]
        if "aside" in one:
            row = list(map(show.beside, row, one["aside"].values))
        if best is not None and str(where["strategy"]) in known:
            marks = best.sel(where).values
            row = [
                dataclasses.replace(c, bold=bool(b))
                for c, b in zip(row, marks, strict=True)
            ]
        made.append([*head, *row])
    header = [*named, *map(human, found.time.values)]
    return {"header": header, "rows": made}
