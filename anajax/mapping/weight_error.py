"""The expected weight error of a strategy after drift compensation, without samples.

The devices of a weight are independent, so their means and variances add. The drift
compensation divides by the decrease of the mean absolute weight, in the limit of many
weights; the only approximation is that weights are taken as normal when |.| is
averaged.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax._core import checks
from anajax._core.tree import pytree, replace
from anajax.devices.base import Device, check_range, check_times
from anajax.devices.moments import Moments, MomentTable, tabulate
from anajax.mapping.density import WeightDensity, as_density
from anajax.mapping.strategy import (
    Strategy,
    as_strategy,
    check_strategy,
    interpolation,
)

Compensation = Literal["mean_abs", "ideal", "least_squares", "none"]
"""How alpha(t) is chosen: mean |read-out| relative to the first read (as on a chip) or
to the ideal weights, least squares against the ideal weights, or not at all."""


@pytree
class WeightError:
    """Expected error of normalized weights at each time."""

    mse: Float[JArray, "times"]
    """Mean squared error over the density, in units of w_max^2 of a layer."""
    alpha: Float[JArray, "times"]
    """Drift compensation factor."""
    bias: Float[JArray, "times points"]
    """Mean error of normalized weights at each point of the density."""
    var: Float[JArray, "times points"]
    """Variance of normalized weights at each point of the density."""

    @property
    def rms(self) -> Float[JArray, "times"]:
        """Root mean squared error as a fraction of w_max."""
        return jnp.sqrt(self.mse)


def moment_table(
    device: Device,
    times: Float[JArray, "times"],
    *,
    points: int = 257,
    extrapolate: bool = False,
) -> MomentTable:
    """Moments at the first read (0 s) and at `times`, as needed by `tabulated_error`.

    Args:
        device: the device model.
        times: seconds since the first read, increasing.
        points: number of table points over the range of the device.
        extrapolate: whether times may lie outside what the device's source covers.

    Raises:
        ValueError: if times are out of range.
    """
    check_times(device, times, extrapolate=extrapolate)
    every = jnp.concatenate([jnp.zeros(1), jnp.asarray(times, dtype=float)])
    return _tabulate(device, every, points)


_tabulate = jax.jit(
    lambda device, times, points: tabulate(
        device, times, points=points, extrapolate=True
    ),
    static_argnums=2,
)


def weight_error(
    device: Device,
    strategy: Strategy,
    density: WeightDensity,
    times: Float[JArray, "times"],
    *,
    compensation: Compensation = "mean_abs",
    extrapolate: bool = False,
) -> WeightError:
    """Expected squared error of the weights of a density at each time, exactly.

    Args:
        device: the device model.
        strategy: the targets, F and K.
        density: how often each weight occurs, such as `anajax.weight_density(params)`.
        times: seconds since the first read, increasing.
        compensation: how alpha(t) is chosen.
        extrapolate: whether times may lie outside what the device's source covers.

    Returns:
        The error at each time, differentiable in strategy, device and density.

    Raises:
        ValueError: if the strategy has targets outside the range of the device, a time
            is out of range, or the compensation is unknown.

    Example:
        >>> anajax.weight_error(device, strategy, density, times).rms.shape
        (2,)
    """
    check_strategy(strategy, device)
    table = moment_table(device, times, extrapolate=extrapolate)
    return tabulated_error(strategy, table, density, compensation=compensation)


def tabulated_error(
    strategy: Strategy,
    table: MomentTable,
    density: WeightDensity,
    *,
    compensation: Compensation = "mean_abs",
) -> WeightError:
    """`weight_error` from a table of moments, at its times except the first.

    Args:
        strategy: the targets, F and K.
        table: moments at 0 s and at the desired times, from `moment_table`.
        density: how often each weight occurs.
        compensation: how alpha(t) is chosen.

    Returns:
        The error at each time, differentiable in strategy, table and density.

    Raises:
        ValueError: if the strategy has targets outside the table, or the compensation
            is unknown.
    """
    density = as_density(density, "density")
    if not as_strategy(strategy).mirrored:
        density.need_single_weights("a strategy that is not mirrored")
    ends = table.g[0], table.g[-1]
    check_range(strategy.targets, *ends, of="the table", name="strategy")
    u = jnp.abs(density.u) if strategy.mirrored else density.u
    targets = interpolation(strategy, u) @ strategy.targets
    w = weight_moments(strategy, table(targets))
    offset = strategy.offset / strategy.scale
    error = error_of_moments(w, u, density.probability, offset, compensation)
    return replace(error, mse=density.mean_square(error.bias, error.var))


def error_of_moments(
    w: Moments,
    u: Float[JArray, "points"],
    probability: Float[JArray, "points"],
    offset: Float[JArray, ""],
    compensation: Compensation,
) -> WeightError:
    """The error of weights `u` whose analog parts c.g / K have these moments.

    The mean squared error refers to normalized weights.

    Args:
        w: moments of the analog part at 0 s and at the desired times.
        u: ideal normalized weights.
        probability: probability of each.
        offset: constant subtracted digitally after compensation, in normalized weight.
        compensation: how alpha(t) is chosen.
    """
    alpha = _factors(w, u, probability, offset, compensation)
    bias = alpha[:, None] * w.mean[1:] - offset - u
    var = alpha[:, None] ** 2 * w.var[1:]
    mse = jnp.sum(probability * (bias**2 + var), -1)
    return WeightError(mse=mse, alpha=alpha, bias=bias, var=var)


def with_factors(
    error: WeightError,
    alpha: Float[JArray, "times"],
    strategy: Strategy,
    density: WeightDensity,
) -> WeightError:
    """The error with other compensation factors, such as factors measured earlier.

    Args:
        error: from `weight_error` of this strategy on this density.
        alpha: factor used at each time.
        strategy: the targets, F and K.
        density: how often each weight occurs.
    """
    u = jnp.abs(density.u) if strategy.mirrored else density.u
    goal = u + strategy.offset / strategy.scale
    ratio = (alpha / error.alpha)[:, None]
    bias, var = ratio * (error.bias + goal) - goal, ratio**2 * error.var
    mse = density.mean_square(bias, var)
    return WeightError(mse=mse, alpha=alpha, bias=bias, var=var)


def weight_moments(strategy: Strategy, g: Moments) -> Moments:
    """Moments of the analog part c.g / K of weights, from those of their devices.

    Args:
        strategy: defines significance and scale.
        g: moments of conductances, uS and uS^2; the last axis is the devices.
    """
    c = strategy.cell.coefficients(strategy.significance) / strategy.scale
    return Moments(mean=g.mean @ c, var=g.var @ c**2)


def mean_abs(mean: JArray, var: JArray) -> JArray:
    """E |w| of normal w; |mean| if there is no variance."""
    safe = jnp.where(var > 0, var, 1.0)
    sd = jnp.sqrt(safe)
    a = jnp.clip(mean / sd, -1e3, 1e3)
    folded = 2 * sd * norm.pdf(a) + mean * (1 - 2 * norm.cdf(-a))
    return jnp.where(var > 0, folded, jnp.abs(mean))


def _factors(
    w: Moments, u: JArray, p: JArray, offset: JArray, compensation: Compensation
) -> JArray:
    checks.word("compensation", compensation, Compensation)
    if compensation == "none":
        return jnp.ones_like(w.mean[1:, 0])
    if compensation == "least_squares":
        goal = u + offset
        power = jnp.sum(p * (w.mean[1:] ** 2 + w.var[1:]), -1)
        return jnp.sum(p * goal * w.mean[1:], -1) / power
    size = jnp.sum(p * mean_abs(w.mean, w.var), -1)
    if compensation == "mean_abs":
        return size[0] / size[1:]
    goal = jnp.sum(p * jnp.abs(u + offset))
    return goal / size[1:]
