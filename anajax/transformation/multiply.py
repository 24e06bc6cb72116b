"""Products on tiles: a matrix or a convolution, its periphery, weights or cells."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from anajax import crossbar, rng
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
from anajax.rng import FirstRead, Stage, normal_apart, stream, streams
from anajax.transformation.products import Convolution, Dot
from anajax.transformation.rules import Rule


class Held(NamedTuple):
    """At run time: weights held by the cells of a chip; all arrays of one shape."""

    value: JArray
    """The trained weights, for operations that are not done on tiles."""
    parts: tuple[JArray, ...]
    """The weights of the chip as parts, each with its own ADC conversion."""
    variance: tuple[JArray, ...]
    """Read-noise variance of each part, drawn for each product; or None."""
    offset: JArray | None
    """Constant subtracted digitally."""
    factor: JArray | None
    """Digital factor of drift compensation."""


def tiles_of(
    rule: "Rule | How", w: JArray | Held, digital: JArray | None = None
) -> crossbar.Tiles:
    """The tiles of a matrix `[in, out]`; for a chip, with the factors of its parts."""
    if not isinstance(w, Held):
        return crossbar.from_weights(w, rule.tiles, normalize=rule.normalize)
    return crossbar.from_groups(
        jnp.stack(w.parts, -1),
        rule.tiles,
        digital=np.ones(len(w.parts)) if digital is None else digital,
        normalize=rule.normalize,
        variance=jnp.stack(w.variance, -1) if w.variance else None,
    )


class How(NamedTuple):
    """What sites with the same product share: they also share a trace."""

    form: Dot | Convolution
    rows: int | None
    columns: int | None
    normalize: Scaling
    patches: int

    @property
    def tiles(self) -> TileRule:
        """The largest tile."""
        return TileRule(rows=self.rows, columns=self.columns)


@functools.partial(jax.jit, static_argnums=0)
def multiply(
    how: How,
    io: IO,
    x: JArray,
    w: JArray | Held,
    key: PRNGKey | FirstRead | None,
    digital: JArray | None,
) -> JArray:
    """The product of a site on tiles.

    Args:
        how: the product and its tiles.
        io: the periphery.
        x: the activation.
        w: the weight, or the cells that hold it.
        key: key of the noise.
        digital: factors after the ADCs of the parts of a weight on a chip.
    """

    def product(x: JArray, w: Any, part: Any) -> tuple[JArray, None]:
        own = key if part is None else of_part(key, part)
        return _in_groups(how, io, x, w, own, digital), None

    form = how.form
    if isinstance(form, Convolution) and not isinstance(w, Held):
        if fits(form, how.tiles, io):
            return _convolved(form, how.tiles, how.normalize, io, x, w, key)
    return form.run(x, w, product, how.patches)[0]


def of_part(key: PRNGKey | FirstRead | None, part: JArray | int) -> PRNGKey | None:
    """The key of a part of a batch."""
    key = key.key if isinstance(key, FirstRead) else key
    return None if key is None else jr.fold_in(rng.path_key(key, "part"), part)


def _in_groups(
    how: How,
    io: IO,
    x: JArray,
    w: JArray | Held,
    key: PRNGKey | None,
    digital: JArray | None,
) -> JArray:
    """Products `[groups batch out]` of vectors `[groups batch in]` with matrices."""

    def one(x: JArray, w: JArray | Held, key: PRNGKey | None) -> JArray:
        tiles = tiles_of(how, w, digital)
        if isinstance(w, Held) and w.factor is not None:
            tiles = crossbar.rescale(tiles, crossbar.of_tiles(w.factor, how.tiles))
        y = crossbar.mvm(tiles, x, io, key=key)
        if not isinstance(w, Held) or w.offset is None:
            return y
        offset = crossbar.from_weights(w.offset, how.tiles)
        return y - crossbar.mvm(offset, x, inputs_alone(io))

    if x.shape[0] == 1:
        return one(x[0], jax.tree.map(lambda a: a[0], w), key)[None]
    numbers = jnp.arange(x.shape[0])
    keys = None if key is None else rng.streams(key, rng.Stage.TILE, numbers)
    return jax.vmap(one)(x, w, keys)


def no_periphery(io: IO) -> bool:
    """Whether a product with this periphery equals the digital one, for any tiles."""
    kinds = (NoScaling, Ideal, NoNoise, NoNoise, Ideal, NoIRDrop)
    parts = (io.scaling, io.dac, io.weight_noise, io.noise, io.adc, io.drop)
    return all(map(isinstance, parts, kinds))


def inputs_alone(io: IO) -> IO:
    """The periphery for the input alone: no noise, no ADC."""
    return IO(scaling=io.scaling, dac=io.dac, slicing=io.slicing)


# --- convolutions without unfolding -------------------------------------------------

ANYWHERE = (WholeInput, NoNoise, NoBoundManagement, NoIRDrop)


def fits(form: Convolution, tiles: TileRule, io: IO) -> bool:
    """Whether a convolution gives the column sums of this product.

    This is so if an input is converted equally in all windows (one scale for all) and a
    kernel fits into one row of tiles. Then no number is copied for each window, and far
    fewer operations are compiled.
    """
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


def _convolved(
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
        return normal_apart(stream(key, Stage.PRODUCT), shape, sums.dtype)

    if key is None:
        no_key()
    if groups == 1:
        return one(key).reshape(sums.shape)
    drawn = jax.vmap(one)(streams(key, Stage.TILE, jnp.arange(groups)))
    return jnp.moveaxis(drawn, 0, 3).reshape(sums.shape)
