"""Optimise what counts: targets from the network's own loss, through the chip.

Descends the expected loss over chips and times of the network whose weights went
through programming, drift, read and drift compensation. Unknowns are any of: the table
of the strategy with F and K (one for all layers or one per layer), a digital scale per
column, and a shift of every weight before it is encoded ("per-weight targets").

Noise for the gradient is moment-matched and reparametrized: each weight is one normal
with the exact mean and variance of its devices at that time. Numbers to report come
from the per-device sampler, see `anajax.evaluate`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import _checks, chip, rng
from anajax._tree import pytree, replace, static
from anajax._types import PRNGKey, PyTree
from anajax.devices.base import Device
from anajax.mapping import Strategy, UnitCell, encode
from anajax.moments import MomentTable
from anajax.programming.unknowns import (
    Box,
    Unknowns,
    from_strategy,
    project,
    tie,
    to_strategy,
)
from anajax.weight_error import mean_abs, moment_table

Apply = Callable[[PyTree, JArray], JArray]
Loss = Callable[[JArray, JArray], JArray]
"""`loss(outputs, reference)`: one number; the reference is the digital output."""

LEARNABLE = ("strategy", "columns", "weights")


@pytree
class Program:
    """Everything that a chip is told: what to program, and how to read it back."""

    unknowns: dict[str, Unknowns]
    """Strategy of each layer by path, or of all under ""."""
    shift: dict[str, JArray]
    """Added to the normalized weights before encoding."""
    log_column: dict[str, JArray]
    """Log of the digital scale of each column (last axis)."""


@pytree
class OptimizedTargets:
    """The program found, as layers ready for a chip, and the course of the loss."""

    layers: dict[str, chip.Layer]
    strategies: dict[str, Strategy]
    """Tables by path. What a loss found good need not decode to increasing weights."""
    history: Float[JArray, "steps"]
    """Mean loss over the chips of each step."""
    learned: tuple[str, ...] = static(default=())


def distillation(
    outputs: JArray, reference: JArray, *, temperature: float = 2.0
) -> JArray:
    """Kullback-Leibler divergence of the digital from the analog class probabilities.

    Args:
        outputs: analog logits `[... classes]`.
        reference: digital logits, same shape.
        temperature: softens both; the value is scaled by its square.
    """
    teacher = jax.nn.log_softmax(reference / temperature)
    student = jax.nn.log_softmax(outputs / temperature)
    divergence = jnp.sum(jnp.exp(teacher) * (teacher - student), -1)
    return temperature**2 * jnp.mean(divergence)


def optimize_targets(
    apply: Apply,
    params: PyTree,
    device: Device,
    strategy: Strategy,
    inputs: Float[JArray, "items ..."] | np.ndarray,
    times: Float[JArray, "times"] | Sequence[float] | np.ndarray,
    *,
    key: PRNGKey,
    learn: Sequence[str] = ("strategy", "weights"),
    loss: Loss = distillation,
    per_layer: bool = True,
    steps: int = 400,
    chips: int = 2,
    batch: int = 64,
    learning_rate: float = 0.01,
    weight_rate: float = 0.002,
    jitter: float = 0.0,
    select: chip.Select = chip.default_select,
    box: Box | None = None,
) -> OptimizedTargets:
    """Minimize the expected loss over chips and times by Adam.

    Args:
        apply: `apply(params, inputs) -> outputs`, pure.
        params: pytree of trained weights.
        device: the device model.
        strategy: where the search starts from; mirrored pairs.
        inputs: unlabeled inputs, none of those that are reported on.
        times: seconds after the first read; every chip of a step draws one of them.
        key: draws batches, chips and times.
        learn: any of "strategy" (knots, F, K), "columns", "weights".
        loss: of outputs and digital outputs; distillation by default.
        per_layer: one strategy per layer, or one for all.
        steps: gradient steps.
        chips: chips per step, one after the other (memory does not grow with them).
        batch: inputs per step.
        learning_rate: of strategy and column scales.
        weight_rate: of the shifts, in units of w_max.
        jitter: deviation of noise on the inputs, relative to that of the inputs.
        select: which leaves are weights.
        box: bounds of F and K.

    Returns:
        Layers for `chip.program` and `evaluate`, the strategies, and the history.

    Raises:
        ValueError: if an argument is out of range; names it.
    """
    times = jnp.asarray(times, dtype=float)
    _check(times, learn, steps, chips, batch, inputs)
    box = Box() if box is None else box
    ideal = chip.weights(params, select=select)
    begin = start_from(strategy, device, ideal, per_layer)
    task = Task(
        params=params,
        ideal=ideal,
        inputs=jnp.asarray(inputs),
        table=moment_table(device, times),
        device=device,
        key=key,
    )
    end, history = _descend(
        task,
        begin,
        apply=apply,
        loss=loss,
        cell=strategy.cell,
        box=box,
        learn=tuple(sorted(learn)),
        steps=steps,
        chips=chips,
        batch=batch,
        rates=(learning_rate, weight_rate),
        jitter=jitter,
    )
    found, layers = _finish(end, ideal, device, strategy.cell)
    return OptimizedTargets(
        layers=layers, strategies=found, history=history, learned=tuple(learn)
    )


@partial(jax.jit, static_argnames="cell")
def _finish(
    end: Program, ideal: dict[str, JArray], device: Device, cell: UnitCell
) -> tuple[dict[str, Strategy], dict[str, chip.Layer]]:
    found = {p: to_strategy(_at(end, p), device, cell) for p in ideal}
    return found, {p: _layer(end, found[p], w, p) for p, w in ideal.items()}


@pytree
class Task:
    """What a search of targets works on."""

    params: Any
    ideal: dict[str, JArray]
    inputs: JArray
    table: MomentTable
    device: Device
    key: PRNGKey


def start_from(
    strategy: Strategy, device: Device, ideal: dict[str, JArray], per_layer: bool
) -> Program:
    """The program of a strategy, without shifts or column scales."""
    first = from_strategy(strategy, device, max(11, strategy.knots.shape[0]))
    paths = list(ideal) if per_layer else [""]
    return Program(
        unknowns={p: first for p in paths},
        shift={p: jnp.zeros_like(w) for p, w in ideal.items()},
        log_column={p: jnp.zeros(w.shape[-1], w.dtype) for p, w in ideal.items()},
    )


def _at(program: Program, path: str) -> Unknowns:
    return program.unknowns.get(path, program.unknowns.get(""))  # pyright: ignore


def _layer(program: Program, strategy: Strategy, w: JArray, path: str) -> chip.Layer:
    """The layer a chip gets: targets of the shifted weights, scales by column."""
    w_max = jnp.max(jnp.abs(w))
    u = w / w_max + program.shift[path]
    c = strategy.cell.coefficients(strategy.significance)
    return chip.Layer(
        targets=encode(strategy, u),
        coefficients=c / strategy.scale,
        offset=strategy.offset / strategy.scale,
        w_max=w_max,
        column=jnp.exp(program.log_column[path]),
    )


def noisy_weights(
    layer: chip.Layer, table: MomentTable, index: JArray, *, key: PRNGKey
) -> JArray:
    """One moment-matched draw of a layer's weights at time `index` of the table.

    Mean and variance of each weight are exact; the compensation factor is that of the
    layer in the limit of many weights.

    Args:
        layer: targets and read-back.
        table: moments at 0 s and at the times, from `moment_table`.
        index: which of the times, from 1.
        key: consumed.
    """
    two = replace(
        table, cubic=table.cubic[..., jnp.stack([jnp.zeros_like(index), index])]
    )
    g = two(layer.targets)
    mean, var = g.mean @ layer.coefficients, g.var @ layer.coefficients**2
    size = jnp.mean(mean_abs(mean, var), tuple(range(1, mean.ndim)))
    alpha = size[0] / size[1]
    sd = jnp.sqrt(jnp.maximum(var[1], 1e-16))
    w = alpha * (mean[1] + sd * jr.normal(key, sd.shape, sd.dtype)) - layer.offset
    return w * layer.w_max * layer.column


def chip_loss(
    program: Program,
    task: Task,
    x: JArray,
    key: PRNGKey,
    *,
    apply: Apply,
    loss: Loss,
    cell: UnitCell,
) -> Float[JArray, ""]:
    """Loss of one chip at one drawn time, differentiable in program and task.

    With the device's moments in `task.table` computed from a device, this is also
    differentiable in every parameter of the device.
    """
    late = task.table.cubic.shape[-1]
    index = jr.randint(rng.stream(key, rng.Stage.TIME), (), 1, late)
    new = {}
    for path, w in task.ideal.items():
        found = to_strategy(_at(program, path), task.device, cell)
        layer = _layer(program, found, w, path)
        new[path] = noisy_weights(layer, task.table, index, key=rng.path_key(key, path))
    reference = apply(task.params, x)
    return loss(apply(chip.insert(task.params, new), x), reference)


@partial(
    jax.jit,
    static_argnames=(
        "apply", "loss", "cell", "box", "learn", "steps", "chips", "batch", "rates",
        "jitter",
    ),
)  # fmt: skip
def _descend(
    task: Task,
    begin: Program,
    *,
    apply: Apply,
    loss: Loss,
    cell: UnitCell,
    box: Box,
    learn: tuple[str, ...],
    steps: int,
    chips: int,
    batch: int,
    rates: tuple[float, float],
    jitter: float,
) -> tuple[Program, JArray]:
    spread = jitter * jnp.std(task.inputs)

    def step_loss(program: Program, x: JArray, key: PRNGKey) -> JArray:
        keys = rng.streams(key, rng.Stage.CHIP, jnp.arange(chips))
        one = jax.checkpoint(
            lambda k: chip_loss(program, task, x, k, apply=apply, loss=loss, cell=cell)
        )
        return jnp.mean(jax.lax.map(one, keys))

    adam = optax.scale_by_adam()

    def step(carry: tuple, i: JArray) -> tuple[tuple, JArray]:
        program, state = carry
        key = rng.stream(task.key, rng.Stage.TRAIN, i)
        pick = rng.stream(key, rng.Stage.DATA)
        rows = jr.randint(pick, (batch,), 0, task.inputs.shape[0])
        x = task.inputs[rows]
        if jitter:
            x = x + spread * jr.normal(rng.stream(key, rng.Stage.DATA, 1), x.shape)
        value, grads = jax.value_and_grad(step_loss)(program, x, key)
        updates, state = adam.update(_admissible(grads, learn, cell), state)
        fade = (1 + jnp.cos(jnp.pi * i / steps)) / 2
        program = _advance(program, updates, fade, rates, cell, box)
        return (program, state), value

    (end, _), history = jax.lax.scan(step, (begin, adam.init(begin)), jnp.arange(steps))
    return end, history


def _admissible(grads: Program, learn: tuple[str, ...], cell: UnitCell) -> Program:
    """Gradients of what is learned, along the ties of the strategies."""

    def along(g: Unknowns) -> Unknowns:
        tied = Unknowns(
            y=tie(g.y, cell), log_f=g.log_f, log_k=g.log_k, log_width=g.log_width
        )
        return jax.tree.map(lambda v: v * ("strategy" in learn), tied)

    return Program(
        unknowns={p: along(g) for p, g in grads.unknowns.items()},
        shift=jax.tree.map(lambda v: v * ("weights" in learn), grads.shift),
        log_column=jax.tree.map(lambda v: v * ("columns" in learn), grads.log_column),
    )


def _advance(
    program: Program,
    updates: Program,
    fade: JArray,
    rates: tuple[float, float],
    cell: UnitCell,
    box: Box,
) -> Program:
    slow, fine = rates[0] * fade, rates[1] * fade
    moved = Program(
        unknowns=jax.tree.map(
            lambda v, u: v - slow * u, program.unknowns, updates.unknowns
        ),
        shift=jax.tree.map(lambda v, u: v - fine * u, program.shift, updates.shift),
        log_column=jax.tree.map(
            lambda v, u: v - slow * u, program.log_column, updates.log_column
        ),
    )
    inside = {p: project(x, cell, box) for p, x in moved.unknowns.items()}
    return replace(moved, unknowns=inside)


def _check(
    times: JArray,
    learn: Sequence[str],
    steps: int,
    chips: int,
    batch: int,
    inputs: JArray | np.ndarray,
) -> None:
    _checks.times("times", times)
    _checks.finite("inputs", inputs)
    if not learn or set(learn) - set(LEARNABLE):
        _checks.fail("learn", f"be some of {LEARNABLE}", learn, "Choose from these.")
    for name, number in (("steps", steps), ("chips", chips), ("batch", batch)):
        if number < 1:
            _checks.fail(name, "be at least 1", number, "Use the default.")
