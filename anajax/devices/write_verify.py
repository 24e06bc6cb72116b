"""Write-verify programming: the error that remains after a closed programming loop.

A cell starts at one conductance. Each turn reads it with verify noise. A reading within
the band around the target ends the loop; otherwise a pulse corrects a fraction of the
deviation read, with pulse noise. The distribution of the remaining error is not fitted:
it is computed by propagating the probability density through the loop.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax._core import checks
from anajax._core.normal import normal
from anajax._core.tree import pytree, replace, static
from anajax._core.types import PRNGKey
from anajax.devices import quadrature
from anajax.devices.base import Device
from anajax.devices.curves import AbstractCurve, Constant
from anajax.devices.quadrature import REACH, Nodes
from anajax.devices.stages import AbstractProgramming, G, Number

PANELS = (32, 32, 32, 32, 32)
"""Points of the density that is carried from turn to turn: below the band, at its lower
edge, within, at its upper edge, above."""


@pytree
class WriteVerifyResult:
    """The result of one run of the loop in each cell."""

    g: Float[JArray, "*cells"]
    """Programmed conductance, uS."""
    pulses: Float[JArray, "*cells"]
    """Number of pulses."""
    accepted: Float[JArray, "*cells"]
    """1 if a reading fell within the band, 0 if the budget ended the loop."""


@pytree
class WriteVerifyCost:
    """The average cost of the loop over chips, exactly."""

    pulses: Float[JArray, "*cells"]
    """Mean number of pulses."""
    accepted: Float[JArray, "*cells"]
    """Probability that a reading falls within the band before the budget ends."""


@pytree
class WriteVerify(AbstractProgramming):
    """At most `budget` turns: read r = g - g_T + v xi; if |r| > b, g -= gain r - p eta.

    xi, eta ~ N(0, 1), drawn at every turn (cycle-to-cycle); p, v, b are curves of x =
    target / g_max in uS. When the loop ends, the conductance is floored at zero. The
    quadrature gives the exact distribution (standard deviation within 0.5 % as long as
    p is at least a tenth of gain v) and its exact gradients. Samples are
    reparameterized; their decisions are hard, with the gradient of a logistic step of
    the width of the verify noise (straight-through: biased).

    Raises:
        ValueError: if `budget` is less than 1, or `gain` is not between 0 and 2.
    """

    UNITS = {"pulse": "uS", "verify": "uS", "band": "uS", "g_max": "uS", "start": "uS"}
    pulse: AbstractCurve
    """p, standard deviation of a pulse, uS."""
    verify: AbstractCurve
    """v, standard deviation of a verify read, uS."""
    band: AbstractCurve
    """b, largest accepted deviation of a reading from the target, uS."""
    g_max: Number
    """Conductance that normalizes x, uS."""
    gain: Number
    """Fraction of the measured deviation that a pulse corrects."""
    start: Number
    """Conductance before the first turn, uS."""
    scale: Number = 1.0
    """Factor on p, v and b together (at least 1e-3), for sweeps."""
    budget: int = static(default=10)
    """Largest number of pulses."""
    fitted = False

    def __post_init__(self) -> None:
        if self.budget < 1:
            checks.fail("budget", "be at least 1", self.budget, "Allow one pulse.")
        checks.positive("gain", self.gain)
        if checks.concrete(self.gain) and np.any(np.asarray(self.gain) >= 2):
            checks.fail("gain", "be less than 2", self.gain, "The loop diverges.")

    def sample(self, target: G, *, key: PRNGKey) -> G:
        return self.write(target, key=key).g

    def write(self, target: G, *, key: PRNGKey) -> WriteVerifyResult:
        """Run the loop once in every cell of targets (uS), and count its cost."""
        p, v, b = self.statistics(target)
        noise = normal(
            key, (self.budget, 2, *jnp.shape(target)), jnp.result_type(target)
        )

        def turn(
            state: WriteVerifyResult, noise: JArray
        ) -> tuple[WriteVerifyResult, None]:
            deviation = state.g - target + v * noise[0]
            accept = _step(b - jnp.abs(deviation), v)
            accepted = state.accepted + (1 - state.accepted) * accept
            pending = 1 - accepted
            g = state.g + pending * (p * noise[1] - self.gain * deviation)
            pulses = state.pulses + pending
            return WriteVerifyResult(g=g, pulses=pulses, accepted=accepted), None

        zero = jnp.zeros_like(target)
        start = WriteVerifyResult(g=zero + self.start, pulses=zero, accepted=zero)
        end, _ = jax.lax.scan(turn, start, noise)
        return replace(end, g=jnp.maximum(end.g, 0))

    def nodes(self, target: G) -> Nodes:
        return self._propagate(target)[0]

    def effort(self, target: G) -> WriteVerifyCost:
        """Mean pulses and probability of success for targets (uS), exactly."""
        return self._propagate(target)[1]

    def statistics(self, target: G) -> tuple[G, G, G]:
        """Noise of a pulse and of a verify read, and the accepted deviation, uS."""
        x, scale = target / self.g_max, jnp.maximum(self.scale, 1e-3)
        return scale * self.pulse(x), scale * self.verify(x), scale * self.band(x)

    def _propagate(self, target: G) -> tuple[Nodes, WriteVerifyCost]:
        """Carry the density of unaccepted deviations through the loop.

        It is below that of the loop without acceptance, a Gaussian of known mean and
        deviation, which gives the grid of each turn.
        """
        p, v, b = (s[..., None] for s in self.statistics(target))
        step = _Turn(p=p, v=v, b=b, gain=self.gain)
        first = (self.start - target)[..., None]
        floor = -target[..., None]
        good, good_width = _accepted_grid(v, b, floor)
        mass = (
            jnp.zeros((*jnp.shape(target), sum(PANELS)), first.dtype).at[..., 0].set(1)
        )
        zero = jnp.zeros_like(target)
        initial = (
            (first + jnp.zeros_like(mass), mass),
            (first, jnp.zeros_like(first)),
            (jnp.zeros_like(good), zero, zero),
        )

        def turn(state: tuple, _: None) -> tuple[tuple, None]:
            (old, mass), free, (accepted, pulses, success) = state
            free = step.free(*free)
            points, width = step.grid(*free)
            new = step.push(old, mass, points) * width
            accepted = accepted + step.push(old, mass, good) * step.accept(good)
            success = success + jnp.sum(new * step.accept(points), -1)
            pulses = pulses + jnp.sum(new, -1)
            return ((points, new), free, (accepted, pulses, success)), None

        state, _ = jax.lax.scan(turn, initial, None, length=self.budget - 1)
        (old, mass), free, (accepted, pulses, success) = state
        center, sd = step.free(*free)
        low = jnp.maximum(center - REACH * sd, floor)[..., 0]
        high = jnp.maximum(center + REACH * sd, floor)[..., 0]
        rest, rest_width = quadrature.interval(low, high, 32)
        left = step.push(old, mass, rest) * rest_width
        immediate = step.accept(first)
        success = success + immediate[..., 0]
        weights = [immediate, accepted * good_width, left]
        atom = 1 - sum(jnp.sum(w, -1, keepdims=True) for w in weights)
        values = jnp.concatenate([first, good, rest], -1) + target[..., None]
        values = jnp.concatenate([jnp.maximum(values, 0), jnp.zeros_like(atom)], -1)
        nodes = Nodes(value=values, weight=jnp.concatenate([*weights, atom], -1))
        return nodes, WriteVerifyCost(pulses=pulses + 1 - success, accepted=success)


def write_verified(
    device: Device,
    *,
    pulse: float | AbstractCurve,
    verify: float | AbstractCurve,
    band: float | AbstractCurve,
    gain: float = 0.5,
    start: float | None = None,
    budget: int = 10,
) -> Device:
    """The device programmed by a write-verify loop instead of its fitted error.

    Args:
        device: the device; its drift and read stages stay.
        pulse: standard deviation of one pulse, uS, or a curve of x = target / g_max.
        verify: standard deviation of one verify read, uS, or a curve.
        band: accepted deviation of a reading, uS, or a curve.
        gain: fraction of the measured deviation that a pulse corrects.
        start: conductance before the first turn, uS; `g_min` by default.
        budget: largest number of pulses.
    """
    curves = {
        name: value if isinstance(value, AbstractCurve) else Constant(value=value)
        for name, value in {"pulse": pulse, "verify": verify, "band": band}.items()
    }
    loop = WriteVerify(
        **curves,
        g_max=device.g_max,
        gain=gain,
        start=device.g_min if start is None else start,
        budget=budget,
    )
    return replace(device, programming=loop)


@pytree
class _Turn:
    """One turn of the loop on deviations from the target, axes [*cells points]."""

    p: JArray
    v: JArray
    b: JArray
    gain: JArray

    def accept(self, deviation: JArray) -> JArray:
        """Probability that a reading of `deviation` is within the band."""
        high = norm.cdf(quadrature.ratio(self.b - deviation, self.v))
        return high - norm.cdf(quadrature.ratio(-self.b - deviation, self.v))

    def free(self, center: JArray, sd: JArray) -> tuple[JArray, JArray]:
        """Mean and deviation after a pulse on every cell, accepted or not."""
        keep = 1 - self.gain
        return keep * center, jnp.sqrt((keep * sd) ** 2 + self._width() ** 2)

    def grid(self, center: JArray, sd: JArray) -> tuple[JArray, JArray]:
        """Points and widths over the reach of the free loop, split at the edges."""
        low, high = center - REACH * sd, center + REACH * sd
        outer, inner = self.b + REACH * self.v, self.b - REACH * self.v
        inner = jnp.maximum(inner, 0)
        edges = [jnp.clip(e, low, high) for e in (-outer, -inner, inner, outer)]
        return _panels([low, *edges, high], PANELS)

    def push(self, points: JArray, mass: JArray, new: JArray) -> JArray:
        """Density at `new` of what `mass` at `points` becomes when not accepted.

        Given both deviations the reading in between is Gaussian, too.
        """
        w = self._width()[..., None]
        p, v, b = (s[..., None] for s in (self.p, self.v, self.b))
        old, moved = points[..., None], new[..., None, :]
        z = (moved - (1 - self.gain) * old) / w
        reading = old - self.gain * v**2 / w * z
        sd = v * p / w
        inside = norm.cdf(quadrature.ratio(b - reading, sd))
        inside = inside - norm.cdf(quadrature.ratio(-b - reading, sd))
        return jnp.sum(mass[..., None] * norm.pdf(z) / w * (1 - inside), -2)

    def _width(self) -> JArray:
        return jnp.sqrt(self.p**2 + (self.gain * self.v) ** 2)


def _accepted_grid(v: JArray, b: JArray, floor: JArray) -> tuple[JArray, JArray]:
    """Deviations that may be accepted: two steep edges and what is between them."""
    outer, inner = b + REACH * v, jnp.maximum(b - REACH * v, 0)
    ends = [jnp.maximum(e, floor) for e in (-outer, -inner, inner, outer)]
    return _panels(ends, (24, 24, 24))


def _panels(ends: list[JArray], counts: tuple[int, ...]) -> tuple[JArray, JArray]:
    """Gauss-Legendre points and widths of adjoining panels, axes [*cells points]."""
    panels = [
        quadrature.interval(low[..., 0], high[..., 0], n)
        for low, high, n in zip(ends, ends[1:], counts, strict=False)
    ]
    points, widths = zip(*panels, strict=True)
    return jnp.concatenate(points, -1), jnp.concatenate(widths, -1)


def _step(margin: JArray, width: JArray) -> JArray:
    """1 where `margin` is not negative; backwards a logistic of that width."""
    soft = jax.nn.sigmoid(quadrature.ratio(margin, width))
    hard = jnp.asarray(margin >= 0, soft.dtype)
    return soft + jax.lax.stop_gradient(hard - soft)


RECORDS = (WriteVerify,)
