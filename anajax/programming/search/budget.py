"""Devices where they matter: one choice per layer within a budget of devices."""

import jax
import numpy as np
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax._core import checks


def allocate(
    errors: Float[JArray, "layers choices"] | np.ndarray,
    devices: Float[JArray, "choices"] | np.ndarray,
    weights: Float[JArray, "layers"] | np.ndarray,
    *,
    budget: float,
) -> np.ndarray:
    """The choice for each layer with the lowest total error within a budget.

    Uses a price per device: each layer makes the choice with the lowest sum of its
    error and the price of its devices, and the price is the lowest that meets the
    budget. The remaining budget goes to the layers that gain most per device. Choices
    off the lower convex hull of error over devices are taken only in that last step.

    Args:
        errors: error of each layer under each choice, in a unit that adds up over
            layers.
        devices: devices per weight under each choice.
        weights: number of weights of each layer.
        budget: largest mean number of devices per weight.

    Returns:
        The index of the choice of each layer `[layers]`.

    Raises:
        ValueError: if shapes disagree, an error is not finite, or the budget is less
            than the choices with the fewest devices need.

    Example:
        >>> allocate([[4, 2], [8, 1]], [2, 4], [10, 10], budget=3).tolist()
        [0, 1]
    """
    given: list[jax.Array | np.ndarray] = [errors, devices, weights]
    error, count, size = (np.asarray(v, float) for v in given)
    if error.shape != (size.size, count.size):
        want = f"have shape {(size.size, count.size)}, as weights and devices have"
        checks.fail("errors", want, error.shape, "Give a row for each layer.")
    for name, value in (("errors", error), ("devices", count), ("weights", size)):
        checks.finite(name, value)
    total = budget * size.sum()
    cost = size[:, None] * count
    if total < cost.min(1).sum() * (1 - 1e-12):
        rule = f"be at least {count.min():g} devices"
        checks.fail("budget", rule, budget, "Allow more, or choices of fewer devices.")

    def at(price: float) -> np.ndarray:
        return np.argmin(error + price * cost, 1)

    def spent(choice: np.ndarray) -> float:
        return float(cost[np.arange(size.size), choice].sum())

    best = np.argmin(np.where(error == error.min(1, keepdims=True), cost, np.inf), 1)
    if spent(best) <= total:
        return best
    low, high = 0.0, float(np.ptp(error) / np.ptp(count) / size.min() + 1)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if spent(at(middle)) <= total else (middle, high)
    return _filled(error, cost, at(high), total)


def _filled(
    error: np.ndarray, cost: np.ndarray, choice: np.ndarray, total: float
) -> np.ndarray:
    """The choice with what is left of the budget spent where it gains most."""
    rows = np.arange(len(choice))
    while True:
        more = cost - cost[rows, choice][:, None]
        gain = error[rows, choice][:, None] - error
        room = total - cost[rows, choice].sum()
        fits = (gain > 0) & (more <= room)
        if not fits.any():
            return choice
        rate = np.where(fits, gain / np.maximum(more, 1e-9), -np.inf)
        layer, new = np.unravel_index(np.argmax(rate), rate.shape)
        choice = choice.copy()
        choice[layer] = new
