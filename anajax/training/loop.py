"""A training loop through chips, for all or selected parameters."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

from anajax import chip, rng
from anajax._core import checks
from anajax._core.options import option
from anajax._core.tree import Arrays
from anajax._core.types import JArray, PRNGKey, PyTree
from anajax.costs.objective import Spend
from anajax.programming.end_to_end.held_out import (
    CHIPS,
    Rate,
    Step,
    check_held,
    check_rate,
    learn,
    number,
)
from anajax.programming.end_to_end.targets import (
    Apply,
    Checkpoint,
    Loss,
    distillation,
)
from anajax.training.bounds import clip_weights
from anajax.training.noise import Noise

Optimizer = Literal["adam", "adafactor"]
"""How gradients are scaled. Adam keeps two numbers per learned parameter. Adafactor
(Shazeer and Stern, arXiv 1804.04235) keeps the mean squared gradient of each row and
each column and no momentum, so that training all weights of a large network takes at
most four times the memory of its parameters. With both, the change of a parameter per
step is about the learning rate."""
ChipDtype = Literal["float32", "bfloat16"]
"""How weights read from a chip, and their gradients, are stored. In bfloat16 they take
half the memory, and rounding (0.2 % of a weight) is far below the noise of a device;
products with float32 activations still run in float32."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options of `trainer`."""

    steps: int = option(400, "1 gradient step or more", least=1)
    chips: int = option(2, "1 chip per step or more", least=1)
    batch: int = option(64, "1 input per step or more", least=1)
    accumulate: int = option(1, "1 batch per step or more", least=1)
    """Number of batches, each on its own chips, whose mean gradient makes a step."""
    rate: Rate = option(0.01, 'a number above 0, or "auto"', above=0)
    """Learning rate, with cosine decay to zero; "auto" spends half of the steps on
    finding it."""
    optimizer: Optimizer = option("adam", '"adam" or "adafactor"')
    chip_dtype: ChipDtype = option("float32", '"float32" or "bfloat16"')
    never_worse: bool = option(
        False, "true to keep the best on held-out inputs, including the start"
    )
    clip: float | None = option(
        None, "a bound on weights in standard deviations, or null", above=0
    )

    def __post_init__(self) -> None:
        checks.words(self)
        check_rate("rate", self.rate)

    @property
    def needs_held(self) -> bool:
        """Whether training needs held-out inputs."""
        return self.never_worse or self.rate == "auto"


Train = Callable[..., PyTree]
"""`train(key, checkpoint=None)`: parameters after training; one trace for all keys. The
state is saved to a `Checkpoint`, from which training can continue."""


def trainer(
    apply: Apply,
    params: PyTree,
    inputs: JArray | np.ndarray,
    noise: Noise | None,
    options: TrainOptions,
    *,
    digital: Apply | None = None,
    labels: JArray | np.ndarray | None = None,
    loss: Loss = distillation,
    learned: chip.Select | None = None,
    teacher: PyTree | None = None,
    energy: Spend | None = None,
    held: tuple[Any, Any] | None = None,
    notify: Callable[[int], None] = lambda step: None,
) -> Train:
    """Training through noise, toward the digital network or toward labels.

    Steps are a Python loop around one jitted step: convolutions inside a compiled loop
    are many times slower on CPUs, and a loop can report. Gradients and the state of
    Adam exist only for the learned arrays: low-rank adapters of fixed weights take
    next to no memory. Trainers of the same functions share a trace; noise that is a
    pytree, such as `table_noise`, is passed to it as data.

    Args:
        apply: `apply(params, x)` of the network on a chip.
        params: initial parameters.
        inputs: training inputs `[items ...]`.
        noise: noise on the parameters, such as `device_noise`; None for the digital
            network.
        options: number of steps, chips and inputs per step, rate, clip.
        digital: the network whose outputs are the reference, `apply` by default.
        labels: `[items ...]`, passed to `loss` instead of digital outputs.
        loss: function of outputs and digital outputs (distillation by default), or
            labels.
        learned: which arrays are learned, by path and value; all by default.
        teacher: parameters of the digital network; `params` by default.
        energy: term for the energy of the array, from `anajax.costs.spending`.
        held: held-out inputs, and their labels or None, for choosing the rate and the
            parameters to keep.
        notify: called at every step.

    Raises:
        ValueError: if no array is learned, or `held` is needed and missing.
    """
    careful = check_held(held, number(options.rate), options.never_worse)
    how = _How(
        apply=apply, goal=apply if digital is None else digital, loss=loss,
        energy=energy, partly=learned is not None, chips=options.chips,
        batch=min(options.batch, len(inputs)), accumulate=options.accumulate,
        clip=options.clip, rule=options.optimizer, dtype=options.chip_dtype,
    )  # fmt: skip
    y = None if labels is None else jnp.asarray(labels)
    if noise is not None and jax.tree_util.all_leaves([noise]):
        noise = jax.tree_util.Partial(noise)  # not a pytree, so it is static
    fixed = {
        "params": Arrays(params),
        "teacher": Arrays(params if teacher is None else teacher),
        "x": jnp.asarray(inputs),
        "y": y,
        "noise": noise,
    }
    begin = params if learned is None else chip.weights(params, select=learned)

    def train(key: PRNGKey, checkpoint: Checkpoint | None = None) -> PyTree:
        own = jax.tree.map(jnp.array, begin)  # steps donate their arrays
        carry = own, how.optimizer.init(own)
        if careful:
            found, *_ = learn(
                carry, _steps(fixed, key, how, options.accumulate),
                _judge(fixed, held, key, how), steps=options.steps,
                rate=number(options.rate), never_worse=options.never_worse,
                checkpoint=checkpoint, notify=lambda i, _: notify(i),
            )  # fmt: skip
            return how.whole(params, found)
        rate = optax.cosine_decay_schedule(float(options.rate), options.steps)
        done = 0
        if checkpoint is not None:
            done, carry = checkpoint.restore(carry)
        for i in range(done, options.steps * options.accumulate):
            step, batch = divmod(i, options.accumulate)
            carry, _ = _step(*carry, fixed, key, jnp.asarray(i), rate(step), how=how)
            if batch == options.accumulate - 1:
                notify(step)
            if checkpoint is not None:
                jax.block_until_ready(carry)  # otherwise all steps would be queued
                checkpoint.save(i + 1, carry)
        return how.whole(params, carry[0])

    return train


@dataclasses.dataclass(frozen=True, kw_only=True)
class _How:
    """Static settings of the steps of a training."""

    apply: Apply
    goal: Apply
    loss: Loss
    energy: Spend | None
    partly: bool
    """Whether only arrays by path are learned, not all parameters."""
    chips: int
    batch: int
    accumulate: int
    clip: float | None
    rule: Optimizer = "adam"
    dtype: ChipDtype = "float32"

    @property
    def optimizer(self) -> Any:
        """The optimizer, for the mean gradient of several batches."""
        one: Any = optax.scale_by_adam()
        if self.rule == "adafactor":
            factored = optax.scale_by_factored_rms(min_dim_size_to_factor=16)
            one = optax.chain(factored, optax.clip_by_block_rms(1.0))
        return one if self.accumulate == 1 else optax.MultiSteps(one, self.accumulate)

    def whole(self, params: PyTree, now: PyTree) -> PyTree:
        """All parameters."""
        return chip.insert(params, now) if self.partly else now

    def on_chip(self, params: PyTree, noise: Noise, key: PRNGKey) -> PyTree:
        """Parameters as read from a chip, with its weights in their storage type."""

        def stored(given: JArray, read: JArray) -> JArray:
            return read if read is given else read.astype(self.dtype)

        return jax.tree.map(stored, params, noise(params, key))

    def cost(self, now: PyTree, fixed: Any, rows: JArray, key: PRNGKey) -> JArray:
        """The mean loss of chips on some inputs."""
        x, y, noise = fixed["x"][rows], fixed["y"], fixed["noise"]
        wanted = self.goal(fixed["teacher"].tree, x) if y is None else y[rows]
        own = self.whole(fixed["params"].tree, now)
        keys = rng.streams(key, rng.Stage.CHIP, jnp.arange(self.chips))
        held = (own if noise is None else self.on_chip(own, noise, k) for k in keys)
        losses = [self.loss(self.apply(p, x), wanted) for p in held]
        value = sum(losses[1:], losses[0]) / self.chips
        return value if self.energy is None else value + self.energy(own, value)


def _next(
    now: PyTree,
    state: Any,
    fixed: Any,
    key: PRNGKey,
    i: JArray,
    rate: JArray,
    *,
    how: _How,
) -> tuple[tuple[PyTree, Any], JArray]:
    """Parameters and optimizer state after one more batch, and its loss."""
    k = rng.stream(key, rng.Stage.TRAIN, i)
    items = fixed["x"].shape[0]
    rows = jr.randint(rng.stream(k, rng.Stage.DATA), (how.batch,), 0, items)
    value, grads = jax.value_and_grad(how.cost)(now, fixed, rows, k)
    updates, state = how.optimizer.update(grads, state, now)
    updates = jax.tree.map(lambda u: -rate.astype(u.dtype) * u, updates)
    if how.clip is not None:
        updates, _ = clip_weights(sigmas=how.clip).update(updates, (), now)
    return (optax.apply_updates(now, updates), state), value


_step = jax.jit(_next, static_argnames="how", donate_argnums=(0, 1))
_step_beside = jax.jit(_next, static_argnames="how")
"""The same, if its inputs are still needed."""


@functools.partial(jax.jit, static_argnames="how")
def _loss(now: PyTree, fixed: Any, key: PRNGKey, *, how: _How) -> JArray:
    """The mean loss on all inputs."""
    return how.cost(now, fixed, jnp.arange(fixed["x"].shape[0]), key)


def _steps(fixed: Any, key: PRNGKey, how: _How, accumulate: int) -> Step:
    """One step over all its batches."""

    def step(carry: Any, i: JArray, rate: JArray, share: JArray) -> tuple[Any, JArray]:
        value = jnp.zeros(())
        for batch in range(accumulate):
            number = i * accumulate + batch
            carry, value = _step_beside(
                *carry, fixed, key, number, rate * share, how=how
            )
        return carry, value

    return step


def _judge(
    fixed: Any, held: Any, key: PRNGKey, how: _How
) -> Callable[[PyTree], JArray]:
    """The mean loss on held-out inputs, on separate chips, one after the other."""
    x, y = held
    apart = fixed | {"x": jnp.asarray(x), "y": y if y is None else jnp.asarray(y)}
    alone = dataclasses.replace(how, chips=1)
    keys = rng.streams(rng.path_key(key, "held_out"), rng.Stage.CHIP, jnp.arange(CHIPS))
    return lambda now: jnp.mean(
        jnp.stack([_loss(now, apart, k, how=alone) for k in keys])
    )
