"""Read noise: what one read-out adds to the current conductance."""

from typing import Literal

import jax.numpy as jnp

from anajax._core import checks
from anajax._core.tree import pytree, static, within
from anajax.devices.curves import AbstractCurve
from anajax.devices.stages import AbstractRead, G, Number, Time


@pytree
class NoReadNoise(AbstractRead):
    """Reads return the conductance itself."""

    exact = True

    def sd(self, g: G, *, target: G, programmed: G, t: Time) -> G:
        return jnp.zeros_like(g)


@pytree
class GaussianRead(AbstractRead):
    """White noise: sd(g) is a curve of the current conductance x = g / g_max, in uS.

    Cycle-to-cycle: drawn at every read.
    """

    UNITS = {"sd_curve": "uS", "g_max": "uS"}
    sd_curve: AbstractCurve = within(0.0)
    """Standard deviation in uS as a curve of x."""
    g_max: Number
    """Conductance that normalizes x, uS."""
    scale: Number = 1.0
    """Factor on the standard deviation, for sweeps."""

    def sd(self, g: G, *, target: G, programmed: G, t: Time) -> G:
        return jnp.maximum(self.scale * self.sd_curve(g / self.g_max), 0)


@pytree
class LogFlickerRead(AbstractRead):
    """1/f noise with an amplitude that is logarithmic in the current conductance.

    sd = amplitude log10(g / unit) sqrt(ln((t + t_read) / (2 t_read))); zero below one
    unit, and constant before 1 s. Cycle-to-cycle: drawn at every read.
    """

    UNITS = {"amplitude": "uS", "unit": "uS", "t_read": "s"}
    amplitude: Number = within(0.0)
    """uS."""
    unit: Number
    """Conductance at which the noise vanishes, uS."""
    t_read: Number
    """Duration of one read, s."""
    scale: Number = 1.0
    """Factor on the standard deviation, for sweeps."""

    def sd(self, g: G, *, target: G, programmed: G, t: Time) -> G:
        t = jnp.maximum(jnp.asarray(t, g.dtype), 1.0)
        grown = jnp.sqrt(jnp.log((t + self.t_read) / (2 * self.t_read)))
        decades = jnp.log10(jnp.maximum(g / self.unit, 1.0))
        return self.scale * self.amplitude * decades * grown


@pytree
class FlickerRead(AbstractRead):
    """1/f noise accumulated since programming, proportional to the conductance.

    sd = g(t) Q(x) sqrt(ln((t + t0 + t_read) / (2 t_read))); cycle-to-cycle: drawn at
    every read. Q is a curve of x = programmed / g_max, or of target / g_max if
    `argument` is "target": the published formula uses the target, the simulations of
    most papers the programmed value.
    """

    UNITS = {"g_max": "uS", "t0": "s", "t_read": "s"}
    q: AbstractCurve = within(0.0)
    """Relative noise amplitude as a curve of x, dimensionless."""
    g_max: Number
    """Conductance that normalizes x, uS."""
    t0: Number
    """Time from programming to the first read, s."""
    t_read: Number
    """Duration of one read, s."""
    scale: Number = 1.0
    """Factor on the standard deviation, for sweeps."""
    argument: Literal["programmed", "target"] = static(default="programmed")
    """Conductance that Q depends on: "programmed" or "target"."""

    def __post_init__(self) -> None:
        checks.word("argument", self.argument, ("programmed", "target"))
        checks.positive("t0", self.t0, strictly=False)
        checks.positive("t_read", self.t_read)

    def sd(self, g: G, *, target: G, programmed: G, t: Time) -> G:
        reference = programmed if self.argument == "programmed" else target
        grown = jnp.sqrt(jnp.log((t + self.t0 + self.t_read) / (2 * self.t_read)))
        return g * self.scale * self.q(reference / self.g_max) * grown


RECORDS = (
    FlickerRead,
    GaussianRead,
    LogFlickerRead,
    NoReadNoise,
)
