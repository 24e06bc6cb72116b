"""Flash memories: charge-trap (SONOS) and floating-gate cells."""

import jax.numpy as jnp

from anajax._core.normal import normal
from anajax._core.tree import pytree, within
from anajax._core.types import PRNGKey
from anajax._core.units import DAY, YEAR
from anajax.devices import quadrature
from anajax.devices.base import Device
from anajax.devices.curves import Saturating, X
from anajax.devices.programming import GaussianProgramming
from anajax.devices.quadrature import Nodes, Score
from anajax.devices.read_noise import GaussianRead, NoReadNoise
from anajax.devices.relaxation import (
    AbstractSurface,
    Growth,
    RelaxationDrift,
    SaturatingInTime,
)
from anajax.devices.stages import (
    AbstractDrift,
    AbstractProgramming,
    G,
    Number,
    Time,
    Trial,
)

NA_PER_US = 100.0
"""Current of a 1 uS cell at the read voltage of 0.1 V, nA."""

_SONOS_A = (19.88665, 25.59102, 28.72753, 31.04318, 33.76214, 34.57909)
_SONOS_B = (176.3115, 186.85544, 193.56834, 198.90332, 204.77023, 207.34309)


@pytree
class SonosShift(AbstractSurface):
    """Mean shift of SONOS cells: the current of low ones grows, others lose.

    gain t^p (x / w) exp(1 - x / w) - loss t^q x (1 - exp(-(x / v)^2)), t in days.
    """

    UNITS = {
        "gain_exponent": "", "gain_width": "", "loss_exponent": "", "loss_width": "",
    }  # fmt: skip
    gain: Number
    """uS."""
    gain_exponent: Number
    gain_width: Number = within(0.0)
    """w, of x."""
    loss: Number
    """uS."""
    loss_exponent: Number
    loss_width: Number = within(0.0)
    """v, of x."""

    def __call__(self, x: X, t: Time) -> X:
        t = jnp.asarray(t, x.dtype)
        days = jnp.where(t > 0, t, 1.0) / DAY
        u = x / self.gain_width
        gain = self.gain * days**self.gain_exponent * u * jnp.exp(1 - u)
        loss = self.loss * days**self.loss_exponent * x
        loss = -loss * jnp.expm1(-((x / self.loss_width) ** 2))
        return jnp.where(t > 0, gain - loss, 0.0)


def flash_sonos(*, g_max: float = 18.0) -> Device:
    """Charge-trap flash (SONOS, 40 nm): shift and broadening over five days.

    In cell current I (nA at a read voltage of 0.1 V; 1 uS = 100 nA): spread A(t) (1 -
    exp(-I / B(t))) with A, B tabulated at 0 to 5 days, linear in t between. At t = 0 it
    is the programming error, taken as cycle-to-cycle (in the source it includes the
    device-to-device part); the growth after that is fixed for each cell and taken as
    independent (assumption). Mean shift 2.114 t^0.407 (I / 113.4) exp(1 - I / 113.4) -
    0.00772 t^0.774 I (1 - exp(-(I / 754.7)^2)), t in days, within 1.2 nA rms of the
    table. Read noise 12.58037 (1 - exp(-I / 215.36557)) nA of the present current,
    cycle-to-cycle.

    Args:
        g_max: highest conductance, uS; the source covers 18 (1800 nA) with retention.
            For another value, currents and standard deviations are scaled together.

    Source: Agrawal et al., IEDM 2022, 21.7, 128k cells; 0 to 5 days. Beyond that, the
    spread is extrapolated by the log-time law of 13.26 nA per decade.
    """
    i_max = 18.0 * NA_PER_US
    unit = g_max / i_max
    return Device(
        name="flash_sonos",
        g_min=0.0,
        g_max=g_max,
        programming=GaussianProgramming(
            sd=Saturating(amplitude=_SONOS_A[0] * unit, width=_SONOS_B[0] / i_max),
            g_max=g_max,
        ),
        drift=RelaxationDrift(
            shift=SonosShift(
                gain=2.114 * unit,
                gain_exponent=0.407,
                gain_width=113.4 / i_max,
                loss=0.00772 * g_max,
                loss_exponent=0.774,
                loss_width=754.7 / i_max,
            ),
            spread=Growth(
                total=SaturatingInTime(
                    times=tuple(i * DAY for i in range(6)),
                    amplitude=[a * unit for a in _SONOS_A],
                    width=[b / i_max for b in _SONOS_B],
                    growth=13.26 * unit,
                ),
                first=0.0,
            ),
            g_max=g_max,
        ),
        read=GaussianRead(
            sd_curve=Saturating(amplitude=12.58037 * unit, width=215.36557 / i_max),
            g_max=g_max,
        ),
        source="Agrawal et al., IEDM 2022, 21.7 (128k cells, 40 nm SONOS); 0 to 5 "
        "days; independence of programming error and broadening is an assumption",
        valid_times=(0.0, 5 * DAY),
    )


@pytree
class ThresholdProgramming(AbstractProgramming):
    """g_P = g_T exp(-scale sd xi / (n kT/q)): a Gaussian error of the threshold.

    Cycle-to-cycle: drawn at every programming. Below threshold only.
    """

    UNITS = {"sd": "V", "swing": "V"}
    sd: Number = within(0.0)
    """Standard deviation of the threshold voltage, V."""
    swing: Number
    """n kT/q, V."""
    scale: Number = 1.0
    """Factor on the standard deviation, for sweeps."""

    def sample(self, target: G, *, key: PRNGKey) -> G:
        xi = normal(key, jnp.shape(target), jnp.result_type(target))
        return target * jnp.exp(self.scale * self.sd / self.swing * xi)

    def nodes(self, target: G) -> Nodes:
        z = quadrature.standard_normal(target)
        factor = jnp.exp(self.scale * self.sd / self.swing * z.value)
        return Nodes(value=target[..., None] * factor, weight=z.weight)

    def score(self, target: G, programmed: G) -> Score:
        sd = self.scale * self.sd / self.swing
        ok = (target > 0) & (programmed > 0)
        safe = jnp.where(ok, programmed, 1.0)
        slope = -jnp.log(sd * safe)
        nothing = jnp.where((target > 0) | (programmed > 0), -jnp.inf, 0.0)
        return Score(
            z=jnp.log(safe / jnp.where(ok, target, 1.0)) / sd,
            log_slope=jnp.where(ok, slope, nothing),  # zeros stay zeros
            censored=jnp.zeros_like(programmed),
            known=jnp.where(target > 0, 1.0, 0.0),
        )


@pytree
class ThresholdDrift(AbstractDrift):
    """g(t) = g_P exp(-dV(t) / (n kT/q)), dV = -k L + s sqrt(L) xi, L = log10(1 + t/t0).

    Device-to-device: xi ~ N(0, 1) is fixed for each cell. Below threshold only.
    """

    UNITS = {"loss": "V per decade", "sd": "V per root decade", "swing": "V", "t0": "s"}
    loss: Number
    """k, V per decade: charge loss lowers the threshold of all cells."""
    sd: Number = within(0.0)
    """s, V per root of a decade: spread between cells."""
    swing: Number
    """n kT/q, V."""
    t0: Number
    """Time constant of the logarithmic law, s."""
    mean_scale: Number = 1.0
    """Factor on the loss, for sweeps."""
    spread_scale: Number = 1.0
    """Factor on the spread, for sweeps."""
    needs_positive = True

    def init(self, target: G, programmed: G, *, key: PRNGKey) -> G:
        del programmed
        return normal(key, jnp.shape(target), jnp.result_type(target))

    def evolve(self, target: G, programmed: G, state: G, *, t: Time) -> G:
        return programmed * self._factor(state, t)

    def nodes(self, target: G, programmed: G, *, t: Time) -> Nodes:
        z = quadrature.standard_normal(target)
        factor = self._factor(z.value, t)
        return Nodes(value=programmed[..., None] * factor, weight=z.weight)

    def along(
        self, target: Trial, programmed: Trial, state: Trial, *, t: Trial
    ) -> Trial:
        return programmed * self._factor(state, t)

    def score(self, target: G, programmed: G, g: G, *, t: G) -> Score:
        ok = (programmed > 0) & (g > 0) & (t > 0)
        center = self._factor(jnp.zeros_like(g), t)
        unit = self._factor(-jnp.ones_like(g), t)
        sd = jnp.where(ok, jnp.log(unit / center), 1.0)
        safe = jnp.where(sd > 0, sd, 1.0)
        after, before = jnp.where(ok, g, 1.0), jnp.where(ok, programmed, 1.0)
        return Score(
            z=jnp.log(after / before / center) / safe,
            log_slope=-jnp.log(safe * after),
            censored=jnp.zeros_like(g),
            known=jnp.ones_like(g),
        )

    def _factor(self, xi: Trial, t: Time) -> Trial:
        decades = jnp.log1p(t / self.t0) / jnp.log(10.0)
        root = jnp.where(decades > 0, jnp.sqrt(jnp.where(decades > 0, decades, 1)), 0)
        rise = self.mean_scale * self.loss * decades
        return jnp.exp((rise - self.spread_scale * self.sd * root * xi) / self.swing)


def flash_floating_gate(
    *,
    g_max: float = 10.0,
    programming_sd: float = 0.4e-3,
    loss: float = 1e-3,
    loss_sd: float = 1e-3,
    ideality: float = 1.5,
    temperature: float = 300.0,
    t0: float = 1.0,
) -> Device:
    """Floating-gate (NOR) flash below threshold: log-normal errors.

    I = I0 exp((Vg - Vt) / (n kT/q)); dVt = -k log10(1 + t/t0)
    + N(0, sp^2 + sr^2 log10(1 + t/t0)). sp is the programming error (cycle-to-cycle),
    sr the spread of the charge loss (device-to-device, fixed). There is no read noise.

    Args:
        g_max: highest conductance, uS (assumption: 1 uA at 0.1 V).
        programming_sd: sp, V; 0.4 mV is 1 % of current, the tuning precision of the
            source, taken as a standard deviation (assumption).
        loss: k, V per decade (assumption).
        loss_sd: sr, V per root of a decade (assumption).
        ideality: n, dimensionless (assumption).
        temperature: K; enters through kT/q alone.
        t0: s (assumption).

    Source of the form and of the 1 %: Guo et al., arXiv 1611.03379 (ESF3 cells). The
    range of valid times, one year, is an assumption.
    """
    swing = ideality * 8.617333262e-5 * temperature
    return Device(
        name="flash_floating_gate",
        g_min=0.0,
        g_max=g_max,
        programming=ThresholdProgramming(sd=programming_sd, swing=swing),
        drift=ThresholdDrift(loss=loss, sd=loss_sd, swing=swing, t0=t0),
        read=NoReadNoise(),
        source="Form and 1 % tuning: Guo et al., arXiv 1611.03379; k, sr, n, t0, g_max "
        "and the valid times are assumptions",
        valid_times=(0.0, YEAR),
    )


RECORDS = (
    SonosShift,
    ThresholdDrift,
    ThresholdProgramming,
)
PRESETS = (
    flash_sonos,
    flash_floating_gate,
)
