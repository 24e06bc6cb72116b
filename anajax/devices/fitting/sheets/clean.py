"""From a table as recorded to columns that can be fitted, with notes on the changes.

Ambiguities of a table are resolved here in one way, with a note: empty reads are
dropped; a table with one column per time is made long; if the conductance right after
programming was not measured, the first read of a cell takes its place, and times count
from it; each write of a cell counts as a separate cell.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anajax._core import checks
from anajax._core.nearest import did_you_mean
from anajax.devices.fitting.sheets.names import (
    COLUMNS,
    CONDUCTANCES,
    SECONDS,
    UNITS,
    WRITE,
    as_mapping,
    joined,
    places,
    times_of,
    unit_of,
)
from anajax.devices.fitting.sheets.text import (
    ENDINGS,
    Sheet,
    counted,
    is_empty,
    numbers,
    read_text,
)

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Readings:
    """Measurements as `fit_device` takes them."""

    columns: Columns
    """cell, target, programmed, time (s), read; one row per read."""
    units: str
    """Units of target, programmed and read."""
    notes: tuple[str, ...]
    """What was dropped or assumed, one sentence each."""


def read(
    path: str | Path,
    *,
    columns: str | Mapping[str, str] | None = None,
    units: str | None = None,
) -> Readings:
    """The measurements in a file.

    Args:
        path: text (.csv, .tsv, .txt, .dat) or .parquet.
        columns: headers in the file for the known columns, such as "cell=die,read=G".
        units: units of the conductances if headers state none; uS by default.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file has another ending, is not readable, or has no columns
            that can be measurements.
        ImportError: if a Parquet file is read without pandas and pyarrow.
    """
    if units not in (None, *UNITS):
        rule = f"be one of {', '.join(UNITS)}"
        remedy = f"{did_you_mean(units, UNITS)}Choose one of them."
        checks.fail("units", rule, repr(units), remedy)
    sheet = load(Path(path))
    found = places(sheet, as_mapping(columns))
    sheet, found = _long(sheet, found)
    missing = [n for n in COLUMNS if n not in found and n != "programmed"]
    if missing:
        checks.fail(
            sheet.name,
            f"have the columns {', '.join(COLUMNS)}",
            f"none named {', '.join(missing)}",
            f"Add them, or name yours: {_named(sheet, found, missing)}. It has "
            f"{', '.join(sheet.columns)}.",
        )
    table, known = _numbers(sheet, found, units)
    table = {"cell": joined(sheet, found["cell"])} | table
    if WRITE in found:
        table[WRITE] = joined(sheet, found[WRITE])
    table, dropped = _without_empty(sheet.name, _filled(table))
    table, assumed = _programmed(table)
    table, writes = _writes(table)
    notes = (*sheet.notes, *dropped, *assumed, *writes)
    return Readings({name: table[name] for name in COLUMNS}, known, notes)


def _named(
    sheet: Sheet, found: Mapping[str, tuple[str, ...]], missing: list[str]
) -> str:
    """An option that names columns: all in order if possible, else the first one."""
    used = {header for headers in found.values() for header in headers}
    free = [header for header in sheet.columns if header not in used]
    every = [name for name in COLUMNS if name not in found]
    known = next((k for k in (every, missing) if len(k) == len(free)), missing[:1])
    headers = free or list(sheet.columns)
    pairs = ",".join(f"{n}={h}" for n, h in zip(known, headers, strict=False))
    return f"--columns {shlex.quote(pairs) if ' ' in pairs else pairs}"


def load(path: Path) -> Sheet:
    """The columns of a file, unchanged.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file has another ending, or is not readable.
        ImportError: if a Parquet file is read without pandas and pyarrow.
    """
    endings = f"{', '.join(ENDINGS)} or .parquet"
    ending = path.suffix.lower()
    if ending not in (*ENDINGS, ".parquet"):
        checks.fail(str(path), f"end in {endings}", path.suffix, "Export it as CSV.")
    if not path.is_file():
        raise FileNotFoundError(
            f"`{path}` must be a file: got none. Give the path of one in {endings}."
        )
    return _parquet(path) if ending == ".parquet" else read_text(path)


def _parquet(path: Path) -> Sheet:
    try:
        import pandas
    except ImportError as error:
        raise ImportError("Parquet needs `pip install anajax[fit]`.") from error
    try:
        frame = pandas.read_parquet(path)
    except Exception as error:  # whatever the engine raises on a damaged file
        checks.fail(str(path), "be a Parquet file", error, "Write it again.")
    columns = {str(name): frame[name].to_numpy() for name in frame}
    return Sheet(path.name, columns, np.arange(1, len(frame) + 1))


_Places = Mapping[str, tuple[str, ...]]


def _long(sheet: Sheet, found: _Places) -> tuple[Sheet, _Places]:
    """Convert a table with one column per time to one row per read."""
    used = {header for headers in found.values() for header in headers}
    times = times_of([h for h in sheet.columns if h not in used])
    if "read" in found or "time" in found or not times:
        return sheet, found
    rows, many = len(sheet.lines), len(times)
    columns = {n: np.repeat(sheet.columns[n], many) for n in used}
    columns["time"] = np.tile(list(times.values()), rows)
    columns["read"] = np.stack([sheet.columns[h] for h in times], -1).ravel()
    found = {**found, "time": ("time",), "read": ("read",)}
    note = f"Read {many} columns as reads at {', '.join(map(repr, times))}."
    if "cell" not in found:
        columns["cell"] = np.repeat(np.arange(rows), many)
        found["cell"], note = ("cell",), f"{note} Each row counts as a cell."
    notes = (*sheet.notes, note)
    return Sheet(sheet.name, columns, np.repeat(sheet.lines, many), notes), found


def _numbers(sheet: Sheet, found: _Places, units: str | None) -> tuple[Columns, str]:
    """The columns of numbers, and the unit of conductances: uS if headers state any."""
    table, stated = {}, {}
    for name in COLUMNS[1:]:
        if name not in found:
            continue
        (header,) = found[name]
        table[name], unit = numbers(sheet, header), unit_of(header)[1]
        if name == "time" and unit:
            table[name] = table[name] * _known_unit(header, unit, SECONDS)
        elif unit:
            stated[name] = unit
            _known_unit(header, unit, UNITS)
    if not stated:
        return table, units or "uS"
    for name in (n for n in CONDUCTANCES if n in table):
        table[name] = _in_microsiemens(table[name], stated.get(name, units or "uS"))
    return table, "uS"


def _known_unit(header: str, unit: str, known: Mapping[str, float]) -> float:
    if unit not in known:
        rule = f"have a unit in {', '.join(known)}"
        checks.fail(f"column {header}", rule, repr(unit), "Convert it, or rename it.")
    return known[unit]


def _in_microsiemens(values: np.ndarray, unit: str) -> np.ndarray:
    if unit != "ohm":
        return UNITS[unit] * values
    with np.errstate(divide="ignore"):  # refused below, with other infinite values
        return UNITS["ohm"] / values


def _filled(table: Columns) -> Columns:
    """Copy target and programmed value to all rows of a cell that has one of each."""
    keys = _keys(table, ("cell", WRITE))
    for name in ("target", "programmed"):
        if name not in table or not np.isnan(table[name]).any():
            continue
        values = table[name].copy()
        for key in np.unique(keys[np.isnan(values)]):
            rows = keys == key
            known = np.unique(values[rows & ~np.isnan(values)])
            if known.size == 1:
                values[rows] = known
        table = table | {name: values}
    return table


def _without_empty(file: str, table: Columns) -> tuple[Columns, tuple[str, ...]]:
    """The complete rows, and a note of how many were dropped."""
    names = [n for n in COLUMNS[1:] if n in table]
    empty = {"cell": np.array([is_empty(v) for v in table["cell"]])}
    empty |= {n: np.isnan(table[n]) for n in names}
    whole = ~np.any(list(empty.values()), 0)
    if not whole.any():
        short = [n for n, v in empty.items() if v.any()]
        got = f"{len(whole)} rows, each without {' or '.join(short)}"
        checks.fail(file, "have rows with all numbers", got, "Fill some in.")
    if whole.all():
        return table, ()
    each = ", ".join(f"{int(v.sum())} without {n}" for n, v in empty.items() if v.any())
    note = f"Dropped {int((~whole).sum())} of {counted(len(whole), 'row')}: {each}."
    return {n: v[whole] for n, v in table.items()}, (note,)


def _keys(table: Columns, names: tuple[str, ...]) -> np.ndarray:
    """One number per row, equal if these columns are equal."""
    columns = [np.unique(table[n], return_inverse=True)[1] for n in names if n in table]
    return np.unique(np.stack(columns, -1), axis=0, return_inverse=True)[1].ravel()


def _programmed(table: Columns) -> tuple[Columns, tuple[str, ...]]:
    """Use the first read of each write as the programmed value if there is none."""
    if "programmed" in table:
        return table, ()
    time, keys = table["time"], _keys(table, ("cell", WRITE, "target"))
    order = np.argsort(keys, kind="stable")
    begins = np.diff(keys[order], prepend=-1) != 0
    if WRITE not in table:  # time decreases when a cell is written again
        begins |= np.diff(time[order], prepend=-np.inf) < 0
    write = np.empty(len(time), int)
    write[order] = np.cumsum(begins)
    last = np.lexsort((time, write))
    first = last[np.diff(write[last], prepend=-1) != 0]
    place = np.searchsorted(write[first], write)
    programmed, begun = table["read"][first][place], time[first][place]
    rest = np.ones(len(time), bool)
    rest[first] = False
    alone = np.bincount(place)[place] == 1  # a cell that was read once
    kept = rest | alone
    table = table | {
        "programmed": programmed, "time": time - begun, WRITE: write.astype(str),
    }  # fmt: skip
    latest = f"{np.max(begun):g} s" if np.max(begun) > 0 else "0 s"
    note = (
        f"No column programmed: the first read of each cell (at {latest} or before) "
        "takes its place, and times count from that read."
    )
    return {n: v[kept] for n, v in table.items()}, (note,)


def _writes(table: Columns) -> tuple[Columns, tuple[str, ...]]:
    """The table with one id per write of a cell."""
    keys = _keys(table, ("cell", WRITE, "target", "programmed"))
    cells, writes = len(np.unique(table["cell"])), len(np.unique(keys))
    if cells == writes:
        return table, ()
    note = (
        f"{counted(cells, 'cell')} with {counted(writes, 'write')}: each write counts "
        "as a separate cell."
    )
    return table | {"cell": keys}, (note,)
