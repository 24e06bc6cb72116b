"""Optimize what counts: targets from the network's own loss, through the chip.

Descends the expected loss over chips and times of the network whose weights went
through programming, drift, read and drift compensation. Any parts of a `Learnable` may
be unknown: the tables of strategies with F and K (one for all layers or one per layer),
a shift of every weight before it is encoded ("per-weight targets"), digital scales per
column, a drift correction, and the parameters that stay digital. Learning strategy,
weights and digital parameters together is joint hardware-aware training.

Noise for the gradient is moment-matched and reparametrized: each weight is one normal
with the exact mean and variance of its devices at that time. Numbers to report come
from the per-device sampler, see `anajax.evaluate`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import chip, rng
from anajax._core import checks
from anajax._core.tree import pytree, replace, static
from anajax._core.types import PRNGKey, PyTree
from anajax.costs.objective import Energy, as_energy, layers_share
from anajax.devices.base import Device, check_times
from anajax.mapping.strategy import Normalize, Strategy, UnitCell, check_strategy
from anajax.programming.end_to_end.learnable import (
    Learnable,
    LearnOptions,
    admissible,
    chain,
    start_from,
)
from anajax.programming.end_to_end.task import (
    Task,
    check,
    check_columns,
    first_of,
    make_task,
    noisy_weights,
)
from anajax.programming.search.parameters import Bounds

Apply = Callable[[PyTree, JArray], JArray]
Loss = Callable[[JArray, JArray], JArray]
"""`loss(outputs, reference)`: one number; the reference is the digital network's
outputs, or the labels that were given."""
Notify = Callable[[int, JArray], None]
"""`notify(step, loss)` after each step; reading the loss waits for it."""


@runtime_checkable
class Checkpoint(Protocol):
    """Where a descent is kept: an interrupted one continues from there."""

    def restore(self, like: PyTree) -> tuple[int, PyTree]:
        """The latest step and state; `(0, like)` if there is none."""
        ...

    def save(self, step: int, state: PyTree) -> Any:
        """Save `state` after `step` steps, if it is due."""
        ...


@pytree
class OptimizedTargets:
    """The program found, ready for a chip, and the course of the loss."""

    params: Any
    """The network's parameters, those that stay digital as they were learned."""
    layers: dict[str, chip.LayerProgram]
    """What `chip.program` and `evaluate` take."""
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
    strategy: Strategy | dict[str, Strategy],
    inputs: JArray | np.ndarray,
    times: Float[JArray, "times"] | Sequence[float] | np.ndarray,
    *,
    key: PRNGKey,
    learn: Sequence[str] = LearnOptions.parts,
    loss: Loss = distillation,
    labels: JArray | np.ndarray | None = None,
    per_layer: bool = True,
    steps: int = LearnOptions.steps,
    chips: int = LearnOptions.chips,
    batch: int = LearnOptions.batch,
    learning_rate: float = LearnOptions.learning_rate,
    weight_rate: float = LearnOptions.weight_rate,
    jitter: float = 0.0,
    optimizer: optax.GradientTransformation | None = None,
    select: chip.Select = chip.default_select,
    normalize: Normalize = "layer",
    box: Bounds | None = None,
    digital: Apply | None = None,
    notify: Notify = lambda step, loss: None,
    layout: chip.Layouts = None,
    checkpoint: Checkpoint | None = None,
    energy: Energy | None = None,
    extrapolate: bool = False,
) -> OptimizedTargets:
    """Minimize the expected loss over chips and times by Adam.

    Args:
        apply: `apply(params, inputs) -> outputs`, pure.
        params: pytree of trained weights.
        device: the device model.
        strategy: where the search starts from; mirrored pairs; one, or one per path.
        inputs: `[items ...]`, none of those that are reported on.
        times: seconds after the first read; every chip of a step draws one of them.
        key: draws batches, chips and times.
        learn: any of "strategy" (knots, F, K), "columns", "weights", "drift",
            "digital".
        loss: of outputs and digital outputs (distillation by default), or labels.
        labels: `[items ...]`, handed to `loss` in place of digital outputs.
        per_layer: one strategy per layer, or one for all.
        steps: gradient steps.
        chips: chips per step, one after the other (memory does not grow with them).
        batch: inputs per step.
        learning_rate: of strategies, column scales and drift correction.
        weight_rate: of the shifts (in units of w_max) and digital parameters.
        jitter: deviation of noise on the inputs, relative to that of the inputs.
        optimizer: of a `Learnable`, in place of `learnable.chain`;
            gradients of parts that are not learned are 0.
        select: which leaves are weights.
        normalize: whose largest |weight| fills the range, see `mapping.normalized`.
        box: bounds of F and K.
        digital: the network whose outputs with `params` are to be met, where it is not
            `apply`, as where batch norms are measured on the chip.
        notify: told of every step.
        layout: what axes are, where names and shapes do not tell, see `chip.table`.
        checkpoint: where the descent goes on from and is kept; the result is the same.
        energy: a weight on the energy of the array at the drawn time, or its budget,
            see `anajax.costs.Energy`; the history then has it in it.
        extrapolate: whether times may lie outside what the device's source covers.

    Returns:
        Layers for `chip.program` and `evaluate`, the parameters that go with them,
        the strategies, and the history.

    Raises:
        ValueError: if an argument is out of range; names it.

    Example:
        >>> found = anajax.optimize_targets(
        ...     apply, params, device, strategy, x, times, key=key, steps=2, batch=4
        ... )
        >>> found.layers["kernel"].targets.shape
        (6, 4, 4)
    """
    check_times(device, times, extrapolate=extrapolate)
    check_strategy(strategy, device)
    checks.word("normalize", normalize, Normalize)
    check(times, learn, inputs, labels, steps=steps, chips=chips, batch=batch)
    one = first_of(strategy, device, learn)
    which: Any = {"select": select, "layout": layout}
    begin = start_from(strategy, device, params, per_layer=per_layer, **which)
    ideal = chip.normalized_weights(params, normalize=normalize, **which)
    check_columns(ideal, learn)
    task = make_task(params, ideal, device, inputs, labels, times, learn, key)
    if energy is not None:
        task = replace(task, energy=_checked(energy, ideal))
    if optimizer is None:
        optimizer = chain(
            one.cell,
            Bounds() if box is None else box,
            rate=learning_rate,
            weight_rate=weight_rate,
            steps=steps,
        )
    end, history = descend(
        task, begin, apply=apply, loss=loss, cell=one.cell, optimizer=optimizer,
        steps=steps, chips=chips, batch=batch, jitter=jitter, digital=digital,
        notify=notify, checkpoint=checkpoint,
    )  # fmt: skip
    found, layers = finish(task, end, one.cell)
    return OptimizedTargets(
        params=chip.insert(params, end.digital),
        layers=layers,
        strategies=found,
        history=history,
        learned=tuple(learn),
    )


def chip_loss(
    program: Learnable,
    task: Task,
    x: JArray,
    reference: JArray,
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
    layers = program.layers(task.ideal, task.device, cell, t0=task.t0)
    layers |= task.fixed or {}
    new = {
        path: noisy_weights(
            layer,
            task.table,
            index,
            key=rng.path_key(key, path),
            t=task.times[index - 1],
        )
        for path, layer in layers.items()
    }
    params = chip.insert(chip.insert(task.params.tree, program.digital), new)
    value = loss(apply(params, x), reference)
    if task.energy is None:
        return value
    share = layers_share(layers, task.table, index, task.energy.loads)
    return value + task.energy.cost(share, value)


def _checked(energy: Any, ideal: dict[str, Any]) -> Energy:
    energy = as_energy(energy)
    missing = sorted(set(ideal) - set(ideal if energy.loads is None else energy.loads))
    if missing:
        remedy = "Pass the loads of this network."
        checks.fail("energy.loads", "have all weights", f"none for {missing}", remedy)
    return energy


def descend(
    task: Task,
    begin: Learnable,
    *,
    apply: Apply,
    loss: Loss,
    cell: UnitCell,
    optimizer: optax.GradientTransformation,
    steps: int,
    chips: int,
    batch: int,
    jitter: float,
    digital: Apply | None = None,
    notify: Notify = lambda step, loss: None,
    checkpoint: Checkpoint | None = None,
) -> tuple[Learnable, JArray]:
    """The program after `steps` steps, and the loss of each.

    Steps are a Python loop around one jitted step: convolutions inside a compiled loop
    are many times slower on CPUs, and a loop can report.
    """
    carry, history = (begin, _init(optimizer, begin)), []
    done, losses = 0, jnp.zeros(steps)
    if checkpoint is not None:
        done, (carry, losses) = checkpoint.restore((carry, losses))
        history = list(losses[:done])
    for i in range(done, steps):
        carry, value = _step(
            task, carry, jnp.asarray(i), apply=apply, loss=loss, cell=cell,
            optimizer=optimizer, chips=chips, batch=batch, jitter=jitter,
            digital=digital or apply,
        )  # fmt: skip
        history.append(value)
        notify(i, value)
        if checkpoint is not None:
            jax.block_until_ready(history[max(0, i - _AHEAD)])
            losses = losses.at[i].set(value)
            checkpoint.save(i + 1, (carry, losses))
    return carry[0], jnp.stack(history)


_AHEAD = 4
"""Steps under way at once where they are kept: a checkpoint must not wait for all."""


@partial(jax.jit, static_argnums=0)
def _init(optimizer: optax.GradientTransformation, begin: Learnable) -> Any:
    return optimizer.init(begin)  # pyright: ignore[reportArgumentType]


@partial(
    jax.jit,
    static_argnames=(
        "apply",
        "loss",
        "cell",
        "optimizer",
        "chips",
        "batch",
        "jitter",
        "digital",
    ),  # fmt: skip
)
def _step(
    task: Task,
    carry: tuple[Learnable, Any],
    i: JArray,
    *,
    apply: Apply,
    loss: Loss,
    cell: UnitCell,
    optimizer: optax.GradientTransformation,
    chips: int,
    batch: int,
    jitter: float,
    digital: Apply,
) -> tuple[tuple[Learnable, Any], JArray]:
    """One gradient step; the forward pass of each chip is repeated for its gradient.

    A few chips are unrolled, more are a loop, so that memory does not grow with them.
    """
    program, state = carry
    key = rng.stream(task.key, rng.Stage.TRAIN, i)
    x, y = _draw(task, key, digital, batch, jitter)

    def expected(program: Learnable) -> JArray:
        one = jax.checkpoint(
            lambda k: chip_loss(
                program, task, x, y, k, apply=apply, loss=loss, cell=cell
            )
        )
        keys = rng.streams(key, rng.Stage.CHIP, jnp.arange(chips))
        if chips <= _UNROLLED:
            return jnp.mean(jnp.stack([one(keys[i]) for i in range(chips)]))
        return jnp.mean(jax.lax.map(one, keys))

    value, grads = jax.value_and_grad(expected)(program)
    grads = admissible(grads, task.parts, cell)
    updates, state = optimizer.update(grads, state, program)  # pyright: ignore
    return (optax.apply_updates(program, updates), state), value  # pyright: ignore


_UNROLLED = 4


def _draw(
    task: Task, key: PRNGKey, digital: Apply, batch: int, jitter: float
) -> tuple[JArray, JArray]:
    pick = rng.stream(key, rng.Stage.DATA)
    rows = jr.randint(pick, (batch,), 0, task.inputs.shape[0])
    x = task.inputs[rows]
    if jitter:
        spread = jitter * jnp.std(task.inputs)
        x = x + spread * jr.normal(rng.stream(key, rng.Stage.DATA, 1), x.shape)
    y = digital(task.params.tree, x) if task.labels is None else task.labels[rows]
    return x, y


@partial(jax.jit, static_argnames="cell")
def finish(
    task: Task, end: Learnable, cell: UnitCell
) -> tuple[dict[str, Strategy], dict[str, chip.LayerProgram]]:
    """Strategies and layers by path of a program."""
    found = {p: end.strategy(p, task.device, cell) for p in task.ideal}
    return found, end.layers(task.ideal, task.device, cell, t0=task.t0)
