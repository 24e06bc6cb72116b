"""The effort of programming: pulses and reads, exact if the device has a loop."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from anajax._core.types import Float, JArray
from anajax.devices.base import Device
from anajax.devices.write_verify import WriteVerify

POINTS = 65
"""Number of targets at which the loop is computed."""


class Effort(NamedTuple):
    """Expected over chips, summed over all devices."""

    pulses: Float[JArray, ""]
    reads: Float[JArray, ""]
    """Verify reads."""
    loop: bool
    """Whether they follow from a loop of the device; otherwise one each per device."""


def effort(device: Device, targets: Float[JArray, "*cells"]) -> Effort:
    """Pulses and verify reads of programming these targets (uS).

    A write-verify loop reads, and then stops or applies a pulse: the number of reads is
    that of pulses plus the read that ends the loop, if any. Expected numbers are exact
    at 65 targets and interpolated linearly. The programming error of other devices was
    measured after a loop of unknown length: one pulse and one read per device are
    counted.
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
