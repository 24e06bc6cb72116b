"""Parameters of random chips, for the forward pass of training."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

from anajax import chip, rng
from anajax._core import checks
from anajax._core.normal import normal16
from anajax._core.types import Float, JArray, PRNGKey, PyTree
from anajax.crossbar.converters import Number
from anajax.devices.base import Device, check_times
from anajax.mapping.layout import Layout
from anajax.mapping.strategy import Normalize, check_strategy
from anajax.mapping.weight_error import moment_table
from anajax.programming.end_to_end.task import noisy_weights


@runtime_checkable
class Noise(Protocol):
    """Parameters of one random chip; a new chip for each key."""

    def __call__(
        self, params: PyTree, key: PRNGKey, strength: Number = 1.0
    ) -> PyTree: ...


def gaussian_noise(
    sd: Number,
    *,
    select: chip.Select = chip.default_select,
    layout: chip.Layouts = None,
) -> Noise:
    """Noise with standard deviation `sd * max|w|` per layer (Joshi et al., 2020).

    Args:
        sd: relative to the largest weight of the layer.
        select: which leaves are weights.
        layout: meaning of axes that names and shapes leave open, see `chip.table`.

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
        return toward(params, new, strength, select)

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
        exact: whether to draw every device (slower), or each weight from a normal
            distribution with the exact mean and variance.
        select: which leaves are weights.
        scope: the weights that share one drift compensation factor (if `exact`;
            otherwise those of a layer).
        normalize: which weights share a full scale, see `mapping.normalized`.
        layout: meaning of axes that names and shapes leave open, see `chip.table`.
        extrapolate: whether times may lie outside what the device's source covers.

    Raises:
        ValueError: if times are out of range, or the strategy does not fit this device.

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
        return toward(params, chip_weights(layers, key), strength, select)

    return noise


def toward(
    params: PyTree,
    noisy: dict[str, JArray],
    strength: Number,
    select: chip.Select,
    *,
    through: bool = False,
) -> PyTree:
    """`params + strength (noisy - params)`, with the derivative of `params` or its own.

    Args:
        params: parameters of the network.
        noisy: noisy arrays for the selected ones, by path.
        strength: 0 for `params`, 1 for `noisy`.
        select: which arrays.
        through: whether the derivative is that of `noisy`.
    """
    new = {}
    for path, given in chip.weights(params, select=select).items():
        w = jnp.asarray(given)  # arrays of numpy may have a type that jax has not
        change = (noisy[path].astype(w.dtype) - w) * jnp.asarray(strength, w.dtype)
        new[path] = w + (change if through else jax.lax.stop_gradient(change))
    return chip.insert(params, new)


def noise_ramp(
    steps: int, *, start: float = 0.0, peak: float = 1.0, hold: int = 0
) -> optax.Schedule:
    """Noise strength by step: `start` for `hold` steps, then linearly to `peak`.

    Args:
        steps: length of the ramp.
        start: strength before the ramp.
        peak: strength after the ramp.
        hold: steps before the ramp.

    Raises:
        ValueError: if `steps` < 1 or a number is negative.
    """
    if steps < 1:
        checks.fail("steps", "be at least 1", steps, "Use a constant without a ramp.")
    for name, value in (("start", start), ("peak", peak), ("hold", hold)):
        checks.positive(name, value, strictly=False)
    return optax.linear_schedule(start, peak, steps, transition_begin=hold)
