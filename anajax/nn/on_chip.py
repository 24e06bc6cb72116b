"""A chip's cells in a converted network: every product meets its periphery.

part = chip.program(device, chip.encode_weights(params, strategy), key=key)
model = program_layers(to_analog(digital, rules).model, device, part, t=86400.0)
y = with_key(model, key)(x)
"""

from typing import TypeVar

import jax.numpy as jnp
import numpy as np
from flax import nnx

from anajax import chip
from anajax._core import checks
from anajax._core.types import Float, JArray
from anajax.crossbar.tiling import group_shares
from anajax.devices import base
from anajax.devices.base import Device
from anajax.nn.analog import Parts
from anajax.nn.programmed import insert_weights

M = TypeVar("M", bound=nnx.Module)
Combine = str | tuple[int, ...]


def program_layers(
    model: M,
    device: Device,
    programmed: chip.Chip,
    *,
    t: Float[JArray, ""] | float,
    combine: Combine = "analog",
    extrapolate: bool = False,
) -> M:
    """A clone of a converted model with the cells of a chip at time `t` as weights.

    The raw weights, without drift compensation (see `nn.programmed.read_outs`); read
    noise becomes a variance that is drawn at each product, for each vector. What the
    strategy subtracts digitally is subtracted from the outputs, times the sum of the
    inputs as the DACs apply them.

    Args:
        model: from `to_analog`.
        device: the device model that `programmed` was made with.
        programmed: from `chip.program` on targets of this network's parameters.
        t: seconds since the first read.
        combine: which devices of a weight share an ADC conversion, as in
            `crossbar.from_planes`: `"analog"` (all), `"digital"` (one each), or the
            group of each device, such as (0, 0, 1, 1) for pairs. Each conversion then
            sees its devices with a full one as the largest weight.
        extrapolate: whether `t` may lie outside what the device's source covers.

    Raises:
        ValueError: if a layer is not analog, or `combine` does not fit its devices.
    """
    base.check_time(device, t, extrapolate=extrapolate)
    weights, variance, offset, parts = {}, {}, {}, {}
    for path, layer in programmed.layers.items():
        base.check_targets(device, layer.targets, name="programmed")
        cells = base.age(device, programmed.cells[path], t=t, extrapolate=True)
        sd = device.read.sd(
            cells.g, target=cells.target, programmed=cells.programmed, t=t
        )
        unit = layer.unit
        weights[path] = cells.g @ layer.coefficients * unit
        if combine == "analog":
            variance[path] = sd**2 @ layer.coefficients**2 * unit**2
        else:
            parts[path], variance[path] = _apart(device, layer, cells.g, sd, combine)
        if not checks.concrete(layer.offset) or np.any(np.asarray(layer.offset)):
            offset[path] = jnp.broadcast_to(layer.offset * unit, weights[path].shape)
    return insert_weights(model, weights, variance, offset, parts)


def _apart(
    device: Device,
    layer: chip.LayerProgram,
    g: Float[JArray, "*weights devices"],
    sd: Float[JArray, "*weights devices"],
    combine: Combine,
) -> tuple[Parts, Float[JArray, "*weights groups"]]:
    """Weights split by the ADC that converts them, and the variance of each part."""
    share, largest = group_shares(layer.coefficients, combine)
    share = share / device.g_max
    unit = jnp.asarray(layer.unit)[..., None]
    parts = Parts(values=g @ share * unit, digital=largest * device.g_max)
    return parts, sd**2 @ share**2 * unit**2
