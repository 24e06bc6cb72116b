"""Frozen dataclasses that are JAX pytrees: the records of anajax."""

import dataclasses
import math
from typing import Any, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import GetAttrKey

T = TypeVar("T")


def static(**kwargs: Any) -> Any:
    """A dataclass field that is structure, not data: hashable, part of the trace."""
    return dataclasses.field(metadata={"static": True}, **kwargs)


def within(low: float, high: float = math.inf, **kwargs: Any) -> Any:
    """A dataclass field whose numbers lie between `low` and `high`.

    If it holds a record, such as a curve, the values of that record lie there. A fit
    respects the bounds.
    """
    return dataclasses.field(metadata={"within": (low, high)}, **kwargs)


def inherited(**kwargs: Any) -> Any:
    """A dataclass field with the bounds of the field that holds its record."""
    return dataclasses.field(metadata={"inherited": True}, **kwargs)


@dataclass_transform(
    frozen_default=True,
    kw_only_default=True,
    field_specifiers=(dataclasses.field, static, within, inherited),
)
def pytree(cls: type[T]) -> type[T]:
    """Make `cls` a frozen keyword-only dataclass and a pytree.

    Fields made with `static()` are structure; all others are children. Python and
    NumPy numbers given to the constructor become JAX arrays, so that a record built
    from floats and one built from arrays share a trace. Unflattening skips the
    constructor: leaves may be tracers, stacked arrays or `None`, and `__post_init__`
    validates only what a user passes in.
    """
    own_check = cls.__dict__.get("__post_init__")

    def __post_init__(self: Any) -> None:
        for name in data:
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, as_leaf(value))
            except (TypeError, ValueError, OverflowError) as error:
                raise ValueError(
                    f"`{name}` must be numbers of one shape: got {value!r:.80} "
                    f"({error}). Correct it."
                ) from None
        if own_check is not None:
            own_check(self)

    cls.__post_init__ = __post_init__  # pyright: ignore[reportAttributeAccessIssue]
    cls.__pytree__ = True  # pyright: ignore[reportAttributeAccessIssue]
    cls = dataclasses.dataclass(frozen=True, kw_only=True, eq=False)(cls)
    fields = dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]
    data = tuple(f.name for f in fields if not f.metadata.get("static"))
    meta = tuple(f.name for f in fields if f.metadata.get("static"))

    def values(x: Any, names: tuple[str, ...]) -> tuple:
        return tuple(getattr(x, n) for n in names)

    def flatten_with_keys(x: Any) -> tuple:
        return tuple((GetAttrKey(n), getattr(x, n)) for n in data), values(x, meta)

    def unflatten(aux: tuple, leaves: Any) -> Any:
        x = object.__new__(cls)
        for name, value in zip(data + meta, (*leaves, *aux), strict=True):
            object.__setattr__(x, name, value)
        return x

    jax.tree_util.register_pytree_with_keys(
        cls, flatten_with_keys, unflatten, lambda x: (values(x, data), values(x, meta))
    )
    return cls


def is_pytree(cls: type) -> bool:
    """Whether a class of records was made by `pytree`."""
    return "__pytree__" in vars(cls)


def as_leaf(value: Any) -> Any:
    """Numbers, and lists or NumPy arrays of them, as floating JAX arrays."""
    if isinstance(value, np.floating | np.ndarray) and value.dtype.itemsize < 8:
        return jnp.asarray(value)
    if isinstance(value, int | float | np.ndarray | np.generic | list):
        with np.errstate(over="ignore"):  # too large a number is infinite
            return jnp.asarray(value, dtype=float)
    return value


def replace(record: T, **changes: Any) -> T:
    """A copy of `record` with the named fields changed (validated anew).

    Example:
        >>> anajax.replace(device, name="mine").name
        'mine'
    """
    return dataclasses.replace(record, **changes)  # pyright: ignore


class _Fixed:
    """A leaf that is no array, as structure: equal to another by its own rules."""

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, _Fixed) or type(self.value) is not type(other.value):
            return False
        return self.value is other.value or bool(self.value == other.value)

    def __hash__(self) -> int:
        try:
            return hash(self.value)
        except TypeError:
            return id(type(self.value))


@jax.tree_util.register_pytree_node_class
class Arrays:
    """A pytree as its arrays alone; other contents (functions, strings) are structure.

    This makes a network with such leaves a valid argument of a jitted function.
    """

    def __init__(self, tree: Any):
        leaves, treedef = jax.tree.flatten(tree)
        self._arrays = [v for v in leaves if is_array(v)]
        rest = tuple(None if is_array(v) else _Fixed(v) for v in leaves)
        self._structure = treedef, rest

    @property
    def tree(self) -> Any:
        """The pytree."""
        treedef, rest = self._structure
        arrays = iter(self._arrays)
        leaves = [next(arrays) if v is None else v.value for v in rest]
        return jax.tree.unflatten(treedef, leaves)

    def tree_flatten(self) -> tuple[list, tuple]:
        """The arrays, and everything else."""
        return self._arrays, self._structure

    @classmethod
    def tree_unflatten(cls, structure: tuple, arrays: Any) -> "Arrays":
        """The pytree of the arrays and everything else."""
        made = object.__new__(cls)
        made._arrays, made._structure = list(arrays), structure
        return made


def is_array(value: Any) -> bool:
    """Whether a leaf is an array or a NumPy number (not a Python number)."""
    return hasattr(value, "dtype") and hasattr(value, "shape")
