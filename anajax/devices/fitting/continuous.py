"""Likelihood of measurements under a device, cell by cell, and its residuals.

The programmed value of a cell is measured, so the likelihoods of programming and of
what follows factorize. Reads of one cell share its state (drift exponent, relaxation
quantile), which is integrated by Gauss-Legendre quadrature over a window around each
posterior. The laws themselves are methods of the stages.
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
from anajax._core.types import Array
from anajax.devices import quadrature
from anajax.devices.base import Device
from anajax.devices.fitting.likelihood import AbstractLikelihood, Measured, PerCell
from anajax.devices.quadrature import Score, equal
from anajax.devices.stages import AbstractDrift, AbstractProgramming, AbstractRead

POINTS = 24
FAR = 1e3
"""Half-width of the initial search for the state of a cell, in spreads of the prior."""
ZOOMS = 8
"""Number of zooms; each keeps at least a sixth of the range."""


@pytree
class Window:
    """Range of the state that is compatible with the reads of each cell."""

    low: PerCell
    high: PerCell


class ContinuousLikelihood(AbstractLikelihood):
    """Likelihood of memories whose cells differ in one parameter each."""

    def check(self, device: Device, data: Measured) -> None:
        for stage, kind in (
            ("programming", AbstractProgramming),
            ("drift", AbstractDrift),
            ("read", AbstractRead),
        ):
            slot = getattr(device, stage)
            if not isinstance(slot, kind) or not getattr(slot, "fitted", True):
                _unknown(stage, slot)
        _check_errors(device, data)
        several = data.time.shape[1] > 1
        if device.read.exact and several and not device.drift.exact:
            checks.fail(
                "measurements",
                "have one read per cell for a form without read noise",
                f"{data.time.shape[1]} reads",
                "Give the form a read noise.",
            )

    def windows(self, device: Device, data: Measured) -> Window:
        """Where the state of each cell may be, given its reads: found by a few zooms.

        The search starts far outside the prior, since the state of a cell that does not
        follow the prior is where its reads are. A narrower window would have an edge
        that moves with the prior, and a gradient at a fixed window would then be wrong.
        """
        steps, whole = 24, device.drift.state_range(data.target, FAR)
        if device.read.exact or device.drift.exact:
            return Window(low=whole[0], high=whole[1])

        def zoom(_: Array, bounds: tuple[PerCell, PerCell]) -> tuple[PerCell, PerCell]:
            low, high = bounds
            step = jnp.arange(steps + 1, dtype=low.dtype) / steps
            state = low[:, None] + (high - low)[:, None] * step
            weight = _log_joint(device, data, state)
            weight = jnp.where(
                jnp.isnan(weight), -jnp.inf, weight
            )  # beyond all numbers
            weight = jnp.exp(weight - jnp.max(weight, -1, keepdims=True))
            weight = weight / jnp.sum(weight, -1, keepdims=True)
            mean = jnp.sum(weight * state, -1)
            sd = jnp.sqrt(jnp.sum(weight * (state - mean[:, None]) ** 2, -1))
            reach = jnp.maximum(7 * sd, 2 * (high - low) / steps)
            return jnp.maximum(mean - reach, low), jnp.minimum(mean + reach, high)

        low, high = jax.lax.fori_loop(0, ZOOMS, zoom, whole)
        return Window(low=low, high=high)

    def log_likelihood(self, device: Device, data: Measured, window: Window) -> PerCell:
        written = device.programming.score(data.target, data.programmed)
        return written.log_density() + _reads(device, data, window)

    def programming_cdf(
        self, device: Device, data: Measured
    ) -> Float[JArray, "cells 2"]:
        return device.programming.score(data.target, data.programmed).cdf()

    def read_cdf(self, device: Device, data: Measured) -> Float[JArray, "cells 2"]:
        if device.read.exact:
            if device.drift.exact:
                return jnp.full((data.target.size, 2), jnp.nan)
            usable = _usable(device, data)[:, None]
            return jnp.where(usable, _score(device, data).cdf(), jnp.nan)
        low, high = device.drift.state_range(data.target)
        state, width = quadrature.interval(low, high, 64)
        prior = device.drift.log_prior(data.target[:, None], state)
        weight = jnp.exp(prior) * width
        weight = weight / jnp.sum(weight, -1, keepdims=True)
        g, sd = _aged(device, data, state)
        r = data.read[:, None, :1]
        below = jnp.sum(weight * norm.cdf(quadrature.ratio(r - g, sd))[..., 0], -1)
        floor = 0.0 if device.read_low is None else device.read_low
        lower = jnp.where(data.read[:, 0] <= floor, 0.0, below)
        upper = below
        if device.read_high is not None:
            upper = jnp.where(data.read[:, 0] >= device.read_high, 1.0, below)
        known = _usable(device, data) & jnp.any(sd[..., 0] > 0, -1)
        return jnp.where(known[:, None], jnp.stack([lower, upper], -1), jnp.nan)


def _check_errors(device: Device, data: Measured) -> None:
    """Refuse data that scatter where a form is exact, and that are exact where not."""
    target, programmed, read, valid = (
        np.asarray(v) for v in (data.target, data.programmed, data.read, data.valid)
    )
    off = int(np.sum(~equal(programmed, target)))
    if device.programming.exact and off:
        checks.fail(
            "form.programming",
            "have an error, since programmed values differ from targets",
            f"none, {off} of {target.size} cells differ",
            "Give the form a programming error.",
        )
    low = 0.0 if device.read_low is None else float(device.read_low)
    high = np.inf if device.read_high is None else float(device.read_high)
    moved = (valid > 0) & ~equal(read, np.clip(programmed, low, high)[:, None])
    quiet = device.read.exact
    if quiet and device.drift.exact and np.any(moved):
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
            "Use NoReadNoise and NoDrift, or add reads that were measured separately.",
        )


def _reads(device: Device, data: Measured, window: Window) -> PerCell:
    if device.read.exact:
        return _unread(device, data)
    state, width = quadrature.interval(window.low, window.high, POINTS)
    if device.drift.exact:
        return _log_joint(device, data, window.low[:, None])[:, 0]
    terms = _log_joint(device, data, state) + jnp.log(width)
    usable = _usable(device, data)
    return jnp.where(usable, logsumexp(terms, axis=-1), 0.0)


def _unread(device: Device, data: Measured) -> PerCell:
    """Without read noise the one read shows the state itself."""
    if device.drift.exact:
        return jnp.zeros_like(data.target)
    density = _score(device, data).log_density()
    return jnp.where(_usable(device, data), density, 0.0)


def _score(device: Device, data: Measured) -> Score:
    return device.drift.score(
        data.target, data.programmed, data.read[:, 0], t=data.time[:, 0]
    )


def _usable(device: Device, data: Measured) -> JArray:
    """Cells of which the programmed value is known, and something changed since."""
    usable = jnp.sum(data.valid, -1) > 0
    if not device.programming.floor or device.drift.needs_positive:
        usable = usable & (data.programmed > 0)
    if device.read.exact:
        usable = usable & (data.time[:, 0] > 0)
        usable = usable & (data.read[:, 0] != data.programmed)
    return usable


def _aged(device: Device, data: Measured, state: JArray) -> tuple[JArray, JArray]:
    """Conductance and read noise `[cells states reads]` for trial states."""
    target, programmed = (v[:, None, None] for v in (data.target, data.programmed))
    t: Any = data.time[:, None, :]
    g = device.drift.along(target, programmed, state[:, :, None], t=t)
    target, programmed = (jnp.broadcast_to(v, g.shape) for v in (target, programmed))
    return g, device.read.sd(g, target=target, programmed=programmed, t=t)


def _log_joint(device: Device, data: Measured, state: JArray) -> JArray:
    """Log density of states and reads, `[cells states]`."""
    g, sd = _aged(device, data, state)
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
    exact = jnp.where(equal(r, shown), 0.0, -jnp.inf)
    density = jnp.where(quiet, exact, density)
    density = jnp.where(data.valid[:, None, :] > 0, density, 0.0)
    prior = device.drift.log_prior(data.target[:, None], state)
    return prior + jnp.sum(density, -1)


def _unknown(stage: str, slot: Any) -> NoReturn:
    checks.fail(
        f"form.{stage}",
        "be a form with a likelihood",
        type(slot).__name__,
        "Use a stage of a continuous law, such as GaussianProgramming, or a binary "
        "memory as a whole.",
    )
