"""Layer by layer: targets for networks too big for end-to-end optimization.

Each unit of the network (a layer, a block, a recurrent cell) learns to reproduce its
own digital outputs on calibration inputs, under its own noise, given the noisy units
before it. Only one unit is differentiated at a time, and nothing after it is computed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import chip, rng
from anajax._core import checks
from anajax._core.tree import pytree, replace, static
from anajax._core.types import PRNGKey, PyTree
from anajax.devices.base import Device, check_times
from anajax.mapping.strategy import Normalize, Strategy, check_strategy
from anajax.programming.end_to_end.descent import descend
from anajax.programming.end_to_end.learnable import chain, start_from
from anajax.programming.end_to_end.targets import (
    Apply,
    Checkpoint,
    LearnOptions,
    OptimizedTargets,
    finish,
)
from anajax.programming.end_to_end.task import check, check_columns, first_of, make_task
from anajax.programming.search.parameters import Bounds


@pytree
class Unit:
    """A part of a network, and the output that it has to reproduce."""

    prefixes: tuple[str, ...] = static()
    """Prefixes of the paths of its weights; "" matches all."""
    outputs: Apply = static()
    """`outputs(params, inputs)`: its output in the network."""

    def owns(self, path: str) -> bool:
        """Whether a weight is part of it."""
        return any(p in ("", path) or path.startswith(f"{p}/") for p in self.prefixes)


def units_of(model: nnx.Module, inputs: JArray | np.ndarray) -> list[Unit]:
    """The children of a model that hold parameters, in the order they are called.

    A child that is called inside a scan (a recurrent cell) has no single output; it has
    to reproduce the input of the next child, or the output of the model.

    Args:
        model: called as `model(inputs)`.
        inputs: example inputs.
    """
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    constants = nnx.to_pure_dict(rest)
    pure = nnx.to_pure_dict(params)
    if not _children(model):  # a single layer

        def whole(params: PyTree, x: JArray) -> Any:
            return nnx.merge(graphdef, params, constants)(x)

        return [Unit(prefixes=("",), outputs=whole)]
    names = [n for n, c in _children(model) if jax.tree.leaves(nnx.state(c, nnx.Param))]

    def record(params: PyTree, x: JArray) -> list[tuple[str, Any, Any]]:
        copy, calls = nnx.merge(graphdef, params, constants), []
        for name, child in _children(copy):
            if name in names:
                _put(copy, name, _Recorder(name, child, calls))
        calls.append(("", None, copy(x)))
        return calls

    return _units(record, pure, jnp.asarray(inputs)[:1])


def _units(record: Callable[..., list], params: PyTree, x: JArray) -> list[Unit]:
    calls = [
        (name, _is_concrete(given), _is_concrete(result))
        for name, given, result in record(params, x)
    ]

    def unit(prefixes: list[str], index: int, side: int) -> Unit:
        return Unit(
            prefixes=tuple(prefixes),
            outputs=lambda params, x: record(params, x)[index][side],
        )

    units, pending, last = [], [], len(calls) - 1
    for i, (name, given, result) in enumerate(calls[:-1]):
        if pending and name not in pending and given:
            units.append(unit(pending, i, 1))
            pending = []
        pending = pending if name in pending else [*pending, name]
        if result and i + 1 < last:
            units.append(unit(pending, i, 2))
            pending = []
    return [*units, unit(pending, last, 2)] if pending else units


def _is_concrete(value: Any) -> bool:
    """Whether it was computed outside any scan or other transformation."""
    return checks.concrete(*jax.tree.leaves(value))


class _Recorder:
    """Calls a module and notes what went in and came out."""

    def __init__(self, name: str, module: Any, calls: list):
        self._name, self._module, self._calls = name, module, calls

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self._module(*args, **kwargs)
        self._calls.append((self._name, args[-1], result))
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def _children(model: Any) -> list[tuple[str, Any]]:
    found = []
    for name, child in vars(model).items():
        if isinstance(child, nnx.List | list | tuple):
            found += [(f"{name}/{i}", c) for i, c in enumerate(child)]
        elif isinstance(child, nnx.Module):
            found.append((name, child))
    return [(n, c) for n, c in found if isinstance(c, nnx.Module)]


def _put(model: Any, name: str, value: Any) -> None:
    name, _, index = name.partition("/")
    if not index:
        object.__setattr__(model, name, value)
        return
    items = list(getattr(model, name))
    items[int(index)] = value
    object.__setattr__(model, name, items)


def optimize_layer_by_layer(
    units: Sequence[Unit],
    params: PyTree,
    device: Device,
    strategy: Strategy | dict[str, Strategy],
    inputs: JArray | np.ndarray,
    times: Float[JArray, "times"] | Sequence[float] | np.ndarray,
    *,
    key: PRNGKey,
    learn: Sequence[str] = LearnOptions.parts,
    steps: int = 200,
    chips: int = LearnOptions.chips,
    batch: int = LearnOptions.batch,
    learning_rate: float = LearnOptions.learning_rate,
    weight_rate: float = LearnOptions.weight_rate,
    select: chip.Select = chip.default_select,
    normalize: Normalize = "layer",
    box: Bounds | None = None,
    layout: chip.Layouts = None,
    checkpoint: Callable[[int], Checkpoint | None] = lambda unit: None,
    extrapolate: bool = False,
) -> OptimizedTargets:
    """Minimize the relative squared error of each unit's outputs, unit by unit.

    Args:
        units: in the order of the computation, such as from `units_of`.
        params: pytree of trained weights.
        device: the device model.
        strategy: starting point of the search; mirrored pairs; one, or one per path.
        inputs: calibration inputs; not the ones that results are reported on.
        times: seconds after the first read.
        key: draws batches, chips and times.
        learn: some of "strategy", "columns", "weights", "drift".
        steps: gradient steps per unit.
        chips: chips per step.
        batch: inputs per step.
        learning_rate: rate of strategies, column scales and drift correction.
        weight_rate: rate of shifts, in units of w_max.
        select: which leaves are weights.
        normalize: which weights share a full scale, see `mapping.normalized`.
        box: bounds of F and K.
        layout: meaning of axes that names and shapes leave open, see `chip.table`.
        checkpoint: where the descent of each unit is saved and continued from.
        extrapolate: whether times may lie outside what the device's source covers.

    Returns:
        As for `optimize_targets`; the history is that of all units, one after another.

    Raises:
        ValueError: if an argument is out of range, or a weight is in no unit.

    Example:
        >>> from anajax.programming.end_to_end.layer_by_layer import Unit
        >>> found = anajax.optimize_layer_by_layer(
        ...     [Unit(prefixes=("",), outputs=apply)],
        ...     *(params, device, strategy, x, times),
        ...     **{"key": key, "steps": 2, "batch": 4},
        ... )
        >>> list(found.layers)
        ['kernel']
    """
    check_times(device, times, extrapolate=extrapolate)
    check_strategy(strategy, device)
    checks.word("normalize", normalize, Normalize)
    check(times, learn, inputs, None, steps=steps, chips=chips, batch=batch)
    ideal = chip.normalized_weights(
        params, select=select, normalize=normalize, layout=layout
    )
    check_columns(ideal, learn)
    _check_units(units, learn, list(ideal))
    one = first_of(strategy, device, learn)
    options = dict(rate=learning_rate, weight_rate=weight_rate, steps=steps)
    optimizer = chain(one.cell, box or Bounds(), **options)
    task = make_task(params, {}, device, inputs, None, times, learn, key)
    layers, found, history = {}, {}, []
    for index, unit in enumerate(units):
        own = {p: w for p, w in ideal.items() if unit.owns(p)}
        if not own:  # a norm, an embedding
            continue
        part = replace(
            task,
            ideal=own,
            fixed=dict(layers),
            key=rng.stream(key, rng.Stage.INIT, index),
        )
        begin = start_from(
            strategy,
            device,
            params,
            select=lambda p, v, own=own: p in own,
            layout=lambda p, v, own=own: own[p].layout,
        )
        begin = replace(begin, digital={})  # other units' weights are among them
        end, losses = descend(
            part, begin, apply=unit.outputs, loss=relative_error, cell=one.cell,
            optimizer=optimizer, steps=steps, chips=chips, batch=batch, jitter=0.0,
            checkpoint=checkpoint(index),
        )  # fmt: skip
        strategies, done = finish(part, end, one.cell)
        found |= strategies
        layers |= done
        history.append(losses)
    return OptimizedTargets(
        params=params,
        layers=layers,
        strategies=found,
        history=jnp.concatenate(history),
        learned=tuple(learn),
    )


def relative_error(outputs: Any, reference: Any) -> Float[JArray, ""]:
    """Squared error of all outputs relative to the squared reference."""
    pairs = zip(jax.tree.leaves(outputs), jax.tree.leaves(reference), strict=True)
    square, size = 0.0, 0.0
    for y, goal in pairs:
        square = square + jnp.sum((y - goal) ** 2)
        size = size + jnp.sum(goal**2)
    return jnp.asarray(square / size)


def _check_units(units: Sequence[Unit], learn: Sequence[str], paths: list[str]) -> None:
    if "digital" in learn:
        checks.fail(
            "learn", "leave out digital parameters here", learn, "Drop 'digital'."
        )
    lost = [p for p in paths if sum(u.owns(p) for u in units) != 1]
    if lost or not units:
        checks.fail(
            "units", "own every weight exactly once", lost, "Correct the prefixes."
        )
