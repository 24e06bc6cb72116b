"""Pieces of hardware-aware training for any training loop, and a loop of our own.

    noise = device_noise(device, strategy, times)
    optimizer = optax.chain(optax.adam(1e-3), clip_weights(sigmas=2.5))

    def loss(params, x, reference, key, i):
        noisy = noise(params, key, strength=ramp(i))
        return distillation(apply(noisy, x, key=key), reference)

All noise is additive and straight-through: the forward pass sees a chip's weights, the
gradient is taken there and applied to the weights themselves.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

from anajax import chip, rng
from anajax._core import checks
from anajax._core.normal import normal16
from anajax._core.options import option
from anajax._core.types import Float, JArray, PRNGKey, PyTree
from anajax.costs.objective import Spend
from anajax.crossbar.converters import Number
from anajax.devices.base import Device, check_times
from anajax.mapping.layout import Layout
from anajax.mapping.strategy import Normalize, check_strategy
from anajax.mapping.weight_error import moment_table
from anajax.programming.end_to_end.held_out import (
    CHIPS,
    Rate,
    check_held,
    check_rate,
    learn,
    number,
)
from anajax.programming.end_to_end.targets import Apply, Checkpoint, Loss
from anajax.programming.end_to_end.targets import distillation as distillation
from anajax.programming.end_to_end.task import noisy_weights

# --- noise --------------------------------------------------------------------------


@runtime_checkable
class Noise(Protocol):
    """Parameters as one random chip holds them; a fresh chip for each key."""

    def __call__(
        self, params: PyTree, key: PRNGKey, strength: Number = 1.0
    ) -> PyTree: ...


def gaussian_noise(
    sd: Number,
    *,
    select: chip.Select = chip.default_select,
    layout: chip.Layouts = None,
) -> Noise:
    """Noise of deviation `sd * max|w|` on each layer (Joshi et al., 2020).

    Args:
        sd: relative to the largest weight of the layer.
        select: which leaves are weights.
        layout: what axes are, where names and shapes do not tell, see `chip.table`.

    Raises:
        ValueError: if `sd` is negative.
    """
    checks.positive("sd", sd, strictly=False)

    def one(path: str, w: JArray, axes: Layout, key: PRNGKey) -> JArray:
        deviation = jnp.asarray(sd, w.dtype) * axes.per_layer(jnp.max, jnp.abs(w))
        return w + deviation * normal16(rng.path_key(key, path), w.shape, w.dtype)

    def noise(params: PyTree, key: PRNGKey, strength: Number = 1.0) -> PyTree:
        frozen = jax.lax.stop_gradient(chip.weights(params, select=select))
        axes = chip.layouts(params, select=select, layout=layout)
        new = {path: one(path, w, axes[path], key) for path, w in frozen.items()}
        return _toward(params, new, strength, select)

    return noise


def device_noise(
    device: Device,
    strategy: chip.Strategies,
    times: Float[JArray, "times"] | Sequence[float] | np.ndarray,
    *,
    exact: bool = False,
    select: chip.Select = chip.default_select,
    scope: chip.Scope = "layer",
    normalize: Normalize = "layer",
    layout: chip.Layouts = None,
    extrapolate: bool = False,
) -> Noise:
    """The device model itself: program, age to a random one of `times`, read.

    Weights that the strategy clips are clipped in the forward pass.

    Args:
        device: the device model.
        strategy: one for all weights, or one per path.
        times: seconds since the first read, increasing; each key draws one of them.
        exact: draw every device (slower), or each weight from a normal of the exact
            mean and variance.
        select: which leaves are weights.
        scope: the weights that share one drift compensation factor (where `exact`;
            otherwise a layer's).
        normalize: whose largest |weight| fills the range, see `mapping.normalized`.
        layout: what axes are, where names and shapes do not tell, see `chip.table`.
        extrapolate: whether times may lie outside what the device's source covers.

    Raises:
        ValueError: if times are out of range, or the strategy is not one for this
            device.

    Example:
        >>> noise = anajax.device_noise(device, strategy, times)
        >>> noise(params, key)["kernel"].shape
        (6, 4)
    """
    check_times(device, times, extrapolate=extrapolate)
    check_strategy(strategy, device)
    checks.word("scope", scope, chip.Scope)
    checks.word("normalize", normalize, Normalize)
    seconds = jnp.asarray(times, dtype=float)
    table = None if exact else moment_table(device, seconds, extrapolate=True)

    def chip_weights(
        layers: dict[str, chip.LayerProgram], key: PRNGKey
    ) -> dict[str, JArray]:
        index = jr.randint(rng.stream(key, rng.Stage.TIME), (), 0, seconds.shape[0])
        if table is not None:
            return {
                path: noisy_weights(
                    layer, table, index + 1, key=rng.path_key(key, path)
                )
                for path, layer in layers.items()
            }
        part = chip.program(device, layers, key=rng.stream(key, rng.Stage.CHIP))
        return chip.read(device, part, t=seconds[index], index=1, scope=scope)

    def noise(params: PyTree, key: PRNGKey, strength: Number = 1.0) -> PyTree:
        frozen = jax.lax.stop_gradient(chip.weights(params, select=select))
        layers = chip.encode_weights(
            frozen,
            strategy,
            select=lambda *_: True,
            normalize=normalize,
            layout=chip.layouts(params, select=select, layout=layout),
        )
        return _toward(params, chip_weights(layers, key), strength, select)

    return noise


def _toward(
    params: PyTree, noisy: dict[str, JArray], strength: Number, select: chip.Select
) -> PyTree:
    """`params + strength (noisy - params)`, with the derivative of `params`."""
    new = {}
    for path, w in chip.weights(params, select=select).items():
        change = (noisy[path].astype(w.dtype) - w) * jnp.asarray(strength, w.dtype)
        new[path] = w + jax.lax.stop_gradient(change)
    return chip.insert(params, new)


def noise_ramp(
    steps: int, *, start: float = 0.0, peak: float = 1.0, hold: int = 0
) -> optax.Schedule:
    """Noise strength by step: `start` for `hold` steps, then linearly to `peak`.

    Args:
        steps: length of the ramp.
        start: strength before it.
        peak: strength after it.
        hold: steps before it.

    Raises:
        ValueError: if `steps` < 1 or a number is negative.
    """
    if steps < 1:
        checks.fail("steps", "be at least 1", steps, "Use a constant without a ramp.")
    for name, value in (("start", start), ("peak", peak), ("hold", hold)):
        checks.positive(name, value, strictly=False)
    return optax.linear_schedule(start, peak, steps, transition_begin=hold)


# --- weights ------------------------------------------------------------------------


def clip_weights(
    *,
    limit: Number | None = None,
    sigmas: Number | None = None,
    select: chip.Select = chip.default_select,
    layout: chip.Layouts = None,
) -> optax.GradientTransformation:
    """Keep weights within bounds after each update; last in a chain.

    A few large weights set the scale of an array and leave all others in the noise.

    Args:
        limit: largest magnitude, in the units of the network.
        sigmas: largest magnitude in standard deviations of the layer.
        select: which leaves are weights.
        layout: what axes are, where names and shapes do not tell, see `chip.table`.

    Raises:
        ValueError: unless exactly one of the two is given, and positive.
    """
    if (limit is None) == (sigmas is None):
        rule = "be given, or `sigmas`, and not both"
        checks.fail("limit", rule, (limit, sigmas), "Choose one of the two.")
    checks.positive("limit or sigmas", limit if sigmas is None else sigmas)

    def clip(w: JArray, axes: Layout) -> JArray:
        bound: Any = limit if sigmas is None else axes.per_layer(jnp.std, w) * sigmas
        return jnp.clip(w, -bound, bound)

    def update(updates: PyTree, state: Any, params: PyTree = None) -> tuple:
        moved = _moved(params, updates)
        axes = chip.layouts(moved, select=select, layout=layout)
        found = chip.weights(moved, select=select)
        new = {path: clip(w, axes[path]) for path, w in found.items()}
        return _difference(chip.insert(moved, new), params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _moved(params: PyTree, updates: PyTree) -> Any:
    if params is None:
        rule = "be passed to `update`: it bounds weights, not gradients"
        checks.fail("params", rule, None, "Call `update(grads, state, params)`.")
    return jax.tree.map(jnp.add, params, updates)


def _difference(new: PyTree, params: PyTree) -> PyTree:
    return jax.tree.map(jnp.subtract, new, params)


# --- a loop -------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How `trainer` trains."""

    steps: int = option(400, "1 gradient step or more", least=1)
    chips: int = option(2, "1 chip a step or more", least=1)
    batch: int = option(64, "1 input a step or more", least=1)
    rate: Rate = option(0.01, 'a number above 0, or "auto"', above=0)
    """Of Adam, with a cosine to zero; "auto" finds it with half of the steps."""
    never_worse: bool = option(
        False, "true to keep what is best on held-out inputs, the start included"
    )
    clip: float | None = option(
        None, "a bound of weights in standard deviations, or null", above=0
    )

    def __post_init__(self) -> None:
        checks.words(self)
        check_rate("rate", self.rate)

    @property
    def needs_held(self) -> bool:
        """Whether training asks for inputs that nothing is learned on."""
        return self.never_worse or self.rate == "auto"


Train = Callable[..., PyTree]
"""`train(key, checkpoint=None)`: parameters after training; one trace for all keys. A
`Checkpoint` is where it goes on from and is kept."""


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
    energy: Spend | None = None,
    held: tuple[Any, Any] | None = None,
    notify: Callable[[int], None] = lambda step: None,
) -> Train:
    """Training through noise, towards the digital network or towards labels.

    Steps are a Python loop around one jitted step: convolutions inside a compiled loop
    are many times slower on CPUs, and a loop can report.

    Args:
        apply: `apply(params, x)` of the network on a chip.
        params: where it starts from, and those of the digital network.
        inputs: to learn on `[items ...]`.
        noise: parameters as a chip holds them, such as `device_noise`; none for the
            digital network.
        options: steps, chips and inputs of each, rate, clip.
        digital: the network whose outputs are met, `apply` by default.
        labels: `[items ...]`, handed to `loss` in place of digital outputs.
        loss: of outputs and digital outputs (distillation by default), or labels.
        energy: what the energy of the array adds, from `anajax.costs.spending`.
        held: inputs that nothing is learned on, and their labels or None, to choose the
            rate and what to keep with.
        notify: told of every step.
    """
    goal = apply if digital is None else digital
    x, y = jnp.asarray(inputs), None if labels is None else jnp.asarray(labels)
    clip = [] if options.clip is None else [clip_weights(sigmas=options.clip)]
    adam = optax.inject_hyperparams(optax.adam)(learning_rate=1.0)
    optimizer = optax.chain(adam, *clip)
    careful = check_held(held, number(options.rate), options.never_worse)

    def cost(now: PyTree, x: Any, wanted: Any, keys: PRNGKey) -> Any:
        some = (now if noise is None else noise(now, k) for k in keys)
        value = sum(loss(apply(p, x), wanted) for p in some) / len(keys)
        return value if energy is None else value + energy(now, value)

    @jax.jit
    def step(key: PRNGKey, carry: Any, i: Any, rate: Any) -> Any:
        now, state = carry
        k = rng.stream(key, rng.Stage.TRAIN, i)
        size = min(options.batch, x.shape[0])
        data = rng.stream(k, rng.Stage.DATA)
        rows = jr.randint(data, (size,), 0, x.shape[0])
        wanted = goal(params, x[rows]) if y is None else y[rows]
        keys = rng.streams(k, rng.Stage.CHIP, jnp.arange(options.chips))
        value, grads = jax.value_and_grad(cost)(now, x[rows], wanted, keys)
        state[0].hyperparams["learning_rate"] = rate
        updates, state = optimizer.update(grads, state, now)
        return (optax.apply_updates(now, updates), state), value

    one_loss = jax.jit(lambda now, x, wanted, key: cost(now, x, wanted, key[None]))

    def judge(key: PRNGKey) -> Callable[[PyTree], Any]:
        assert held is not None
        inputs = jnp.asarray(held[0])
        wanted = goal(params, inputs) if y is None else jnp.asarray(held[1])
        apart = rng.path_key(key, "held_out")
        keys = rng.streams(apart, rng.Stage.CHIP, jnp.arange(CHIPS))
        return lambda now: jnp.mean(
            jnp.stack([one_loss(now, inputs, wanted, k) for k in keys])
        )

    def train(key: PRNGKey, checkpoint: Checkpoint | None = None) -> PyTree:
        carry, done = (params, optimizer.init(params)), 0
        if careful:
            return learn(
                carry,
                lambda carry, i, rate, share: step(key, carry, i, rate * share),
                judge(key), steps=options.steps, rate=number(options.rate),
                never_worse=options.never_worse, checkpoint=checkpoint,
                notify=lambda i, _: notify(i),
            )[0]  # fmt: skip
        rate: Any = options.rate
        schedule = optax.cosine_decay_schedule(rate, options.steps)
        if checkpoint is not None:
            done, carry = checkpoint.restore(carry)
        for i in range(done, options.steps):
            carry, _ = step(key, carry, jnp.asarray(i), schedule(i))
            notify(i)
            if checkpoint is not None:
                jax.block_until_ready(carry)  # else all steps would be under way
                checkpoint.save(i + 1, carry)
        return carry[0]

    return train
