"""Exact moments of a device's read conductance, and tables of them.

No samples are needed: the programming error and the state of cells are integrated by
quadrature, the read noise with its floor at zero in closed form.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax._core import checks
from anajax._core.tree import pytree
from anajax.devices.base import (
    Device,
    check_device,
    check_targets,
    check_time,
    outside,
    to_levels,
)
from anajax.devices.quadrature import clipped_mean, clipped_square
from anajax.devices.stages import Time

G = Float[JArray, "*cells"]


@pytree
class Moments:
    """Mean (uS) and variance (uS^2) of a conductance as read, over chips and reads."""

    mean: Float[JArray, "..."]
    var: Float[JArray, "..."]


def conductance_moments(
    device: Device, target: G, *, t: Time, extrapolate: bool = False
) -> Moments:
    """Mean and variance of the read conductance for given targets.

    Args:
        device: the device model.
        target: target conductances, uS, any shape.
        t: seconds since the first read.
        extrapolate: whether `t` may lie outside what the device's source covers.

    Returns:
        Moments with the shape of `target`, differentiable in target, time and device.

    Raises:
        ValueError: if `t` is not a single time covered by the source of the device, or
            `target` is not finite or outside the range of the device.

    Example:
        >>> g = jnp.array([5.0, 20.0])
        >>> found = anajax.conductance_moments(device, g, t=86400.0)
        >>> found.mean.shape, found.var.shape
        ((2,), (2,))
    """
    check_time(device, t, extrapolate=extrapolate)
    checks.finite("target", target)
    check_targets(device, target, name="target")
    target = to_levels(target, device.levels)
    healthy = _healthy(device, target, t=t)
    if device.faults is None:
        return healthy
    return _with_faults(device, healthy, t=t)


def _healthy(device: Device, target: G, *, t: Time) -> Moments:
    written = device.programming.nodes(target)
    goal = jnp.broadcast_to(target[..., None], written.value.shape)
    aged = device.drift.nodes(goal, written.value, t=t)
    sd = device.read.sd(
        aged.value,
        target=jnp.broadcast_to(goal[..., None], aged.value.shape),
        programmed=jnp.broadcast_to(written.value[..., None], aged.value.shape),
        t=t,
    )
    weight = written.weight[..., None] * aged.weight
    bounds = _bounds(device)
    mean = jnp.sum(weight * clipped_mean(aged.value, sd, *bounds), (-2, -1))
    square = clipped_square(aged.value, sd, *bounds, about=mean[..., None, None])
    return Moments(mean=mean, var=jnp.sum(weight * square, (-2, -1)))


def _bounds(device: Device) -> tuple[G | float, G | None]:
    low = 0.0 if device.read_low is None else device.read_low
    return low, device.read_high


def _with_faults(device: Device, healthy: Moments, *, t: Time) -> Moments:
    """The mixture of healthy cells, cells stuck low and high, and silent cells."""
    shape = jnp.shape(healthy.mean)
    stuck = [_stuck(device, g, shape, t=t) for g in (device.g_min, device.g_max)]
    zero = jnp.zeros(shape, healthy.mean.dtype)
    kinds = [healthy, *stuck, Moments(mean=zero, var=zero)]
    weights = device.faults.probabilities()
    mean = sum(w * k.mean for w, k in zip(weights, kinds, strict=True))
    var = sum(
        w * (k.var + (k.mean - mean) ** 2) for w, k in zip(weights, kinds, strict=True)
    )
    return Moments(mean=mean, var=var)  # pyright: ignore[reportArgumentType]


def _stuck(device: Device, g: G, shape: tuple[int, ...], *, t: Time) -> Moments:
    g = jnp.broadcast_to(g, shape)
    sd = device.read.sd(g, target=g, programmed=g, t=t)
    bounds = _bounds(device)
    mean = clipped_mean(g, sd, *bounds)
    return Moments(mean=mean, var=clipped_square(g, sd, *bounds, about=mean))


@pytree
class MomentTable:
    """Moments of a device over targets and times, for fast interpolation.

    Cubic between points that are uniform in the square root of the normalized target,
    where the moments of all devices curve most, with exact slopes: an optimizer would
    get stuck at the kinks of a linear table.
    """

    g: Float[JArray, "points"]
    """Targets, uS, from g_min to g_max."""
    cubic: Float[JArray, "intervals four two times"]
    """Mean (uS) and variance (uS^2) between the points: coefficients of 1, s, s^2, s^3
    with s from 0 to 1."""
    levels: Any = None
    """Levels that targets are programmed to, uS `[levels]`; none for analog memories.
    """

    def __call__(self, target: G) -> Moments:
        """Moments `[times, *cells]` of `target [*cells]` in uS, constant outside."""
        target = to_levels(target, self.levels)
        points = self.g.shape[0]
        low, high = self.g[0], self.g[-1]
        x = jnp.clip(jax.lax.stop_gradient((target - low) / (high - low)), 0, 1)
        i = jnp.clip((jnp.sqrt(x) * (points - 1)).astype(int), 0, points - 2)
        s = (jnp.clip(target, low, high) - self.g[i]) / (self.g[i + 1] - self.g[i])
        s = s[..., None, None]
        c = self.cubic[i]
        result = c[..., 0, :, :] + s * (
            c[..., 1, :, :] + s * (c[..., 2, :, :] + s * c[..., 3, :, :])
        )
        result = jnp.moveaxis(result, (-2, -1), (0, 1))
        return Moments(mean=result[0], var=result[1])


def tabulate(
    device: Device,
    times: Float[JArray, "times"] | np.ndarray,
    *,
    points: int = 257,
    extrapolate: bool = False,
) -> MomentTable:
    """Tabulate the moments of `device` at `times` (s) over its range.

    Args:
        device: the device model.
        times: seconds since the first read, in any order.
        points: number of table points over the range.
        extrapolate: whether times may lie outside what the device's source covers.

    Raises:
        ValueError: if `times` are negative, not finite or not covered, or `points` is
            less than 2.
    """
    check_device(device)
    checks.in_seconds("times", times)
    checks.positive("times", times, strictly=False)
    outside("times", device, times, extrapolate)
    if points < 2:
        checks.fail("points", "be at least 2", points, "257 serve every device.")
    root = jnp.linspace(0.0, 1.0, points)
    g = device.g_min + (device.g_max - device.g_min) * root**2

    def both(t: JArray) -> tuple[JArray, JArray]:
        def at(g: JArray) -> JArray:
            m = conductance_moments(device, g, t=t, extrapolate=True)
            return jnp.stack([m.mean, m.var])

        return jax.jvp(at, (g,), (jnp.ones_like(g),))

    value, slope = jax.lax.map(both, jnp.asarray(times))
    cubic = _cubic(g, value.T, slope.T)
    return MomentTable(g=g, cubic=cubic, levels=device.levels)


def _cubic(g: JArray, value: JArray, slope: JArray) -> JArray:
    """Coefficients of the cubics that meet values and slopes at both ends."""
    width = jnp.diff(g)[:, None, None]
    rise = value[1:] - value[:-1]
    start, end = width * slope[:-1], width * slope[1:]
    square, cube = 3 * rise - 2 * start - end, start + end - 2 * rise
    return jnp.stack([value[:-1], start, square, cube], 1)
