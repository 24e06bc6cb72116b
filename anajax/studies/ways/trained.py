"""Hardware-aware training in a study, by noise like that of the device."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from anajax import training
from anajax._core.types import PRNGKey, PyTree
from anajax.analysis.workload import Workload, shuffled
from anajax.programming.end_to_end.targets import Apply, Checkpoint, Loss
from anajax.rng import Stage, stream, streams
from anajax.studies.config.strategy import TrainingSection
from anajax.training import Noise

INPUTS = 16384
"""Training inputs that are learned on, at most."""


def unlabeled(work: Workload, most: int = INPUTS) -> Any:
    """Inputs to learn on, drawn from the training split, where there is one.

    Files may be sorted by class, so that the first ones would not do.
    """
    return _some(work.calibration if work.train_x is None else work.train_x, most)


def labels(work: Workload) -> Any:
    """The labels of `unlabeled` inputs; the workload has a training split."""
    return _some(work.train_y, INPUTS)


def _some(items: Any, most: int) -> Any:
    return items if len(items) <= most else items[shuffled(len(items), most)]


def labels_loss(work: Workload) -> Loss:
    """`loss(outputs, labels)`: the cross-entropy of the network, mean over items."""
    return lambda outputs, y: jnp.mean(work.loss_fn(outputs, y))


def exact(params: PyTree, key: PRNGKey, strength: Any = 1.0) -> PyTree:
    """No noise: training of the digital network."""
    del key, strength
    return params


Train = Callable[..., PyTree]
"""`train(key, checkpoint=None)`: parameters after training; one trace for all keys. A
`Checkpoint` is where it goes on from and is kept."""


def trainer(
    work: Workload,
    noise: Noise,
    options: TrainingSection,
    *,
    apply: Apply | None = None,
    notify: Callable[[int], None] = lambda step: None,
) -> Train:
    """Training through noise, towards the digital network or towards labels.

    Steps are a Python loop around one jitted step: convolutions inside a compiled loop
    are many times slower on CPUs, and a loop can report.

    Args:
        work: the network, and what it learns from.
        noise: parameters as a chip holds them, such as `training.device_noise`.
        options: goal, steps, chips and inputs of each, rate, clip.
        apply: `apply(params, x)` of the network on a chip; the digital one by default.
        notify: told of every step.
    """
    noisy = work.apply if apply is None else apply
    x, reference = jnp.asarray(unlabeled(work)), work.params
    labeled = options.goal == "labels"
    y = jnp.asarray(labels(work)) if labeled else None
    cost = labels_loss(work) if labeled else training.distillation
    rate = optax.cosine_decay_schedule(options.rate, options.steps)
    clip = [] if options.clip is None else [training.clip_weights(sigmas=options.clip)]
    optimizer = optax.chain(optax.adam(rate), *clip)

    def loss(params: PyTree, rows: Any, key: PRNGKey) -> Any:
        goal = work.apply(reference, x[rows]) if y is None else y[rows]
        keys = streams(key, Stage.CHIP, jnp.arange(options.chips))
        outputs = (noisy(noise(params, k), x[rows]) for k in keys)
        return sum(cost(out, goal) for out in outputs) / options.chips

    @jax.jit
    def step(key: PRNGKey, params: PyTree, state: Any, i: Any) -> Any:
        k = stream(key, Stage.TRAIN, i)
        size = min(options.batch, x.shape[0])
        rows = jax.random.randint(stream(k, Stage.DATA), (size,), 0, x.shape[0])
        grads = jax.grad(loss)(params, rows, k)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    def train(key: PRNGKey, checkpoint: Checkpoint | None = None) -> PyTree:
        now, done = (reference, optimizer.init(reference)), 0
        if checkpoint is not None:
            done, now = checkpoint.restore(now)
        for i in range(done, options.steps):
            now = step(key, *now, jnp.asarray(i))
            notify(i)
            if checkpoint is not None:
                jax.block_until_ready(now)  # else all steps would be under way
                checkpoint.save(i + 1, now)
        return now[0]

    return train
