"""What an entry of a config becomes on a chip: by a table, or learned through chips."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anajax import chip, rng
from anajax._core.types import Array, PyTree
from anajax.analysis.workload import Workload
from anajax.chip import Strategies
from anajax.devices.base import Device
from anajax.mapping.strategy import Strategy
from anajax.mapping.weight_error import moment_table
from anajax.programming.end_to_end.fisher import fisher_information
from anajax.programming.end_to_end.layer_by_layer import (
    optimize_layer_by_layer,
    units_of,
)
from anajax.programming.end_to_end.targets import Apply, Checkpoint, optimize_targets
from anajax.programming.end_to_end.task import layer_moments
from anajax.programming.loops.closed_loop import (
    closed_loop_layers,
    optimize_closed_loop,
)
from anajax.programming.loops.product_descent import (
    ProductDescent,
    product_descent_layers,
)
from anajax.studies.config.strategy import DescentSection, LearnSection, StrategySection
from anajax.studies.ways.tables import Programmer, targets
from anajax.studies.ways.trained import labels, labels_loss, unlabeled


@dataclasses.dataclass(frozen=True, kw_only=True)
class Built:
    """A program that is ready for chips."""

    params: PyTree
    layers: dict[str, chip.LayerProgram]
    strategies: Strategies | None
    """Tables, where the program follows any."""
    expected_error: np.ndarray
    """Rms weight error `[times]` from exact moments, fraction of w_max; NaN where a
    program has none (a loop)."""


START = StrategySection(name="lsp_first_tuned")
"""What everything that is learned or trained starts from."""


def build(
    entry: StrategySection, programmer: Programmer, work: Workload, params: PyTree
) -> Built:
    """The program of an entry that is not learned by gradients.

    Args:
        entry: a strategy of the config.
        programmer: for the weights of `params`.
        work: the digital network.
        params: its parameters, or those after training.
    """
    if entry.name == "closed_loop":
        return _closed_loop(entry, programmer, params)
    if entry.name == "product_descent":
        return _product_descent(entry, programmer, params)
    if entry.importance is not None:
        programmer = _weighed(programmer, work, params)
    strategy = programmer.build(entry)
    return Built(
        params=params,
        layers=targets(
            params,
            strategy,
            programmer.device,
            programmer.config.normalize,
            programmer.layouts,
        ),
        strategies=strategy,
        expected_error=programmer.expected_error(strategy),
    )


def learn(
    entry: StrategySection,
    programmer: Programmer,
    work: Workload,
    apply: Apply,
    checkpoint: Callable[[int, int], Checkpoint | None] = lambda unit, steps: None,
) -> tuple[dict[str, chip.LayerProgram], dict[str, Array]]:
    """Targets from the network's own loss, and what stays digital, by path.

    Args:
        entry: what to learn.
        programmer: devices and times.
        work: the digital network, and what to learn from.
        apply: of the network on a chip; layer by layer it is the digital one.
        checkpoint: of a unit and its steps, where its descent is kept; end to end there
            is unit 0 only.
    """
    options = LearnSection() if entry.learn is None else entry.learn
    inputs = unlabeled(work)
    shared: Any = {
        "key": rng.path_key(programmer.key, entry.title),
        "learn": options.parts,
        "chips": options.chips,
        "batch": min(options.batch, len(inputs)),
        "learning_rate": options.learning_rate,
        "weight_rate": options.weight_rate,
        "normalize": programmer.config.normalize,
        **programmer.which,
    }
    if options.goal == "labels":
        shared |= {"labels": labels(work), "loss": labels_loss(work)}
    where = work.params, programmer.device, programmer.build(START)
    if options.by == "layer":
        units = units_of(work.model, inputs)
        steps = max(1, options.steps // len(units))
        found = optimize_layer_by_layer(
            units, *where, inputs, programmer.times, steps=steps,
            checkpoint=lambda unit: checkpoint(unit, steps), **shared,
        )  # fmt: skip
    else:
        found = optimize_targets(
            apply, *where, inputs, programmer.times,
            steps=options.steps, digital=work.apply,
            checkpoint=checkpoint(0, options.steps), **shared,
        )  # fmt: skip
    rest = chip.others(found.params, select=lambda path, _: path in found.layers)
    return found.layers, rest


def of_targets(
    layers: dict[str, chip.LayerProgram], params: PyTree, programmer: Programmer
) -> Built:
    """A program of targets that were learned."""
    device, times = programmer.device, programmer.times
    error = expected_error(layers, params, device, times)
    return Built(params=params, layers=layers, strategies=None, expected_error=error)


def _weighed(programmer: Programmer, work: Workload, params: PyTree) -> Programmer:
    """The same, with squared errors weighed by Fisher information."""
    inputs = unlabeled(work, FISHER_INPUTS)
    importance = fisher_information(
        work.apply, params, inputs, key=programmer.key, **programmer.which
    )
    return dataclasses.replace(programmer, importance=importance)


FISHER_INPUTS = 512


def _loop_start(programmer: Programmer) -> Strategy:
    """One strategy for all layers."""
    start = programmer.build(START)
    return start if isinstance(start, Strategy) else next(iter(start.values()))


def _closed_loop(
    entry: StrategySection, programmer: Programmer, params: PyTree
) -> Built:
    """A policy from the weight error of all layers together."""
    policy = optimize_closed_loop(
        programmer.device,
        programmer.density,
        programmer.times,
        start=_loop_start(programmer),
        key=rng.path_key(programmer.key, entry.title),
        reads=entry.reads or 1,
    ).strategy
    how = programmer.config.normalize
    layers = closed_loop_layers(params, policy, normalize=how, **programmer.which)
    return _of_loop(params, layers, programmer)


def _product_descent(
    entry: StrategySection, programmer: Programmer, params: PyTree
) -> Built:
    """Every layer trimmed by its own products."""
    loop = ProductDescent(**(entry.descent or DescentSection()).model_dump())
    start, how = _loop_start(programmer), programmer.config.normalize
    which = {"normalize": how, **programmer.which}
    layers = product_descent_layers(params, start, loop, **which)
    return _of_loop(params, layers, programmer)


def _of_loop(
    params: PyTree, layers: dict[str, chip.LayerProgram], programmer: Programmer
) -> Built:
    """A program of targets that a loop trims: nothing is expected of it."""
    unknown = np.full(len(programmer.times), np.nan)
    return Built(params=params, layers=layers, strategies=None, expected_error=unknown)


def expected_error(
    layers: dict[str, chip.LayerProgram],
    params: PyTree,
    device: Device,
    times: np.ndarray,
) -> np.ndarray:
    """Rms of (weight - trained weight) / w_max over all weights `[times]`, exactly."""
    return np.asarray(
        _expected(
            layers,
            chip.weights(params, select=lambda path, _: path in layers),
            device,
            jnp.asarray(times),
        )
    )


@jax.jit
def _expected(
    layers: dict[str, chip.LayerProgram],
    ideal: dict[str, Array],
    device: Device,
    times: Array,
) -> Array:
    table = moment_table(device, times)

    def square(layer: chip.LayerProgram, w: Array) -> Array:
        found, alpha = layer_moments(layer, table, times)
        bias = chip.finish(layer, alpha * found.mean) - w
        spread = (alpha * layer.unit) ** 2 * found.var
        axes = tuple(range(1, bias.ndim))
        safe = jnp.where(layer.w_max > 0, layer.w_max, 1)
        return jnp.sum((bias**2 + spread) / safe**2, axes)

    total = sum(square(layer, ideal[path]) for path, layer in layers.items())
    return jnp.sqrt(total / sum(w.size for w in ideal.values()))
