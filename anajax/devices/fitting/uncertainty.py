"""How sure a fit is of each parameter, and what the data do not determine."""

import jax.numpy as jnp
import numpy as np

from anajax.devices.fitting.likelihood import AbstractLikelihood, Measured
from anajax.devices.fitting.parameters import Layout
from anajax.devices.fitting.search import LOOSE, Point, look

UNSEEN = "no measured cell depends on it"
MIXED = "the data determine it only together with others"
AT_BOUND = "at its bound {:g}: the data are explained as well with it there"
WIDE = 1e3
"""Standard error, in parts of the value, from which on nothing is known."""
FLAT = 0.1
"""Curvature over a logarithm or logit below which its bound may be meant."""
FAR = 8.0
"""Steps of a logarithm or logit that lead to a bound, for all that data can tell."""
SAME = 0.05
"""Log likelihoods that close do not tell two values apart."""


def uncertainty(
    likelihood: AbstractLikelihood, places: Layout, data: Measured, point: Point
) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Covariance and standard errors of the values, and why some have none.

    From the observed information, which is about coordinates. A deviation from few
    cells is skew: what is found too low seems too sure. So an error of a bounded value
    is a third of the way up that three errors of its logarithm make. Without
    information the error is infinite, and the covariance NaN; those of other
    parameters hold such a one fixed.
    """
    reasons = _unknown(likelihood, places, data, point)
    known = np.ones(len(places.names), bool)
    known[[*reasons]] = False
    diagonal = np.where(known, np.diag(point.curvature), 1.0)
    scale = np.sqrt(diagonal)
    scaled = (point.curvature / np.outer(scale, scale))[np.ix_(known, known)]
    sizes, axes = np.linalg.eigh(scaled)
    loose = sizes < LOOSE
    inverse = (axes / np.where(loose, np.inf, sizes)) @ axes.T
    covariance = np.full(point.curvature.shape, np.nan)
    covariance[np.ix_(known, known)] = (
        inverse / np.outer(scale, scale)[np.ix_(known, known)]
    )
    slopes = _slopes(places, point, np.diag(covariance))
    covariance *= np.outer(slopes, slopes)
    mixed = np.flatnonzero(known)[np.any(np.abs(axes[:, loose]) > 0.1, axis=-1)]
    reasons |= dict.fromkeys(map(int, mixed), MIXED)
    se = np.sqrt(np.where(known, np.diag(covariance), np.inf))
    se[[*reasons]] = np.inf
    return covariance, se, reasons


def _slopes(places: Layout, point: Point, variance: np.ndarray) -> np.ndarray:
    """Change of each value over three errors of its coordinate, by that change."""
    step = 3 * np.sqrt(np.clip(np.nan_to_num(variance), 1e-16, 100.0))
    low, high = (
        np.asarray(places.values(jnp.asarray(point.at + side * step)))
        for side in (-1, 1)
    )
    here = np.asarray(places.values(jnp.asarray(point.at)))
    secant = np.maximum(high - here, here - low) / step
    return np.where(places.bounded(), secant, 1.0)


def _unknown(
    likelihood: AbstractLikelihood, places: Layout, data: Measured, point: Point
) -> dict[int, str]:
    """Parameters without curvature of their own, and why."""
    reasons, bounded = {}, places.bounded()
    values = np.abs(np.asarray(places.values(jnp.asarray(point.at))))
    for i, curvature in enumerate(np.diag(point.curvature)):
        size = 1.0 if bounded[i] else max(float(values[i]), 1.0)
        if not curvature * (WIDE * size) ** 2 > 1:
            reasons[i] = UNSEEN
        if bounded[i] and not curvature > FLAT:
            bound = _bound(likelihood, places, data, point, i)
            if bound is not None:
                reasons[i] = AT_BOUND.format(bound)
    return reasons


def _bound(
    likelihood: AbstractLikelihood, places: Layout, data: Measured, point: Point, i: int
) -> float | None:
    """The bound that explains the data as well; None if values beside it do not."""

    def change(move: float) -> float:
        at = point.at.copy()
        at[i] += move
        return look(likelihood, places, at, data).value - point.value

    def felt(side: float) -> bool:
        return any(not change(side * FAR * n) > -SAME for n in (1, 2, 4))

    low, high = places.domains[i]
    down, up = change(-FAR) > -SAME, change(FAR) > -SAME
    if down and felt(1.0):
        return low
    if up and felt(-1.0) and np.isfinite(high):
        return high
    return None
