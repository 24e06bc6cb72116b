"""Metrics: of each item, or of all items together, told item by item.

What an item adds to a metric of all of them, such as an F1 score, is known by leaving
it out (the jackknife): values whose mean is the metric, and whose standard error over
items is that of the metric. Differences of two networks on the same items are then
paired, as those of an accuracy are.
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
"""Label of a position that the metric leaves out (warm-up of a language model)."""
Better = Literal["higher", "lower"]
"""Which values of a metric are better."""
GROUPS = 40
"""Groups of items that are left out in turn; each item by itself where there are no
more. The standard error is known to one part in sqrt(2 (GROUPS - 1)), 11 %."""


def correct(logits: Array, y: Array) -> Array:
    """1 where the largest of `logits [n classes]` is the label `y [n]`, else 0."""
    return (jnp.argmax(logits, axis=-1) == y).astype(logits.dtype)


def cross_entropy(logits: Array, y: Array) -> Array:
    """Cross-entropy `[n]` in nats, the mean over the scored positions of an item.

    Args:
        logits: `[n classes]` or `[n time classes]`.
        y: labels `[n]` or `[n time]`; positions with label `IGNORE` do not count.
    """
    scored = y != IGNORE
    log_p = jax.nn.log_softmax(logits, axis=-1)
    label = jnp.where(scored, y, 0)[..., None]
    loss = -jnp.take_along_axis(log_p, label, axis=-1)[..., 0]
    loss = jnp.where(scored, loss, jnp.zeros_like(loss)).reshape(y.shape[0], -1)
    count = jnp.maximum(scored.reshape(y.shape[0], -1).sum(axis=1), 1)
    return loss.sum(axis=1) / count.astype(loss.dtype)


def bits_per_character(logits: Array, y: Array) -> Array:
    """Cross-entropy `[n]` in bits, the mean over the scored characters of an item."""
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
        """What a workload holds of it."""
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
    """A metric `[n]` of each item: of its own, or its part in one of all items.

    With `t` the metric, `t_g` the one without group `g` of `G` and `m` the mean of
    `t_g` over items, an item of group `g` has `t + sqrt((G - 1)(n - 1)) (m - t_g)`; a
    metric that is a mean over few items gives back what it is the mean of. Efron and
    Tibshirani, An Introduction to the Bootstrap (1993), eq. 11.5, for groups.

    Args:
        metric: `metric(outputs, y)`, one number, or `[n]`; called on the host.
        outputs: of the network `[n ...]`.
        y: labels `[n ...]`.

    Returns:
        In double precision.

    Raises:
        ValueError: if it gives something else.
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
    """What `Engine.measure` makes of outputs `[chips times n ...]`: `[chips times n]`.

    Args:
        metric: as in `item_values`.
        y: labels in batches `[batches items ...]`.
        count: how many of them count, the first ones.
    """
    first = np.asarray(y).reshape(-1, *y.shape[2:])[:count]

    def found(outputs: np.ndarray) -> np.ndarray:
        each = [[item_values(metric, v, first) for v in one] for one in outputs]
        return np.array(each)

    return found


def numbers_of(
    metric: Callable[[Any, Any], Any], outputs: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """What a metric gives, one number or `[n]`.

    Raises:
        ValueError: if it gives something else.
    """
    found = np.asarray(metric(outputs, y))
    real = np.issubdtype(found.dtype, np.number) or found.dtype == bool
    if not real or np.iscomplexobj(found) or found.shape not in ((), (len(y),)):
        rule = f"give one real number, or one per item [{len(y)}]"
        got = f"{found.dtype} {found.shape}"
        checks.fail("metric", rule, got, "Return a float.")
    return found.astype(float)
