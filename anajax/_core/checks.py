"""Messages for bad input: the argument, the rule, the value received, the remedy."""

import dataclasses
from typing import Any, Literal, NoReturn, get_args, get_origin

import jax
import numpy as np
from jax.core import Tracer

from anajax._core.nearest import nearest


def concrete(*values: Any) -> bool:
    """Whether all leaves are concrete numbers (not tracers, not placeholders)."""
    leaves = jax.tree.leaves(values)
    return all(
        isinstance(v, np.ndarray | np.generic | int | float)
        or (isinstance(v, jax.Array) and not isinstance(v, Tracer))
        for v in leaves
    )


def fail(name: str, rule: str, got: object, remedy: str) -> NoReturn:
    """Raise a `ValueError` with the four parts of every message in anajax."""
    raise ValueError(f"`{name}` must {rule}: got {got}. {remedy}")


def numbers(name: str, value: Any) -> None:
    """Refuse anything but numbers and arrays of numbers; tracers pass."""
    try:
        if isinstance(value, str | bytes | dict | set | None):
            raise TypeError(repr(value)[:60])
        if isinstance(value, list | tuple):
            if not concrete(*value):
                jax.tree.map(lambda v: numbers(name, v), value)
                return
            value = np.asarray(value)
        if isinstance(value, np.ndarray) and value.dtype.kind not in "biufV":
            raise TypeError(f"dtype {value.dtype}")
    except (TypeError, ValueError, OverflowError) as error:
        fail(name, "be a number or an array of numbers", error, "Convert it.")


def word(name: str, value: Any, known: Any) -> None:
    """Refuse a word that is not one of the known ones: a tuple, or a `Literal`."""
    known = get_args(known) or tuple(known)
    if not isinstance(value, str) or value not in known:
        close = nearest(value, known) or known[0]
        fail(name, f"be one of {known}", repr(value), f'Use "{close}".')


def words(record: Any) -> None:
    """Refuse a dataclass with an unknown word in a field that lists its known words."""
    for field in dataclasses.fields(record):
        value, hint = getattr(record, field.name), field.type
        many = get_origin(hint) is tuple and isinstance(value, tuple)
        known = get_args(hint)[0] if get_origin(hint) is tuple else hint
        if get_origin(known) is Literal:
            for each in value if many else (value,):
                word(field.name, each, known)


def key(name: str, value: Any) -> None:
    """Refuse a seed in place of a key."""
    if isinstance(value, int | np.integer):
        fail(name, "be a key", repr(value), f"Write jax.random.key({value}).")


def function(name: str, value: Any, example: str) -> None:
    """Refuse anything that cannot be called."""
    if not callable(value):
        fail(name, "be a function", repr(value)[:60], f"Write {example}.")


def whole(name: str, value: Any, *, least: int) -> None:
    """Refuse anything but an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        fail(name, "be a whole number", repr(value), f"Give {least} or more.")
    if value < least:
        fail(name, f"be at least {least}", value, f"Give {least} or more.")


def finite(name: str, value: Any, remedy: str = "Remove NaN and infinity.") -> None:
    """Refuse NaN, infinity, empty arrays and anything but numbers; tracers pass."""
    numbers(name, value)
    if not concrete(value):
        return
    array = np.asarray(value)
    if array.size == 0:
        fail(name, "not be empty", f"shape {array.shape}", "Pass at least one value.")
    if not np.all(np.isfinite(array)):
        bad = int(np.sum(~np.isfinite(array)))
        fail(name, "be finite", f"{bad} of {array.size} NaN or infinite", remedy)


def positive(name: str, value: Any, *, strictly: bool = True) -> None:
    """Refuse values that are not (strictly) positive; tracers pass."""
    finite(name, value)
    if not concrete(value):
        return
    array = np.asarray(value)
    if np.any(array <= 0 if strictly else array < 0):
        rule = "be positive" if strictly else "not be negative"
        fail(name, rule, f"minimum {array.min():g}", f"Give a valid `{name}`.")


def increasing(name: str, value: Any) -> None:
    """Refuse sequences that do not increase strictly; tracers pass."""
    if not concrete(value):
        return
    array = np.asarray(value)
    if np.any(np.diff(array) <= 0):
        fail(name, "increase strictly", array.tolist(), "Sort, and drop duplicates.")


def times(name: str, value: Any) -> None:
    """Times in s since the first read: several, finite, not negative, increasing."""
    in_seconds(name, value)
    if not isinstance(value, list | tuple) and np.ndim(value) == 0:
        fail(name, "be a list of times in s", value, f"Write {name}=[{value}].")
    positive(name, value, strictly=False)
    increasing(name, value)


def time(name: str, value: Any) -> None:
    """One time in s since the first read: finite and not negative."""
    in_seconds(name, value)
    several = isinstance(value, list | tuple)
    if several or np.ndim(value):
        fail(
            name,
            "be one time in s",
            f"{value!r:.60}" if several else f"shape {np.shape(value)}",
            f"Map over it, jax.vmap(lambda {name}: ...)(times), or use evaluate, "
            "which takes times=[...].",
        )
    positive(name, value, strictly=False)


def in_seconds(name: str, value: Any) -> None:
    """Refuse times as text: they must be in s."""
    texts = value if isinstance(value, list | tuple) else [value]
    for text in texts:
        if isinstance(text, str | bytes):
            fail(name, "be in seconds", repr(text), "Write 30 * 86400.0 for a month.")
