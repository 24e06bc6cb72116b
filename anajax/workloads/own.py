"""Your own network and data: any function of weights and inputs."""

import contextlib
import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anajax._core import checks
from anajax._core.types import Array, PyTree
from anajax.analysis.metrics import (
    IGNORE,
    METRICS,
    Better,
    Metric,
    cross_entropy,
    numbers_of,
    squared_error,
)
from anajax.analysis.workload import Workload, shuffled
from anajax.chip import path_name
from anajax.programming.end_to_end.targets import distillation

CALIBRATION = 256
"""Number of calibration inputs, if none are given."""
Pair = tuple[Any, Any]
_TWO = 2
"""Items that a network is tried on."""


def workload(
    apply: Callable[[PyTree, Array], Array],
    params: PyTree,
    x: Any,
    y: Any,
    *,
    metric: str | Callable[[Array, Array], Array] = "accuracy",
    better: Better | None = None,
    unit: str | None = None,
    train: Pair | None = None,
    calibration: Any = None,
    loss: Callable[[Array, Array], Array] | None = None,
    name: str = "my_network",
    source: Mapping[str, str] | None = None,
    batch: int = 256,
) -> Workload:
    """A trained network with test data and a metric, for studies of every kind.

    If `y` are labels, outputs are taken as logits of classes, otherwise as values: the
    distance of a chip from the digital network is then a divergence or a mean squared
    difference.

    Args:
        apply: pure JAX function `apply(params, x) -> outputs [n ...]`, from any
            framework or `interop.onnx`, in evaluation mode.
        params: its trained parameters, a pytree of arrays.
        x: test inputs `[n ...]`.
        y: test labels `[n]` or `[n time]` (-1: not scored), or values `[n ...]`.
        metric: "accuracy", "bits_per_character", "log_perplexity",
            "mean_squared_error", "mean_absolute_error", or a function
            `metric(outputs, y)`; results carry its name. A JAX function that returns
            `[n]`, one number per item, is reported by its mean. One number for all
            items (an F1 score, an area under a curve) gets its standard error from
            leaving items out; such metrics, and functions of NumPy arrays, run on the
            host.
        better: "higher" (the default) or "lower" values, for a metric given as a
            function.
        unit: unit of a metric given as a function; "1" by default. For percent of a
            fraction, pass "%".
        train: inputs and labels for training and for learning targets.
        calibration: unlabeled inputs for setting the ranges of converters; by default a
            part of `train`, or of `x` if there is none.
        loss: JAX function `loss(outputs, y) -> [n]` for training on labels; by default
            the cross-entropy for labels, the squared error for values.
        name: name in results; letters, digits and `._+-`.
        source: origin of the network and the data, by "data", "split" and "weights".
        batch: number of items per batch.

    Raises:
        ValueError: if arrays, outputs and metric do not match.

    Example:
        >>> labels = jnp.argmax(apply(params, x), -1)
        >>> work = anajax.workload(apply, params, x, labels, metric="accuracy")
        >>> float(anajax.workloads.evaluate(work).mean())
        1.0
    """
    checks.word("better", "higher" if better is None else better, Better)
    checks.function("apply", apply, "lambda params, x: x @ params['kernel']")
    chosen = _metric(metric, better, unit)
    if not re.fullmatch(r"[\w.+-]+", name):
        got, remedy = repr(name), "Choose another."
        checks.fail("name", "be of letters, digits and ._+-", got, remedy)
    checks.whole("batch", batch, least=1)
    jax.tree.map(lambda leaf: checks.numbers("params", leaf), params)
    params = jax.tree.map(jnp.asarray, params)
    x, y = _pair("x", x, y)
    train_x, train_y = (None, None) if train is None else _pair("train", *train)
    if calibration is None:
        inputs = x if train_x is None else train_x
        calibration = inputs[shuffled(len(inputs), min(CALIBRATION, len(inputs)))]
    checks.finite("calibration", calibration)
    classes = np.issubdtype(y.dtype, np.integer)
    arrays = [x, y, train_x, train_y, calibration]
    work = Workload(
        name=name,
        params=params,
        apply=apply,
        x=jnp.asarray(x),
        y=jnp.asarray(y),
        calibration=jnp.asarray(calibration),
        loss_fn=loss or (cross_entropy if classes else squared_error),
        divergence_fn=distillation if classes else _difference,
        source=_source(source, arrays, params),
        train_x=train_x,
        train_y=train_y,
        batch=batch,
        **chosen.fields,
    )
    out = _try(work)
    if callable(metric) and _is_whole(work, out):
        return dataclasses.replace(work, whole=True)
    return work


def first_items(work: Workload, items: int | None) -> Workload:
    """A workload on some of its test items, the first ones of a fixed random order.

    Args:
        work: the workload.
        items: number of items; all, in their original order, by default.
    """
    if items is None:
        return work
    keep = shuffled(len(work.x), items)
    masks = {name: mask[keep] for name, mask in work.subsets.items()}
    return dataclasses.replace(work, x=work.x[keep], y=work.y[keep], subsets=masks)


def _metric(metric: Any, better: Better | None, unit: str | None) -> Metric:
    if callable(metric):
        name = getattr(metric, "__name__", "metric")
        if not name.isidentifier():
            checks.fail("metric", "be a function with a name", name, "Write def.")
        return Metric(name, metric, better or "higher", unit or "1")
    checks.word("metric", metric, tuple(METRICS))
    if better is not None or unit is not None:
        rule = f"be left out for {metric}, which is known"
        checks.fail("better", rule, better or unit, "Leave out `unit`, too.")
    return METRICS[metric]


def _pair(name: str, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and labels, as many of one as of the other."""
    label = "y" if name == "x" else name
    x, y = (_as_jax_has_it(kind, v) for kind, v in ((name, x), (label, y)))
    for kind, array in ((name, x), (label, y)):
        checks.finite(kind, array)
        if not array.ndim:
            checks.fail(kind, "be items along the first axis", array, "Give a list.")
    if len(x) != len(y):
        rule, got = f"have one entry per item of `{name}`", f"{len(y)} for {len(x)}"
        checks.fail(label, rule, got, "Leave none out.")
    return x, y


def _as_jax_has_it(name: str, value: Any) -> np.ndarray:
    """On the host, of the type that it has in computations."""
    checks.numbers(name, value)
    array = np.asarray(value)
    return array.astype(jax.dtypes.canonicalize_dtype(array.dtype), copy=False)


def _difference(outputs: Array, reference: Array) -> Array:
    """Mean squared difference of analog and digital outputs."""
    return jnp.mean((outputs - reference) ** 2)


def _source(
    given: Mapping[str, str] | None, arrays: list[Any], params: PyTree
) -> dict[str, str]:
    """Where a network is from, with a digest of all its numbers."""
    said = {"data": "given", "split": "given", "weights": "given"}
    leaves = jax.tree_util.tree_leaves_with_path(params)
    digest = hashlib.sha256()
    named = [(path_name(path), leaf) for path, leaf in leaves]
    for name, value in [*((str(i), v) for i, v in enumerate(arrays)), *named]:
        array = None if value is None else np.ascontiguousarray(value)
        about = None if array is None else (array.shape, array.dtype.str)
        digest.update(f"{name} {about}\n".encode())
        digest.update(b"" if array is None else array.tobytes())
    return said | dict(given or {}) | {"sha256": digest.hexdigest()}


def _try(work: Workload) -> jax.ShapeDtypeStruct:
    """Refuse a network or loss that does not fit the data, by shapes alone.

    Returns:
        Shape and type of the outputs of a few items.
    """
    few = min(_TWO, len(work.x))
    x, y = (jax.eval_shape(lambda v=v: v[:few]) for v in (work.x, work.y))
    out = _traced("apply", work.apply, work.params, x)
    if not isinstance(out, jax.ShapeDtypeStruct) or out.shape[:1] != (few,):
        got = getattr(out, "shape", type(out).__name__)
        rule = f"give one output per item, [{few} ...] for {x.shape}"
        checks.fail("apply", rule, got, "Return one array.")
    found = _traced("loss", work.loss_fn, out, y)
    shape = getattr(found, "shape", None)
    if shape != (few,) or not jnp.issubdtype(found.dtype, jnp.inexact):
        got = f"{found} for outputs {out.shape} and y {y.shape}"
        remedy = "Take no mean over items."
        checks.fail("loss", f"give one real number per item, [{few}]", got, remedy)
    if work.divergence_fn is distillation:
        _check_labels(work.y, out.shape)
    return out


def _is_whole(work: Workload, out: jax.ShapeDtypeStruct) -> bool:
    """Whether a metric is one of all items, or no JAX function; refuse what is none."""
    y = jax.eval_shape(lambda: work.y[: out.shape[0]])
    try:
        found = jax.eval_shape(work.metric_fn, out, y)
        each = found.shape == out.shape[:1] and jnp.issubdtype(found.dtype, jnp.inexact)
    except (TypeError, ValueError, IndexError, KeyError, AttributeError):
        each = False  # no JAX function; it is called with numbers, and may fail, below
    if each:
        return False
    some = np.linspace(0, len(work.x) - 1, min(work.batch, len(work.x))).astype(int)
    outputs = np.asarray(work.apply(work.params, work.x[some]))
    y = np.asarray(work.y[some])
    with _refused("metric", outputs, y):
        found = numbers_of(work.metric_fn, outputs, y)
    checks.finite("metric of the digital network", found, "Try it by itself.")
    return True


def _traced(name: str, function: Callable[..., Any], *args: Any) -> Any:
    with _refused(name, *args):
        return jax.eval_shape(function, *args)


@contextlib.contextmanager
def _refused(name: str, *args: Any) -> Iterator[None]:
    """What a function of the user's raises for these arrays, as an error of it."""
    try:
        yield
    except (TypeError, ValueError, IndexError, KeyError) as error:
        if str(error).startswith(f"`{name}`"):
            raise
        shapes = ", ".join(f"{getattr(a, 'shape', 'params')}" for a in args)
        first = str(error).strip().partition("\n")[0]
        got = f"{type(error).__name__}: {first:.200}"
        remedy = "Use jax.numpy, and axes as the network has them."
        checks.fail(name, f"take arrays of {shapes}", got, remedy)


def _check_labels(y: Array, outputs: tuple[int, ...]) -> None:
    """Refuse labels that are no classes of these outputs."""
    low, high = int(jnp.min(y)), int(jnp.max(y))
    if y.ndim != len(outputs) - 1 or high >= outputs[-1] or low < IGNORE:
        rule = f"be classes 0 to {outputs[-1] - 1}, of shape {('n', *outputs[1:-1])}"
        got = f"{low} to {high} of shape {y.shape}"
        checks.fail("y", rule, got, "Give values as float, classes as whole numbers.")
