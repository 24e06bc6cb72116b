"""Relaxation: conductances that shift and spread in time, other than by a power law."""

import abc
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from anajax._core.normal import normal
from anajax._core.tree import inherited, pytree, replace, static, within
from anajax._core.types import PRNGKey
from anajax.devices import quadrature
from anajax.devices.curves import AbstractCurve, Polynomial, Saturating, X
from anajax.devices.programming import GaussianProgramming
from anajax.devices.quadrature import Nodes, Score
from anajax.devices.stages import AbstractDrift, G, Number, Numbers, Time, Trial


class AbstractSurface(abc.ABC):
    """A statistic in uS as a function of conductance x = target / g_max and time."""

    @abc.abstractmethod
    def __call__(self, x: X, t: Time) -> X:
        """The value at `x` and `t` (s), of the shape of `x`."""

    def from_first(self, curve: AbstractCurve) -> "AbstractSurface | None":
        """The surface with this curve at its first time; None if impossible."""
        del curve
        return None


@pytree
class LogTime(AbstractSurface):
    """slope ln(t / 1 s) + offset at every conductance, held constant before 1 s."""

    slope: Number = inherited()
    """Change per e-fold of time, uS."""
    offset: Number = inherited()
    """Value at 1 s, uS."""

    def __call__(self, x: X, t: Time) -> X:
        log = jnp.log(jnp.maximum(jnp.asarray(t, x.dtype), 1.0))
        return jnp.zeros_like(x) + self.slope * log + self.offset


@pytree
class PolynomialsInTime(AbstractSurface):
    """Polynomials of x at given times, linear in ln t between, constant outside."""

    times: tuple[float, ...] = static()
    """Times of the polynomials, s, positive and increasing, [k]."""
    coefficients: Any
    """uS, low order first, [k order]."""

    def from_first(self, curve: AbstractCurve) -> "PolynomialsInTime | None":
        if not isinstance(curve, Polynomial):
            return None
        rows = self.coefficients.at[0].set(curve.coefficients)
        return replace(self, coefficients=rows)

    def __call__(self, x: X, t: Time) -> X:
        log = jnp.log(jnp.maximum(jnp.asarray(t, x.dtype), self.times[0]))
        value = jnp.zeros_like(x)
        for c in self.coefficients.T[::-1]:
            value = value * x + jnp.interp(log, self._logs(x), c)
        return value

    def _logs(self, x: X) -> X:
        return jnp.log(jnp.asarray(self.times, x.dtype))


@pytree
class SaturatingInTime(AbstractSurface):
    """A(t) (1 - exp(-x / B(t))), A and B linear in t between measured times.

    Beyond the last time, A grows by `growth` per decade and B is constant.
    """

    UNITS = {"width": ""}
    times: tuple[float, ...] = static()
    """Measured times, s, increasing."""
    amplitude: Numbers = inherited()
    """A, uS, at `times`."""
    width: Numbers = within(0.0)
    """B, dimensionless (of x), at `times`."""
    growth: Number = inherited()
    """Growth of A per decade of time beyond the last, uS."""

    def from_first(self, curve: AbstractCurve) -> "SaturatingInTime | None":
        if not isinstance(curve, Saturating):
            return None
        return replace(
            self,
            amplitude=self.amplitude.at[0].set(curve.amplitude),
            width=self.width.at[0].set(curve.width),
        )

    def __call__(self, x: X, t: Time) -> X:
        t = jnp.asarray(t, x.dtype)
        beyond = jnp.log10(jnp.maximum(t / self.times[-1], 1.0))
        times = jnp.asarray(self.times, x.dtype)
        amplitude = jnp.interp(t, times, self.amplitude) + self.growth * beyond
        width = jnp.interp(t, times, self.width)
        return -amplitude * jnp.expm1(-x / width)


@pytree
class Growth(AbstractSurface):
    """Independent noise added since `first`: sqrt(total(t)^2 - total(first)^2)."""

    total: Any = inherited()
    """An `AbstractSurface`: the total standard deviation measured at each time."""
    first: float = static()
    """Time (s) at which the programming error was measured."""

    def __call__(self, x: X, t: Time) -> X:
        added = self.total(x, t) ** 2 - self.total(x, self.first) ** 2
        later = jnp.asarray(t) > self.first  # at `first` rounding would leave a root
        grown = later & (added > 0)
        return jnp.where(grown, jnp.sqrt(jnp.where(grown, added, 1.0)), 0.0)


@pytree
class RelaxationDrift(AbstractDrift):
    """g(t) = max(0, g_P + shift(x, t) + spread(x, t) xi), xi ~ N(0, 1) frozen.

    Device-to-device: each cell draws xi once, when it is programmed, and keeps it. The
    sources give the distribution at each time; that a cell keeps its quantile of the
    added relaxation is an assumption. x = target / g_max.
    """

    UNITS = {"spread": "uS", "shift": "uS", "g_max": "uS"}
    spread: Any = within(0.0)
    """An `AbstractSurface`: standard deviation added by relaxation, uS."""
    g_max: Number
    """Conductance that normalizes x, uS."""
    shift: Any = None
    """An `AbstractSurface`: mean change, uS; none if absent."""
    mean_scale: Number = 1.0
    """Factor on the shift, for sweeps."""
    spread_scale: Number = 1.0
    """Factor on the spread, for sweeps."""
    points: int = static(default=24)
    """Quadrature nodes; more are needed if the read-out clips at the edge of the range.
    """

    def init(self, target: G, programmed: G, *, key: PRNGKey) -> G:
        del programmed
        return normal(key, jnp.shape(target), jnp.result_type(target))

    def evolve(self, target: G, programmed: G, state: G, *, t: Time) -> G:
        shift, spread = self.statistics(target, t)
        return jnp.maximum(programmed + shift + spread * state, 0)

    def nodes(self, target: G, programmed: G, *, t: Time) -> Nodes:
        shift, spread = self.statistics(target, t)
        return quadrature.rectified_normal(
            programmed + shift, spread, points=self.points
        )

    def along(
        self, target: Trial, programmed: Trial, state: Trial, *, t: Trial
    ) -> Trial:
        shift, spread = self.statistics(target, t)
        return jnp.maximum(programmed + shift + spread * state, 0)

    def score(self, target: G, programmed: G, g: G, *, t: G) -> Score:
        shift, sd = self.statistics(target, t)
        safe = jnp.where(sd > 0, sd, 1.0)
        return Score(
            z=(g - programmed - shift) / safe,
            log_slope=jnp.where(sd > 0, -jnp.log(safe), -jnp.inf),
            censored=jnp.where(g <= 0, 1.0, 0.0),
            known=jnp.ones_like(g),
        )

    def share_constants(self, programming: Any) -> tuple[Any, Any]:
        total = self._from_first(programming)
        if total is None:
            return programming, self
        spread = replace(self.spread, total=total)
        return programming, replace(self, spread=spread)

    def shared(self, programming: Any) -> Mapping[str, int | None]:
        if self._from_first(programming) is None:
            return {}
        names = ("coefficients", "amplitude", "width")
        return {f"drift.spread.total.{name}": 0 for name in names}

    def _from_first(self, programming: Any) -> AbstractSurface | None:
        """The whole deviation that at its first time is the programming error."""
        if not (
            isinstance(self.spread, Growth)
            and isinstance(programming, GaussianProgramming)
        ):
            return None
        return self.spread.total.from_first(programming.sd)

    def statistics(self, target: Trial, t: Time) -> tuple[Trial, Trial]:
        """Mean change and its standard deviation at `t` (s), uS."""
        x = target / self.g_max
        shift = jnp.zeros_like(x) if self.shift is None else self.shift(x, t)
        spread = jnp.maximum(self.spread_scale * self.spread(x, t), 0)
        return self.mean_scale * shift, spread


RECORDS = (
    Growth,
    LogTime,
    PolynomialsInTime,
    RelaxationDrift,
    SaturatingInTime,
)
