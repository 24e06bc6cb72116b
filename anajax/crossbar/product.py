"""Products of vectors with matrices on tiles, through the periphery.

Each tile scales its part of the input, converts it with its DAC, sums currents, and
converts each column with its ADC; the digital side undoes the scales and adds the parts
and the bias. Padding of smaller tiles adds nothing to a sum and has no noise.

    tiles = from_weights(w, TileRule(rows=512, columns=512), bias=b)
    y = mvm(tiles, x, periphery.standard(), key=key)

Cells with several devices are passed as conductances `[in, out, devices]` to
`from_planes`. All functions are pure; `mvm` works under `jit`, `grad`, `vmap`, `scan`.
Products are computed in single precision or higher and rounded to the type of the
inputs at the end: inputs of type bfloat16 see all codes of an ADC, but results have
only 8 bits.
"""

import math
from typing import NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from anajax._core import checks
from anajax._core.types import Any, Float, JArray, PRNGKey
from anajax.crossbar.converters import warn_narrow, wide
from anajax.crossbar.periphery import (
    IO,
    BoundManagement,
    IRDrop,
    OutputNoise,
    WeightNoise,
)
from anajax.crossbar.split import even_parts, join, split_axis
from anajax.crossbar.tiling import TileRule as TileRule
from anajax.crossbar.tiling import Tiles as Tiles
from anajax.crossbar.tiling import from_planes as from_planes
from anajax.crossbar.tiling import from_weights as from_weights
from anajax.crossbar.tiling import rescale as rescale
from anajax.crossbar.tiling import through_wires as through_wires
from anajax.crossbar.tiling import weights as weights
from anajax.rng import Stage, normal_apart, stream


def mvm(
    tiles: Tiles,
    x: Float[JArray, "*batch rows"],
    io: IO = IO(),  # noqa: B008
    *,
    key: PRNGKey | None = None,
) -> Float[JArray, "*batch columns"]:
    """The product x @ weights(tiles) + bias, through the periphery.

    Noise is drawn for every vector of the batch, and for every `key`; pass vectors as a
    batch instead of using `vmap` with one key. A NaN or an infinity in `x` is refused
    outside of traces; under `jit`, a NaN makes the whole result of its vector NaN and
    does not affect the others.

    Args:
        tiles: the matrix.
        x: input vectors, any number of leading axes.
        io: the periphery.
        key: required if `io` or `tiles` have noise, otherwise ignored.

    Raises:
        ValueError: if `x` does not fit or (outside of traces) is not finite, or if
            there is noise and no key.
    """
    dtype = _result_type(tiles, x)
    warn_narrow(io.adc, dtype)
    tiles = jax.tree.map(wide, tiles)
    y = join(_add(_partial(tiles, x, io, key)), tiles.columns, axis=1)
    y = y.reshape(*x.shape[:-1], tiles.columns)
    y = y if tiles.bias is None else y + tiles.bias
    return y.astype(dtype)


def partial_sums(
    tiles: Tiles,
    x: Float[JArray, "batch rows"],
    io: IO = IO(),  # noqa: B008
    *,
    key: PRNGKey | None = None,
) -> Float[JArray, "batch t k c"]:
    """The terms that `mvm` adds up: each tile's scaled result, without bias."""
    parts = _partial(jax.tree.map(wide, tiles), x, io, key)
    return jnp.moveaxis(parts, 0, 1).astype(_result_type(tiles, x))


def column_sums(
    tiles: Tiles,
    x: Float[JArray, "batch rows"],
    io: IO = IO(),  # noqa: B008
    *,
    key: PRNGKey | None = None,
) -> Float[JArray, "t slices batch k c g"]:
    """The inputs of the ADCs at the first read, for `converters.calibrate`.

    `calibrate(io.adc, column_sums(tiles, x, io), axis=(1, 2))` gives every column of
    every tile its own range, `axis=None` one range for all.
    """
    tiles = jax.tree.map(wide, tiles)
    scaled, _ = _scaled_input(tiles, x, io)
    values, _ = _slices(scaled[:, :, None], io)
    return _analog(tiles, values, io, _draw(tiles, values, io, key, 0))


def _result_type(tiles: Tiles, x: JArray) -> Any:
    """That of the inputs, where they are narrow; else the wider of both."""
    if jnp.issubdtype(x.dtype, jnp.floating) and x.dtype.itemsize < 4:
        return x.dtype
    return jnp.result_type(x, tiles.matrix)


def _add(parts: Float[JArray, "t b k c"]) -> Float[JArray, "b k c"]:
    ones = jnp.ones(parts.shape[0], parts.dtype)  # on CPU a dot is 6x faster than sum
    return jnp.tensordot(ones, parts, 1, precision=jax.lax.Precision.HIGHEST)


def _partial(
    tiles: Tiles, x: JArray, io: IO, key: PRNGKey | None
) -> Float[JArray, "t b k c"]:
    scaled, scale = _scaled_input(tiles, x, io)
    read = _reread if isinstance(io.bounds, BoundManagement) else _read_once
    y = read(tiles, scaled, io, key) * scale[..., None, None]
    return jnp.sum(y * tiles.digital, axis=-1) * tiles.scale[:, None]


def _scaled_input(tiles: Tiles, x: JArray, io: IO) -> tuple[JArray, JArray]:
    if x.ndim < 1 or x.shape[-1] != tiles.rows:
        rule = f"have {tiles.rows} values per vector, as the matrix has rows"
        checks.fail("x", rule, f"shape {x.shape}", "The last axis meets the matrix.")
    if x.size:
        checks.finite("x", x)
    x = wide(x.reshape(math.prod(x.shape[:-1]), tiles.rows))
    parts = split_axis(x, even_parts(tiles.rows, tiles.grid[0]), axis=1)
    parts = jnp.moveaxis(parts, 1, 0)  # [t b r]
    scale = io.scaling.scale(parts)
    return parts / scale, scale


def _read_once(
    tiles: Tiles, scaled: Float[JArray, "t b r"], io: IO, key: PRNGKey | None
) -> Float[JArray, "t b k c g"]:
    values, factors = _slices(scaled[:, :, None], io)
    sums = _analog(tiles, values, io, _draw(tiles, values, io, key, 0))
    return _shift_add(io.adc(sums), factors)


def _reread(
    tiles: Tiles, scaled: Float[JArray, "t b r"], io: IO, key: PRNGKey | None
) -> Float[JArray, "t b k c g"]:
    """Find each vector's input and noise without derivatives, then read with them."""
    frozen = jax.lax.stop_gradient((tiles, scaled, io))
    shape = (*scaled.shape[:2], tiles.grid[1], 1)
    divisor, noise = _accepted(*frozen, key, jnp.ones(shape, scaled.dtype))
    values, factors = _slices(scaled[:, :, None] / divisor, io)
    sums = _analog(tiles, values, io, noise)
    return _shift_add(io.adc(sums), factors) * divisor[..., None]


def _accepted(
    tiles: Tiles, scaled: JArray, io: IO, key: PRNGKey | None, ones: JArray
) -> tuple[Float[JArray, "t b k 1"], JArray | None]:
    """The divisor of the input at the last read of each vector, and its noise."""
    assert isinstance(io.bounds, BoundManagement)
    limit = 2**io.bounds.max_halvings

    def read(divisor: JArray, number: JArray | int) -> tuple:
        values, _ = _slices(scaled[:, :, None] / divisor, io)
        noise = _draw(tiles, values, io, key, number)
        over = io.adc.overflow(_analog(tiles, values, io, noise))
        over = jnp.any(over, axis=(1, 4, 5))[..., None]
        return over & (divisor < limit), noise

    def body(state: tuple) -> tuple:
        divisor, noise, more, number = state
        divisor = jnp.where(more, 2 * divisor, divisor)
        over, fresh = read(divisor, number)
        if noise is not None:
            noise = jnp.where(more[:, None, ..., None], fresh, noise)
        return divisor, noise, more & over, number + 1

    more, noise = read(ones, 0)
    start = (ones, noise, more, jnp.asarray(1))
    divisor, noise, *_ = jax.lax.while_loop(lambda s: jnp.any(s[2]), body, start)
    return divisor, noise


def _slices(u: Float[JArray, "t b k r"], io: IO) -> tuple[JArray, JArray]:
    """What the DAC applies, [t slices b k r], and the factors [slices]."""
    values, factors = io.slicing.split(u, io.dac)
    return jnp.moveaxis(values, 0, 1), factors


def _shift_add(codes: Float[JArray, "t s b k c g"], factors: JArray) -> JArray:
    if factors.shape[0] == 1:
        return codes[:, 0]
    return jnp.einsum("tsbkcg,s->tbkcg", codes, factors)


def _analog(
    tiles: Tiles, values: Float[JArray, "t s b #k r"], io: IO, noise: JArray | None
) -> Float[JArray, "t s b k c g"]:
    """Column sums before the ADC: product, lost voltage, noise."""
    sums = _product(values, tiles.matrix)
    if isinstance(io.drop, IRDrop):
        sums = sums - _drop(tiles, values, io.drop)
    if noise is None:
        return sums
    return sums + _deviation(tiles, values, io) * noise


def _product(
    values: Float[JArray, "t s b #k r"], matrix: Float[JArray, "t r k c g"]
) -> Float[JArray, "t s b k c g"]:
    t, s, b, k, r = values.shape
    if k == 1:  # one input for all column tiles
        flat = matrix.reshape(t, r, -1)
        y = jax.lax.batch_matmul(values.reshape(t, s * b, r), flat)
    else:
        y = jnp.einsum("tsbkr,trkcg->tsbkcg", values, matrix)
    return y.reshape(t, s, b, *matrix.shape[2:])


def _draw(
    tiles: Tiles, values: JArray, io: IO, key: PRNGKey | None, number: JArray | int
) -> Float[JArray, "t s b k c g"] | None:
    """Standard normals of one read, zero where a tile is padded; `None` if no noise."""
    noisy = isinstance(io.noise, OutputNoise) or isinstance(
        io.weight_noise, WeightNoise
    )
    if not noisy and tiles.variance is None:
        return None
    if key is None:
        no_key()
    shape = (*values.shape[:3], *tiles.matrix.shape[2:])
    flat = (*shape[:-2], shape[-2] * shape[-1])  # long rows draw fastest
    own = stream(key, Stage.PRODUCT, number)
    draw = normal_apart(own, flat, values.dtype).reshape(shape)
    columns = even_parts(tiles.columns, tiles.grid[1])
    if min(columns) == max(columns):
        return draw
    real = np.arange(max(columns)) < np.array(columns)[:, None]
    return jnp.where(real[..., None], draw, 0)


def no_key() -> NoReturn:
    """Refuse a product with noise but no key."""
    rule = "be given: there is noise in this product"
    checks.fail("key", rule, "None", "Pass one.")


def _deviation(tiles: Tiles, values: JArray, io: IO) -> JArray:
    """Standard deviation of the column sums: sqrt(sd^2 + x^2 @ V), slope 0 at 0."""
    cells = tiles.variance
    if isinstance(io.weight_noise, WeightNoise):
        own = jnp.asarray(io.weight_noise.sd, values.dtype) ** 2 * jnp.abs(tiles.matrix)
        cells = own if cells is None else cells + own
    sd = io.noise.sd if isinstance(io.noise, OutputNoise) else 0.0
    sd = jnp.asarray(sd, values.dtype)
    if cells is None:
        return sd
    variance = sd**2 + _product(values**2, cells)
    positive = variance > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, variance, 1)), 0)


def _drop(tiles: Tiles, values: JArray, drop: IRDrop) -> JArray:
    """Lost part of the column sums by aihwkit's formula (rows of the real tile)."""
    rows = np.array(even_parts(tiles.rows, tiles.grid[0]))[:, None]
    place = 1 - (1 - np.arange(tiles.matrix.shape[1]) / rows) ** 2
    count = jnp.asarray(rows, values.dtype).reshape(-1, 1, 1, 1, 1, 1)
    place = jnp.asarray(place, values.dtype)[:, None, None, None]
    gamma = jnp.asarray(drop.gamma, values.dtype)
    a = count / gamma * _product(jnp.abs(values), jnp.abs(tiles.matrix))
    c = a * (0.05 * a**2 - 0.2 * a + 0.5)
    scale = jnp.asarray(drop.scale, values.dtype)
    return scale * c * _product(values * place, tiles.matrix)
