"""The known name that a mistyped one is nearest to."""

import difflib
from collections.abc import Iterable


def nearest(name: object, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The known name most like `name`, small or capital letters alike; "" if none is.

    Args:
        name: what was given.
        known: names that there are.
        cutoff: how alike they must be, 0 to 1.
    """
    by_small: dict[str, str] = {}
    for each in known:
        by_small.setdefault(each.lower(), each)
    small = str(name).lower()
    close = difflib.get_close_matches(small, list(by_small), n=1, cutoff=cutoff)
    return by_small[close[0]] if close else ""


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The question whether the nearest known name was meant; "" if none is near."""
    close = nearest(name, known)
    return f"Did you mean {close!r}? " if close else ""
