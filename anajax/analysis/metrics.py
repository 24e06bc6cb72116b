"""Metrics per item, and metrics of all items together, such as an F1 score.

The jackknife splits a metric of all items into one value per item, by leaving items
out: the mean of the values is the metric, and their standard error is its standard
error. Two networks can then be compared item by item, as with an accuracy.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from anajax._core import checks
from anajax._core.types import Array

IGNORE = -1
"""Label of positions that the metric ignores (warm-up of a language model)."""
Better = Literal["higher", "lower"]
"""Whether higher or lower values of a metric are better."""
GROUPS = 40
"""Number of groups of items that are left out in turn; with fewer items, each item is a
group. The relative error of the standard error is 1 / sqrt(2 (GROUPS - 1)), 11 %."""


def correct(logits: Array, y: Array) -> Array:
    """1 where the largest of `logits [n classes]` is the label `y [n]`, else 0."""
    return (jnp.argmax(logits, axis=-1) == y).astype(logits.dtype)


def cross_entropy(logits: Array, y: Array) -> Array:
    """Cross-entropy `[n]` in nats, averaged over the scored positions of an item.

    Args:
        logits: `[n classes]` or `[n time classes]`.
        y: labels `[n]` or `[n time]`; positions with label `IGNORE` are not scored.
    """
    scored = y != IGNORE
    log_p = jax.nn.log_softmax(logits, axis=-1)
    label = jnp.where(scored, y, 0)[..., None]
    loss = -jnp.take_along_axis(log_p, label, axis=-1)[..., 0]
    loss = jnp.where(scored, loss, jnp.zeros_like(loss)).reshape(y.shape[0], -1)
    count = jnp.maximum(scored.reshape(y.shape[0], -1).sum(axis=1), 1)
    return loss.sum(axis=1) / count.astype(loss.dtype)


def bits_per_character(logits: Array, y: Array) -> Array:
    """Cross-entropy `[n]` in bits, averaged over the scored characters of an item."""
    return cross_entropy(logits, y) / np.log(2).astype(logits.dtype)


def squared_error(outputs: Array, y: Array) -> Array:
    """Mean squared error `[n]` of outputs `[n ...]`."""
    return jnp.mean((outputs - y).reshape(y.shape[0], -1) ** 2, axis=1)


def absolute_error(outputs: Array, y: Array) -> Array:
    """Mean absolute error `[n]` of outputs `[n ...]`."""
    return jnp.mean(jnp.abs(outputs - y).reshape(y.shape[0], -1), axis=1)


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric by its name in results."""

    name: str
    function: Callable[[Array, Array], Array]
    """`function(outputs, y) -> [n]`."""
    better: Better = "higher"
    unit: str = "1"

    def __post_init__(self) -> None:
        checks.word("better", self.better, Better)

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a workload for this metric."""
        about = {"metric": self.name, "metric_fn": self.function}
        return about | {"better": self.better, "unit": self.unit}


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", correct),
        Metric("bits_per_character", bits_per_character, "lower", "bit"),
        Metric("log_perplexity", cross_entropy, "lower", "nat"),
        Metric("mean_squared_error", squared_error, "lower"),
        Metric("mean_absolute_error", absolute_error, "lower"),
    )
}
"""Metrics by name."""


# --- of all items together ------------------------------------------------------------


def item_values(metric: Callable[[Any, Any], Any], outputs: Any, y: Any) -> np.ndarray:
    """One value of a metric per item `[n]`.

    A metric that returns `[n]` is returned as it is. Otherwise, with `t` the metric,
    `t_g` the metric without group `g` of `G`, and `m` the mean of `t_g` over items, an
    item of group `g` gets `t + sqrt((G - 1)(n - 1)) (m - t_g)`. If the metric is a mean
    over at most `GROUPS` items, these are the values it averages. Efron and
    Tibshirani, An Introduction to the Bootstrap (1993), eq. 11.5, for groups.

    Args:
        metric: `metric(outputs, y)`, returns one number or `[n]`; runs on the host.
        outputs: outputs of the network `[n ...]`.
        y: labels `[n ...]`.

    Returns:
        The values, in double precision.

    Raises:
        ValueError: if the metric returns anything else.
    """
    outputs, y = np.asarray(outputs), np.asarray(y)
    n = len(y)
    found = numbers_of(metric, outputs, y)
    if found.shape == (n,):
        return found
    groups = min(GROUPS, n)
    if groups == 1:
        return found[None]
    group = np.arange(n) % groups
    kept = [group != g for g in range(groups)]
    without = np.array([numbers_of(metric, outputs[k], y[k]) for k in kept])[group]
    return found + np.sqrt((groups - 1) * (n - 1)) * (without.mean() - without)


def of_outputs(
    metric: Callable[[Any, Any], Any], y: Any, count: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Function from outputs `[chips times n ...]` to values per item `[chips times n]`.

    Args:
        metric: as in `item_values`.
        y: labels in batches `[batches items ...]`.
        count: number of valid items, the first ones.
    """
    first = np.asarray(y).reshape(-1, *y.shape[2:])[:count]

    def found(outputs: np.ndarray) -> np.ndarray:
        each = [[item_values(metric, v, first) for v in one] for one in outputs]
        return np.array(each)

    return found


def numbers_of(
    metric: Callable[[Any, Any], Any], outputs: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """The result of a metric: one number, or `[n]`.

    Raises:
        ValueError: if the metric returns anything else.
    """
    found = np.asarray(metric(outputs, y))
    real = np.issubdtype(found.dtype, np.number) or found.dtype == bool
    if not real or np.iscomplexobj(found) or found.shape not in ((), (len(y),)):
        rule = f"give one real number, or one per item [{len(y)}]"
        got = f"{found.dtype} {found.shape}"
        checks.fail("metric", rule, got, "Return a float.")
    return found.astype(float)
