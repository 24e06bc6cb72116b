"""Convolutions on tiles without unfolding their windows.

Where an input is converted alike in all windows (one scale for all) and a kernel takes
one row of tiles, column sums are the convolution of the converted input: no copy of
each number for each window, and far fewer operations to compile.
"""

import jax
import jax.numpy as jnp

from anajax._core.types import JArray, PRNGKey
from anajax.crossbar.converters import (
    Clip,
    ContinuousBits,
    Ideal,
    SelfRanging,
    Uniform,
    warn_narrow,
    wide,
)
from anajax.crossbar.periphery import (
    IO,
    ConstantScale,
    LearnedRange,
    NoBoundManagement,
    NoIRDrop,
    NoNoise,
    NoScaling,
    OutputNoise,
    WholeInput,
)
from anajax.crossbar.product import no_key
from anajax.crossbar.tiling import Scaling, TileRule
from anajax.rng import FirstRead, Stage, normal, stream, streams
from anajax.transformation.products import Convolution

ANYWHERE = (WholeInput, NoNoise, NoBoundManagement, NoIRDrop)


def fits(form: Convolution, tiles: TileRule, io: IO) -> bool:
    """Whether a convolution gives the column sums of this product."""
    rows, columns = tiles.parts(*form.sizes[1:])
    parts = (io.slicing, io.weight_noise, io.bounds, io.drop)
    alike = _one_for_all(io.scaling) and _one_for_all(io.dac) and _one_for_all(io.adc)
    even = len(rows) == 1 and min(columns) == max(columns)
    return even and alike and all(map(isinstance, parts, ANYWHERE))


def _one_for_all(part: object) -> bool:
    """Whether a scaling or converter has one number for all inputs and columns."""
    if isinstance(part, NoScaling | Ideal | SelfRanging):
        return True
    numbered = ConstantScale | LearnedRange | Uniform | Clip | ContinuousBits
    if not isinstance(part, numbered):
        return False
    return all(jnp.ndim(leaf) == 0 for leaf in jax.tree.leaves(part))


def convolved(
    form: Convolution,
    tiles: TileRule,
    normalize: Scaling,
    io: IO,
    x: JArray,
    w: JArray,
    key: PRNGKey | FirstRead | None,
) -> JArray:
    """The product through the periphery, as `crossbar.mvm` gives it for each window."""
    dtype = x.dtype
    warn_narrow(io.adc, dtype)
    x, w = wide(x), wide(w)
    count = form.sizes[0] * len(tiles.parts(*form.sizes[1:])[1])  # of column tiles
    largest = _largest(form, w, count, normalize)
    if largest is not None:
        shape = [largest.size if i == form.w_order[0] else 1 for i in range(w.ndim)]
        w = w / largest.reshape(shape)
    scale = io.scaling.scale(x)
    y = form.convolve(io.dac(x / scale), w)
    whole = y.shape
    sums = y.reshape(1, 1, -1, count, whole[-1] // count, 1)
    if isinstance(io.noise, OutputNoise):
        sd = jnp.asarray(io.noise.sd, sums.dtype)
        sums = sums + sd * _draw(form.sizes[0], sums, key)
    y = io.adc(sums).reshape(whole) * scale.reshape(())
    y = y if largest is None else y * largest
    return form.ordered(y).astype(dtype)


def _largest(
    form: Convolution, w: JArray, count: int, normalize: Scaling
) -> JArray | None:
    """What each output channel is divided by."""
    if normalize == "none":
        return None
    axes = tuple(i for i in range(w.ndim) if i != form.w_order[0])
    largest = jnp.max(jnp.abs(jax.lax.stop_gradient(w)), axis=axes)
    if normalize == "array":
        each = jnp.max(largest.reshape(count, -1), axis=1, keepdims=True)
        largest = jnp.broadcast_to(each, (count, largest.size // count)).ravel()
    return jnp.where(largest > 0, largest, 1)


def _draw(groups: int, sums: JArray, key: PRNGKey | FirstRead | None) -> JArray:
    """The normals that `crossbar.mvm` draws for the groups of channels."""
    _, _, vectors, count, columns, _ = sums.shape
    shape = 1, 1, vectors, count // groups, columns

    def one(key: PRNGKey | FirstRead) -> JArray:
        return normal(stream(key, Stage.PRODUCT), shape, sums.dtype)

    if key is None:
        no_key()
    if groups == 1:
        return one(key).reshape(sums.shape)
    drawn = jax.vmap(one)(streams(key, Stage.TILE, jnp.arange(groups)))
    return jnp.moveaxis(drawn, 0, 3).reshape(sums.shape)
