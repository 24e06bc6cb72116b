"""The record of a workload: a trained digital network, its data and its metric."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from anajax._core import checks
from anajax._core.types import Array, PyTree
from anajax.analysis.metrics import METRICS, Better, cross_entropy, item_values
from anajax.programming.end_to_end.targets import distillation


@dataclasses.dataclass(frozen=True, kw_only=True)
class Workload:
    """A trained digital network with its test data.

    Nothing here is analog: `apply(params, x)` is the digital network, and a study
    passes it parameters read from a chip instead.
    """

    name: str
    """Name in results; `load` knows built-in workloads by it."""
    modality: str = "own"
    """`"image"`, `"text"`, `"speech"`, or `"own"` for workloads of your own."""
    model: nnx.Module | None = None
    """The network with its trained weights, in evaluation mode; `model(x)` = logits.
    None for a network given as a function."""
    params: PyTree
    """Trainable parameters, by path. Running statistics of batch norms are not
    included: they are part of `apply`."""
    apply: Callable[[PyTree, Array], Array]
    """Pure function `apply(params, x) -> outputs [n ...]`, logits for classes."""
    x: Array
    """Test inputs `[n ...]`, in a fixed random order."""
    y: Array
    """Test labels `[n]`, or `[n time]` for a language model (`IGNORE`: not scored)."""
    calibration: Array
    """Unlabeled inputs `[m ...]` for setting input and output ranges."""
    metric: str
    """Name of the metric, such as `"accuracy"`."""
    better: "Better" = "higher"
    """Whether a larger metric is a better network."""
    unit: str = "1"
    """Unit of the metric."""
    metric_fn: Callable[[Array, Array], Array]
    """`metric_fn(logits, y) -> [n]`: the metric per item; the mean is reported."""
    whole: bool = False
    """Whether `metric_fn` is called on the host for all items at once, and may return
    one number for all of them; see `items_of`."""
    loss_fn: Callable[[Array, Array], Array]
    """`loss_fn(logits, y) -> [n]`: cross-entropy of each item in nats, for training."""
    divergence_fn: Callable[[Array, Array], Array] = distillation
    """`divergence_fn(outputs, digital outputs)`: distance of analog outputs from
    digital ones."""
    source: dict[str, str]
    """Origin of data and weights: keys `data`, `split`, `weights`."""
    train_x: np.ndarray | None = None
    """Training inputs `[k ...]` on the host, if there is a training split."""
    train_y: np.ndarray | None = None
    """Training labels `[k]` or `[k time]`."""
    held_x: Any = None
    """Held-out inputs `[h ...]` for choices, which nothing is learned on; see
    `set_aside`."""
    held_y: Any = None
    """Their labels, if there is a training split."""
    digital: str = ""
    """Regular expression for paths of parameters that stay digital, see `Rule`."""
    subsets: dict[str, Array] = dataclasses.field(default_factory=dict)
    """Subsets of items, `bool [n]` by name, for which the metric is also reported."""
    batch: int = 256
    """Number of items per batch on a small machine."""

    def __post_init__(self) -> None:
        if self.whole and self.subsets:
            got, remedy = ", ".join(self.subsets), "Give a metric of each item."
            checks.fail("subsets", "be none for a metric of all items", got, remedy)

    def items_of(self, outputs: Any, y: Any) -> Array | np.ndarray:
        """One value of the metric per item `[n]`, from outputs `[n ...]`."""
        if self.whole:
            return item_values(self.metric_fn, outputs, y)
        return self.metric_fn(outputs, y)

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger metric is a better network."""
        return self.better == "higher"

    @property
    def loss_unit(self) -> str:
        """The unit of `divergence_fn`."""
        return "nat" if self.divergence_fn is distillation else "1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Splits:
    """The data of a workload as NumPy arrays, split into test and training."""

    x: np.ndarray
    """Test inputs `[n ...]`, in the order of the files."""
    y: np.ndarray
    """Test labels `[n]` or `[n time]`."""
    train_x: np.ndarray
    """Training inputs `[k ...]`."""
    train_y: np.ndarray
    """Training labels `[k]` or `[k time]`."""
    place: str
    """Which of the three places the data came from."""
    split: str
    """How test and training data were split."""


def workload(
    model: nnx.Module,
    splits: Splits,
    *,
    metric: str,
    items: int | None,
    weights: str,
    calibration: int = 256,
    **fields: Any,
) -> Workload:
    """A `Workload` of `model` on the first `items` test items of `splits`.

    Args:
        model: network in evaluation mode; called as `model(x)`.
        splits: the data; calibration inputs are taken from its training part.
        metric: a name in `METRICS`.
        items: number of test items, in a fixed random order; `None` for all.
        weights: origin of the weights.
        calibration: number of calibration inputs.
        **fields: other fields of `Workload`, or replacements for these.

    Raises:
        ValueError: if the metric is unknown, or `items` is too large.
    """
    checks.word("metric", metric, tuple(METRICS))
    params, apply = pure(model)
    keep = shuffled(len(splits.x), items)
    some = shuffled(len(splits.train_x), None)[:calibration]
    given = {
        "x": jnp.asarray(splits.x[keep]),
        "y": jnp.asarray(splits.y[keep]),
        "calibration": jnp.asarray(splits.train_x[some]),
        "train_x": splits.train_x,
        "train_y": splits.train_y,
        "source": {"data": splits.place, "split": splits.split, "weights": weights},
    }
    return Workload(
        model=model,
        params=params,
        apply=apply,
        **METRICS[metric].fields,
        loss_fn=cross_entropy,
        **(given | fields),
    )


def pure(model: nnx.Module) -> tuple[dict, Callable[[PyTree, Array], Array]]:
    """Parameters of `model` as a nested dict, and `apply(params, x) -> logits`."""
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    constants = nnx.to_pure_dict(rest)

    def apply(params: PyTree, x: Array) -> Array:
        return nnx.merge(graphdef, params, constants)(x)

    return nnx.to_pure_dict(params), apply


def outputs(work: Workload, params: PyTree | None = None) -> Array:
    """Outputs `[n ...]` of the digital network for all test items, in batches.

    Computed in batches, since XLA would constant-fold the whole computation, slowly.
    """
    params = work.params if params is None else params
    starts = range(0, work.x.shape[0], work.batch)
    step = jax.jit(work.apply)
    return jnp.concatenate([step(params, work.x[i : i + work.batch]) for i in starts])


def evaluate(work: Workload, params: PyTree | None = None) -> Array | np.ndarray:
    """The metric of each test item `[n]`, in batches of `work.batch`.

    A metric of all items is split into one value per item, see `metrics.item_values`;
    the mean is the metric.

    Args:
        work: the workload.
        params: parameters to use instead of the trained ones.
    """
    return work.items_of(outputs(work, params), work.y)


def in_batches(v: Array, size: int) -> Array:
    """Items `[n ...]` as `[batches size ...]`, padded with the first item."""
    fill = -v.shape[0] % size
    padded = jnp.concatenate([v, v[:1].repeat(fill, 0)]) if fill else v
    return padded.reshape(-1, size, *v.shape[1:])


def shuffled(n: int, items: int | None) -> np.ndarray:
    """Indices of the first `items` of `n` test items, in one fixed random order.

    The order does not depend on `items`: 100 items are the first 100 of 500.

    Raises:
        ValueError: if `items` is not in 1..n.
    """
    if items is not None and not 1 <= items <= n:
        checks.fail("items", f"be in 1..{n}", items, "Leave it out to take all.")
    return np.argsort(np.random.default_rng(0).random(n), kind="stable")[:items]


LEARNED_ON = 16384
"""Most training inputs that are used for learning."""


def set_aside(work: Workload, most: int) -> Workload:
    """The workload with some inputs set aside for choices, which nothing is learned on.

    They are the last ones of the training split in a random order, at most a fifth of
    it; without a training split, at most a quarter of the calibration inputs.

    Args:
        work: the workload.
        most: largest number; 0 for none.

    Raises:
        ValueError: if there are too few inputs.
    """
    given = work.calibration if work.train_x is None else work.train_x
    count = min(most, len(given) // (4 if work.train_x is None else 5))
    if most and count < 2:
        rule, remedy = "have 10 inputs or more to choose with", "Add some as `train`."
        checks.fail("workload", rule, len(given), remedy)
    if not most:
        return work
    first = work.calibration[: len(given) - count]  # of built-in ones, none held
    if work.train_x is None:
        held = work.calibration[-count:]
        return dataclasses.replace(work, calibration=first, held_x=held)
    order = shuffled(len(given), None)
    kept, held = order[: min(len(given) - count, LEARNED_ON)], order[-count:]
    labels: Any = work.train_y
    return dataclasses.replace(
        work,
        calibration=first,
        train_x=work.train_x[kept],
        train_y=None if labels is None else labels[kept],
        held_x=work.train_x[held],
        held_y=None if labels is None else labels[held],
    )


def training_inputs(work: Workload, most: int = LEARNED_ON) -> Any:
    """Inputs for learning, drawn from the training split if there is one.

    Files may be sorted by class, so the first ones alone would not do.
    """
    return _some(work.calibration if work.train_x is None else work.train_x, most)


def training_labels(work: Workload) -> Any:
    """The labels of `training_inputs`; the workload must have a training split."""
    return _some(work.train_y, LEARNED_ON)


def _some(items: Any, most: int) -> Any:
    return items if len(items) <= most else items[shuffled(len(items), most)]


def labels_loss(work: Workload) -> Callable[[Array, Array], Array]:
    """`loss(outputs, labels)`: the cross-entropy of the network, mean over items."""
    return lambda outputs, y: jnp.mean(work.loss_fn(outputs, y))
