"""Sensitivity of the loss to weight errors (Fisher) and to device parameters."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import chip, rng
from anajax._core import checks
from anajax._core.tree import Arrays, pytree
from anajax._core.types import PRNGKey, PyTree
from anajax.devices.base import Device, check_time
from anajax.devices.variation import RANGE
from anajax.mapping.strategy import check_layers
from anajax.mapping.weight_error import moment_table
from anajax.programming.end_to_end.targets import Apply, Loss, distillation
from anajax.programming.end_to_end.task import noisy_weights

CHIPS = 16
"""Default number of chips for elasticities."""


def fisher_information(
    apply: Apply,
    params: PyTree,
    inputs: JArray | np.ndarray,
    *,
    key: PRNGKey,
    select: chip.Select = chip.default_select,
    layout: chip.Layouts = None,
) -> dict[str, JArray]:
    """Fisher information of every weight, in units of 1 / w_max^2 of its layer.

    The mean over inputs of the squared gradient of log p(y | x), with y drawn from the
    network's own probabilities. To second order, it weights squared weight errors as
    the distillation loss does.

    Args:
        apply: `apply(params, inputs) -> logits [items ... classes]`.
        params: pytree of trained weights.
        inputs: unlabeled inputs `[items ...]`.
        key: draws the labels.
        select: which leaves are weights.
        layout: meaning of axes that names and shapes leave open, see `chip.table`.

    Returns:
        By path, arrays shaped like the weights: the `importance` of
            `anajax.weight_density`, unchanged or averaged over each layer.

    Raises:
        ValueError: if inputs are not finite.

    Example:
        >>> anajax.fisher_information(apply, params, x, key=key)["kernel"].shape
        (6, 4)
    """
    checks.finite("inputs", inputs)
    found = chip.normalized_weights(params, select=select, layout=layout)
    largest = {path: w.w_max for path, w in found.items()}
    return _fisher(Arrays(params), largest, jnp.asarray(inputs), key, apply=apply)


@partial(jax.jit, static_argnames="apply")
def _fisher(
    network: Arrays,
    largest: dict[str, JArray],
    inputs: JArray,
    key: PRNGKey,
    *,
    apply: Apply,
) -> dict[str, JArray]:
    params = network.tree
    ideal = chip.weights(params, select=lambda path, _: path in largest)

    def log_p(weights: dict[str, JArray], x: JArray, key: PRNGKey) -> JArray:
        logits = apply(chip.insert(params, weights), x[None])
        labels = jr.categorical(key, jax.lax.stop_gradient(logits))
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1)
        return jnp.sum(chosen)

    def add(total: dict[str, JArray], i: JArray) -> tuple[dict[str, JArray], None]:
        grads = jax.grad(log_p)(ideal, inputs[i], rng.stream(key, rng.Stage.DATA, i))
        return jax.tree.map(lambda s, g: s + g**2, total, grads), None

    zero = jax.tree.map(jnp.zeros_like, ideal)
    count = inputs.shape[0]
    total, _ = jax.lax.scan(add, zero, jnp.arange(count))
    return {p: v * largest[p] ** 2 / count for p, v in total.items()}


@pytree
class Elasticity:
    """Relative change of the loss per relative change of one parameter."""

    value: Float[JArray, "..."]
    """(parameter / loss) d loss / d parameter, shaped like the parameter; 0 if the loss
    is only rounding, as from drift alone at 0 s: no parameter changes it there."""
    error: Float[JArray, "..."]
    """Its standard error over chips."""
    gradient: Float[JArray, "..."]
    """d loss / d parameter, in the parameter's own units."""


def device_elasticities(
    apply: Apply,
    params: PyTree,
    device: Device,
    layers: dict[str, chip.LayerProgram],
    inputs: JArray | np.ndarray,
    t: float,
    *,
    key: PRNGKey,
    chips: int = CHIPS,
    loss: Loss = distillation,
    extrapolate: bool = False,
) -> dict[str, Elasticity]:
    """Which device parameters the network's loss depends on, and how strongly.

    Targets stay fixed. Draws are moment-matched and reparameterized, so that one
    backward pass per chip gives the gradient with respect to every parameter.

    Args:
        apply: `apply(params, inputs) -> outputs`.
        params: pytree of trained weights.
        device: the device model; its range is excluded.
        layers: the programmed layers, by path.
        inputs: unlabeled inputs.
        t: seconds after the first read.
        key: draws the chips.
        chips: number of chips.
        loss: function of analog and digital outputs.
        extrapolate: whether `t` may lie outside what the device's source covers.

    Returns:
        By the path of the parameter, such as "programming/scale".

    Raises:
        ValueError: if an argument is out of range.
    """
    check_time(device, t, extrapolate=extrapolate)
    check_layers(layers, device)
    checks.finite("inputs", inputs)
    if chips < 2:
        checks.fail("chips", "be at least 2", chips, "Errors need two chips.")
    inputs = jnp.asarray(inputs)
    losses, grads = _device_gradients(
        device, Arrays(params), layers, inputs, jnp.asarray([t], float), key,
        apply=apply, loss=loss, chips=chips,
    )  # fmt: skip
    ideal = chip.weights(params, select=lambda path, _: path in layers)
    least = loss(
        apply(chip.insert(params, rounded(ideal)), inputs), apply(params, inputs)
    )
    leaves = dict(_parameters(device))
    return {
        path: _elasticity(leaves[path], g, losses, least)
        for path, g in _parameters(grads)
        if path.rpartition("/")[2] not in RANGE
    }


def _parameters(device: Device) -> list[tuple[str, JArray]]:
    flat, _ = jax.tree_util.tree_flatten_with_path(device)
    return [(chip.path_name(path), leaf) for path, leaf in flat]


def rounded(weights: dict[str, JArray]) -> dict[str, JArray]:
    """Weights changed by as much as rounding may change them, to detect a zero loss."""
    return {p: w * (1 + 8 * jnp.finfo(w.dtype).eps) for p, w in weights.items()}


def _elasticity(p: JArray, grads: JArray, losses: JArray, least: JArray) -> Elasticity:
    """Ratio of means; its error by linearization."""
    count, mean = losses.shape[0], jnp.mean(losses)
    gradient = jnp.mean(grads, 0)
    value = p * gradient / mean
    lift = losses.reshape(-1, *[1] * p.ndim)
    residual = p * grads / mean - value * lift / mean
    error = jnp.std(residual, 0, ddof=1) / jnp.sqrt(count)
    lost = mean > least
    return Elasticity(
        value=jnp.where(lost, value, 0),
        error=jnp.where(lost, error, 0),
        gradient=gradient,
    )


@partial(jax.jit, static_argnames=("apply", "loss", "chips"))
def _device_gradients(
    device: Device,
    network: Arrays,
    layers: dict[str, chip.LayerProgram],
    inputs: JArray,
    times: JArray,
    key: PRNGKey,
    *,
    apply: Callable[..., Any],
    loss: Loss,
    chips: int,
) -> tuple[JArray, Device]:
    params = network.tree
    reference = apply(params, inputs)

    def value(device: Device, key: PRNGKey) -> JArray:
        table = moment_table(device, times)
        new = {
            path: noisy_weights(
                layer, table, jnp.asarray(1), key=rng.path_key(key, path), t=times[0]
            )
            for path, layer in layers.items()
        }
        return loss(apply(chip.insert(params, new), inputs), reference)

    keys = rng.streams(key, rng.Stage.CHIP, jnp.arange(chips))
    return jax.lax.map(lambda k: jax.value_and_grad(value)(device, k), keys)
