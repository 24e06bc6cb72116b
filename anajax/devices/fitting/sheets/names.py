"""Which column of a table is what: names, units in headers, and times as columns."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from anajax._core import checks
from anajax._core.nearest import did_you_mean
from anajax.devices.fitting.sheets.text import Sheet

COLUMNS = ("cell", "target", "programmed", "time", "read")
CONDUCTANCES = ("target", "programmed", "read")
WRITE = "write"
"""A column that distinguishes the writes of a cell; it may be missing."""
UNITS = {"S": 1e6, "mS": 1e3, "uS": 1.0, "nS": 1e-3, "ohm": 1e6}
"""uS per unit; for ohm, uS times ohm."""
SECONDS = {
    "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0,
    "d": 86400.0, "day": 86400.0, "days": 86400.0, "month": 30 * 86400.0,
    "y": 365 * 86400.0,
}  # fmt: skip
"""Seconds per unit of time in headers."""
_UNIT = re.compile(r"(?P<name>.*?)\s*(?:[(\[]\s*(?P<a>[^)\]]*)[)\]]|/\s*(?P<b>\w+))")
_TIME = re.compile(
    r"(?P<head>.*?[\s_@=(\[])?(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)"
    r"\s*(?P<unit>[a-z]*)\s*[)\]]?"
)
_WHOLE = re.compile(r"(0|[1-9]\d{0,8})(\.0*)?")
_TIMED = re.compile(r"(t|time)\s*[_@=]?\s*(?=\d)", re.IGNORECASE)


def as_mapping(pairs: str | Mapping[str, str] | None) -> dict[str, str]:
    """Headers in a file for the known columns, from text such as "cell=die,read=G".

    Raises:
        ValueError: if a part is not a pair, or names an unknown column.
    """
    if isinstance(pairs, str):
        texts = [text for text in pairs.split(",") if text.strip()]
        bad = [text for text in texts if "=" not in text]
        if bad:
            rule = "be pairs NAME=COLUMN"
            checks.fail("columns", rule, repr(bad[0]), "Write cell=die,read=G.")
        pairs = dict(text.split("=", 1) for text in texts)
    found = {k.strip(): v.strip() for k, v in (pairs or {}).items()}
    for name in found:
        checks.word("columns", name, (*COLUMNS, WRITE))
    return found


def places(sheet: Sheet, given: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The headers of each known column in a table; one each, except for ids.

    Args:
        sheet: the table.
        given: headers named by the user for the known columns; "row+column" is an id
            made of two columns.

    Raises:
        ValueError: if a named header is not in the table.
    """
    plain: dict[str, str] = {}
    for header in sheet.columns:
        plain.setdefault(unit_of(header)[0].lower(), header)
    found = {n: (plain[n],) for n in (*COLUMNS, WRITE) if n in plain}
    for name, header in given.items():
        whole = header in sheet.columns or name not in ("cell", WRITE)
        parts = [header] if whole else header.split("+")
        found[name] = tuple(_known(sheet, plain, part) for part in parts)
    return found


def _known(sheet: Sheet, plain: Mapping[str, str], header: str) -> str:
    header = header.strip()
    if header in sheet.columns:
        return header
    if header.lower() in plain:
        return plain[header.lower()]
    hint = did_you_mean(header, sheet.columns)
    known = ", ".join(sheet.columns)
    checks.fail(
        "columns",
        f"name columns of {sheet.name}",
        repr(header),
        f"{hint}It has {known}.",
    )


def unit_of(header: str) -> tuple[str, str]:
    """A header without its unit, and the unit; "" if it has none.

    Units stand in brackets or behind a slash: "read (uS)", "time [h]", "G/µS".
    """
    match = _UNIT.fullmatch(header.strip())
    if match is None:
        return header.strip(), ""
    unit = (match["a"] or match["b"] or "").strip()
    unit = unit.replace("\u00b5", "u").replace("\u03bc", "u")  # micro sign, or Greek mu
    ohms = {"ohms": "ohm", "Ohm": "ohm", "\u03a9": "ohm", "\u2126": "ohm"}
    return match["name"], ohms.get(unit, unit)


def times_of(headers: Sequence[str]) -> dict[str, float]:
    """Time in s of the headers that are times: "60", "1 h", "t=3600", "G_1d"."""
    found = {}
    for header in headers:
        seconds = _seconds(header.strip())
        if seconds is not None:
            found[header] = seconds
    return found


def _seconds(header: str) -> float | None:
    match = _TIME.fullmatch(_TIMED.sub("t=", header))
    if match is None or match["unit"] not in ("", *SECONDS):
        return None
    bare = not match["unit"]
    if bare and match["head"] not in (None, "t="):
        return None  # G_1 and G_2 are no times
    return float(match["number"]) * SECONDS[match["unit"] or "s"]


def joined(sheet: Sheet, headers: Sequence[str]) -> np.ndarray:
    """A column of ids, or several combined into one; integers in order."""
    texts = [sheet.columns[name].astype(str) for name in headers]
    found = np.array(["/".join(row) for row in zip(*texts, strict=True)])
    whole = all(_WHOLE.fullmatch(text) for text in found)
    return found.astype(float) if whole else found
