"""Gauss-Legendre nodes for rectified and folded normal variables, and closed forms.

Each interval ends where the density or the kink ends, so that the integrand is smooth
on it and 24 nodes are within 1e-4 of the exact moment.
"""

import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax.devices.base import Nodes

REACH = 6.0
"""Standard deviations covered; the mass beyond is 2e-9."""

Values = Float[JArray, "*cells"]
Bound = Values | float


def rectified_normal(mean: Values, sd: Values, *, points: int = 24) -> Nodes:
    """Quadrature of max(0, mean + sd z), z ~ N(0, 1); last node: the atom at 0."""
    edge = -ratio(mean, sd)
    low = jnp.clip(edge, -REACH, REACH)
    z, width = _interval(low, REACH, points)
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
    z, width = _interval(jnp.clip(-half, -REACH, REACH), REACH, points)
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
    below = _interval(jnp.full_like(edge, -REACH), edge, points)
    above = _interval(edge, REACH, points)
    z, width = (jnp.concatenate(parts, -1) for parts in zip(below, above, strict=True))
    return Nodes(value=mean[..., None] + sd[..., None] * z, weight=norm.pdf(z) * width)


def clipped_mean(mean: Values, sd: Values, low: Bound, high: Bound | None) -> Values:
    """E clip(mean + sd z, low, high), z ~ N(0, 1); no upper bound if it is None."""
    if high is None:
        return low + rectified_mean(mean - low, sd)
    inside, density, *_ = _clipping(mean, sd, low, high)
    outside = low * norm.cdf(ratio(low - mean, sd)) + high * norm.cdf(
        ratio(mean - high, sd)
    )
    return mean * inside - sd * density + outside


def clipped_square(
    mean: Values, sd: Values, low: Bound, high: Bound | None, *, about: Values
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


def rectified_square(mean: Values, sd: Values, *, about: Values) -> Values:
    """E (max(0, mean + sd z) - about)^2, z ~ N(0, 1), without cancellation."""
    a = ratio(mean, sd)
    inside = ((mean - about) ** 2 + sd**2) * norm.cdf(a)
    return inside + sd * norm.pdf(a) * (mean - 2 * about) + about**2 * norm.cdf(-a)


def ratio(mean: Values, sd: Values) -> Values:
    """Ratio mean / sd, bounded where no distribution feels it; 0 / 0 is large."""
    bound = 1e3
    tiny = jnp.abs(mean) / bound + jnp.finfo(jnp.result_type(mean)).tiny ** 0.5
    safe = jnp.where(sd > tiny, sd, 1.0)
    limit = jnp.where(mean < 0, -bound, bound)
    return jnp.where(sd > tiny, mean / safe, limit)


def _interval(low: Values, high: Values | float, points: int) -> tuple[JArray, JArray]:
    x, w = np.polynomial.legendre.leggauss(points)
    x, w = jnp.asarray(x, jnp.result_type(low)), jnp.asarray(w, jnp.result_type(low))
    half = jnp.asarray(high - low)[..., None] / 2
    return low[..., None] + half * (x + 1), half * w
