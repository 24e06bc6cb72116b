"""Cells laid out for the vectors of a processor: long last axes."""

from typing import Any

import jax
import jax.numpy as jnp

FEW = 16
"""Devices of a weight, at most, that are laid beside its columns."""


def wide(tree: Any, shape: tuple[int, ...]) -> Any:
    """What cells of a shape hold, with the devices of a weight beside its columns.

    Args:
        tree: pytree; arrays whose first axes are `shape` change, others stay.
        shape: of the cells.
    """
    return _reshaped(tree, shape, _wide(shape))


def narrow(tree: Any, shape: tuple[int, ...]) -> Any:
    """What `wide` has laid out in the shape of the cells again."""
    return _reshaped(tree, _wide(shape), shape)


def _wide(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) < 2 or shape[-1] > FEW:
        return shape
    return (*shape[:-2], shape[-2] * shape[-1])


def _reshaped(tree: Any, old: tuple[int, ...], new: tuple[int, ...]) -> Any:
    def one(value: Any) -> Any:
        own, more = jnp.shape(value)[: len(old)], jnp.shape(value)[len(old) :]
        return jnp.reshape(value, (*new, *more)) if own == old else value

    return tree if old == new else jax.tree.map(one, tree)
