"""Statistics of a device as functions of its normalized conductance x = g / g_max.

A published model gives each statistic (a standard deviation, a mean exponent) as a
small formula of x; a measured device gives it as a table. Both are records here, with
their constants as differentiable leaves.
"""

import abc
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax._core import checks
from anajax._core.tree import inherited, pytree, static, within
from anajax.devices.stages import Number, Numbers

X = Float[JArray, "..."]


class AbstractCurve(abc.ABC):
    """A function of the normalized conductance x = g / g_max (dimensionless)."""

    @abc.abstractmethod
    def __call__(self, x: X) -> X:
        """The value at `x`, of the same shape; value and slope are finite from 0."""


@pytree
class Constant(AbstractCurve):
    """The same value at every conductance."""

    value: Number = inherited()

    def __call__(self, x: X) -> X:
        return jnp.zeros_like(x) + self.value


@pytree
class Polynomial(AbstractCurve):
    """sum_i c_i x^i, coefficients low order first."""

    coefficients: Numbers

    def __call__(self, x: X) -> X:
        value = jnp.zeros_like(x)
        for i in reversed(range(self.coefficients.shape[-1])):
            value = value * x + self.coefficients[..., i]
        return value


@pytree
class ClippedLog(AbstractCurve):
    """clip(slope ln x + offset, low, high), with x floored at `x_floor`."""

    slope: Number
    offset: Number
    low: Number = inherited()
    high: Number = inherited()
    x_floor: float = static(default=1e-7)

    def __call__(self, x: X) -> X:
        value = self.slope * jnp.log(jnp.maximum(x, self.x_floor)) + self.offset
        return jnp.clip(value, self.low, self.high)


@pytree
class CappedPower(AbstractCurve):
    """min(factor / x^exponent, cap), with x floored at `x_floor`."""

    UNITS = {"exponent": ""}
    factor: Number = inherited()
    exponent: Number
    cap: Number = inherited()
    x_floor: float = static(default=1e-6)

    def __call__(self, x: X) -> X:
        power = jnp.exp(-self.exponent * jnp.log(jnp.maximum(x, self.x_floor)))
        return jnp.minimum(self.factor * power, self.cap)  # in a sixth of x ** y


@pytree
class Saturating(AbstractCurve):
    """amplitude (1 - exp(-x / width))."""

    UNITS = {"width": ""}
    amplitude: Number = inherited()
    width: Number = within(0.0)

    def __call__(self, x: X) -> X:
        return -self.amplitude * jnp.expm1(-x / self.width)


@pytree
class Piecewise(AbstractCurve):
    """`below` for x < threshold, otherwise `above`."""

    UNITS = {"threshold": ""}
    threshold: Number
    below: Any = inherited()
    above: Any = inherited()

    def __call__(self, x: X) -> X:
        return jnp.where(x < self.threshold, self.below(x), self.above(x))


@pytree
class Table(AbstractCurve):
    """Linear interpolation between measured points, constant outside of them.

    Raises:
        ValueError: if `x` does not increase strictly, lengths differ, or a value is not
            finite.
    """

    UNITS = {"x": ""}
    x: Numbers
    value: Numbers = inherited()

    def __post_init__(self) -> None:
        checks.finite("x", self.x)
        checks.finite("value", self.value)
        checks.increasing("x", self.x)
        if self.x.shape != self.value.shape:
            checks.fail(
                "value",
                "have one entry per point of `x`",
                f"{self.value.shape} against {self.x.shape}",
                "Give both columns the same length.",
            )

    def __call__(self, x: X) -> X:
        return jnp.interp(x, self.x, self.value)


RECORDS = (
    CappedPower,
    ClippedLog,
    Constant,
    Piecewise,
    Polynomial,
    Saturating,
    Table,
)
