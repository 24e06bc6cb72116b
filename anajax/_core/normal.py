"""Standard normals from 16 random bits each, for noise that trains a network."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from scipy.special import ndtri

from anajax._core.types import JArray, PRNGKey

LEVELS = 2**16
"""Values that can be drawn, each as often as every other."""


def normal16(key: PRNGKey, shape: Sequence[int], dtype: Any = float) -> JArray:
    """Independent standard normals, rounded to 2^16 equally likely values.

    The line is cut into cells of equal probability, and each cell stands for the root
    mean square within it: the mean is exactly 0 and the variance exactly 1, the fourth
    moment is 2.9999 (3) and the sixth 14.993 (15). The largest value is 4.39. Two are
    made of one random word by a table, in half the time of `jax.random.normal` on a
    CPU. For tails beyond 4 deviations take `jax.random.normal`.

    Args:
        key: consumed.
        shape: of the result.
        dtype: of the result.
    """
    size = math.prod(shape)
    words = jr.bits(key, (-(-size // 2),), jnp.uint32)
    words = jax.lax.optimization_barrier(words)  # or each half draws its own
    index = jnp.concatenate([words & (LEVELS - 1), words >> 16])[:size]
    table = jnp.asarray(levels(), dtype)
    drawn = table.at[index.astype(jnp.int32)].get(mode="promise_in_bounds")
    return drawn.reshape(shape)


@functools.cache
def levels() -> np.ndarray:
    """The values `[2^16]` that `normal16` draws, increasing."""
    upper = ndtri(np.arange(LEVELS // 2, LEVELS) / LEVELS)  # lower edge of each cell
    below = np.append(np.arange(LEVELS // 2, LEVELS) / LEVELS - _moment(upper), 1.0)
    positive = np.sqrt(np.diff(below) * LEVELS)
    return np.concatenate([-positive[::-1], positive])


def _moment(z: np.ndarray) -> np.ndarray:
    """Phi(z) less the integral of t^2 phi(t) up to `z`: z phi(z)."""
    return z * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
