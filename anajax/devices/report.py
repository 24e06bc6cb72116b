"""A device model as curves: errors over conductance and over time."""

import jax
import jax.numpy as jnp
import numpy as np

from anajax._core.tree import replace
from anajax._core.units import DAY
from anajax.devices.base import ANY_TIME, Device
from anajax.devices.moments import conductance_moments
from anajax.devices.read_noise import NoReadNoise

LONGEST = 365 * DAY
"""Curves of sources without a time limit end here, s."""


def device_curves(
    device: Device, *, points: int = 65, times: int = 33
) -> dict[str, np.ndarray]:
    """Curves of a device over its range and the times covered by its source.

    Returns:
        `conductance [g]` (targets, uS) and `device_time [t]` (s); `programming_bias`
        and `programming_sd [g]`, as programmed; `drift_mean` and `drift_sd [g t]`
        without read noise; `read_sd [g t]`, of one read of a cell at its mean; all in
        uS.
    """
    g = np.linspace(float(device.g_min), float(device.g_max), points)
    t = time_grid(device, times)
    mean, sd, still_mean, still_sd, read_sd = _curves(
        replace(device, name="", source="", valid_times=ANY_TIME),
        jnp.asarray(g, dtype=float),
        jnp.asarray(t, dtype=float),
    )
    return {
        "conductance": g,
        "device_time": t,
        "programming_bias": np.asarray(mean) - g,
        "programming_sd": np.asarray(sd),
        "drift_mean": np.asarray(still_mean).T,
        "drift_sd": np.asarray(still_sd).T,
        "read_sd": np.asarray(read_sd).T,
    }


def time_grid(device: Device, count: int) -> np.ndarray:
    """Log-spaced times (s) covered by the source of a device, from 1 s.

    A source that covers only programming gives the single time 0 s.
    """
    low, high = device.valid_times
    first, last = max(low, 1.0), min(high, max(LONGEST, low))
    return np.geomspace(first, last, count) if last > first else np.array([high])


@jax.jit
def _curves(device: Device, g: jax.Array, t: jax.Array) -> tuple[jax.Array, ...]:
    nodes = device.programming.nodes(g)
    mean = jnp.sum(nodes.weight * nodes.value, -1)
    square = jnp.sum(nodes.weight * (nodes.value - mean[:, None]) ** 2, -1)
    silent = replace(device, read=NoReadNoise())

    def at(t: jax.Array) -> tuple[jax.Array, ...]:
        still = conductance_moments(silent, g, t=t)
        sd = device.read.sd(still.mean, target=g, programmed=g, t=t)
        return still.mean, jnp.sqrt(still.var), jnp.broadcast_to(sd, g.shape)

    return mean, jnp.sqrt(square), *jax.lax.map(at, t)
