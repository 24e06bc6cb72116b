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


def normal(mean: Values, sd: Values, *, points: int = 24) -> Nodes:
    """Quadrature of mean + sd z, z ~ N(0, 1)."""
    z, width = _interval(jnp.full_like(mean, -REACH), REACH, points)
    return Nodes(value=mean[..., None] + sd[..., None] * z, weight=norm.pdf(z) * width)


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


def _interval(low: Values, high: float, points: int) -> tuple[JArray, JArray]:
    x, w = np.polynomial.legendre.leggauss(points)
    x, w = jnp.asarray(x, jnp.result_type(low)), jnp.asarray(w, jnp.result_type(low))
    half = (high - low)[..., None] / 2
    return low[..., None] + half * (x + 1), half * w
