"""Block by block: learned targets for networks too large for end-to-end learning.

For a network that is a chain of blocks, h = step(block, h). Each block learns to
reproduce the output of the digital network at its place from the output of the
programmed blocks before it (as in post-training quantization, Frantar et al., 2022).
One block at a time is computed and differentiated; blocks of one shape share a trace.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import chip, rng
from anajax._core import checks
from anajax._core.tree import Arrays
from anajax._core.types import PRNGKey, PyTree
from anajax.devices.base import Device, check_times
from anajax.devices.moments import MomentTable
from anajax.mapping.strategy import Strategy
from anajax.mapping.weight_error import moment_table
from anajax.programming.end_to_end.layer_by_layer import relative_error
from anajax.programming.end_to_end.targets import (
    Apply,
    OptimizedTargets,
    optimize_targets,
)
from anajax.programming.end_to_end.task import noisy_weights


def optimize_block_by_block(
    step: Apply,
    blocks: Sequence[PyTree],
    inputs: JArray | np.ndarray,
    device: Device,
    strategy: Strategy | Sequence[chip.Strategies],
    times: Float[JArray, "times"] | Sequence[float] | np.ndarray,
    *,
    key: PRNGKey,
    batch: int = 64,
    extrapolate: bool = False,
    **options: Any,
) -> list[OptimizedTargets]:
    """Minimize the relative squared error of each block's output, in their order.

    Args:
        step: `step(block, h)`: the output of a block.
        blocks: parameters of each block.
        inputs: inputs of the first block, for calibration inputs `[items ...]`; not the
            ones that results are reported on.
        device: the device model.
        strategy: starting point of the search; mirrored pairs; one for all, or one (or
            one per path of its weights) for each block.
        times: seconds after the first read.
        key: draws batches, chips and times.
        batch: inputs per gradient step, and per chip when outputs are passed on.
        extrapolate: whether times may lie outside what the device's source covers.
        **options: options of `anajax.optimize_targets`: `learn`, `steps`, `chips`,
            rates.

    Returns:
        The result of `optimize_targets`, for each block.

    Raises:
        ValueError: if an argument is out of range, or there is not one strategy per
            block.

    Example:
        >>> from anajax.programming.end_to_end.block_by_block import (
        ...     optimize_block_by_block,
        ... )
        >>> found = optimize_block_by_block(
        ...     apply, [params], x, device, strategy, times, key=key, steps=2, batch=4
        ... )
        >>> found[0].layers["kernel"].targets.shape
        (6, 4, 4)
    """
    check_times(device, times, extrapolate=extrapolate)
    seconds = jnp.asarray(times, dtype=float)
    every = _of_each(strategy, len(blocks))
    table = moment_table(device, seconds, extrapolate=True)
    digital = noisy = jnp.asarray(inputs)
    found = []
    for index, (block, own) in enumerate(zip(blocks, every, strict=True)):
        k = rng.stream(key, rng.Stage.INIT, index)
        digital = _by_batch(step, block, digital, batch)
        done = optimize_targets(
            step, block, device, own, noisy, seconds, key=k, labels=digital,
            loss=relative_error, batch=batch, extrapolate=True, **options,
        )  # fmt: skip
        noise = done.layers, table, seconds, rng.stream(k, rng.Stage.CHIP)
        noisy = _by_batch(step, done.params, noisy, batch, noise)
        found.append(done)
    return found


def _of_each(
    strategy: Strategy | Sequence[chip.Strategies], count: int
) -> Sequence[Any]:
    if isinstance(strategy, Strategy | Mapping):
        return [strategy] * count
    if len(strategy) != count:
        remedy = "Give one to each, or one for all."
        checks.fail("strategy", f"be one for {count} blocks", len(strategy), remedy)
    return strategy


def _by_batch(
    step: Apply, block: PyTree, inputs: JArray, batch: int, noise: Any = None
) -> JArray:
    """What comes behind a block for all inputs, some at a time."""
    parts = [
        _behind(Arrays(block), inputs[i : i + batch], noise, jnp.asarray(i), step=step)
        for i in range(0, len(inputs), batch)
    ]
    return jnp.concatenate(parts)


@functools.partial(jax.jit, static_argnames="step")
def _behind(
    network: Arrays, inputs: JArray, noise: Any, i: JArray, *, step: Apply
) -> JArray:
    """What comes behind a block, digitally or on a chip of its own at a drawn time."""
    block = network.tree
    if noise is not None:
        layers, table, times, key = noise
        key = rng.stream(key, rng.Stage.CHIP, i)
        block = chip.insert(block, _on_chip(layers, table, times, key))
    return step(block, inputs)


def _on_chip(
    layers: dict[str, chip.LayerProgram],
    table: MomentTable,
    times: Float[JArray, "times"],
    key: PRNGKey,
) -> dict[str, JArray]:
    index = jr.randint(rng.stream(key, rng.Stage.TIME), (), 1, times.shape[0] + 1)
    how: Any = {"table": table, "index": index, "t": times[index - 1]}
    return {
        path: noisy_weights(layer, key=rng.path_key(key, path), **how)
        for path, layer in layers.items()
    }
