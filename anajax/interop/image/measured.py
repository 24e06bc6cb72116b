"""Conductances reported by a chip: by tile, read and time, as CSV."""

import csv
import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anajax._core import checks
from anajax._core.disk import write_atomically
from anajax._core.tree import replace
from anajax.devices.fitting.sheets.text import SEPARATORS
from anajax.interop.image import tiles
from anajax.interop.image.image import Image

COLUMNS = ("tile", "row", "column", "device", "time_s", "conductance_uS")
"""Columns of a CSV; `read` numbers repeated reads at one time. Rows may be missing,
lines that begin with # are comments, and columns may be separated by semicolons or
tabs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """Measured conductances of a chip."""

    times: tuple[float, ...]
    """Seconds since the first read, increasing."""
    layers: Mapping[str, tuple[np.ndarray, ...]]
    """Conductances `[reads matrices rows columns devices]` at each time, uS, by path;
    NaN for missing cells."""

    @property
    def gaps(self) -> float:
        """Fraction of cells without any value at the first time."""
        lost = [np.all(np.isnan(v[0]), 0) for v in self.layers.values()]
        return sum(v.sum() for v in lost) / max(sum(v.size for v in lost), 1)


def parts_of(image: Image) -> Iterator[tuple[str, str, tiles.Tile, np.ndarray]]:
    """Path, name, position and targets of each tile of an image."""
    for path, layer in image.layers.items():
        groups = image.groups.get(path, 1)
        whole = tiles.matrices(layer.targets, layer.layout, path, groups)
        for tile, part in tiles.cut(whole, image.tiles):
            yield path, tile.name(path), tile, part


def write(
    path: str | Path,
    image: Image,
    chips: Mapping[float, Sequence[Mapping[str, np.ndarray]]],
) -> None:
    """Write conductances as a chip reports them; defines the format, and serves tests.

    Args:
        path: path of the CSV.
        image: defines the tiles.
        chips: reads of all layers, `[*weights devices]` by path, by time in s; NaN is
            left out.

    Raises:
        WriteError: an OSError, if the file cannot be written.
    """
    lines = [",".join((*COLUMNS, "read"))]
    for time, reads in chips.items():
        for number, g in enumerate(reads):
            shown = dataclasses.replace(image, layers={
                p: replace(layer, targets=np.asarray(g[p]))
                for p, layer in image.layers.items()
            })  # fmt: skip
            for _, name, _, part in parts_of(shown):
                for at in np.argwhere(~np.isnan(part)).tolist():
                    where = ",".join(map(str, at))
                    value = part[tuple(at)]
                    lines.append(f"{name},{where},{time:.17g},{value},{number}")
    write_atomically(Path(path), ("\n".join(lines) + "\n").encode())


def read(path: str | Path, image: Image) -> Measured:
    """The conductances of an image's cells, from one CSV or all in a folder.

    Args:
        path: a file, or a folder of files `*.csv`.
        image: the image that was programmed.

    Raises:
        ValueError: if columns, units, tiles or positions do not match the image, or a
            cell is reported twice.
    """
    path = Path(path)
    files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    if not files:
        checks.fail("DIR_OR_CSV", "hold measurements", "no CSV", "Name a CSV file.")
    known = {name: (p, tile, part.shape) for p, name, tile, part in parts_of(image)}
    rows = [row for file in files for row in _rows(file, known)]
    if not rows:
        checks.fail("DIR_OR_CSV", "hold measurements", "no rows", "Add some.")
    times = sorted({row[3] for row in rows})
    reads = {t: 1 + max(row[4] for row in rows if row[3] == t) for t in times}
    found = {}
    for p, layer in image.layers.items():
        shape = tiles.matrices(
            layer.targets, layer.layout, p, image.groups.get(p, 1)
        ).shape  # fmt: skip
        found[p] = tuple(np.full((reads[t], *shape), np.nan, np.float32) for t in times)
    place = {t: i for i, t in enumerate(times)}
    for name, at, value, time, number in rows:
        p, tile, _ = known[name]
        where = tile.matrix, tile.rows[0] + at[0], tile.columns[0] + at[1], at[2]
        array = found[p][place[time]]
        if not np.isnan(array[number][where]):
            got = f"{name} {at} at {time:g} s twice"
            checks.fail("rows", "report a cell once", got, "Number its reads.")
        array[number][where] = value
    return Measured(times=tuple(times), layers=found)


_Row = tuple[str, tuple[int, int, int], float, float, int]


def _rows(file: Path, known: Mapping[str, tuple]) -> Iterator[_Row]:
    try:
        with open(file, newline="", encoding="utf-8-sig") as opened:
            read: list[int] = []
            lines = _lines(opened, read)
            head = next(lines, "")
            separator = next((s for s in SEPARATORS if s in head), ",")
            reader = csv.DictReader(
                itertools.chain([head], lines), delimiter=separator, strict=True
            )
            _check_columns(file, reader.fieldnames or [])
            for row in reader:
                plain = row if separator == "," else _with_points(row)
                yield from _row(file, read[-1], plain, known)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        checks.fail("DIR_OR_CSV", "be CSV", f"{error} in {file.name}", "Correct it.")


def _lines(opened: Iterable[str], read: list[int]) -> Iterator[str]:
    """Lines without comments; the number of the last one is put in `read`."""
    for number, line in enumerate(opened, 1):
        if not line.startswith("#"):
            read[:] = [number]
            yield line


def _with_points(row: Mapping[str, str | None]) -> dict[str, Any]:
    """A row of numbers whose decimals may have commas."""
    return {k: v.replace(",", ".") if v else v for k, v in row.items()}


def _check_columns(file: Path, names: Sequence[str]) -> None:
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        other = [n for n in names if n.startswith(missing[0].partition("_")[0] + "_")]
        got = f"{', '.join(other) or 'none'} for {missing[0]} in {file.name}"
        rule = f"have the columns {', '.join(COLUMNS)}"
        checks.fail("DIR_OR_CSV", rule, got, "Convert and rename it.")


def _row(
    file: Path, number: int, row: Mapping[str, str], known: Mapping[str, tuple]
) -> Iterator[_Row]:
    text = row["conductance_uS"]
    if text is None or text.strip().lower() in ("", "nan"):
        return
    try:
        at = int(row["row"]), int(row["column"]), int(row["device"])
        value, time = float(text), float(row["time_s"])
        count = int(row.get("read") or 0)
    except (ValueError, TypeError) as error:
        _refuse(file, number, "hold numbers", error)
    if not (math.isfinite(value) and math.isfinite(time) and time >= 0):
        _refuse(file, number, "be finite, times of 0 s or more", f"{value}, {time} s")
    if row["tile"] not in known:
        _refuse(file, number, "name a tile of the image", repr(row["tile"])[:80])
    size = known[row["tile"]][2]
    inside = [0 <= i < n for i, n in zip(at, size, strict=True)]
    if not all(inside) or not 0 <= count < 1000:
        _refuse(file, number, f"lie in a tile of {size}", f"{at}, read {count}")
    yield row["tile"], at, value, time, count


def _refuse(file: Path, number: int, rule: str, got: object) -> None:
    checks.fail(f"{file.name}, line {number}", rule, got, "Correct this line.")
