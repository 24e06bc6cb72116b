"""How often each weight value occurs; expected errors are averaged over it."""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax._core import checks
from anajax._core.tree import pytree, replace
from anajax._core.types import PyTree
from anajax.mapping.selection import Layouts, Select, default_select, normalized_weights
from anajax.mapping.strategy import Normalize


@pytree
class WeightDensity:
    """Normalized weights u = w / w_max with their probabilities.

    Raises:
        ValueError: if values are not finite, or probabilities are negative.
    """

    u: Float[JArray, "points"]
    """Normalized weights, within -1..1."""
    probability: Float[JArray, "points"]
    """Probability of each weight; they sum to 1."""
    w_max: Float[JArray, ""] = 1.0  # pyright: ignore[reportAssignmentType]
    """Largest |weight| in the network's units, for the density of a single layer."""
    unit: Float[JArray, ""] = 1.0  # pyright: ignore[reportAssignmentType]
    """Network weight for a normalized weight of 1, relative to w_max of its layer, as a
    root mean square: 1 unless each column has its own scale."""
    spread: Float[JArray, "points"] | None = None
    """Weight of each variance in the error of outputs, see
    `output_density.output_density`; None if errors are averaged by probability."""
    gram: Float[JArray, "points points"] | None = None
    """Weight of each product of two biases, in the sum over both."""

    def __post_init__(self) -> None:
        checks.finite("u", self.u)
        checks.positive("probability", self.probability, strictly=False)

    def mean_square(
        self, bias: Float[JArray, "times points"], var: Float[JArray, "times points"]
    ) -> Float[JArray, "times"]:
        """The mean squared error for this bias and variance of the weights."""
        if self.gram is None or self.spread is None:
            return self.unit**2 * jnp.sum(self.probability * (bias**2 + var), -1)
        return jnp.sum((bias @ self.gram) * bias, -1) + var @ self.spread

    def need_single_weights(self, where: str) -> None:
        """Refuse errors of outputs, which are not sums over single weights.

        Raises:
            ValueError: for such a density; the message names the place.
        """
        if self.gram is not None:
            rule = f"be one of weights for {where}"
            remedy = 'Pass weight_density(params), or objective="weight".'
            checks.fail("density", rule, "one of outputs", remedy)


def weight_density(
    params: PyTree,
    *,
    normalize: Normalize = "layer",
    select: Select = default_select,
    layout: Layouts = None,
    bins: int = 401,
    importance: Mapping[str, JArray | np.ndarray | float] | None = None,
) -> WeightDensity:
    """The density of all weights of a network, normalized as they are programmed.

        density = anajax.weight_density(params, normalize="column")
        best = anajax.optimize_strategy(device, None, density, times, key=key)

    The root mean square error predicted with it is the one that `evaluate` measures
    with the same `normalize`: over all weights, (read - trained) / largest |weight| of
    the layer. With scales per column, the squared error of a normalized weight is
    multiplied by the square of the scale of its column.

    Args:
        params: pytree of trained weights.
        normalize: which weights share a full scale, see `mapping.normalized`.
        select: which leaves are weights.
        layout: meaning of axes that names and shapes leave open, see `chip.table`.
        bins: number of bins; empty bins keep probability 0.
        importance: weight of the squared error of each weight, by path, such as
            `anajax.fisher_information`; equal by default.

    Raises:
        ValueError: if a weight is not finite, all are zero, importances are negative or
            do not match the weights, or the meaning of an axis that matters is unknown.

    Example:
        >>> density = anajax.weight_density(params)
        >>> round(float(density.probability.sum()), 3)
        1.0
    """
    found = normalized_weights(
        params, select=select, normalize=normalize, layout=layout
    )
    given = dict.fromkeys(found, 1.0) if importance is None else importance
    if set(given) != set(found):
        got = sorted(set(given) ^ set(found))
        checks.fail(
            "importance", "have one entry per weight", f"{got} not in both", "Add it."
        )
    each = [
        (w.u, given[path], np.broadcast_to(np.asarray(w.column, float) ** 2, w.u.shape))
        for path, w in found.items()
    ]
    shares = [_share(u, importance) for u, importance, _ in each]
    counted = [s * square for s, (_, _, square) in zip(shares, each, strict=True)]
    if not any(np.any(u) for u, _, _ in each):
        checks.fail("params", "not be all zero", "0", "Pass trained weights.")
    total = _total(shares)
    unit = float(np.sqrt(sum(float(np.sum(c)) for c in counted) / total))
    arrays = [u for u, _, _ in each]
    return replace(_histogram(arrays, counted, bins), unit=unit)


def as_density(
    weights: WeightDensity | JArray | np.ndarray, name: str = "weights"
) -> WeightDensity:
    """A density unchanged, or the density of one layer's weights.

    Raises:
        ValueError: for anything else, such as a network.
    """
    if isinstance(weights, WeightDensity):
        return weights
    if not isinstance(weights, jax.Array | np.ndarray):
        checks.fail(
            name,
            "be a density, or the weights of one layer",
            type(weights).__name__,
            "Pass anajax.weight_density(params, normalize=...) of a network.",
        )
    return from_weights(weights)


def from_weights(
    *weights: Float[JArray, "..."] | np.ndarray,
    bins: int = 401,
    importance: Sequence[JArray | np.ndarray | float] | None = None,
) -> WeightDensity:
    """The density of the weights of layers, each relative to its largest |weight|.

    For a network use `weight_density`, which accounts for stacks and columns.

    Args:
        *weights: arrays of weights, any shape, one per layer.
        bins: number of bins of -1..1; empty bins keep probability 0.
        importance: weight of the squared error of each weight, one number or array per
            array of weights; equal by default.

    Raises:
        ValueError: if there are no weights, or one is not finite, or all are zero; if
            importances are negative or do not match the weights.
    """
    if not weights:
        checks.fail("weights", "not be empty", "no arrays", "Pass an array.")
    for w in weights:
        checks.finite("weights", w, "Find the layer whose training diverged.")
    largest = [float(np.max(np.abs(w), initial=0)) for w in weights]
    if not any(largest):
        checks.fail("weights", "not all be zero", "0", "Pass trained weights.")
    given = [1.0] * len(weights) if importance is None else list(importance)
    if len(given) != len(weights):
        checks.fail(
            "importance",
            "have one entry per array of weights",
            f"{len(given)} for {len(weights)}",
            "Give a number or an array for each.",
        )
    shares = [_share(w, value) for w, value in zip(weights, given, strict=True)]
    _total(shares)
    scales = [1 / (m or 1.0) for m in largest]
    found = _histogram(weights, shares, bins, scales)
    return replace(found, w_max=max(largest))


def _histogram(
    arrays: Sequence[JArray | np.ndarray],
    shares: Sequence[np.ndarray],
    bins: int,
    scales: Sequence[float] | None = None,
) -> WeightDensity:
    """Centroids of bins over -1..1; one array after the other, to hold little."""
    count, total = np.zeros(bins), np.zeros(bins)
    for i, (array, share) in enumerate(zip(arrays, shares, strict=True)):
        u = np.asarray(array, float).ravel()
        u = u if scales is None else u * scales[i]
        share = share.ravel()
        index = np.clip(((u + 1) * bins / 2).astype(int), 0, bins - 1)
        count += np.bincount(index, weights=share, minlength=bins)
        total += np.bincount(index, weights=share * u, minlength=bins)
    centers = (np.arange(bins) + 0.5) * 2 / bins - 1
    filled = count > 0
    centroid = np.where(filled, total / np.where(filled, count, 1), centers)
    return WeightDensity(u=centroid, probability=count / count.sum())


def gaussian(sd: float = 0.3, *, points: int = 401) -> WeightDensity:
    """Normal weights with standard deviation `sd` (of w_max), truncated to -1..1.

    Raises:
        ValueError: if `sd` is not positive.
    """
    checks.positive("sd", sd)
    return _from_pdf(lambda u: np.exp(-((u / sd) ** 2) / 2), points)


def uniform(*, points: int = 401) -> WeightDensity:
    """Weights distributed uniformly from -1 to 1."""
    return _from_pdf(np.ones_like, points)


def merged(
    density: WeightDensity, *, bins: int = 100, floor: float = 1e-6
) -> WeightDensity:
    """The density of |u| for mirrored strategies, as centroids of bins on 0..1.

    Args:
        density: any density.
        bins: number of bins.
        floor: probability spread evenly over 0..1, so that a strategy is determined
            (and increasing) also where there are no weights.
    """
    if density.gram is not None:  # made for these
        return density
    size = np.abs(np.asarray(density.u))
    share = np.asarray(density.probability)
    index = np.clip((size * bins).astype(int), 0, bins - 1)
    p = (1 - floor) * np.bincount(index, share, bins) + floor / bins
    even = floor / bins * (np.arange(bins) + 0.5) / bins
    u = ((1 - floor) * np.bincount(index, share * size, bins) + even) / p
    return replace(density, u=u, probability=p)


def _share(
    weights: JArray | np.ndarray, importance: JArray | np.ndarray | float
) -> np.ndarray:
    """What each weight of an array counts, without a copy of a number."""
    checks.positive("importance", importance, strictly=False)
    return np.broadcast_to(np.asarray(importance, float), np.shape(weights))


def _total(shares: Sequence[np.ndarray]) -> float:
    total = sum(float(np.sum(share)) for share in shares)
    if not total:
        checks.fail("importance", "not be zero for all", "0", "Leave it out.")
    return total


def _from_pdf(pdf: Callable[[np.ndarray], np.ndarray], points: int) -> WeightDensity:
    u = np.linspace(-1, 1, points)
    p = pdf(u)
    p[[0, -1]] /= 2  # trapezoidal rule
    return WeightDensity(u=u, probability=p / p.sum())
