"""A global check of a strategy: enumerate the targets of every weight on a grid.

Given the compensation factors alpha(t), F and K, the expected squared error separates
by weight, and the two pairs of a weight interact only through sum_t w_t alpha_t^2 A_t
B_t with A and B the means of the pairs: all combinations of four targets on a grid of n
values are one product of (n^2, times) by (times, n^2). The minimum over the grid bounds
the gain of any strategy with these alpha, F and K; it is a check on a grid, not a
proof.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax._core import checks
from anajax._core.tree import pytree
from anajax.devices.base import Device
from anajax.devices.moments import MomentTable
from anajax.mapping.density import WeightDensity, as_density
from anajax.mapping.strategy import Strategy, as_strategy, check_strategy
from anajax.mapping.weight_error import Compensation, moment_table, tabulated_error


@pytree
class Certificate:
    """The strategy compared with the best targets on the grid, weight by weight."""

    u: Float[JArray, "weights"]
    """Enumerated normalized weights."""
    achieved: Float[JArray, "weights"]
    """Time-averaged expected squared error of the strategy, units of w_max^2."""
    best: Float[JArray, "weights"]
    """Lowest error over all combinations of targets on the grid."""
    targets: Float[JArray, "weights devices"]
    """The best combination, uS."""
    gap: Float[JArray, ""]
    """(achieved - best) / best, averaged over the density; negative if the grid is
    coarser than the strategy."""


def certify_strategy(
    device: Device,
    strategy: Strategy,
    density: WeightDensity,
    times: Float[JArray, "times"],
    *,
    time_weights: Float[JArray, "times"] | None = None,
    compensation: Compensation = "mean_abs",
    grid: int = 61,
    extrapolate: bool = False,
) -> Certificate:
    """Enumerate all target combinations for each weight of the density.

    Args:
        device: the device model.
        strategy: defines F, K and, with the density, alpha(t); one or two pairs.
        density: weights to check, at most a few tens of points (each costs
            grid^4 combinations for two pairs).
        times: seconds since the first read, increasing.
        time_weights: weight of each time, equal by default.
        compensation: as in `weight_error`.
        grid: values per device, uniform over the range.
        extrapolate: whether times may lie outside what the device's source covers.

    Returns:
        Achieved and best error of each weight, and the mean relative gap.

    Raises:
        ValueError: if the cell is not one or two pairs, a target lies outside the range
            of the device, or a time is out of range.

    Example:
        >>> few = anajax.density.merged(density, bins=4)
        >>> check = anajax.certify_strategy(device, strategy, few, times, grid=5)
        >>> check.best.shape
        (4,)
    """
    checks.word("compensation", compensation, Compensation)
    check_strategy(strategy, device)
    strategy = as_strategy(strategy)
    as_density(density, "density").need_single_weights("a certificate")
    if not strategy.cell.paired or strategy.cell.factors > 2:
        checks.fail(
            "strategy", "be made of one or two pairs", strategy.cell.signs, "Use two."
        )
    table = moment_table(device, times, extrapolate=extrapolate)
    error = tabulated_error(strategy, table, density, compensation=compensation)
    w = jnp.ones_like(error.mse) if time_weights is None else time_weights
    w = w / jnp.sum(w)
    u = jnp.abs(density.u) if strategy.mirrored else density.u
    best, targets = _enumerate(strategy, table, error.alpha, w, u, grid=grid)
    achieved = w @ (error.bias**2 + error.var)
    p = density.probability
    gap = jnp.sum(p * achieved) / jnp.sum(p * best) - 1
    return Certificate(u=u, achieved=achieved, best=best, targets=targets, gap=gap)


@partial(jax.jit, static_argnames="grid")
def _enumerate(
    strategy: Strategy,
    table: MomentTable,
    alpha: JArray,
    w: JArray,
    u: JArray,
    *,
    grid: int,
) -> tuple[JArray, JArray]:
    g = jnp.linspace(table.g[0], table.g[-1], grid)
    m = table(g)
    mean, var = alpha[:, None] * m.mean[1:], alpha[:, None] ** 2 * m.var[1:]
    first, second = jnp.meshgrid(jnp.arange(grid), jnp.arange(grid), indexing="ij")
    plus, minus = first.ravel(), second.ravel()
    sides = []
    for factor in strategy.significance:
        c = factor / strategy.scale
        shift = c * (mean[:, plus] - mean[:, minus])  # [times, grid^2]
        noise = w @ (c**2 * (var[:, plus] + var[:, minus]))
        sides.append((shift, noise))
    if len(sides) == 1:
        sides.append((jnp.zeros((mean.shape[0], 1)), jnp.zeros(1)))
    (a, noise_a), (b, noise_b) = sides
    cross = 2 * (a * w[:, None]).T @ b

    def one(u: JArray) -> tuple[JArray, JArray]:
        left = noise_a + w @ (a - u) ** 2
        right = noise_b + w @ (b**2 - 2 * u * b)
        total = left[:, None] + right[None, :] + cross
        at = jnp.argmin(total)
        i, j = at // right.size, at % right.size
        pick = jnp.stack([g[plus[i]], g[minus[i]], g[plus[j]], g[minus[j]]])
        return total.ravel()[at], pick[: strategy.cell.devices]

    return jax.lax.map(one, u)
