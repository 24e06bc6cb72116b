"""The objective of strategy searches: exact by default, sampled on request.

An objective is a function of a `Strategy` alone that returns one number; optimizers
know nothing else about devices.
"""

import abc
from typing import Literal

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import rng
from anajax._core import checks
from anajax._core.tree import pytree, static
from anajax._core.types import PRNGKey
from anajax.costs.objective import Energy, as_energy, strategy_share
from anajax.devices.base import Cells, Device, age, check_times, program, read
from anajax.devices.moments import MomentTable
from anajax.mapping.density import WeightDensity, as_density
from anajax.mapping.strategy import Strategy, decode, encode
from anajax.mapping.weight_error import Compensation, moment_table, tabulated_error

Aggregate = Literal["mean", "minimax"]
"""Weighted mean over times, or (smoothly) the worst of the weighted times."""


class AbstractObjective(abc.ABC):
    """A number to be minimized over strategies, smooth almost everywhere."""

    @abc.abstractmethod
    def __call__(self, strategy: Strategy) -> Float[JArray, ""]:
        """The value, in units of w_max^2."""


@pytree
class ExactError(AbstractObjective):
    """Expected squared weight error from moments: no samples, no noise."""

    table: MomentTable
    density: WeightDensity
    time_weights: Float[JArray, "times"]
    ceiling: Float[JArray, "times"] | None = None
    """Upper bound of the squared error at each time, see `combine`."""
    aggregate: Aggregate = static(default="mean")
    compensation: Compensation = static(default="mean_abs")

    def __post_init__(self) -> None:
        checks.word("aggregate", self.aggregate, Aggregate)
        checks.word("compensation", self.compensation, Compensation)

    def __call__(self, strategy: Strategy) -> Float[JArray, ""]:
        error = tabulated_error(
            strategy, self.table, self.density, compensation=self.compensation
        )
        return combine(error.mse, self.time_weights, self.aggregate, self.ceiling)


@pytree
class WithEnergy(AbstractObjective):
    """An error plus the contribution of the energy of the array."""

    error: AbstractObjective
    energy: Energy
    table: MomentTable
    density: WeightDensity
    time_weights: Float[JArray, "times"]

    def __call__(self, strategy: Strategy) -> Float[JArray, ""]:
        error = self.error(strategy)
        share = strategy_share(strategy, self.table, self.density, self.time_weights)
        return error + self.energy.cost(share, error)


@pytree
class SampledError(AbstractObjective):
    """The same error for simulated chips, device by device, with common random numbers.

    Every call uses the same keys, so that differences between strategies are not hidden
    by noise, and gradients pass through the draws (reparameterized).
    """

    device: Device
    times: Float[JArray, "times"]
    density: WeightDensity
    time_weights: Float[JArray, "times"]
    key: PRNGKey
    ceiling: Float[JArray, "times"] | None = None
    samples: int = static(default=64)
    aggregate: Aggregate = static(default="mean")

    def __post_init__(self) -> None:
        checks.word("aggregate", self.aggregate, Aggregate)

    def __call__(self, strategy: Strategy) -> Float[JArray, ""]:
        u = jnp.broadcast_to(self.density.u, (self.samples, *self.density.u.shape))
        mse = sampled_error(
            strategy, self.device, u, self.density.probability, self.times, self.key
        )
        mse = self.density.unit**2 * mse
        return combine(mse, self.time_weights, self.aggregate, self.ceiling)


def sampled_error(
    strategy: Strategy,
    device: Device,
    u: Float[JArray, "*weights"],
    probability: Float[JArray, "*weights"],
    times: Float[JArray, "times"],
    key: PRNGKey,
) -> Float[JArray, "times"]:
    """Mean squared error of weights `u`, programmed once and read at every time.

    The compensation factor is the mean |read-out| at the first read over that at t.
    """
    cells = program(device, encode(strategy, u), key=key)
    return cells_error(strategy, device, cells, u, probability, times, key)


def cells_error(
    strategy: Strategy,
    device: Device,
    cells: Cells,
    u: Float[JArray, "*weights"],
    probability: Float[JArray, "*weights"],
    times: Float[JArray, "times"],
    key: PRNGKey,
) -> Float[JArray, "times"]:
    """The same for cells that are already programmed; `strategy` reads them back."""
    share = jnp.broadcast_to(probability, u.shape)
    share = share / jnp.sum(share)
    offset = strategy.offset / strategy.scale

    def weights_at(t: JArray, i: JArray) -> JArray:
        now = age(device, cells, t=t)
        g = read(device, now, t=t, key=rng.stream(key, rng.Stage.TIME, i))
        return decode(strategy, g)

    def mean_abs(w: JArray) -> JArray:
        return jnp.sum(share * jnp.abs(w + offset))

    first = mean_abs(weights_at(jnp.zeros(()), jnp.asarray(0)))

    def error(t_i: tuple[JArray, JArray]) -> JArray:
        w = weights_at(*t_i)
        w = (first / mean_abs(w)) * (w + offset) - offset
        return jnp.sum(share * (w - u) ** 2)

    return jax.lax.map(error, (times, jnp.arange(1, times.shape[0] + 1)))


def combine(
    mse: Float[JArray, "times"],
    time_weights: Float[JArray, "times"],
    aggregate: Aggregate,
    ceiling: Float[JArray, "times"] | None = None,
) -> Float[JArray, ""]:
    """One number from the errors at all times.

    Errors above the ceiling of a time are penalized by more than they could gain: an
    exact penalty, whose minimum is the constrained one if that exists.
    """
    checks.word("aggregate", aggregate, Aggregate)
    if ceiling is not None:
        over = jnp.maximum(mse / ceiling - 1, 0)
        cost = 2.0 * jnp.mean(ceiling) * jnp.sum(over)
        return combine(mse, time_weights, aggregate) + cost
    if aggregate == "mean":
        return jnp.sum(time_weights * mse) / jnp.sum(time_weights)
    power = 32.0
    worst = jnp.max(time_weights * mse)
    share = jnp.mean((time_weights * mse / worst) ** power)
    return worst * share ** (1 / power)


def make_objective(
    device: Device,
    density: WeightDensity,
    times: Float[JArray, "times"],
    *,
    time_weights: Float[JArray, "times"] | None = None,
    aggregate: Aggregate = "mean",
    ceiling: JArray | np.ndarray | None = None,
    compensation: Compensation = "mean_abs",
    samples: int | None = None,
    key: PRNGKey | None = None,
    energy: Energy | None = None,
    extrapolate: bool = False,
) -> AbstractObjective:
    """The exact objective, or the sampled one if `samples` is given.

    Args:
        device: the device model.
        density: weights to program.
        times: seconds, increasing.
        time_weights: weight of each time, equal by default.
        aggregate: mean over the times, or the worst of them.
        ceiling: upper bound of the squared error (w_max^2) at each time, such as that
            of another strategy; none by default.
        compensation: drift compensation of the exact objective.
        samples: draws per point of the density; `None` for the exact objective.
        key: key of the common random numbers, required with `samples`.
        energy: weight of the energy of the array, see `anajax.costs.Energy`.
        extrapolate: whether times may lie outside what the device's source covers.

    Raises:
        ValueError: if an argument is out of range, or `samples` is given without `key`.
    """
    check_times(device, times, extrapolate=extrapolate)
    checks.word("aggregate", aggregate, Aggregate)
    checks.word("compensation", compensation, Compensation)
    times = jnp.asarray(times, dtype=float)
    weights = jnp.ones_like(times) if time_weights is None else time_weights
    weights = jnp.asarray(weights, dtype=float)
    checks.positive("time_weights", weights, strictly=False)
    if weights.shape != times.shape:
        checks.fail(
            "time_weights", "match `times`", weights.shape, f"Give {times.shape[0]}."
        )
    density = as_density(density, "density")
    limit = _as_ceiling(ceiling, times)
    if energy is not None:
        given = {
            "time_weights": weights, "aggregate": aggregate, "ceiling": limit,
            "compensation": compensation, "samples": samples, "key": key,
        }  # fmt: skip
        return WithEnergy(
            error=make_objective(device, density, times, extrapolate=True, **given),
            energy=as_energy(energy),
            table=moment_table(device, times, extrapolate=True),
            density=density,
            time_weights=weights,
        )
    if samples is None:
        return ExactError(
            table=moment_table(device, times, extrapolate=True),
            density=density,
            time_weights=weights,
            ceiling=limit,
            aggregate=aggregate,
            compensation=compensation,
        )
    if key is None:
        checks.fail("key", "be given with `samples`", None, "Pass jax.random.key(0).")
    if compensation != "mean_abs":
        checks.fail(
            "compensation", 'be "mean_abs" with `samples`', compensation, "Drop it."
        )
    density.need_single_weights("draws of `samples`")
    return SampledError(
        device=device,
        times=times,
        density=density,
        time_weights=weights,
        key=jr.clone(key),
        ceiling=limit,
        samples=samples,
        aggregate=aggregate,
    )


def _as_ceiling(
    given: JArray | np.ndarray | None, times: Float[JArray, "times"]
) -> JArray | None:
    if given is None:
        return None
    ceiling = jnp.asarray(given, dtype=float)
    checks.positive("ceiling", ceiling)
    if ceiling.shape != times.shape:
        checks.fail(
            "ceiling", "match `times`", ceiling.shape, f"Give {times.shape[0]}."
        )
    return ceiling
