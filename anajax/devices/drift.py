"""Drift: how a programmed conductance changes with time, cell by cell."""

import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array as JArray

from anajax._core import checks
from anajax._core.normal import normal
from anajax._core.tree import pytree, within
from anajax._core.types import PRNGKey
from anajax.devices import quadrature
from anajax.devices.curves import AbstractCurve
from anajax.devices.quadrature import Nodes
from anajax.devices.stages import AbstractDrift, G, Number, Time, Trial

ROUNDED = 1e-9
"""Smallest spread of the exponent in a fit, relative to its mean."""


@pytree
class NoDrift(AbstractDrift):
    """Conductances stay as programmed."""

    exact = True

    def init(self, target: G, programmed: G, *, key: PRNGKey) -> None:
        del target, programmed, key

    def start(self, target: G, programmed: G, state: None) -> G:
        del target, state
        return programmed

    def evolve(self, target: G, programmed: G, state: None, *, t: Time) -> G:
        del target, state, t
        return programmed

    def nodes(self, target: G, programmed: G, *, t: Time) -> Nodes:
        del target, t
        value = programmed[..., None]
        return Nodes(value=value, weight=jnp.ones_like(value))

    def log_prior(self, target: Trial, state: Trial) -> Trial:
        return jnp.zeros_like(state)

    def along(
        self, target: Trial, programmed: Trial, state: Trial, *, t: Trial
    ) -> Trial:
        shape = jnp.broadcast_shapes(jnp.shape(state), jnp.shape(t))
        return jnp.broadcast_to(programmed, shape)


@pytree
class PowerLawDrift(AbstractDrift):
    """g(t) = g_P ((t + t0) / t0)^-nu, nu = |mean(x) + sd(x) xi|, x = target / g_max.

    Device-to-device: each cell draws its exponent once, when it is programmed. The
    absolute value keeps cells from drifting upward. Time counts from the first read,
    which takes place t0 after programming.
    """

    UNITS = {"g_max": "uS", "t0": "s"}
    nu_mean: AbstractCurve = within(0.0)
    """Mean exponent as a curve of x, dimensionless."""
    nu_sd: AbstractCurve = within(0.0)
    """Spread of the exponent between cells as a curve of x, dimensionless."""
    g_max: Number
    """Conductance that normalizes x, uS."""
    t0: Number
    """Time from programming to the first read, s."""
    mean_scale: Number = 1.0
    """Factor on the mean exponent, for sweeps."""
    spread_scale: Number = 1.0
    """Factor on the spread of the exponent, for sweeps."""

    def __post_init__(self) -> None:
        checks.positive("t0", self.t0)

    def init(self, target: G, programmed: G, *, key: PRNGKey) -> G:
        mean, sd = self.statistics(target)
        xi = normal(key, jnp.shape(target), jnp.result_type(target))
        return jnp.abs(mean + sd * xi)

    def start(self, target: G, programmed: G, state: G) -> G:
        del target, state
        return programmed

    def evolve(self, target: G, programmed: G, state: G, *, t: Time) -> G:
        return programmed * jnp.exp(-state * self._log_time(t))

    def nodes(self, target: G, programmed: G, *, t: Time) -> Nodes:
        nu = quadrature.folded_normal(*self.statistics(target))
        factor = jnp.exp(-nu.value * self._log_time(t))
        return Nodes(value=programmed[..., None] * factor, weight=nu.weight)

    def state_range(self, target: G, spreads: float = 7.0) -> tuple[G, G]:
        mean, sd = self._resolved(target)
        return jnp.maximum(mean - spreads * sd, 0), mean + spreads * sd

    def log_prior(self, target: Trial, state: Trial) -> Trial:
        mean, sd = self._resolved(target)
        ahead = norm.logpdf((state - mean) / sd)
        return jnp.logaddexp(ahead, norm.logpdf((state + mean) / sd)) - jnp.log(sd)

    def along(
        self, target: Trial, programmed: Trial, state: Trial, *, t: Trial
    ) -> Trial:
        return programmed * jnp.exp(-state * self._log_time(t))

    def _resolved(self, target: G) -> tuple[G, G]:
        """Mean and spread; a spread that rounding would hide counts as a small one."""
        mean, sd = self.statistics(target)
        least = ROUNDED * jnp.abs(mean) + jnp.finfo(mean.dtype).tiny
        return mean, jnp.maximum(sd, least)

    def statistics(self, target: G) -> tuple[G, G]:
        """Mean and standard deviation of the exponent before the absolute value."""
        x = target / self.g_max
        mean = self.mean_scale * self.nu_mean(x)
        return mean, jnp.maximum(self.spread_scale * self.nu_sd(x), 0)

    def _log_time(self, t: Time) -> JArray:
        return jnp.log1p(t / self.t0)


RECORDS = (
    NoDrift,
    PowerLawDrift,
)
