"""Batch norms of a network that goes on a chip: folded into the layer before them.

A norm that is folded costs nothing at inference; one that stays digital can be
recalibrated on the chip, see `recalibrate_norms`.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from anajax._core import checks
from anajax._core.types import JArray

M = TypeVar("M", bound=nnx.Module)


class Folded(nnx.Module):
    """In the place of a norm that was folded: returns its input."""

    def __call__(self, x: JArray, *_: Any, **__: Any) -> JArray:
        """`x` itself, whatever else the norm was called with."""
        return x


def fold_batch_norm(model: M, pairs: Mapping[str, str]) -> M:
    """A clone of `model` with batch norms folded into the layers before them.

    The layer's columns take the norm's factor, its bias the rest; the norm's running
    averages are used as they are. Fold before `to_analog`.

    Args:
        model: digital network.
        pairs: path of each norm to the path of the `Linear` or `Conv` whose output it
            gets directly, such as `{"norm1": "conv1"}`.

    Raises:
        ValueError: if a path is not that of a norm or of such a layer.
    """
    model = nnx.clone(model)
    found = {"/".join(map(str, path)): node for path, node in nnx.iter_modules(model)}
    folded = set()
    for norm, layer in pairs.items():
        _check_kind(found, norm, (nnx.BatchNorm,))
        _check_kind(found, layer, (nnx.Linear, nnx.Conv))
        _fold(found[norm], found[layer])
        folded.add(norm)

    def swap(path: tuple, node: Any) -> Any:
        return Folded() if "/".join(map(str, path)) in folded else node

    return nnx.recursive_map(swap, model, graph=True)


def _check_kind(found: Mapping[str, Any], path: str, kinds: tuple[type, ...]) -> None:
    if type(found.get(path)) not in kinds:
        names = " or ".join(kind.__name__ for kind in kinds)
        got = f"{type(found.get(path)).__name__} at {path!r}"
        remedy = f"Known paths: {sorted(p for p in found if p)}."
        checks.fail("pairs", f"name a {names}", got, remedy)


def _fold(norm: Any, layer: Any) -> None:
    factor = jax.lax.rsqrt(norm.var[...] + norm.epsilon)
    if norm.scale is not None:
        factor = factor * norm.scale[...]
    before = jnp.zeros_like(factor) if layer.bias is None else layer.bias[...]
    bias = (before - norm.mean[...]) * factor
    if norm.bias is not None:
        bias = bias + norm.bias[...]
    layer.kernel[...] = layer.kernel[...] * factor
    layer.bias, layer.use_bias = nnx.Param(bias), True


def batch_statistics(model: M) -> M:
    """A clone of `model` whose batch norms use the statistics of each batch.

    To train a network whose norms will be recalibrated on the chip.
    """
    model = nnx.clone(model)
    for norm in _norms(model):
        norm.use_running_average = False
    return model


def batch_norms(model: nnx.Module) -> list[nnx.BatchNorm]:
    """The batch norms of a model, in any layer."""
    return [m for _, m in nnx.iter_modules(model) if type(m) is nnx.BatchNorm]


def _norms(model: nnx.Module) -> list[nnx.BatchNorm]:
    norms = batch_norms(model)
    if not norms:
        checks.fail("model", "have a batch norm", "none", "Leave this step out.")
    return norms


def recalibrate_norms(model: M, batches: Iterable[JArray]) -> M:
    """A clone of `model` with the running averages of its batch norms taken anew.

    Runs the model, as noisy and as old as it is, on a few batches of inputs without
    labels; each counts the same. An option in addition to drift compensation: adaptive
    batch normalization statistics (AdaBS) of Joshi et al., Nat. Commun. 11, 2473, 2020.

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
