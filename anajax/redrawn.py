"""Chips without cells in memory: drawn from their key, read, and discarded by layer."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import rng
from anajax._core.types import PRNGKey
from anajax.compensation import Scope, compensation, shrinking, size
from anajax.devices.base import Cells, Device
from anajax.layer import (
    LayerProgram,
    Through,
    Unwritten,
    finish,
    read_layer,
    schedule,
)


def drawn(
    device: Device,
    layers: Mapping[str, LayerProgram] | Mapping[str, Unwritten],
    weights: Mapping[str, JArray],
    *,
    t: Float[JArray, ""] | float,
    index: int | JArray,
    key: PRNGKey,
    scope: Scope = "layer",
    through: Through | None = None,
) -> dict[str, JArray]:
    """The result of `program` followed by `read`, one layer after the other.

    No layer's cells are kept: they are drawn from their key, read at 0 s and at `t`,
    and discarded. The draws are the same; sums may differ by rounding. Memory holds the
    weights and the cells of one layer; each read-out repeats the work of `program`,
    twice if one factor serves the whole network.

    Args:
        device: the device model.
        layers: by path, from `encode_weights` or `unwritten`.
        weights: by path; needed to compute targets that are not stored.
        t: seconds since the first read.
        index: number of this read-out, from 1; selects its read noise.
        key: one key is one chip.
        scope: the weights that share one drift compensation factor.
        through: effect of wire resistance on the conductances as read.
    """
    reads = [rng.stream(key, rng.Stage.TIME, i) for i in (0, index)]
    t = jnp.asarray(t, float)

    def read(path: str, *, both: bool) -> tuple[LayerProgram, JArray, JArray]:
        layer = layers[path]
        keys = [rng.path_key(k, path) for k in (key, *reads)]
        cells = _drawn_cells(device, layer, weights[path], keys[0])
        layer = layer.rest if isinstance(layer, Unwritten) else layer
        how: Any = {"path": path if through is not None else "", "through": through}
        first = zero
        if both:
            first = _drawn_read(device, layer, cells, zero, keys[1], **how)
        return layer, first, _drawn_read(device, layer, cells, t, keys[2], **how)

    common, zero = None, jnp.zeros_like(t)
    if scope == "network":
        sizes = [_drawn_sizes(*read(path, both=True)) for path in layers]
        common = shrinking(*map(sum, zip(*sizes, strict=True)))
    both = common is None and scope != "none"
    return {
        path: _drawn_layer(*read(path, both=both), t, common, scope=scope)
        for path in layers
    }


# Each step is a program of its own, which layers of the same shape share: in one, a CPU
# would compute what is drawn again for each of its uses.


@jax.jit
def _drawn_cells(
    device: Device, layer: LayerProgram | Unwritten, weights: JArray, key: PRNGKey
) -> Cells:
    """The cells of a layer, just programmed."""
    layer = layer.of(weights) if isinstance(layer, Unwritten) else layer
    return layer.write(device, key=key)


@partial(jax.jit, static_argnames=("path", "through"))
def _drawn_read(
    device: Device,
    layer: LayerProgram,
    cells: Cells,
    t: JArray,
    key: PRNGKey,
    *,
    path: str,
    through: Through | None,
) -> JArray:
    """The analog parts of a layer's weights in one read-out."""
    return read_layer(device, layer, cells, t=t, key=key, path=path, through=through)


@jax.jit
def _drawn_sizes(layer: LayerProgram, first: JArray, now: JArray) -> list[JArray]:
    return [size(layer, analog) for analog in (first, now)]


@partial(jax.jit, static_argnames="scope")
def _drawn_layer(
    layer: LayerProgram,
    first: JArray,
    now: JArray,
    t: JArray,
    common: JArray | None,
    *,
    scope: Scope,
) -> JArray:
    """The weights of one layer from its read-outs at 0 s and at `t`."""
    one = {"": first}, {"": now}, {"": layer}
    alpha = compensation(*one, scope)[""] if common is None else common
    return finish(layer, alpha * schedule(layer, t) * now)
