"""The known name closest to a mistyped one."""

import difflib
from collections.abc import Iterable


def nearest(name: object, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The known name most similar to `name`, ignoring case; "" if none is similar.

    Args:
        name: the given name.
        known: known names.
        cutoff: required similarity, 0 to 1.
    """
    by_small: dict[str, str] = {}
    for each in known:
        by_small.setdefault(each.lower(), each)
    small = str(name).lower()
    close = difflib.get_close_matches(small, list(by_small), n=1, cutoff=cutoff)
    return by_small[close[0]] if close else ""


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The question whether the closest known name was meant; "" if none is close."""
    close = nearest(name, known)
    return f"Did you mean {close!r}? " if close else ""
