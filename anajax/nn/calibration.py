"""Input and ADC ranges of the analog layers of a network, set from data.

model = calibrate_ranges(model, [x[:256]], inputs=0.999, key=key)
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from anajax import crossbar, rng
from anajax._core import checks
from anajax._core.tree import replace
from anajax._core.types import JArray, PRNGKey
from anajax.crossbar.converters import Clip, SelfRanging, Uniform, calibrate
from anajax.crossbar.periphery import IO, ConstantScale, LearnedRange, ideal
from anajax.crossbar.split import split_axis
from anajax.nn.analog import apart, named, together
from anajax.nn.programmed import analog_by_path

M = TypeVar("M", bound=nnx.Module)

SHARED = {"layer": None, "tile": (0, 2, 3, 5, 6), "column": (0, 2, 3)}
"""Axes of column sums `[groups t slices batch k c g]` that share an ADC range."""


def calibrate_ranges(
    model: M,
    batches: Iterable[Any],
    *,
    inputs: float = 1.0,
    outputs: float = 1.0,
    per: Literal["layer", "tile", "column"] = "layer",
    vectors: int = 4096,
    scales: Mapping[str, JArray] | None = None,
    key: PRNGKey | None = None,
) -> M:
    """A clone of a converted model with input and ADC ranges set from data.

    The batches run through the network with ideal converters and without noise, and
    with the weights that it holds now. Each layer's `LearnedRange` or `ConstantScale`
    becomes a quantile of the inputs that it met (one per row tile where there was one
    per row tile); the bound of its ADC a quantile of the column sums that these inputs
    give with the new input range. Ideal ADCs and inputs scaled in another way are left.

    Args:
        model: from `to_analog`.
        batches: inputs, or tuples of inputs, of the model.
        inputs: share of the inputs that must fit into the range, in (0, 1].
        outputs: share of the column sums that must fit.
        per: one ADC range for each `"layer"`, `"tile"` or `"column"` of a tile.
        vectors: most input vectors that are kept of each product (evenly spaced).
        scales: digital scales behind the ADCs by path of the layer, one for each column
            (last axis of the kernel), where columns fill their conductances each by
            itself: a range is then shared before these scales.
        key: needed where the sums have noise; it counts among what must fit.

    Raises:
        ValueError: if there is no batch, a layer met no input or inputs that are not
            finite, or an argument is out of range.

    Example:
        >>> rule = anajax.Rule(".*", io=periphery.training())
        >>> converted = anajax.to_analog(model, [rule]).model
        >>> ready = anajax.calibrate_ranges(converted, [x], key=key)
        >>> anajax.with_key(ready, key)(x).shape
        (8, 4)
    """
    checks.word("per", per, tuple(SHARED))
    if vectors < 1:
        checks.fail("vectors", "be at least 1", vectors, "Use the default.")
    met = _inputs(model, batches, vectors)
    model = nnx.clone(model)
    for path, layer in analog_by_path(model).items():
        parts = apart(layer)
        for i, one in enumerate(parts):
            x = _met(met[path], i, path)
            own = None
            if key is not None:
                own = one.analog.own_key(rng.path_key(key, path))
            _set_input_range(one.analog, x, inputs)
            scale = behind_adc(one, scales[path]) if scales else jnp.ones(())
            _set_adc(one, x, outputs, SHARED[per], scale, own)
        together(layer, parts)
    return model


Met = list[tuple[int, np.ndarray]]
"""Input vectors `[groups vectors in]` of products, and which of a stack was meant."""


def _met(met: Met, index: int, path: str) -> JArray:
    """All input vectors of one layer of a stack."""
    own = [x for i, x in met if i == index and x.size]
    if not own:
        remedy = "Pass batches, or convert only what the model calls."
        checks.fail("batches", f"reach the layer {named(path)!r}", "no input", remedy)
    x = jnp.asarray(np.concatenate(own, axis=1))
    checks.finite(f"inputs of {named(path)}", x, "Find the layer that diverged.")
    return x


def behind_adc(layer: Any, scale: Float[JArray, "out"]) -> Float[JArray, "k c 1"]:
    """Scales of the columns (last axis) of a layer's kernel, as its tiles have them.

    Groups share the tiles' converters: of theirs the largest.
    """
    whole = layer.matrices(jnp.broadcast_to(scale, layer.kernel[...].shape))
    flat = jnp.max(whole[:, 0], axis=0)
    limits = crossbar.TileRule(columns=layer.analog.columns)
    split = split_axis(flat, limits.parts(1, flat.size)[1], axis=0)
    return jnp.where(split > 0, split, 1)[..., None]  # filled up with zeros


def _inputs(model: nnx.Module, batches: Iterable[Any], vectors: int) -> dict[str, Met]:
    """Input vectors of each product, by path."""
    view = nnx.clone(model)
    met: dict[str, Met] = {path: [] for path in analog_by_path(view)}
    for path, layer in analog_by_path(view).items():
        layer.analog.io.set_value(ideal())
        layer.analog.input_range = None
        layer.analog.variance.set_value(None)
        layer.analog.observer = _recorder(met[path], vectors)
    for batch in batches:
        view(*batch) if isinstance(batch, tuple) else view(batch)  # pyright: ignore
    jax.effects_barrier()
    return met


def _recorder(kept: Met, vectors: int) -> Callable[[JArray, JArray | int], None]:
    """Keeps inputs on the host, also those inside of a scan."""

    def keep(x: JArray, index: JArray) -> None:
        kept.append((int(index), np.asarray(x)))

    def observe(x: JArray, index: JArray | int) -> None:
        jax.debug.callback(keep, x[:, :: max(1, -(-x.shape[1] // vectors))], index)

    return observe


def _set_input_range(analog: Any, x: JArray, quantile: float) -> None:
    io = analog.periphery()
    if isinstance(io.scaling, LearnedRange):
        new = _range(io.scaling.range, x, quantile, analog.rows)
        analog.input_range.set_value(new)
    elif isinstance(io.scaling, ConstantScale):
        new = _range(io.scaling.value, x, quantile, analog.rows)
        analog.io.set_value(replace(io, scaling=ConstantScale(value=new)))


def _range(now: Any, x: JArray, quantile: float, limit: int | None) -> JArray:
    """The new range, of the shape and dtype that it has now."""
    now = jnp.asarray(now)
    if now.ndim == 0:
        return jnp.asarray(calibrate(_ANY, x, quantile=quantile).bound, now.dtype)
    rows, _ = crossbar.TileRule(rows=limit).parts(x.shape[-1], 1)
    parts = jnp.split(x, np.cumsum(rows)[:-1], axis=-1)
    bounds = [calibrate(_ANY, part, quantile=quantile).bound for part in parts]
    return jnp.asarray(bounds, now.dtype).reshape(now.shape)


_ANY = Clip(bound=1.0)


def _set_adc(
    layer: Any,
    x: JArray,
    quantile: float,
    axes: tuple[int, ...] | None,
    scale: JArray,
    key: PRNGKey | None,
) -> None:
    io: IO = layer.analog.periphery()
    if not isinstance(io.adc, Uniform | Clip | SelfRanging):
        return
    tiles = layer.analog.tiles(layer.kernel[...], layer.matrices, compensated=False)
    keys = None
    if key is not None:
        keys = rng.streams(key, rng.Stage.TILE, jnp.arange(x.shape[0]))
    sums = jax.vmap(lambda t, v, k: crossbar.column_sums(t, v, io, key=k))(
        tiles, x, keys
    )
    adc = calibrate(io.adc, sums / scale, quantile=quantile, axis=axes)
    bound = jnp.asarray(adc.bound) if axes is None else jnp.asarray(adc.bound)[0]
    adc = replace(adc, bound=bound * scale)
    io = layer.analog.io.get_value()
    layer.analog.io.set_value(replace(io, adc=adc))
