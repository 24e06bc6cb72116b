"""How often each weight value occurs: what an expected error is averaged over."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import _checks
from anajax._tree import pytree


@pytree
class WeightDensity:
    """Normalized weights u = w / w_max with their probabilities.

    Raises:
        ValueError: if values are not finite, or probabilities are negative.
    """

    u: Float[JArray, "points"]
    """Normalized weights, within -1..1."""
    probability: Float[JArray, "points"]
    """Share of each, adding up to 1."""
    w_max: Float[JArray, ""] = 1.0  # pyright: ignore[reportAssignmentType]
    """Largest |weight|, in the units of the network."""

    def __post_init__(self) -> None:
        _checks.finite("u", self.u)
        _checks.positive("probability", self.probability, strictly=False)


def from_weights(
    *weights: Float[JArray, "..."] | np.ndarray,
    bins: int = 401,
    importance: Sequence[JArray | np.ndarray | float] | None = None,
) -> WeightDensity:
    """The density of given weights: centroids of a histogram over -w_max..w_max.

    Args:
        *weights: arrays of weights, any shape.
        bins: number of bins; empty bins keep probability 0.
        importance: how much an error of each weight counts, one number or array per
            array of weights, such as `anajax.programming.fisher`; equal by default.

    Raises:
        ValueError: if there are no weights, or one is not finite, or all are zero; if
            importances are negative or do not match the weights.
    """
    if not weights:
        _checks.fail("weights", "not be empty", "no arrays", "Pass an array.")
    for w in weights:
        _checks.finite("weights", w, "Find the layer whose training diverged.")
    flat = np.concatenate([np.asarray(w, dtype=float).ravel() for w in weights])
    w_max = float(np.max(np.abs(flat)))
    if w_max == 0:
        _checks.fail("weights", "not all be zero", "0", "Pass trained weights.")
    u = flat / w_max
    index = np.clip(((u + 1) * bins / 2).astype(int), 0, bins - 1)
    share = _shares(weights, importance)
    count = np.bincount(index, weights=share, minlength=bins)
    centers = (np.arange(bins) + 0.5) * 2 / bins - 1
    total = np.bincount(index, weights=share * u, minlength=bins)
    filled = count > 0
    centroid = np.where(filled, total / np.where(filled, count, 1), centers)
    return WeightDensity(u=centroid, probability=count / count.sum(), w_max=w_max)


def gaussian(sd: float = 0.3, *, points: int = 401) -> WeightDensity:
    """Normal weights of deviation `sd` (of w_max), truncated to -1..1.

    Raises:
        ValueError: if `sd` is not positive.
    """
    _checks.positive("sd", sd)
    return _from_pdf(lambda u: np.exp(-((u / sd) ** 2) / 2), points)


def laplace(scale: float = 0.2, *, points: int = 401) -> WeightDensity:
    """Two-sided exponential weights, truncated to -1..1.

    Raises:
        ValueError: if `scale` is not positive.
    """
    _checks.positive("scale", scale)
    return _from_pdf(lambda u: np.exp(-np.abs(u) / scale), points)


def uniform(*, points: int = 401) -> WeightDensity:
    """Weights that are equally likely from -1 to 1."""
    return _from_pdf(np.ones_like, points)


def merged(
    density: WeightDensity, *, bins: int = 100, floor: float = 1e-6
) -> WeightDensity:
    """The density of |u| for mirrored strategies, as centroids of bins on 0..1.

    Args:
        density: any density.
        bins: number of bins.
        floor: share that is spread evenly over 0..1, so that a strategy is determined
            (and increasing) also where no weight lies.
    """
    size = np.abs(np.asarray(density.u))
    share = np.asarray(density.probability)
    index = np.clip((size * bins).astype(int), 0, bins - 1)
    p = (1 - floor) * np.bincount(index, share, bins) + floor / bins
    even = floor / bins * (np.arange(bins) + 0.5) / bins
    u = ((1 - floor) * np.bincount(index, share * size, bins) + even) / p
    return WeightDensity(u=u, probability=p, w_max=density.w_max)


def _shares(weights: tuple, importance: Sequence | None) -> np.ndarray:
    given = [1.0] * len(weights) if importance is None else list(importance)
    if len(given) != len(weights):
        _checks.fail(
            "importance",
            "have one entry per array of weights",
            f"{len(given)} for {len(weights)}",
            "Give a number or an array for each.",
        )
    for value in given:
        _checks.positive("importance", value, strictly=False)
    flat = [
        np.broadcast_to(np.asarray(v, float), np.shape(w)).ravel()
        for v, w in zip(given, weights, strict=True)
    ]
    share = np.concatenate(flat)
    if not share.any():
        _checks.fail("importance", "not be zero for all", "0", "Leave it out.")
    return share


def _from_pdf(pdf: Callable[[np.ndarray], np.ndarray], points: int) -> WeightDensity:
    u = np.linspace(-1, 1, points)
    p = pdf(u)
    p[[0, -1]] /= 2  # trapezoidal rule
    return WeightDensity(u=u, probability=p / p.sum())
