"""Weights of a strategy as read, from a table of their mean and standard deviation.

One lookup and one draw per weight, however many devices it has: for large networks if
two moments are enough. `chip.program` draws individual cells, including the tails of
their errors.
"""

import jax.numpy as jnp
from jaxtyping import Array as JArray
from jaxtyping import Float, Int

from anajax._core import checks
from anajax._core.normal import normal
from anajax._core.tree import pytree
from anajax._core.types import PRNGKey
from anajax.devices.moments import MomentTable
from anajax.mapping.density import WeightDensity
from anajax.mapping.strategy import Strategy
from anajax.mapping.weight_error import Compensation, tabulated_error, with_factors

POINTS = 1025
"""Number of points over |u|; between them, moments are linear."""


@pytree
class WeightTable:
    """Moments of compensated weights over |u| from 0 to 1, at several times."""

    mean: Float[JArray, "*layers times points"]
    """Mean of the normalized weight."""
    sd: Float[JArray, "*layers times points"]
    """Its standard deviation."""

    def moments(
        self, u: Float[JArray, "*weights"], *, time: int | Int[JArray, ""]
    ) -> tuple[Float[JArray, "*weights"], Float[JArray, "*weights"]]:
        """Mean and standard deviation of weights `u`, from the table of one layer.

        Args:
            u: normalized weights; those beyond 1 are treated as 1.
            time: index of the time.
        """
        place = jnp.clip(jnp.abs(u), 0, 1) * (self.mean.shape[-1] - 1)
        low = jnp.minimum(place.astype(jnp.int32), self.mean.shape[-1] - 2)
        part = place - low

        def at(values: JArray) -> JArray:
            own = values[time]
            return own[low] * (1 - part) + own[low + 1] * part

        return jnp.sign(u) * at(self.mean), at(self.sd)

    def draw(
        self,
        u: Float[JArray, "*weights"],
        *,
        time: int | Int[JArray, ""],
        key: PRNGKey,
    ) -> Float[JArray, "*weights"]:
        """Normalized weights `u` as held by one chip, in one read-out.

        Args:
            u: normalized weights; those beyond 1 are treated as 1.
            time: index of the time.
            key: consumed.
        """
        mean, sd = self.moments(u, time=time)
        return mean + sd * normal(key, u.shape, u.dtype)


def weight_table(
    strategy: Strategy,
    table: MomentTable,
    density: WeightDensity,
    *,
    compensation: Compensation = "mean_abs",
) -> WeightTable:
    """The moments of the weights of a mirrored strategy.

    Args:
        strategy: the targets, F and K.
        table: moments at 0 s and at the desired times, from `moment_table`.
        density: density of the weights over which drift compensation averages.
        compensation: how the factor is chosen.

    Raises:
        ValueError: if the strategy is not mirrored, or has targets outside the table.
    """
    if not strategy.mirrored:
        remedy = "Draw its cells, by `chip.program`."
        checks.fail("strategy", "be mirrored", strategy.name, remedy)
    u = jnp.linspace(0.0, 1.0, POINTS)
    even = WeightDensity(u=u, probability=jnp.full(POINTS, 1 / POINTS))
    own = tabulated_error(strategy, table, density, compensation=compensation)
    found = tabulated_error(strategy, table, even, compensation="none")
    found = with_factors(found, own.alpha, strategy, even)
    return WeightTable(mean=u + found.bias, sd=jnp.sqrt(found.var))
