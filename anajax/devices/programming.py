"""Programming errors: what is left of a target after programming."""

import jax.numpy as jnp
import jax.random as jr

from anajax._core.tree import pytree, static, within
from anajax._core.types import PRNGKey
from anajax.devices import _quadrature
from anajax.devices.base import AbstractProgramming, G, Nodes, Number
from anajax.devices.curves import AbstractCurve


@pytree
class NoProgrammingError(AbstractProgramming):
    """Every target is met exactly."""

    def sample(self, target: G, *, key: PRNGKey) -> G:
        del key
        return jnp.maximum(target, 0)

    def nodes(self, target: G) -> Nodes:
        value = jnp.maximum(target, 0)[..., None]
        return Nodes(value=value, weight=jnp.ones_like(value))


@pytree
class GaussianProgramming(AbstractProgramming):
    """g_P = max(0, mean(x) + scale sd(x) xi), xi ~ N(0, 1), x = target / g_max.

    Cycle-to-cycle: fresh at every programming. `sd` is a curve of x in uS. Without
    `floor`, g_P may be negative and the drift slot has to floor what becomes of it:
    for models of which only the spread after relaxation is known.
    """

    sd: AbstractCurve = within(0.0)
    """Standard deviation in uS as a curve of x."""
    g_max: Number
    """Conductance that normalizes x, uS."""
    shift: AbstractCurve | None = None
    """Systematic offset of the mean in uS as a curve of x; none if absent."""
    scale: Number = 1.0
    """Factor on the standard deviation, for sweeps."""
    floor: bool = static(default=True)
    """Whether the programmed conductance is floored at zero."""

    def sample(self, target: G, *, key: PRNGKey) -> G:
        mean, sd = self._statistics(target)
        xi = jr.normal(key, jnp.shape(target), jnp.result_type(target))
        g = mean + sd * xi
        return jnp.maximum(g, 0) if self.floor else g

    def nodes(self, target: G) -> Nodes:
        if not self.floor:
            return _quadrature.split_normal(*self._statistics(target))
        return _quadrature.rectified_normal(*self._statistics(target))

    def _statistics(self, target: G) -> tuple[G, G]:
        x = target / self.g_max
        mean = target if self.shift is None else target + self.shift(x)
        return mean, jnp.maximum(self.scale * self.sd(x), 0)
