"""Likelihood of a binary memory: write errors, spread of both states, flips.

A cell shows its conductance after writing, and later either the same or that of its
other state. ln G of the parallel state is normal; that of the antiparallel state is
the same less ln(1 + TMR), whose spread is integrated by quadrature. A cell seen in both
states shows its TMR itself.
"""

import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax.devices import _quadrature
from anajax.devices.base import Device
from anajax.devices.fitting.measurements import Measured
from anajax.devices.models.mram import RetentionFlips

PerCell = Float[JArray, "cells"]


def windows(device: Device, data: Measured) -> None:
    """Nothing varies that a window would have to follow."""
    del device, data


def log_likelihood(device: Device, data: Measured, window: None) -> PerCell:
    """Log likelihood of the measurements of each cell."""
    del window
    drift = device.drift
    high, flipped, other = _states(device, data)
    error = jnp.clip(device.programming.error, 1e-300, 1 - 1e-16)
    wanted = data.target > _middle(drift)
    written = jnp.where(high == wanted, jnp.log1p(-error), jnp.log(error))
    rate = jnp.exp(-drift.stability) * 1e9
    last_kept = jnp.max(jnp.where(flipped, 0.0, data.time) * data.valid, -1)
    first_flip = jnp.min(jnp.where(flipped, data.time, jnp.inf), -1)
    ever = jnp.isfinite(first_flip)
    gap = jnp.where(ever, first_flip - jnp.minimum(last_kept, first_flip), 1.0)
    between = -jnp.expm1(-rate * jnp.where(gap > 0, gap, 1.0))
    flips = jnp.where(ever & (gap > 0), jnp.log(between), 0.0) - rate * last_kept
    return written + flips + _spread(drift, data.programmed, high, ever, other)


def _spread(
    drift: RetentionFlips, g: PerCell, high: JArray, both: JArray, other: PerCell
) -> PerCell:
    """Log density of the conductances that were seen."""
    on = jnp.where(high, g, other)
    off = jnp.where(high, other, g)
    ratio = on / off - 1
    seen = _log_normal(drift, on) + norm.logpdf((ratio - drift.tmr) / drift.tmr_sd)
    jacobian = jnp.where(high, on / off**2, 1 / off)
    seen = seen - jnp.log(drift.tmr_sd) + jnp.log(jacobian)
    z = _quadrature.standard_normal(g)
    factor = 1 + jnp.maximum(drift.tmr + drift.tmr_sd * z.value, 0)
    terms = _log_normal(drift, g[:, None] * factor) + jnp.log(factor * z.weight)
    alone = jnp.where(high, _log_normal(drift, g), logsumexp(terms, axis=-1))
    return jnp.where(both, seen, alone)


def _log_normal(drift: RetentionFlips, g: JArray) -> JArray:
    z = jnp.log(g / drift.g_on) / drift.g_sd
    return norm.logpdf(z) - jnp.log(g * drift.g_sd)


def _states(device: Device, data: Measured) -> tuple[JArray, JArray, PerCell]:
    """State after writing, which reads are flipped, and a read of the other state."""
    middle = _middle(device.drift)
    high = data.programmed > middle
    flipped = ((data.read > middle) != high[:, None]) & (data.valid > 0)
    index = jnp.argmax(flipped, -1)
    other = jnp.take_along_axis(data.read, index[:, None], -1)[:, 0]
    fallback = jnp.where(high, data.programmed / 3, data.programmed * 3)
    return high, flipped, jnp.where(jnp.any(flipped, -1), other, fallback)


def _middle(drift: RetentionFlips) -> JArray:
    return drift.g_on * (1 + 1 / (1 + drift.tmr)) / 2


def programming_cdf(device: Device, data: Measured) -> Float[JArray, "cells 2"]:
    """P(conductance below what was seen, given the state)."""
    drift, g = device.drift, data.programmed
    z = _quadrature.standard_normal(g)
    factor = 1 + jnp.maximum(drift.tmr + drift.tmr_sd * z.value, 0)
    off = jnp.sum(
        z.weight * norm.cdf(jnp.log(g[:, None] * factor / drift.g_on) / drift.g_sd), -1
    )
    on = norm.cdf(jnp.log(g / drift.g_on) / drift.g_sd)
    cdf = jnp.where(g > _middle(drift), on, off)
    return jnp.stack([cdf, cdf], -1)


def read_cdf(device: Device, data: Measured) -> Float[JArray, "cells 2"]:
    """Range of the flip variable that the read leaves: below or above P(flip)."""
    _, flipped, _ = _states(device, data)
    probability = -jnp.expm1(-jnp.exp(-device.drift.stability) * 1e9 * data.time[:, 0])
    low = jnp.where(flipped[:, 0], 0.0, probability)
    high = jnp.where(flipped[:, 0], probability, 1.0)
    return jnp.stack([low, high], -1)
