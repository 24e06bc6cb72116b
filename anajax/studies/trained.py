"""Hardware-aware training in a study: the network learns to live with its device."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from anajax import training
from anajax._types import PRNGKey, PyTree
from anajax.chip import Strategies
from anajax.devices.base import Device
from anajax.mapping import Normalize
from anajax.programming.targets import Apply
from anajax.rng import Stage, stream, streams
from anajax.studies.strategy_config import TrainingSection
from anajax.workloads.base import Workload, shuffled

INPUTS = 4096
"""Training inputs (without labels) that targets are learned on, at most."""


def unlabeled(work: Workload, most: int = INPUTS) -> Any:
    """Inputs to learn on, drawn from the training split, where there is one.

    Files may be sorted by class, so that the first ones would not do.
    """
    x = work.calibration if work.train_x is None else work.train_x
    return x if len(x) <= most else x[shuffled(len(x), most)]


Train = Callable[[PRNGKey], PyTree]
"""`train(key)`: parameters after training; one trace for all keys."""


def trainer(
    work: Workload,
    device: Device,
    strategy: Strategies,
    times: np.ndarray,
    options: TrainingSection,
    *,
    apply: Apply | None = None,
    normalize: Normalize = "layer",
    notify: Callable[[int], None] = lambda step: None,
) -> Train:
    """Distillation through the device's noise, from the digital network.

    Steps are a Python loop around one jitted step: convolutions inside a compiled loop
    are many times slower on CPUs, and a loop can report.

    Args:
        work: the network, and inputs without labels.
        device: the device model.
        strategy: what every step programs with.
        times: seconds after the first read; every chip of a step draws one.
        options: steps, chips and inputs of each, rate, clip.
        apply: `apply(params, x)` of the network on a chip; the digital one by default.
        normalize: whose largest |weight| fills the range of conductances.
        notify: told of every step.
    """
    noise = training.device_noise(device, strategy, times, normalize=normalize)
    noisy = work.apply if apply is None else apply
    x, reference = jnp.asarray(unlabeled(work)), work.params
    rate = optax.cosine_decay_schedule(options.rate, options.steps)
    clip = [] if options.clip is None else [training.clip_weights(sigmas=options.clip)]
    optimizer = optax.chain(optax.adam(rate), *clip)

    def loss(params: PyTree, rows: Any, key: PRNGKey) -> Any:
        goal = work.apply(reference, x[rows])
        keys = streams(key, Stage.CHIP, jnp.arange(options.chips))
        outputs = (noisy(noise(params, k), x[rows]) for k in keys)
        return sum(training.distillation(y, goal) for y in outputs) / options.chips

    @jax.jit
    def step(key: PRNGKey, params: PyTree, state: Any, i: Any) -> Any:
        k = stream(key, Stage.TRAIN, i)
        size = min(options.batch, x.shape[0])
        rows = jax.random.randint(stream(k, Stage.DATA), (size,), 0, x.shape[0])
        grads = jax.grad(loss)(params, rows, k)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    def train(key: PRNGKey) -> PyTree:
        params, state = reference, optimizer.init(reference)
        for i in range(options.steps):
            params, state = step(key, params, state, jnp.asarray(i))
            notify(i)
        return params

    return train
