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
from anajax.rng import Stage, stream, streams
from anajax.studies.strategy_config import TrainingSection
from anajax.workloads.base import Workload, shuffled

INPUTS = 4096
"""Training inputs (without labels) that targets are learned on, at most."""


def unlabeled(work: Workload) -> Any:
    """Inputs to learn on, in random order; of the training split where there is one."""
    if work.train_x is None:
        return work.calibration
    count = len(work.train_x)
    return work.train_x[shuffled(count, min(count, INPUTS))]


def train(
    work: Workload,
    device: Device,
    strategy: Strategies,
    times: np.ndarray,
    options: TrainingSection,
    *,
    key: PRNGKey,
    notify: Callable[[int], None] = lambda step: None,
) -> PyTree:
    """Parameters after distillation through the device's noise.

    Steps are a Python loop around one jitted step: convolutions inside a compiled loop
    are many times slower on CPUs, and a loop can report.

    Args:
        work: the network, and inputs without labels.
        device: the device model.
        strategy: what every step programs with.
        times: seconds after the first read; every chip of a step draws one.
        options: steps, chips and inputs of each, rate, clip.
        key: draws batches, chips and times.
        notify: told of every step.
    """
    noise = training.device_noise(device, strategy, times)
    x = jnp.asarray(unlabeled(work))
    rate = optax.cosine_decay_schedule(options.rate, options.steps)
    clip = [] if options.clip is None else [training.clip_weights(sigmas=options.clip)]
    optimizer = optax.chain(optax.adam(rate), *clip)
    reference = work.params

    def loss(params: PyTree, rows: Any, key: PRNGKey) -> Any:
        goal = work.apply(reference, x[rows])
        keys = streams(key, Stage.CHIP, jnp.arange(options.chips))
        one = jax.checkpoint(
            lambda k: training.distillation(work.apply(noise(params, k), x[rows]), goal)
        )
        return sum(one(k) for k in keys) / options.chips

    @jax.jit
    def step(params: PyTree, state: Any, i: Any) -> Any:
        k = stream(key, Stage.TRAIN, i)
        size = min(options.batch, x.shape[0])
        rows = jax.random.randint(stream(k, Stage.DATA), (size,), 0, x.shape[0])
        grads = jax.grad(loss)(params, rows, k)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    params, state = reference, optimizer.init(reference)
    for i in range(options.steps):
        params, state = step(params, state, jnp.asarray(i))
        notify(i)
    return params
