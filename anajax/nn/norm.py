"""Batch norms of a network on a chip: they stay digital, and can be recalibrated."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from flax import nnx

from anajax._core import checks
from anajax._core.types import JArray, PyTree

M = TypeVar("M", bound=nnx.Module)


def batch_statistics(model: M) -> M:
    """A clone of `model` whose batch norms use the statistics of each batch.

    For training a network whose norms will be recalibrated on the chip.
    """
    model = nnx.clone(model)
    for norm in _norms(model):
        norm.use_running_average = False
    return model


def batch_norms(model: nnx.Module | None) -> list[nnx.BatchNorm]:
    """The batch norms of a model, in any layer; none if it is not a model."""
    if model is None:
        return []
    return [m for _, m in nnx.iter_modules(model) if type(m) is nnx.BatchNorm]


def _norms(model: nnx.Module) -> list[nnx.BatchNorm]:
    norms = batch_norms(model)
    if not norms:
        checks.fail("model", "have a batch norm", "none", "Leave this step out.")
    return norms


def recalibrate_norms(model: M, batches: Iterable[JArray]) -> M:
    """A clone of `model` with new running averages of its batch norms.

    Runs the model, with its noise and age, on a few batches of unlabeled inputs, all
    with equal weight. An option in addition to drift compensation: adaptive batch
    normalization statistics (AdaBS) of Joshi et al., Nat. Commun. 11, 2473, 2020.

    Args:
        model: analog or digital network with `nnx.BatchNorm` layers.
        batches: inputs `[n ...]`.

    Raises:
        ValueError: if there is no batch norm, or no batch.
    """
    model = nnx.clone(model)
    norms = _norms(model)
    settings = [(norm.momentum, norm.use_running_average) for norm in norms]
    count = 0
    for count, x in enumerate(batches, 1):
        for norm in norms:
            norm.momentum, norm.use_running_average = 1 - 1 / count, False
        model(x)  # pyright: ignore[reportCallIssue]
    if not count:
        checks.fail("batches", "not be empty", "none", "Pass some inputs.")
    for norm, (momentum, average) in zip(norms, settings, strict=True):
        norm.momentum, norm.use_running_average = momentum, average
    return model


def with_statistics(
    model: nnx.Module,
) -> tuple[Callable[..., PyTree], Callable[..., JArray]]:
    """A model as pure functions with the statistics of its batch norms as an argument.

    Returns:
        `statistics(params, x)` computes them from inputs; `apply(params, x,
        statistics)` is the model with them.
    """
    graph, _, start, rest = nnx.split(model, nnx.Param, nnx.BatchStat, ...)
    start, rest = nnx.to_pure_dict(start), nnx.to_pure_dict(rest)

    def statistics(params: PyTree, x: JArray) -> PyTree:
        merged: Any = nnx.merge(graph, params, start, rest)
        found = nnx.state(recalibrate_norms(merged, [x]), nnx.BatchStat)
        return nnx.to_pure_dict(found)

    def apply(params: PyTree, x: JArray, measured: PyTree) -> JArray:
        return nnx.merge(graph, params, measured, rest)(x)

    return statistics, apply
