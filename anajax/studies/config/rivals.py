"""Candidates of a way that chooses among other ways."""

from collections.abc import Sequence

from anajax.studies.config.sections import one_of
from anajax.studies.ways.base import DIGITAL, Way
from anajax.studies.ways.catalog import ways
from anajax.studies.ways.recommended import Recommended

CANDIDATES = ("lsp_first_tuned", "optimized", "targets")
"""Candidates of `recommended` in a study that names no other ways."""


def rivals(way: Recommended, every: Sequence[Way]) -> list[Way]:
    """The candidates of a way, by default all others that are programmed on chips.

    Args:
        way: the way that chooses.
        every: all ways of its study.

    Raises:
        ValueError: for an unknown name, a way that is not programmed on chips or
            chooses itself, or a label that another way has.
    """
    there = {other.title: other for other in every if _is_rival(other)}
    if way.among is None:
        return list(there.values()) or [_default(name) for name in CANDIDATES]
    found = [_named(entry, there) for entry in way.among]
    titles = [other.title for other in found]
    if len(set(titles)) < len(titles):
        _fail("have distinct labels", str(titles))
    return found


def _is_rival(way: Way) -> bool:
    return way.family != DIGITAL and not isinstance(way, Recommended)


def _named(entry: str | Way, there: dict[str, Way]) -> Way:
    """A way of the study by its label, or another by its name or its section."""
    if isinstance(entry, str):
        if entry not in there:
            known = dict.fromkeys([*there, *ways()])
            one_of(entry, known, what="have a `recommended.among` of known names")
        way = there[entry] if entry in there else _default(entry)
    else:
        way = entry
    if not _is_rival(way):
        _fail("be ways that put weights on chips by themselves", way.title)
    if there.get(way.title, way) != way:
        _fail("have labels that no other way has", way.title)
    return way


def _fail(rule: str, got: str) -> None:
    raise ValueError(f"`recommended.among` must {rule}: got {got}. Change it.")


def _default(name: str) -> Way:
    return ways()[name]()  # pyright: ignore[reportCallIssue]
