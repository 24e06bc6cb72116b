"""Units: times as people write them ("1 s", "30 d", "1 y"), and units in records."""

import re
from typing import Any

DAY = 86400.0
"""One day, s."""
YEAR = 365.25 * DAY
"""One Julian year, s."""

UNITS = {
    "s": 1.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "week": 7 * 86400.0,
    "month": 30 * 86400.0,
    "y": 365 * 86400.0,
}
"""Seconds of each unit; a month is 30 days, a year 365."""

_ALIASES = {
    "second": "s",
    "minute": "min",
    "hour": "h",
    "day": "d",
    "year": "y",
}


def parse_duration(value: object) -> float:
    """Seconds from a number (of seconds) or from a text such as "1 h" or "30 d".

    Raises:
        ValueError: if it is neither, or has an unknown unit; the message continues
            after the name of the key.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    match = re.fullmatch(r"\s*([0-9.eE+-]+)\s*([A-Za-z]+)\s*", str(value))
    if isinstance(value, str) and match is not None:
        unit = _unit(match[2])
        number = _number(match[1])
        if unit is not None and number is not None:
            return number * UNITS[unit]
    raise ValueError(
        f"must be a time in seconds or with a unit: got {value!r}. "
        f'Units: {", ".join(UNITS)}; for example "30 d".'
    )


def human(seconds: float) -> str:
    """A text in the largest exact unit, or with three digits: "1 month"."""
    for unit, size in reversed(UNITS.items()):
        count = seconds / size
        if 1 <= count < 1000 and abs(count - round(count)) < 1e-6 * count:
            return f"{round(count)} {unit}"
    fitting = [u for u, size in UNITS.items() if seconds >= size] or ["s"]
    return f"{seconds / UNITS[fitting[-1]]:.3g} {fitting[-1]}"


def _unit(name: str) -> str | None:
    for candidate in (name, name.lower(), name.lower().rstrip("s")):
        known = _ALIASES.get(candidate, candidate)
        if known in UNITS:
            return known
    return None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def unit_at(record: Any, path: str) -> str:
    """Unit of a number in a record, by its path; empty if it has none or none is known.

    A class states the units of its fields as `UNITS`. What is inside a field, such as
    the coefficients of a curve, has the unit of that field unless its class states
    another.
    """
    unit = ""
    for name in path.split("/"):
        unit = getattr(type(record), "UNITS", {}).get(name, unit)
        record = getattr(record, name, None)
    return unit


def counted(count: int, noun: str) -> str:
    """A number of things in words, such as "1 chip" or "3 chips"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
