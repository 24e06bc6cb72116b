"""Parts of a report: sections with tables and figures, and number formats."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from anajax._core.units import human


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell of a table, with a smaller note after it."""

    text: str
    small: str = ""
    bold: bool = False


def cells(*values: str | Cell) -> list[Cell]:
    """A row of a table."""
    return [v if isinstance(v, Cell) else Cell(v) for v in values]


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A figure that is drawn when the report is written."""

    name: str
    """Name of its files, without the extension."""
    caption: str
    draw: Callable[[], Figure]
    alt: str = ""
    """Alternative text for readers who cannot see it; the caption by default."""
    dark: bool = False
    """Whether there is also a version for dark pages, as PNG."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
    """One section of the report; empty parts are left out."""

    title: str
    text: str = ""
    header: Sequence[str] = ()
    rows: Sequence[Sequence[Cell]] = ()
    bold: Sequence[int] = ()
    """Rows in bold."""
    drawings: Sequence[Drawing] = ()
    points: Sequence[str] = ()
    code: str = ""
    summary: bool = False
    """Whether the terminal also shows the table."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetricFormat:
    """Format of a metric: `factor * value` with `digits`, in `unit`."""

    title: str
    unit: str
    points: str
    """The unit of differences."""
    factor: float
    digits: int
    sign: int = -1
    """1 if higher is better, -1 if lower is."""

    @property
    def label(self) -> str:
        """Name of the metric with its unit, for axes and headers."""
        return f"{self.title}{in_units(self.unit)}"

    def number(self, value: float, *, signed: bool = False) -> str:
        """A value without its unit."""
        plus = "+" if signed else ""
        return f"{self.factor * value:{plus}.{self.digits}f}"

    def text(self, value: float) -> str:
        """A value with its unit: 0.9833 of an accuracy is "98.33 %"."""
        return f"{self.number(value)} {self.unit}".removesuffix(" 1")

    def amount(self, difference: float) -> str:
        """A chosen amount, such as "5 percentage points"."""
        amount = self.factor * difference
        unit = self.points.removesuffix("s") if amount == 1 else self.points
        return f"{amount:g} {unit}".removesuffix(" 1")

    def cell(self, value: float, error: float, *, signed: bool = False) -> Cell:
        """A value ± its standard error; empty for a missing value."""
        if np.isnan(value):
            return Cell("")
        small = f"± {self.number(error)}" if error >= 0 else ""
        return Cell(self.number(value, signed=signed), small)

    def beside(self, cell: Cell, value: float) -> Cell:
        """A cell with another value after it in parentheses, if there is one."""
        aside = "" if np.isnan(value) else f"({self.number(value)})"
        small = f"{cell.small} {aside}".strip()
        return dataclasses.replace(cell, small=small)


UNITS = {"%": ("%", "percentage points", 1, 2), "bit": ("bit", "bit", 1, 4)}
"""By unit of a metric in results: display unit, unit of differences, factor, digits."""
SHARE = ("%", "percentage points", 100, 2)
"""The same for an accuracy, whose unit is 1."""
PLACES = 4
"""Significant digits for any other metric."""
WEIGHT_ERROR = MetricFormat(
    title="rms weight error", unit="% of w_max", points="% of w_max", factor=100,
    digits=3,
)  # fmt: skip


def in_units(unit: str) -> str:
    """A unit in parentheses after a space, for labels; nothing for a plain number."""
    return "" if unit == "1" else f" ({unit})"


def format_of(data: xr.Dataset) -> MetricFormat:
    """The format of the metric of results: an accuracy in percent."""
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
    """Header and rows of a block: values with errors, one column per time.

    Args:
        found: `value` and `error` over the dimensions `rows` and time; `aside`, if
            present, is shown in parentheses.
        show: number format.
        rows: dimensions that form the rows; a single device is not named. A row without
            values is left out.
        signed: whether values are differences.
        notes: notes after the last name of a row.
        best: which values are in bold.
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
