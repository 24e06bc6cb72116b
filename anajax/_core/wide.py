"""Layout of cells for vector units: long last axes."""

from typing import Any

import jax
import jax.numpy as jnp

FEW = 16
"""Largest number of devices per weight that are laid out beside its columns."""


def wide(tree: Any, shape: tuple[int, ...]) -> Any:
    """Arrays over cells, with the devices of a weight moved beside its columns.

    Args:
        tree: pytree; arrays whose leading axes are `shape` change, others stay.
        shape: shape of the cells.
    """
    return _reshaped(tree, shape, _wide(shape))


def narrow(tree: Any, shape: tuple[int, ...]) -> Any:
    """The inverse of `wide`: arrays in the shape of the cells."""
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
