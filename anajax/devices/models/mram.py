"""Magnetic memory (STT-MRAM): binary cells with write errors and retention loss."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import jax.random as jr
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax._core import checks
from anajax._core.normal import normal
from anajax._core.tree import pytree, replace, within
from anajax._core.types import PRNGKey
from anajax._core.units import YEAR
from anajax.devices import quadrature
from anajax.devices.base import Device
from anajax.devices.fitting.likelihood import AbstractLikelihood, Measured, PerCell
from anajax.devices.quadrature import Nodes
from anajax.devices.read_noise import NoReadNoise
from anajax.devices.stages import AbstractDrift, AbstractProgramming, G, Number, Time


@pytree
class BinaryProgramming(AbstractProgramming):
    """The nearer of two levels, or the other with probability `error`.

    Cycle-to-cycle: write errors are drawn at every programming. Samples have no
    gradient with respect to `error`, but moments do.
    """

    UNITS = {"low": "uS", "high": "uS"}
    low: Number
    """uS."""
    high: Number
    """uS."""
    error: Number = within(0.0, 1.0)
    """Probability of a write error."""
    scale: Number = 1.0
    """Factor on that probability (at most 1 in all), for sweeps."""
    fitted = False

    def sample(self, target: G, *, key: PRNGKey) -> G:
        u = jr.uniform(key, jnp.shape(target), jnp.result_type(target))
        right, wrong = self._levels(target)
        return jnp.where(u < self._error(), wrong, right)

    def nodes(self, target: G) -> Nodes:
        error = self._error() + jnp.zeros_like(target)
        return Nodes(
            value=jnp.stack(self._levels(target), -1),
            weight=jnp.stack([1 - error, error], -1),
        )

    def _levels(self, target: G) -> tuple[G, G]:
        high = target > (self.low + self.high) / 2
        one = jnp.where(high, self.high, self.low)
        return one, self.low + self.high - one

    def _error(self) -> Number:
        return jnp.minimum(self.scale * self.error, 1.0)


@pytree
class RetentionFlips(AbstractDrift):
    """Fixed spread of each junction, and a flip with probability 1 - exp(-t/tau).

    Parallel state g_on exp(sd z); antiparallel state the same divided by 1 + TMR, TMR ~
    N(tmr, tmr_sd), floored at zero; z ~ N(0, 1) and TMR are fixed for each cell
    (device-to-device). tau = 1 ns exp(stability); a cell flips at most once, from
    either state (exact for t much less than tau).
    """

    UNITS = {"g_on": "uS"}
    g_on: Number = within(0.0)
    """Median conductance of the parallel state, uS."""
    g_sd: Number = within(0.0)
    """Spread of ln g, dimensionless."""
    tmr: Number = within(0.0)
    """Mean tunneling magnetoresistance ratio, dimensionless."""
    tmr_sd: Number = within(0.0)
    """Spread of the ratio."""
    stability: Number
    """Thermal stability factor Delta, dimensionless."""
    mean_scale: Number = 1.0
    """Factor on the flip rate, for sweeps."""
    spread_scale: Number = 1.0
    """Factor on both spreads, for sweeps."""

    def init(
        self, target: G, programmed: G, *, key: PRNGKey
    ) -> Float[JArray, "*cells 3"]:
        shape, dtype = jnp.shape(target), jnp.result_type(target)
        two = normal(jr.fold_in(key, 0), (*shape, 2), dtype)
        uniform = jr.uniform(jr.fold_in(key, 1), (*shape, 1), dtype)
        return jnp.concatenate([two, uniform], -1)

    def evolve(
        self, target: G, programmed: G, state: Float[JArray, "*cells 3"], *, t: Time
    ) -> G:
        z, ratio, u = (state[..., i] for i in range(3))
        parallel = self._parallel(programmed) ^ (u < self._flipped(t))
        on = self._on(z)
        return jnp.where(parallel, on, on / self._ratio(ratio))

    def nodes(self, target: G, programmed: G, *, t: Time) -> Nodes:
        z = quadrature.standard_normal(programmed)
        on, flipped = self._on(z.value), self._flipped(t)
        off = on[..., None] / self._ratio(z.value)[..., None, :]
        joint = z.weight[..., None] * z.weight[..., None, :]
        parallel = jnp.where(self._parallel(programmed), 1 - flipped, flipped)[
            ..., None
        ]
        flat = (*jnp.shape(programmed), -1)
        return Nodes(
            value=jnp.concatenate([on, off.reshape(flat)], -1),
            weight=jnp.concatenate(
                [parallel * z.weight, (1 - parallel) * joint.reshape(flat)], -1
            ),
        )

    def first_shown(self, programmed: G, g: G) -> G:
        """A cell is programmed to a state, and shows its conductance in that state."""
        return g

    def share_constants(self, programming: Any) -> tuple[Any, Any]:
        if not isinstance(programming, BinaryProgramming):
            return programming, self
        low = self.g_on / (1 + self.tmr)
        return replace(programming, low=low, high=self.g_on), self

    def shared(self, programming: Any) -> Mapping[str, int | None]:
        if not isinstance(programming, BinaryProgramming):
            return {}
        return {"programming.low": None, "programming.high": None}

    def likelihood(self) -> "BinaryLikelihood":
        return BinaryLikelihood()

    def _parallel(self, programmed: G) -> JArray:
        return programmed > self.g_on * (1 + 1 / (1 + self.tmr)) / 2

    def _on(self, z: G) -> G:
        return self.g_on * jnp.exp(self.spread_scale * self.g_sd * z)

    def _ratio(self, z: G) -> G:
        return 1 + jnp.maximum(self.tmr + self.spread_scale * self.tmr_sd * z, 0)

    def _flipped(self, t: Time) -> Number:
        rate = self.mean_scale * jnp.exp(-self.stability)
        return -jnp.expm1(-rate * (jnp.asarray(t, float) * 1e9))


def mram_stt(
    *,
    g_max: float = 125.0,
    g_sd: float = 0.07,
    tmr: float = 2.0,
    tmr_sd: float = 0.1,
    write_error: float = 1e-6,
    stability: float = 60.0,
) -> Device:
    """Spin-transfer-torque magnetic memory: two levels, no drift, retention flips.

    A target is programmed to the nearer of two levels (`levels`): 8 kOhm parallel, 24
    kOhm antiparallel (TMR 200 %). Spread: log-normal, 5 to 7 % of g, and that of the
    TMR (device-to-device, fixed); write errors (cycle-to-cycle); retention flips with
    probability 1 - exp(-(t / 1 ns) exp(-Delta)) from either state (fixed).

    Args:
        g_max: parallel conductance, uS.
        g_sd: spread of ln g; 0.07 is the preset of NeuroSim.
        tmr: mean ratio.
        tmr_sd: its spread (assumption).
        write_error: probability of a wrong state after writing (assumption).
        stability: Delta (assumption).

    Source: 64 x 64 array, 28 nm: Jung et al., Nature 601, 211 (2022); spread: NeuroSim.
    Valid times (10 years) are an assumption.
    """
    low = g_max / (1 + tmr)
    return Device(
        name="mram_stt",
        g_min=low,
        g_max=g_max,
        programming=BinaryProgramming(low=low, high=g_max, error=write_error),
        drift=RetentionFlips(
            g_on=g_max, g_sd=g_sd, tmr=tmr, tmr_sd=tmr_sd, stability=stability
        ),
        read=NoReadNoise(),
        levels=[low, g_max],
        source="Jung et al., Nature 601, 211 (2022); spread as NeuroSim (7 %); TMR "
        "spread, write error, stability and valid times are assumptions",
        valid_times=(0.0, 10 * YEAR),
    )


class BinaryLikelihood(AbstractLikelihood):
    """Likelihood of a binary memory: write errors, spread of both states, flips.

    A cell shows its conductance after writing, and later either the same or that of its
    other state. ln G of the parallel state is normal; that of the antiparallel state is
    the same less ln(1 + TMR), whose spread is integrated by quadrature. A cell seen in
    both states shows its TMR itself.
    """

    def check(self, device: Device, data: Measured) -> None:
        del data
        if not isinstance(device.programming, BinaryProgramming):
            checks.fail(
                "form.programming",
                "be binary, as the drift of the form is",
                type(device.programming).__name__,
                "Use BinaryProgramming.",
            )

    def windows(self, device: Device, data: Measured) -> None:
        """There is no window: nothing depends on the data."""
        del device, data

    def log_likelihood(self, device: Device, data: Measured, window: None) -> PerCell:
        del window
        drift = device.drift
        high, flipped, other = _states(device, data)
        error = jnp.clip(device.programming.error, 1e-300, 1 - 1e-16)
        wanted = data.target > _middle(drift)
        written = jnp.where(high == wanted, jnp.log1p(-error), jnp.log(error))
        rate = jnp.exp(-drift.stability) * 1e9
        last_kept = jnp.max(jnp.where(flipped, 0.0, data.time) * data.valid, -1)
        first_flip = jnp.min(jnp.where(flipped, data.time, jnp.inf), -1)
        ever = jnp.isfinite(first_flip)
        gap = jnp.where(ever, first_flip - jnp.minimum(last_kept, first_flip), 1.0)
        between = -jnp.expm1(-rate * jnp.where(gap > 0, gap, 1.0))
        flips = jnp.where(ever & (gap > 0), jnp.log(between), 0.0) - rate * last_kept
        return written + flips + _spread(drift, data.programmed, high, ever, other)

    def programming_cdf(
        self, device: Device, data: Measured
    ) -> Float[JArray, "cells 2"]:
        """P(conductance below the measured one, given the state)."""
        drift, g = device.drift, data.programmed
        z = quadrature.standard_normal(g)
        factor = 1 + jnp.maximum(drift.tmr + drift.tmr_sd * z.value, 0)
        off = norm.cdf(jnp.log(g[:, None] * factor / drift.g_on) / drift.g_sd)
        on = norm.cdf(jnp.log(g / drift.g_on) / drift.g_sd)
        cdf = jnp.where(g > _middle(drift), on, jnp.sum(z.weight * off, -1))
        return jnp.stack([cdf, cdf], -1)

    def read_cdf(self, device: Device, data: Measured) -> Float[JArray, "cells 2"]:
        """Range of the flip variable given the read: below or above P(flip)."""
        _, flipped, _ = _states(device, data)
        rate = jnp.exp(-device.drift.stability) * 1e9
        probability = -jnp.expm1(-rate * data.time[:, 0])
        low = jnp.where(flipped[:, 0], 0.0, probability)
        high = jnp.where(flipped[:, 0], probability, 1.0)
        return jnp.stack([low, high], -1)


def _spread(
    drift: RetentionFlips, g: PerCell, high: JArray, both: JArray, other: PerCell
) -> PerCell:
    """Log density of the conductances that were seen."""
    on = jnp.where(high, g, other)
    off = jnp.where(high, other, g)
    ratio = on / off - 1
    seen = _log_normal(drift, on) + norm.logpdf((ratio - drift.tmr) / drift.tmr_sd)
    jacobian = jnp.where(high, on / off**2, 1 / off)
    seen = seen - jnp.log(drift.tmr_sd) + jnp.log(jacobian)
    z = quadrature.standard_normal(g)
    factor = 1 + jnp.maximum(drift.tmr + drift.tmr_sd * z.value, 0)
    terms = _log_normal(drift, g[:, None] * factor) + jnp.log(factor * z.weight)
    alone = jnp.where(high, _log_normal(drift, g), logsumexp(terms, axis=-1))
    return jnp.where(both, seen, alone)


def _log_normal(drift: RetentionFlips, g: JArray) -> JArray:
    z = jnp.log(g / drift.g_on) / drift.g_sd
    return norm.logpdf(z) - jnp.log(g * drift.g_sd)


def _states(device: Device, data: Measured) -> tuple[JArray, JArray, PerCell]:
    """State after writing, which reads are flipped, and a read of the other state."""
    middle = _middle(device.drift)
    high = data.programmed > middle
    flipped = ((data.read > middle) != high[:, None]) & (data.valid > 0)
    index = jnp.argmax(flipped, -1)
    other = jnp.take_along_axis(data.read, index[:, None], -1)[:, 0]
    fallback = jnp.where(high, data.programmed / 3, data.programmed * 3)
    return high, flipped, jnp.where(jnp.any(flipped, -1), other, fallback)


def _middle(drift: RetentionFlips) -> JArray:
    return drift.g_on * (1 + 1 / (1 + drift.tmr)) / 2


RECORDS = (
    BinaryProgramming,
    RetentionFlips,
)
PRESETS = (mram_stt,)
