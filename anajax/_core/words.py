"""Keys whose draws use every random word: the threefry2x32 cipher with 20 rounds.

Each run of the cipher turns a counter into two words. The keys of `jax.random.key`
combine them into one number; these use both, with the same seeds, folds and splits.
Source: Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.extend.random as extend
import jax.numpy as jnp
import numpy as np
from jax import lax

from anajax._core.types import JArray

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA
ROUNDS = 20
MIXED = 4
"""Number of rounds between two uses of the key."""


@jax.jit
def cipher(key: JArray, first: JArray, second: JArray) -> tuple[JArray, JArray]:
    """Two random words for each counter.

    Args:
        key: uint32 `[2]`.
        first: one word of the counters, uint32.
        second: the other word, with a shape that broadcasts against it.
    """
    a, b = key
    keys = (a, b, a ^ b ^ np.uint32(PARITY))
    first, second = first + keys[0], second + keys[1]
    for turn in range(ROUNDS // MIXED):
        for rotation in ROTATIONS[turn % 2]:
            first = first + second
            second = _rotated(second, rotation) ^ first
        first = first + keys[(turn + 1) % 3]
        second = second + (keys[(turn + 2) % 3] + np.uint32(turn + 1))
    return first, second


def words(key: JArray, shape: Sequence[int]) -> JArray:
    """Random words uint32 of a shape; rows 2 i and 2 i + 1 share the counters (i, j).

    A row is the last axis; with a single axis, its two halves are the rows. Pairs of
    rows stay together if arrays are split over devices.
    """
    rows, columns = math.prod(shape[:-1]), shape[-1] if shape else 1
    one = rows == 1
    pairs, columns = (1, -(-columns // 2)) if one else (-(-rows // 2), columns)
    counters = (lax.broadcasted_iota(jnp.uint32, (pairs, columns), i) for i in (0, 1))
    two = lax.optimization_barrier(cipher(key, *counters))  # or each is made twice
    every = jnp.stack(two, 1).reshape(2 * pairs, columns)
    return (every.ravel()[: math.prod(shape)] if one else every[:rows]).reshape(shape)


def bits(key: JArray, width: int, shape: Sequence[int]) -> JArray:
    """Random bits, 8, 16, 32 or 64 per number, from the words of a key."""
    if width == 64:
        two = words(key, (2, *shape)).astype(jnp.uint64)
        return two[0] << np.uint64(32) | two[1]
    return words(key, shape).astype(f"uint{width}")


def _rotated(word: JArray, by: int) -> JArray:
    return (word << np.uint32(by)) | (word >> np.uint32(32 - by))


_JAX: Any = extend.threefry_prng_impl
FAST: Any = extend.define_prng_impl(
    key_shape=(2,),
    seed=_JAX.seed,
    split=_JAX.split,
    fold_in=_JAX.fold_in,
    random_bits=bits,
    name="anajax_threefry2x32",
    tag="ana",
)
"""The implementation, for `jax.random.key(seed, impl=FAST)`."""
