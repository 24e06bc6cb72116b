"""Distributions as quadrature nodes: expectations and normal scores.

Rectified and folded normal variables have Gauss-Legendre nodes: each interval ends
where the density or the kink ends, so that the integrand is smooth on it and 24 nodes
are within 1e-4 of the exact moment. Moments of clipped normal variables have closed
forms.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jax.scipy.stats import norm
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax._core.tree import pytree

REACH = 6.0
"""Standard deviations covered; the probability beyond is 2e-9."""

Values = Float[JArray, "*cells"]
Bound = Float[JArray, "..."] | float


@pytree
class Nodes:
    """Quadrature of a distribution: E f(g) = sum_n weight_n f(value_n), last axis n."""

    value: Float[JArray, "*cells nodes"]
    weight: Float[JArray, "*cells nodes"]


@pytree
class Score:
    """Measured values as standard normal variables if their law is right.

    Density and probability follow from it, and the residuals of a fit are these
    variables.
    """

    z: Values
    """The normal variable: the probability of a lower value is that of a lower z."""
    log_slope: Values
    """ln(dz / dg), g in uS; minus infinity if the law has no such value."""
    censored: Values
    """1 if all lower z give the same value, as at a floor."""
    known: Values
    """0 if the value carries no information about the law."""

    def log_density(self) -> Values:
        """Log density of the values (of g in uS); log probability where censored."""
        density = norm.logpdf(self.z) + self.log_slope
        return jnp.where(self.censored > 0, norm.logcdf(self.z), density)

    def cdf(self) -> Float[JArray, "*cells 2"]:
        """Range of the probability of a lower value; NaN if nothing is known."""
        cdf = norm.cdf(self.z)
        bounds = jnp.stack([jnp.where(self.censored > 0, 0.0, cdf), cdf], -1)
        return jnp.where(self.known[..., None] > 0, bounds, jnp.nan)


def score(nodes: Nodes, value: Values) -> Score:
    """The score of values (uS) under a continuous law given by its nodes.

    Interpolated between nodes: within 0.01 up to two standard deviations for the
    quadratures of this module. Nodes at zero are the probability of a floored value.
    """
    knots, ranks = _ranked(nodes)
    wide = knots[..., -1] - knots[..., 0] > 1e-9 * jnp.abs(knots[..., -1])
    inner = jnp.where(wide[..., None], knots, ranks)
    z, slope = _interpolated(inner, ranks, value)
    zero = jnp.sum(jnp.where(nodes.value <= 0, nodes.weight, 0.0), -1)
    floored = wide & (value <= 0)
    z = jnp.where(floored, _normal_rank(zero), z)
    hit = equal(value, knots[..., 0])
    log_slope = jnp.log(jnp.where(slope > 0, slope, 1e-30))
    return Score(
        z=jnp.where(wide, z, 0.0),
        log_slope=jnp.where(wide, log_slope, jnp.where(hit, 0.0, -jnp.inf)),
        censored=1.0 * floored,
        known=1.0 * wide,
    )


def quantile(nodes: Nodes, z: Float[JArray, "*cells ranks"]) -> JArray:
    """The values (uS) at standard normal ranks z of laws given by their nodes.

    Args:
        nodes: nodes of each cell, `[*cells nodes]`.
        z: ranks in each cell.
    """
    knots, ranks = _ranked(nodes)
    return _interpolated(ranks[..., None, :], knots[..., None, :], z)[0]


def equal(a: Any, b: Any) -> Any:
    """Whether two conductances are equal up to rounding."""
    return abs(a - b) <= 1e-6 * (abs(a) + abs(b))


def _ranked(nodes: Nodes) -> tuple[JArray, JArray]:
    """Values in increasing order, and standard normal variables of the same rank.

    A node stands in the middle of its own weight. That spreads coarse nodes too far: so
    the ranks are scaled to mean 0 and variance 1, which nodes have exactly.
    """
    order = jnp.argsort(nodes.value, -1)
    value, weight = (
        jnp.take_along_axis(v, order, -1) for v in (nodes.value, nodes.weight)
    )
    weight = weight / jnp.sum(weight, -1, keepdims=True)
    z = _normal_rank(jnp.cumsum(weight, -1) - weight / 2)
    z = z - jnp.sum(weight * z, -1, keepdims=True)
    size = jnp.sqrt(jnp.sum(weight * z**2, -1, keepdims=True))
    return value, z / jnp.where(size > 0, size, 1.0)


def _normal_rank(probability: JArray) -> JArray:
    """Standard normal variable below which that probability lies; always finite."""
    info = jnp.finfo(probability.dtype)
    return ndtri(jnp.clip(probability, info.tiny, 1 - info.eps))


def _interpolated(x: JArray, y: JArray, at: JArray) -> tuple[JArray, JArray]:
    """Increasing cubics through knots `[*cells n]`, and slopes; lines beyond the ends.

    The slope at a knot is that of the parabola through it and its neighbors, but at
    most three times that of the sides, so that the cubics increase.
    """
    if x.shape[-1] == 1:
        x, y = (jnp.concatenate([v, v + 1], -1) for v in (x, y))
    width = jnp.diff(x, axis=-1)
    width = jnp.maximum(width, 1e-12 * (x[..., -1:] - x[..., :1]))
    side = jnp.diff(y, axis=-1) / width
    before, after = side[..., :-1], side[..., 1:]
    share = width[..., :-1] / (width[..., :-1] + width[..., 1:])
    inner = jnp.minimum(
        share * after + (1 - share) * before, 3 * jnp.minimum(before, after)
    )
    slopes = jnp.concatenate([side[..., :1], inner, side[..., -1:]], -1)
    i = jnp.sum(x[..., 1:-1] <= at[..., None], -1)[..., None]

    def near(v: JArray, move: int = 0) -> JArray:
        n = v.shape[-1]
        wide = jnp.broadcast_to(v, (*at.shape, n))
        return jnp.take_along_axis(wide, i + move, -1)[..., 0]

    h, d, rise = near(width), near(slopes), near(side)
    end = near(slopes, 1)
    s = (at - near(x)) / h
    inside = jnp.clip(s, 0.0, 1.0)
    beyond = h * (s - inside)
    square, cube = 3 * rise - 2 * d - end, d + end - 2 * rise
    value = near(y) + h * inside * (d + inside * (square + inside * cube))
    slope = d + inside * (2 * square + 3 * inside * cube)
    return value + slope * beyond, slope


def rectified_normal(mean: Values, sd: Values, *, points: int = 24) -> Nodes:
    """Quadrature of max(0, mean + sd z), z ~ N(0, 1); last node: the atom at 0."""
    edge = -ratio(mean, sd)
    low = jnp.clip(edge, -REACH, REACH)
    z, width = interval(low, REACH, points)
    value = mean[..., None] + sd[..., None] * z
    weight = norm.pdf(z) * width
    atom = norm.cdf(edge)[..., None]
    return Nodes(
        value=jnp.concatenate([value, jnp.zeros_like(atom)], -1),
        weight=jnp.concatenate([weight, atom], -1),
    )


def folded_normal(mean: Values, sd: Values, *, points: int = 24) -> Nodes:
    """Quadrature of |mean + sd z|, z ~ N(0, 1), for mean >= 0."""
    half = ratio(mean, sd)
    z, width = interval(jnp.clip(-half, -REACH, REACH), REACH, points)
    mirrored = norm.pdf(z + 2 * jnp.minimum(half, 2 * REACH)[..., None])
    value = mean[..., None] + sd[..., None] * z
    return Nodes(value=value, weight=(norm.pdf(z) + mirrored) * width)


def standard_normal(like: Values, *, points: int = 12) -> Nodes:
    """Gauss-Hermite quadrature of z ~ N(0, 1), for smooth integrands."""
    z, w = np.polynomial.hermite_e.hermegauss(points)
    shape, dtype = (*jnp.shape(like), points), jnp.result_type(like)
    return Nodes(
        value=jnp.broadcast_to(jnp.asarray(z, dtype), shape),
        weight=jnp.broadcast_to(jnp.asarray(w / w.sum(), dtype), shape),
    )


def split_normal(mean: Values, sd: Values, *, points: int = 24) -> Nodes:
    """Quadrature of mean + sd z in two parts, for integrands with a kink at 0."""
    edge = jnp.clip(-ratio(mean, sd), -REACH, REACH)
    below = interval(jnp.full_like(edge, -REACH), edge, points)
    above = interval(edge, REACH, points)
    z, width = (jnp.concatenate(parts, -1) for parts in zip(below, above, strict=True))
    return Nodes(value=mean[..., None] + sd[..., None] * z, weight=norm.pdf(z) * width)


def clipped_mean(mean: Values, sd: Values, low: Bound, high: Bound | None) -> Values:
    """E clip(mean + sd z, low, high), z ~ N(0, 1); no upper bound if None."""
    if high is None:
        return low + rectified_mean(mean - low, sd)
    inside, density, *_ = _clipping(mean, sd, low, high)
    outside = low * norm.cdf(ratio(low - mean, sd)) + high * norm.cdf(
        ratio(mean - high, sd)
    )
    return mean * inside - sd * density + outside


def clipped_square(
    mean: Values, sd: Values, low: Bound, high: Bound | None, *, about: JArray
) -> Values:
    """E (clip(mean + sd z, low, high) - about)^2, z ~ N(0, 1), without cancellation."""
    if high is None:
        return rectified_square(mean - low, sd, about=about - low)
    inside, density, below, above = _clipping(mean, sd, low, high)
    moment = ((mean - about) ** 2 + sd**2) * inside
    moment -= sd * (2 * (mean - about) * density + above - below)
    outside = (low - about) ** 2 * norm.cdf(ratio(low - mean, sd))
    return moment + outside + (high - about) ** 2 * norm.cdf(ratio(mean - high, sd))


def _clipping(
    mean: Values, sd: Values, low: Bound, high: Bound
) -> tuple[Values, Values, Values, Values]:
    a, b = ratio(low - mean, sd), ratio(high - mean, sd)
    at_low, at_high = norm.pdf(a), norm.pdf(b)
    inside = norm.cdf(b) - norm.cdf(a)
    return (
        inside,
        at_high - at_low,
        (low - mean) * at_low,
        (high - mean) * at_high,
    )


def rectified_mean(mean: Values, sd: Values) -> Values:
    """E max(0, mean + sd z), z ~ N(0, 1)."""
    a = ratio(mean, sd)
    return mean * norm.cdf(a) + sd * norm.pdf(a)


def rectified_square(mean: Values, sd: Values, *, about: JArray) -> Values:
    """E (max(0, mean + sd z) - about)^2, z ~ N(0, 1), without cancellation."""
    a = ratio(mean, sd)
    inside = ((mean - about) ** 2 + sd**2) * norm.cdf(a)
    return inside + sd * norm.pdf(a) * (mean - 2 * about) + about**2 * norm.cdf(-a)


def ratio(mean: Values, sd: Values) -> Values:
    """Ratio mean / sd, bounded where it no longer matters; 0 / 0 is large."""
    bound = 1e3
    tiny = jnp.abs(mean) / bound + jnp.finfo(jnp.result_type(mean)).tiny ** 0.5
    safe = jnp.where(sd > tiny, sd, 1.0)
    limit = jnp.where(mean < 0, -bound, bound)
    return jnp.where(sd > tiny, mean / safe, limit)


def interval(low: Values, high: Values | float, points: int) -> tuple[JArray, JArray]:
    """Gauss-Legendre points between two bounds, last axis, and their widths."""
    x, w = np.polynomial.legendre.leggauss(points)
    x, w = jnp.asarray(x, jnp.result_type(low)), jnp.asarray(w, jnp.result_type(low))
    half = jnp.asarray(high - low)[..., None] / 2
    return low[..., None] + half * (x + 1), half * w
