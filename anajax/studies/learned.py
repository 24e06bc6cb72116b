"""What an entry of a config becomes on a chip: by a table, or learned through chips."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anajax import chip, rng
from anajax._types import Array, PyTree
from anajax.chip import Strategies
from anajax.devices.base import Device
from anajax.mapping import Strategy
from anajax.programming.closed_loop import closed_loop_layers, optimize_closed_loop
from anajax.programming.targets import optimize_targets
from anajax.programming.task import layer_moments
from anajax.studies.programs import Programmer, targets
from anajax.studies.strategy_config import LEARNED, LearnSection, StrategySection
from anajax.weight_error import moment_table
from anajax.workloads.base import Workload

INPUTS = 4096
"""Training inputs (without labels) that targets are learned on, at most."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Built:
    """A program that is ready for chips."""

    params: PyTree
    layers: dict[str, chip.Layer]
    strategies: Strategies | None
    """Tables, where the program follows any."""
    expected_error: np.ndarray
    """Rms weight error `[times]` from exact moments, fraction of w_max; NaN where a
    program has none (a loop)."""


def build(entry: StrategySection, programmer: Programmer, work: Workload) -> Built:
    """The program of an entry, on the devices and weights of a study.

    What is learned starts from the tuned least-significant-first strategy.
    """
    if entry.name not in LEARNED:
        strategy = programmer.build(entry)
        return Built(
            params=work.params,
            layers=targets(work.params, strategy, programmer.device),
            strategies=strategy,
            expected_error=programmer.expected_error(strategy),
        )
    start = programmer.build(StrategySection(name="lsp_first_tuned"))
    key = rng.path_key(programmer.key, entry.title)
    learn = _closed_loop if entry.name == "closed_loop" else _targets
    return learn(entry, programmer, work, start, key)


def _targets(
    entry: StrategySection,
    programmer: Programmer,
    work: Workload,
    start: Strategies,
    key: Any,
) -> Built:
    """Targets from the network's own loss."""
    options = LearnSection() if entry.learn is None else entry.learn
    inputs = work.calibration if work.train_x is None else work.train_x[:INPUTS]
    found = optimize_targets(
        work.apply,
        work.params,
        programmer.device,
        start,  # pyright: ignore[reportArgumentType]
        inputs,
        programmer.times,
        key=key,
        learn=options.parts,
        steps=options.steps,
        chips=options.chips,
        batch=min(options.batch, len(inputs)),
        learning_rate=options.learning_rate,
        weight_rate=options.weight_rate,
    )
    error = expected_error(
        found.layers, work.params, programmer.device, programmer.times
    )
    return Built(
        params=found.params, layers=found.layers, strategies=None, expected_error=error
    )


def _closed_loop(
    entry: StrategySection,
    programmer: Programmer,
    work: Workload,
    start: Strategies,
    key: Any,
) -> Built:
    """A policy from the weight error of all layers together."""
    one = start if isinstance(start, Strategy) else next(iter(start.values()))
    policy = optimize_closed_loop(
        programmer.device,
        one,
        programmer.density,
        programmer.times,
        key=key,
        reads=entry.reads or 1,
    ).policy
    return Built(
        params=work.params,
        layers=closed_loop_layers(work.params, policy),
        strategies=None,
        expected_error=np.full(len(programmer.times), np.nan),
    )


def expected_error(
    layers: dict[str, chip.Layer], params: PyTree, device: Device, times: np.ndarray
) -> np.ndarray:
    """Rms of (weight - trained weight) / w_max over all weights `[times]`, exactly."""
    return np.asarray(
        _expected(layers, chip.weights(params), device, jnp.asarray(times))
    )


@jax.jit
def _expected(
    layers: dict[str, chip.Layer], ideal: dict[str, Array], device: Device, times: Array
) -> Array:
    table = moment_table(device, times)

    def square(layer: chip.Layer, w: Array) -> Array:
        found, alpha = layer_moments(layer, table, times)
        bias = chip.finish(layer, alpha * found.mean) - w
        spread = (alpha * layer.w_max * layer.column) ** 2 * found.var
        axes = tuple(range(1, bias.ndim))
        return jnp.sum(bias**2 + spread, axes) / layer.w_max**2

    total = sum(square(layer, ideal[path]) for path, layer in layers.items())
    return jnp.sqrt(total / sum(w.size for w in ideal.values()))
