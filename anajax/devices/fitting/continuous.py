"""Likelihood of measurements under a device, cell by cell, and its residuals.

The programmed value of a cell is measured, so programming and what follows factorize.
Reads of one cell share its frozen fact (drift exponent, relaxation quantile), which is
integrated by Gauss-Legendre quadrature over a window that follows each posterior.
"""

from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax._core import checks
from anajax._core.tree import pytree
from anajax.devices import _quadrature
from anajax.devices.base import Device
from anajax.devices.drift import NoDrift, PowerLawDrift
from anajax.devices.fitting.measurements import Measured
from anajax.devices.models.flash import ThresholdDrift, ThresholdProgramming
from anajax.devices.programming import GaussianProgramming, NoProgrammingError
from anajax.devices.read_noise import NoReadNoise
from anajax.devices.relaxation import RelaxationDrift

PerCell = Float[JArray, "cells"]
POINTS = 24
NEAR, FAR = 7.0, 1e3
"""Spreads of the prior within which a fact of its is, and where the search begins."""
ROUNDED = 1e-9
"""Least spread of a fact, in parts of its mean."""
ZOOMS = 8
"""Each leaves at least a sixth of the range."""


@pytree
class Window:
    """Range of the frozen fact that the reads of each cell leave open."""

    low: PerCell
    high: PerCell


def check(device: Device, data: Measured) -> None:
    """Refuse forms without a likelihood, and data that a form cannot explain."""
    programming = GaussianProgramming | NoProgrammingError | ThresholdProgramming
    if not isinstance(device.programming, programming):
        _unknown("programming", device.programming)
    if not isinstance(
        device.drift, NoDrift | PowerLawDrift | RelaxationDrift | ThresholdDrift
    ):
        _unknown("drift", device.drift)
    _check_errors(device, data)
    if isinstance(device.read, NoReadNoise):
        if isinstance(device.drift, PowerLawDrift):
            _unknown("read (none, with a drift exponent)", device.read)
        if data.time.shape[1] > 1 and not isinstance(device.drift, NoDrift):
            checks.fail(
                "measurements",
                "have one read per cell for a form without read noise",
                f"{data.time.shape[1]} reads",
                "Give the form a read noise.",
            )


def _check_errors(device: Device, data: Measured) -> None:
    """Refuse data that scatter where a form is exact, and that are exact where not."""
    target, programmed, read, valid = (
        np.asarray(v) for v in (data.target, data.programmed, data.read, data.valid)
    )
    off = int(np.sum(~_equal(programmed, target)))
    if _exact(device) and off:
        checks.fail(
            "form.programming",
            "have an error, since programmed values are off their targets",
            f"none, {off} of {target.size} cells off",
            "Give the form a programming error.",
        )
    low = 0.0 if device.read_low is None else float(device.read_low)
    high = np.inf if device.read_high is None else float(device.read_high)
    moved = (valid > 0) & ~_equal(read, np.clip(programmed, low, high)[:, None])
    quiet = isinstance(device.read, NoReadNoise)
    if quiet and isinstance(device.drift, NoDrift) and np.any(moved):
        checks.fail(
            "form.read",
            "have noise, since the data scatter at reads",
            f"no read noise and no drift, {int(np.sum(moved))} reads that are not "
            "what was programmed",
            "Give the form a read noise.",
        )
    if not quiet and not np.any(moved):
        checks.fail(
            "form.read",
            "be without noise, since all reads are the programmed values",
            type(device.read).__name__,
            "Use NoReadNoise and NoDrift, or add reads that are measured anew.",
        )


def _equal(a: Any, b: Any) -> Any:
    """Whether two conductances are the same but for rounding."""
    return abs(a - b) <= 1e-6 * (abs(a) + abs(b))


def programming_z(device: Device, data: Measured) -> tuple[PerCell, PerCell, PerCell]:
    """Standard normal variable of each programmed value, its log slope, and at zero.

    The third is 1 where the value is censored (at zero): then the true variable is
    anywhere below.
    """
    form, target, g = device.programming, data.target, data.programmed
    none = jnp.zeros_like(g)
    if isinstance(form, NoProgrammingError):
        return none, none, none
    if isinstance(form, ThresholdProgramming):
        sd = form.scale * form.sd / form.swing
        ok = (target > 0) & (g > 0)
        ratio = jnp.where(ok, g, 1.0) / jnp.where(ok, target, 1.0)
        slope = -jnp.log(sd * jnp.where(ok, g, 1.0))
        both = jnp.where((target > 0) | (g > 0), -jnp.inf, 0.0)  # zeros stay zeros
        return jnp.log(ratio) / sd, jnp.where(ok, slope, both), none
    mean, sd = form._statistics(target)
    safe = jnp.where(sd > 0, sd, 1.0)
    hit = _equal(g, jnp.maximum(mean, 0) if form.floor else mean)
    slope = jnp.where(sd > 0, -jnp.log(safe), jnp.where(hit, 0.0, -jnp.inf))
    z = jnp.where(sd > 0, (g - mean) / safe, 0.0)
    return z, slope, jnp.where((g <= 0) & (sd > 0), 1.0, 0.0)


def windows(device: Device, data: Measured) -> Window:
    """Where the frozen fact of each cell may be, given its reads: a few zooms.

    They begin far outside the prior: the fact of a cell that is no child of it is
    where its reads are, and a window that ends before has an edge which moves with
    the prior, so that the gradient, of a window held fixed, is not that of the value.
    """
    steps, whole = 24, _prior_range(device, data, FAR)
    if isinstance(device.read, NoReadNoise) or isinstance(device.drift, NoDrift):
        return Window(low=whole[0], high=whole[1])

    def zoom(_: int, bounds: tuple[PerCell, PerCell]) -> tuple[PerCell, PerCell]:
        low, high = bounds
        step = jnp.arange(steps + 1, dtype=low.dtype) / steps
        facts = low[:, None] + (high - low)[:, None] * step
        weight = _log_joint(device, data, facts)
        weight = jnp.where(jnp.isnan(weight), -jnp.inf, weight)  # beyond all numbers
        weight = jnp.exp(weight - jnp.max(weight, -1, keepdims=True))
        weight = weight / jnp.sum(weight, -1, keepdims=True)
        mean = jnp.sum(weight * facts, -1)
        sd = jnp.sqrt(jnp.sum(weight * (facts - mean[:, None]) ** 2, -1))
        reach = jnp.maximum(7 * sd, 2 * (high - low) / steps)
        return jnp.maximum(mean - reach, low), jnp.minimum(mean + reach, high)

    low, high = jax.lax.fori_loop(0, ZOOMS, zoom, whole)
    return Window(low=low, high=high)


def log_likelihood(device: Device, data: Measured, window: Window) -> PerCell:
    """Log likelihood of the measurements of each cell."""
    z, slope, censored = programming_z(device, data)
    written = jnp.where(censored > 0, norm.logcdf(z), norm.logpdf(z) + slope)
    return written + _reads(device, data, window)


def _reads(device: Device, data: Measured, window: Window) -> PerCell:
    if isinstance(device.read, NoReadNoise):
        return _unread(device, data)
    facts, width = _quadrature._interval(window.low, window.high, POINTS)
    if isinstance(device.drift, NoDrift):
        return _log_joint(device, data, window.low[:, None])[:, 0]
    terms = _log_joint(device, data, facts) + jnp.log(width)
    usable = _usable(device, data)
    return jnp.where(usable, logsumexp(terms, axis=-1), 0.0)


def _unread(device: Device, data: Measured) -> PerCell:
    """Without read noise the one read shows the frozen fact itself."""
    if isinstance(device.drift, NoDrift):
        return jnp.zeros_like(data.target)
    z, slope, censored = _drift_z(device, data)
    density = jnp.where(censored > 0, norm.logcdf(z), norm.logpdf(z) + slope)
    return jnp.where(_usable(device, data), density, 0.0)


def _drift_z(device: Device, data: Measured) -> tuple[PerCell, PerCell, PerCell]:
    drift: Any = device.drift
    t, r, g = data.time[:, 0], data.read[:, 0], data.programmed
    if isinstance(drift, ThresholdDrift):
        ok = (g > 0) & (r > 0) & (t > 0)
        center = drift.evolve(g, jnp.ones_like(g), jnp.zeros_like(g), t=t)
        unit = drift.evolve(g, jnp.ones_like(g), -jnp.ones_like(g), t=t)
        sd = jnp.where(ok, jnp.log(unit / center), 1.0)
        log = jnp.log(jnp.where(ok, r, 1.0) / jnp.where(ok, g, 1.0) / center)
        safe = jnp.where(sd > 0, sd, 1.0)
        return log / safe, -jnp.log(safe * jnp.where(ok, r, 1.0)), jnp.zeros_like(g)
    shift, sd = drift._statistics(data.target, t)
    safe = jnp.where(sd > 0, sd, 1.0)
    slope = jnp.where(sd > 0, -jnp.log(safe), -jnp.inf)  # a change without a spread
    return (r - g - shift) / safe, slope, jnp.where(r <= 0, 1.0, 0.0)


def _usable(device: Device, data: Measured) -> JArray:
    """Cells of which the programmed value is known, and something changed since."""
    usable = jnp.sum(data.valid, -1) > 0
    if getattr(device.programming, "floor", True) is False or isinstance(
        device.drift, ThresholdDrift
    ):
        usable = usable & (data.programmed > 0)
    if isinstance(device.read, NoReadNoise):
        usable = usable & (data.time[:, 0] > 0)
        usable = usable & (data.read[:, 0] != data.programmed)
    return usable


def _prior_range(
    device: Device, data: Measured, reach: float = NEAR
) -> tuple[PerCell, PerCell]:
    drift = device.drift
    if isinstance(drift, PowerLawDrift):
        mean, sd = _exponent(drift, data)
        return jnp.maximum(mean - reach * sd, 0), mean + reach * sd
    return jnp.full_like(data.target, -reach), jnp.full_like(data.target, reach)


def _exponent(drift: PowerLawDrift, data: Measured) -> tuple[PerCell, PerCell]:
    """Mean and spread; a spread that rounding would hide counts as a small one."""
    mean, sd = drift._statistics(data.target)
    return mean, jnp.maximum(sd, ROUNDED * jnp.abs(mean) + jnp.finfo(mean.dtype).tiny)


def _log_prior(device: Device, data: Measured, facts: JArray) -> JArray:
    drift = device.drift
    if isinstance(drift, PowerLawDrift):
        mean, sd = (v[:, None] for v in _exponent(drift, data))
        ahead = norm.logpdf((facts - mean) / sd)
        return jnp.logaddexp(ahead, norm.logpdf((facts + mean) / sd)) - jnp.log(sd)
    return norm.logpdf(facts)


def aged(device: Device, data: Measured, facts: JArray) -> tuple[JArray, JArray]:
    """Conductance and read noise `[cells facts reads]` for trial facts."""
    target, programmed = (
        jnp.broadcast_to(v[:, None, None], (*facts.shape, data.time.shape[1]))
        for v in (data.target, data.programmed)
    )
    t: Any = data.time[:, None, :]
    g = programmed
    if not isinstance(device.drift, NoDrift):
        g = device.drift.evolve(target, programmed, facts[:, :, None], t=t)
    return g, device.read.sd(g, target=target, programmed=programmed, t=t)


def _log_joint(device: Device, data: Measured, facts: JArray) -> JArray:
    """Log density of facts and reads, `[cells facts]`."""
    g, sd = aged(device, data, facts)
    r = data.read[:, None, :]
    low = 0.0 if device.read_low is None else device.read_low
    quiet = sd <= 0
    safe = jnp.where(quiet, 1.0, sd)
    density = norm.logpdf((r - g) / safe) - jnp.log(safe)
    density = jnp.where(r <= low, norm.logcdf((low - g) / safe), density)
    if device.read_high is not None:
        above = norm.logcdf((g - device.read_high) / safe)
        density = jnp.where(r >= device.read_high, above, density)
    shown = jnp.clip(g, low, device.read_high)
    exact = jnp.where(_equal(r, shown), 0.0, -jnp.inf)
    density = jnp.where(quiet, exact, density)
    density = jnp.where(data.valid[:, None, :] > 0, density, 0.0)
    prior = _log_prior(device, data, facts)
    prior = jnp.zeros_like(prior) if isinstance(device.drift, NoDrift) else prior
    return prior + jnp.sum(density, -1)


def programming_cdf(device: Device, data: Measured) -> Float[JArray, "cells 2"]:
    """Range of P(programmed value below what was seen); one number unless censored."""
    z, _, censored = programming_z(device, data)
    cdf = norm.cdf(z)
    known = jnp.full_like(cdf, 0.0 if _exact(device) else 1.0) > 0
    if isinstance(device.programming, ThresholdProgramming):
        known = known & (data.target > 0)
    bounds = jnp.stack([jnp.where(censored > 0, 0.0, cdf), cdf], -1)
    return jnp.where(known[:, None], bounds, jnp.nan)


def _exact(device: Device) -> bool:
    return isinstance(device.programming, NoProgrammingError)


def read_cdf(device: Device, data: Measured) -> Float[JArray, "cells 2"]:
    """P(read below the first read of each cell), and its atom where it is censored.

    Marginal over the frozen fact: what a residual of the reads is made of.
    """
    if isinstance(device.read, NoReadNoise):
        if isinstance(device.drift, NoDrift):
            return jnp.full((data.target.size, 2), jnp.nan)
        z, _, censored = _drift_z(device, data)
        cdf = jnp.where(_usable(device, data), norm.cdf(z), jnp.nan)
        return jnp.stack([jnp.where(censored > 0, 0.0, cdf), cdf], -1)
    low, high = _prior_range(device, data)
    facts, width = _quadrature._interval(low, high, 64)
    weight = jnp.exp(_log_prior(device, data, facts)) * width
    weight = weight / jnp.sum(weight, -1, keepdims=True)
    g, sd = aged(device, data, facts)
    r = data.read[:, None, :1]
    below = jnp.sum(weight * norm.cdf(_quadrature.ratio(r - g, sd))[..., 0], -1)
    floor = 0.0 if device.read_low is None else device.read_low
    lower = jnp.where(data.read[:, 0] <= floor, 0.0, below)
    upper = below
    if device.read_high is not None:
        upper = jnp.where(data.read[:, 0] >= device.read_high, 1.0, below)
    known = _usable(device, data) & jnp.any(sd[..., 0] > 0, -1)
    return jnp.where(known[:, None], jnp.stack([lower, upper], -1), jnp.nan)


def _unknown(stage: str, slot: Any) -> NoReturn:
    checks.fail(
        f"form.{stage}",
        "be a form with a likelihood",
        type(slot).__name__,
        "Use Gaussian or threshold programming, power-law, relaxation or threshold "
        "drift, and read noise; or a binary memory.",
    )
