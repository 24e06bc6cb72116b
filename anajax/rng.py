"""Random keys by name: chip, layer, stage; the order never matters.

Every draw in anajax uses a key that was reached by *names*: the stage
(`Stage.PROGRAM`), the index of the chip, the path of the layer. Inserting a layer does
not change another layer's noise; chip 7 of 8 is the same as chip 7 of 64; chunked,
sharded and whole runs agree bit for bit. The only tool is `jax.random.fold_in`; `split`
is not used on the same keys, because `fold_in(key, i)` equals `split(key, n)[i]`.
"""

import enum
import operator
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from anajax._core import checks
from anajax._core.normal import normal as normal
from anajax._core.normal import normal_apart as normal_apart
from anajax._core.types import Array, PRNGKey
from anajax._core.words import FAST


class Stage(enum.IntEnum):
    """The named streams. A number is never reused."""

    PROGRAM = 1
    """Programming error, fresh at each programming of a chip."""
    FREEZE = 2
    """Device-to-device parameters of a cell, drawn at programming (drift exponent)."""
    READ = 3
    """Read noise, fresh at each read."""
    FAULT = 4
    """Stuck cells and dead lines, fixed for a chip."""
    SPREAD = 5
    """Device-to-device spread of parameters, fixed for a chip."""
    CHIP = 6
    """Index of a chip."""
    TIME = 7
    """Index (not the value) of a time in a list of times."""
    TILE = 8
    """Index of a tile within a layer."""
    PRODUCT = 9
    """Noise at the product: output noise, read noise referred to the output."""
    DATA = 10
    """Shuffling and augmentation of data."""
    INIT = 11
    """Initial parameters and starting points of optimizers."""
    TRAIN = 12
    """Index of a training step."""
    RECALIBRATE = 13
    """Index of a read-out that measures drift compensation."""
    LAYER = 14
    """Index of a layer within a stack of layers."""


def key(seed: int | Array) -> PRNGKey:
    """The key of a seed, for draws several times faster than with `jax.random.key`.

    It folds, splits and maps like any jax key, and all functions accept both. The
    random bits of a key are the same on every platform and number of devices.

    Args:
        seed: an integer.

    Example:
        >>> key = anajax.key(0)
        >>> noisy = anajax.perturb(params, device, strategy, t=86400.0, key=key)
    """
    return jr.key(seed, impl=FAST)


def stream(key: PRNGKey, stage: Stage, index: int | Array = 0) -> PRNGKey:
    """The key of a named stream, and of its member `index`.

    Args:
        key: parent key; may be used for other streams as well, but not for a draw.
        stage: name of the stream.
        index: an integer, or an integer array under a trace. Floats are refused, since
            `fold_in` would silently truncate them: pass the *index* of a time.

    Returns:
        A key to be used for one draw, or as the parent of further streams.

    Raises:
        TypeError: if `index` is not an integer.
        ValueError: if `key` is a seed.
    """
    if isinstance(key, FirstRead):
        if stage is Stage.PRODUCT and isinstance(index, int) and index == 0:
            return key.product
        key = key.key
    checks.key("key", key)
    return jr.fold_in(jr.fold_in(key, int(stage)), _check_index(index))


class FirstRead(NamedTuple):
    """A key, and the stream of its first product, computed for many keys at once.

    Deriving a key is a loop of its own in compiled code; one loop for all compiles
    once.
    """

    key: PRNGKey
    product: PRNGKey
    """`stream(key, Stage.PRODUCT, 0)`."""


def path_keys(key: PRNGKey | None, paths: Sequence[str]) -> dict[str, FirstRead]:
    """`path_key(key, path)` of each path in one computation; none without a key."""
    if key is None or not paths:
        return {}
    numbers = np.array([zlib.crc32(path.encode()) for path in paths], np.uint32)
    keys = jax.vmap(lambda n: jr.fold_in(key, n))(numbers)
    products = jax.vmap(lambda k: stream(k, Stage.PRODUCT))(keys)
    return {p: FirstRead(keys[i], products[i]) for i, p in enumerate(paths)}


def streams(key: PRNGKey, stage: Stage, indices: Sequence[int] | Array) -> PRNGKey:
    """Keys `[n]` of the members `indices [n]` of a stream."""
    return jax.vmap(lambda i: stream(key, stage, i))(jnp.asarray(indices))


def path_key(key: PRNGKey, path: Sequence[object] | str) -> PRNGKey:
    """The key of a path of names such as `("encoder", 0, "kernel")`."""
    name = path if isinstance(path, str) else "/".join(map(str, path))
    return jr.fold_in(key, zlib.crc32(name.encode()))


def _check_index(index: int | Array) -> int | Array:
    if isinstance(index, jax.Array | np.ndarray):
        if not jnp.issubdtype(index.dtype, jnp.integer):
            raise TypeError(
                f"`index` must be an integer: got dtype {index.dtype}. Fold in the "
                "index of a time or value, not the value itself."
            )
        return index
    try:
        return operator.index(index)
    except TypeError:
        raise TypeError(
            f"`index` must be an integer: got {index!r}. Fold in the index of a time "
            "or value, not the value itself."
        ) from None
