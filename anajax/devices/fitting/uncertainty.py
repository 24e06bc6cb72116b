"""The uncertainty of each parameter, and what the data do not determine."""

import jax.numpy as jnp
import numpy as np

from anajax.devices.fitting.likelihood import AbstractLikelihood, Measured
from anajax.devices.fitting.parameters import Layout
from anajax.devices.fitting.search import LOOSE, Point, look

UNSEEN = "no measured cell depends on it"
MIXED = "the data determine it only together with others"
AT_BOUND = "at its bound {:g}: the data are explained equally well with it there"
WIDE = 1e3
"""Relative standard error above which a value counts as undetermined."""
FLAT = 0.1
"""Curvature over a logarithm or logit below which the value may be at its bound."""
FAR = 8.0
"""Distance in a logarithm or logit at which a value is as good as at its bound."""
SAME = 0.05
"""Difference of log likelihood below which two values are not told apart."""


def uncertainty(
    likelihood: AbstractLikelihood, places: Layout, data: Measured, point: Point
) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Covariance and standard errors of the values, and why some have none.

    From the observed information, which applies to coordinates. The estimate of a
    standard deviation from few cells is skewed: if it is too low, it seems too certain.
    So the error of a bounded value is a third of the distance to three errors of its
    logarithm above it. Without information, the error is infinite and the covariance
    NaN; the errors of other parameters then hold this one fixed.
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
