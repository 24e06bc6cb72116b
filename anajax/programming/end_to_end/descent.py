"""Gradient descent on targets: a loss on chips, its gradient, and the steps."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import chip, rng
from anajax._core.types import PRNGKey, PyTree
from anajax.costs.objective import layers_share
from anajax.mapping.strategy import UnitCell
from anajax.programming.end_to_end import held_out
from anajax.programming.end_to_end.held_out import Checkpoint
from anajax.programming.end_to_end.learnable import Learnable, admissible, paced
from anajax.programming.end_to_end.task import Task, noisy_weights
from anajax.programming.search.parameters import Bounds

Apply = Callable[[PyTree, JArray], JArray]
Loss = Callable[[JArray, JArray], JArray]
"""`loss(outputs, reference)`: one number; the reference is the output of the digital
network, or the given labels."""
Notify = Callable[[int, JArray], None]
"""`notify(step, loss)` after each step; reading the loss waits for it."""


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

    If the moments in `task.table` are computed from a device, this is also
    differentiable with respect to every parameter of the device.
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
    """The program after `steps` steps, and the loss at each step.

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
    rates: Learnable | None = None,
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
    given: Any = {} if rates is None else {"rates": rates}
    updates, state = optimizer.update(grads, state, program, **given)  # pyright: ignore
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


def descend_by_held_out(
    task: Task,
    begin: Learnable,
    held: tuple[Any, Any],
    *,
    apply: Apply,
    loss: Loss,
    cell: UnitCell,
    box: Bounds,
    learning_rate: float,
    weight_rate: float | None,
    never_worse: bool,
    steps: int,
    chips: int,
    batch: int,
    jitter: float,
    digital: Apply | None = None,
    notify: Notify = lambda step, loss: None,
    checkpoint: Checkpoint | None = None,
) -> tuple[Learnable, JArray, float]:
    """The program, with its learning rate and step chosen on held-out inputs.

    Its rate is searched for if `weight_rate` is None.

    Returns:
        The program, its losses, and the learning rate of its weights.
    """
    optimizer, whole = paced(cell, box), digital or apply
    x, y = jnp.asarray(held[0]), held[1]
    reference = whole(task.params.tree, x) if y is None else jnp.asarray(y)
    apart = rng.path_key(task.key, "held_out")
    keys = rng.streams(apart, rng.Stage.CHIP, jnp.arange(held_out.CHIPS))

    def step(carry: Any, i: JArray, rate: JArray, share: JArray) -> Any:
        slow, fast = learning_rate * share, rate * share
        rates = Learnable(
            unknowns=slow, shift=fast, log_column=slow, drift=slow, digital=fast
        )  # pyright: ignore
        return _step(
            task, carry, i, apply=apply, loss=loss, cell=cell, optimizer=optimizer,
            chips=chips, batch=batch, jitter=jitter, digital=whole, rates=rates,
        )  # fmt: skip

    def judge(program: Learnable) -> JArray:
        each = [
            _one_loss(program, task, x, reference, k, apply=apply, loss=loss, cell=cell)
            for k in keys  # no loop in a program: convolutions there are slow on CPUs
        ]
        return jnp.mean(jnp.stack(each))

    return held_out.learn(
        (begin, _init(optimizer, begin)), step, judge, steps=steps, rate=weight_rate,
        never_worse=never_worse, checkpoint=checkpoint, notify=notify,
    )  # fmt: skip


_one_loss = partial(jax.jit, static_argnames=("apply", "loss", "cell"))(chip_loss)
