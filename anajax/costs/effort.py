"""What programming takes: pulses and reads, exact where the device has a loop."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from anajax._core.types import Float, JArray
from anajax.devices.base import Device
from anajax.devices.write_verify import WriteVerify

POINTS = 65
"""Targets at which the loop is followed."""


class Effort(NamedTuple):
    """Expected over chips, all devices together."""

    pulses: Float[JArray, ""]
    reads: Float[JArray, ""]
    """Verify reads."""
    loop: bool
    """Whether they follow from a loop of the device; else one of each a device."""


def effort(device: Device, targets: Float[JArray, "*cells"]) -> Effort:
    """Pulses and verify reads of programming these targets (uS).

    A write-verify loop reads, and ends or pulses: reads are the pulses and the one read
    that ends it, if any; expected numbers are exact at 65 targets and linear between.
    Other devices have an error that was measured after a loop of
    unknown length: one pulse and one read a device are counted.
    """
    if isinstance(device.programming, WriteVerify):
        grid = jnp.linspace(device.g_min, device.g_max, POINTS)
        cost = jax.lax.map(device.programming.effort, grid)
        flat = targets.ravel()
        pulses = jnp.sum(jnp.interp(flat, grid, cost.pulses))
        accepted = jnp.sum(jnp.interp(flat, grid, cost.accepted))
        return Effort(pulses, pulses + accepted, True)
    count = jnp.asarray(float(targets.size))
    return Effort(count, count, False)
