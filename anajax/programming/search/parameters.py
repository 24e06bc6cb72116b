"""The coordinates in which strategies are optimized, and starting points.

Targets are fractions y of the device's range at knots 0 = u_0 < ... < u_n = 1, whose
spacing may vary as well; F and K are logarithms, K relative to the full range.
"""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import rng
from anajax._core import checks
from anajax._core.tree import pytree
from anajax._core.types import PRNGKey
from anajax.devices.base import Device
from anajax.mapping.hand import equal_split, lsp_first, msp_first
from anajax.mapping.strategy import (
    Strategy,
    UnitCell,
    check_strategy,
    full_scale,
    resample,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bounds:
    """Bounds of F and K (relative to the full range) in a search."""

    f: tuple[float, float] = (1 / 6, 6.0)
    k: tuple[float, float] = (0.4, 4.0)


@pytree
class StrategyParameters:
    """A mirrored strategy of pairs in the coordinates of the optimizer."""

    y: Float[JArray, "*starts knots devices"]
    """Targets as fractions of the range."""
    log_f: Float[JArray, "*starts factors_less_one"]
    """Log significance of every pair except the least."""
    log_k: Float[JArray, "*starts"]
    """Log of K over the full range."""
    log_width: Float[JArray, "*starts knots_less_one"]
    """Log of the spacings of the knots, up to a constant."""


def to_strategy(x: StrategyParameters, device: Device, cell: UnitCell) -> Strategy:
    """The strategy for these coordinates."""
    span = device.g_max - device.g_min
    upper = jnp.exp(x.log_f)
    significance = jnp.concatenate([upper, jnp.ones(1, upper.dtype)])
    knots = jnp.cumsum(jax.nn.softmax(x.log_width))
    return Strategy(
        name="optimized",
        cell=cell,
        knots=jnp.concatenate([jnp.zeros(1, knots.dtype), knots]),
        targets=device.g_min + span * x.y,
        significance=significance,
        scale=jnp.exp(x.log_k) * jnp.sum(significance) * span,
    )


def from_strategy(strategy: Strategy, device: Device, knots: int) -> StrategyParameters:
    """The coordinates of a strategy on `knots` knots, which include its own kinks.

    Raises:
        ValueError: if the strategy is stepped, so that it has no slopes to follow, or
            has targets outside the range of the device.
    """
    if strategy.stepped:
        checks.fail(
            "strategy", "not be stepped", strategy.name, "Start from `lsp_first`."
        )
    check_strategy(strategy, device)
    span = device.g_max - device.g_min
    grid = place_knots(np.asarray(strategy.knots), knots)
    on_grid = resample(strategy, grid)
    f = strategy.significance / strategy.significance[-1]
    return StrategyParameters(
        y=(on_grid.targets - device.g_min) / span,
        log_f=jnp.log(f[:-1]),
        log_k=jnp.log(strategy.scale / full_scale(strategy, span)),
        log_width=jnp.log(jnp.diff(on_grid.knots)),
    )


def place_knots(kinks: np.ndarray, count: int) -> np.ndarray:
    """A uniform grid on 0..1 whose knots nearest to `kinks` are moved onto them."""
    grid = np.linspace(0, 1, count)
    free = np.ones(count, bool)
    free[[0, -1]] = False
    for kink in kinks[(kinks > 1e-3) & (kinks < 1 - 1e-3)]:
        if not free.any():
            break
        nearest = int(np.argmin(np.where(free, np.abs(grid - kink), np.inf)))
        low, high = grid[nearest - 1], grid[nearest + 1]
        if low + 1e-4 < kink < high - 1e-4:
            grid[nearest], free[nearest] = kink, False
    return grid


def project(x: StrategyParameters, cell: UnitCell, box: Bounds) -> StrategyParameters:
    """The nearest coordinates within bounds, with equal targets in pairs at u = 0."""
    return StrategyParameters(
        y=tie(jnp.clip(x.y, 0, 1), cell),
        log_f=jnp.clip(x.log_f, *np.log(box.f)),
        log_k=jnp.clip(x.log_k, *np.log(box.k)),
        log_width=x.log_width - jnp.mean(x.log_width, -1, keepdims=True),
    )


def tie(y: Float[JArray, "*starts knots devices"], cell: UnitCell) -> JArray:
    """Equal targets (or slopes) in each pair at u = 0, where the mirror images meet."""
    zero = (y[..., 0, :] + y[..., 0, jnp.asarray(cell.mirror)]) / 2
    return y.at[..., 0, :].set(zero)


def random_start(
    device: Device, cell: UnitCell, knots: int, box: Bounds, *, key: PRNGKey
) -> StrategyParameters:
    """A random strategy on the lines of equal weight: any split, any common mode.

    A box of independent targets is a bad place to start: nearly all of it represents
    weights in no order.
    """
    keys = [rng.stream(key, rng.Stage.INIT, i) for i in range(5)]
    log_box = np.log(box.f)
    log_f = jr.uniform(
        keys[0], (cell.factors - 1,), minval=log_box[0], maxval=log_box[1]
    )
    k = jnp.exp(jr.uniform(keys[1], (), minval=-0.4, maxval=0.5))
    share = jr.exponential(keys[2], (3,)) ** 2
    share = share / jnp.sum(share)
    grid = jnp.linspace(0, 1, knots)
    f = jnp.exp(log_f)
    fills = [resample(b(device, f=f, k=k), grid) for b in _SPLITS]
    targets = sum(s * fill.targets for s, fill in zip(share, fills, strict=True))
    y = (targets - device.g_min) / (device.g_max - device.g_min)
    room = jnp.min(1 - y.reshape(knots, -1, 2), -1, keepdims=True)
    common = room * jr.uniform(keys[3], room.shape) * jr.uniform(keys[4], ())
    y = (y.reshape(knots, -1, 2) + common).reshape(knots, -1)
    return project(
        StrategyParameters(
            y=y, log_f=log_f, log_k=jnp.log(k), log_width=jnp.zeros(knots - 1)
        ),
        cell,
        box,
    )


_SPLITS = (lsp_first, msp_first, equal_split)
