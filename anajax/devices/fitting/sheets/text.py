"""Tables in text files: encoding, comments, separators, the header."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anajax._core import checks

ENDINGS = (".csv", ".tsv", ".txt", ".dat")
SEPARATORS = (";", "\t", ",")
"""Tried in this order: a file with decimal commas has semicolons or tabs."""
EMPTY = ("", "-", "--", "n/a", "na", "nan", "none", "null", "nil", "?")
"""Entries that mean "not measured", in lower case."""
_COMMENT = ("#", "%", "//")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Sheet:
    """Columns of a table before any interpretation."""

    name: str
    """Name of the file."""
    columns: dict[str, np.ndarray]
    """Texts or numbers, by header."""
    lines: np.ndarray
    """Line number of each row in the file, from 1."""
    notes: tuple[str, ...] = ()
    """What was left out, one sentence each."""


def read_text(path: Path) -> Sheet:
    """The columns of a text file, as texts.

    Lines that begin with #, % or // are comments; without another header, the last one
    before the rows is the header. Columns are separated by semicolons, tabs, commas, or
    spaces. Headers repeated further down are skipped.

    Raises:
        ValueError: if there are no rows, no header or a duplicate name in it, or a row
            has more entries than the header.
    """
    lines = _decoded(path).splitlines()
    numbered = [(i, line) for i, line in enumerate(lines, 1) if line.strip()]
    rows = [(i, line) for i, line in numbered if not _is_comment(line)]
    if not rows:
        checks.fail(str(path), "have data rows", "none", "Add one row for each read.")
    before = [line for i, line in numbered if i < rows[0][0]]
    separator = _separator([line for _, line in rows[:20]])
    cells = [(i, _split(line, separator)) for i, line in rows]
    header, cells = _header(path, cells, [_split(_bare(c), separator) for c in before])
    wrong = next((i for i, row in cells if len(_trimmed(row)) > len(header)), None)
    if wrong is not None:
        checks.fail(
            str(path),
            f"have {len(header)} entries per row, like its header",
            f"more in line {wrong}",
            "Separate columns by semicolons if decimals have commas.",
        )
    again = [row for row in cells if row[1][: len(header)] != header]
    if not again:
        checks.fail(str(path), "have data rows", "none", "Add one row for each read.")
    full = [row + [""] * (len(header) - len(row)) for _, row in again]
    columns = {n: np.array([r[k] for r in full]) for k, n in enumerate(header) if n}
    left = len(cells) - len(again)
    notes = (f"Left out {counted(left, 'repeated header')}.",) * bool(left)
    return Sheet(path.name, columns, np.array([i for i, _ in again]), notes)


def numbers(sheet: Sheet, name: str) -> np.ndarray:
    """A column as numbers; NaN where it is empty.

    Raises:
        ValueError: for an entry that is neither; the message names line and column.
    """
    values = sheet.columns[name]
    if values.dtype.kind in "iufb":
        return values.astype(float)
    texts = [str(v).strip() for v in values]
    return np.array(
        [_number(sheet, i, name, text) for i, text in enumerate(texts)], float
    )


def counted(number: int, noun: str) -> str:
    """A number of things, in words."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def is_empty(text: object) -> bool:
    """Whether an entry means "not measured"."""
    return str(text).strip().lower() in EMPTY


def _number(sheet: Sheet, row: int, column: str, text: str) -> float:
    if is_empty(text):
        return float("nan")
    plain = text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text) else text
    try:
        return float(plain)
    except ValueError:
        raise ValueError(
            f"`{sheet.name}` must hold numbers: line {sheet.lines[row]}, column "
            f"{column!r} has {text!r}. Correct the entry, or leave it empty."
        ) from None


def _decoded(path: Path) -> str:
    content = path.read_bytes()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encodings = ["utf-16"]
    else:
        encodings = ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    checks.fail(str(path), "be text", "something else", "Export the table as CSV.")


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith(_COMMENT)


def _bare(line: str) -> str:
    """A line without what makes it a comment."""
    return line.strip().lstrip("#%/").strip()


def _separator(lines: list[str]) -> str | None:
    """What stands between columns; None for spaces."""
    for separator in SEPARATORS:
        if all(separator in line for line in lines):
            return separator
    return next((s for s in SEPARATORS if s in lines[0]), None)


def _split(line: str, separator: str | None) -> list[str]:
    if separator is None:
        return re.sub(r"\s+([(\[])", r"\1", line).split()  # time (s) is one name
    (found,) = csv.reader([line], delimiter=separator, skipinitialspace=True)
    return [entry.strip() for entry in found]


def _trimmed(row: list[str]) -> list[str]:
    """A row without empty entries behind the last one."""
    while row and not row[-1]:
        row = row[:-1]
    return row


_Rows = list[tuple[int, list[str]]]


def _header(
    path: Path, rows: _Rows, comments: list[list[str]]
) -> tuple[list[str], _Rows]:
    """The names of the columns, and the rows below them."""
    first = _trimmed(rows[0][1])
    if not _holds_reads(rows):
        header, rows = first, rows[1:]
    elif comments and len(comments[-1]) >= len(first):
        header = comments[-1]
    else:
        checks.fail(
            str(path),
            "have a header",
            f"numbers in line {rows[0][0]}",
            "Name the columns in the first line: cell, target, programmed, time, read.",
        )
    twice = sorted({n for n in header if n and header.count(n) > 1})
    if twice:
        checks.fail(str(path), "name each column once", f"{twice} twice", "Rename one.")
    return header, rows


def _holds_reads(rows: _Rows) -> bool:
    """Whether the first row holds numbers wherever the second does."""
    first = [bool(_NUMBER.fullmatch(entry)) for entry in rows[0][1]]
    if len(rows) < 2:
        return sum(first) > 1
    pairs = zip(rows[0][1], rows[1][1], strict=False)
    names = [a for a, b in pairs if _NUMBER.fullmatch(b) and not is_empty(a)]
    return any(first[1:]) and all(_NUMBER.fullmatch(name) for name in names)
