"""Programming errors: how programmed conductances differ from their targets."""

import jax.numpy as jnp

from anajax._core.normal import normal
from anajax._core.tree import pytree, static, within
from anajax._core.types import PRNGKey
from anajax.devices import quadrature
from anajax.devices.curves import AbstractCurve
from anajax.devices.quadrature import Nodes, Score, equal
from anajax.devices.stages import AbstractProgramming, G, Number


@pytree
class NoProgrammingError(AbstractProgramming):
    """Every target is met exactly."""

    exact = True

    def sample(self, target: G, *, key: PRNGKey) -> G:
        del key
        return jnp.maximum(target, 0)

    def nodes(self, target: G) -> Nodes:
        value = jnp.maximum(target, 0)[..., None]
        return Nodes(value=value, weight=jnp.ones_like(value))

    def score(self, target: G, programmed: G) -> Score:
        none = jnp.zeros_like(programmed)
        return Score(z=none, log_slope=none, censored=none, known=none)


@pytree
class GaussianProgramming(AbstractProgramming):
    """g_P = max(0, mean(x) + scale sd(x) xi), xi ~ N(0, 1), x = target / g_max.

    Cycle-to-cycle: drawn at every programming. `sd` is a curve of x in uS. Without
    `floor`, g_P may be negative and the drift stage must floor the result: for models
    of which only the spread after relaxation is known.
    """

    UNITS = {"sd": "uS", "shift": "uS", "g_max": "uS"}
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
        mean, sd = self.statistics(target)
        xi = normal(key, jnp.shape(target), jnp.result_type(target))
        g = mean + sd * xi
        return jnp.maximum(g, 0) if self.floor else g

    def nodes(self, target: G) -> Nodes:
        if not self.floor:
            return quadrature.split_normal(*self.statistics(target))
        return quadrature.rectified_normal(*self.statistics(target))

    def score(self, target: G, programmed: G) -> Score:
        mean, sd = self.statistics(target)
        safe = jnp.where(sd > 0, sd, 1.0)
        hit = equal(programmed, jnp.maximum(mean, 0) if self.floor else mean)
        return Score(
            z=jnp.where(sd > 0, (programmed - mean) / safe, 0.0),
            log_slope=jnp.where(sd > 0, -jnp.log(safe), jnp.where(hit, 0.0, -jnp.inf)),
            censored=jnp.where((programmed <= 0) & (sd > 0), 1.0, 0.0),
            known=jnp.ones_like(programmed),
        )

    def statistics(self, target: G) -> tuple[G, G]:
        """Mean and standard deviation before the floor, uS."""
        x = target / self.g_max
        mean = target if self.shift is None else target + self.shift(x)
        return mean, jnp.maximum(self.scale * self.sd(x), 0)


RECORDS = (
    GaussianProgramming,
    NoProgrammingError,
)
