"""The record of a workload: a trained digital network, its data and its metric."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from anajax import _checks
from anajax._types import Array, PyTree

IGNORE = -1
"""Label of a position that the metric leaves out (warm-up of a language model)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Workload:
    """A trained digital network with the data it is judged on.

    Nothing in here is analog: `apply(params, x)` is the digital network, and a study
    passes it parameters that have been through a chip instead.
    """

    name: str
    """The name that `load` knows it by."""
    modality: str
    """`"image"`, `"text"` or `"speech"`."""
    model: nnx.Module
    """The network with its trained weights, in evaluation mode; `model(x)` = logits."""
    params: dict
    """Trainable parameters as a nested dict keyed by path. Running statistics of batch
    norms are not among them: `apply` holds those."""
    apply: Callable[[PyTree, Array], Array]
    """Pure function `apply(params, x) -> logits [n ... classes]`."""
    x: Array
    """Test inputs `[n ...]`, in a fixed random order."""
    y: Array
    """Test labels `[n]`, or `[n time]` for a language model (`IGNORE`: not scored)."""
    calibration: Array
    """Inputs `[m ...]` without labels to set input and output ranges with."""
    metric: str
    """`"accuracy"` (0..1, more is better) or `"bits_per_character"` (less is)."""
    metric_fn: Callable[[Array, Array], Array]
    """`metric_fn(logits, y) -> [n]`: the metric item by item; the mean counts."""
    loss_fn: Callable[[Array, Array], Array]
    """`loss_fn(logits, y) -> [n]`: cross-entropy of each item in nats, to train on."""
    source: dict[str, str]
    """Where data and weights came from: keys `data`, `split`, `weights`."""
    train_x: Array | None = None
    """Training inputs `[k ...]`, where there is a training split."""
    train_y: Array | None = None
    """Training labels `[k]` or `[k time]`."""
    batch: int = 256
    """How many items to push through at once on a small machine."""

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger metric is a better network."""
        return self.metric != "bits_per_character"


def workload(model: nnx.Module, *, metric: str, **fields: Any) -> Workload:
    """A `Workload` of `model`, with parameters, pure function and metric filled in.

    Args:
        model: network in evaluation mode; called as `model(x)`.
        metric: `"accuracy"` or `"bits_per_character"`.
        **fields: the other fields of `Workload`; arrays may be NumPy's.

    Raises:
        ValueError: if the metric is not one of the two.
    """
    metrics = {"accuracy": correct, "bits_per_character": bits_per_character}
    if metric not in metrics:
        _checks.fail("metric", f"be one of {sorted(metrics)}", metric, "Choose one.")
    params, apply = pure(model)
    for field, value in fields.items():
        fields[field] = jnp.asarray(value) if isinstance(value, np.ndarray) else value
    return Workload(
        model=model,
        params=params,
        apply=apply,
        metric=metric,
        metric_fn=metrics[metric],
        loss_fn=cross_entropy,
        **fields,
    )


def pure(model: nnx.Module) -> tuple[dict, Callable[[PyTree, Array], Array]]:
    """Parameters of `model` as a nested dict, and `apply(params, x) -> logits`."""
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    constants = nnx.to_pure_dict(rest)

    def apply(params: PyTree, x: Array) -> Array:
        return nnx.merge(graphdef, params, constants)(x)

    return nnx.to_pure_dict(params), apply


def evaluate(work: Workload, params: PyTree | None = None) -> Array:
    """The metric of each test item `[n]`, in batches of `work.batch`.

    Args:
        work: the workload.
        params: parameters to use in place of the trained ones.
    """
    params = work.params if params is None else params
    step = jax.jit(lambda p, x, y: work.metric_fn(work.apply(p, x), y))
    starts = range(0, work.x.shape[0], work.batch)
    slices = [slice(i, i + work.batch) for i in starts]
    return jnp.concatenate([step(params, work.x[s], work.y[s]) for s in slices])


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


def shuffled(n: int, items: int | None) -> np.ndarray:
    """Indices of the first `items` of `n` test items, in one fixed random order.

    The order does not depend on `items`: 100 items are the first 100 of 500.

    Raises:
        ValueError: if `items` is not in 1..n.
    """
    if items is not None and not 1 <= items <= n:
        _checks.fail("items", f"be in 1..{n}", items, "Leave it out to take all.")
    return np.argsort(np.random.default_rng(0).random(n), kind="stable")[:items]
