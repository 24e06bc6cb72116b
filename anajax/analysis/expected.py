"""Expected weight errors of a network by exact moments, one trace for all tables."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from anajax import chip
from anajax._core import checks
from anajax._core.tree import replace
from anajax._core.types import Array, PyTree
from anajax.chip import Strategies
from anajax.devices.base import Device
from anajax.devices.moments import MomentTable
from anajax.mapping.density import WeightDensity
from anajax.mapping.layout import Layout
from anajax.mapping.strategy import Normalize, Strategy, check_strategy
from anajax.mapping.weight_error import (
    Compensation,
    WeightError,
    moment_table,
    tabulated_error,
)
from anajax.programming.end_to_end.task import layer_moments


@functools.partial(jax.jit, static_argnums=3)
def table_error(
    table: MomentTable,
    strategy: Strategy,
    density: WeightDensity,
    compensation: Compensation,
) -> WeightError:
    """The weight error of a table on a density; one trace for all of `uniform`."""
    return tabulated_error(strategy, table, density, compensation=compensation)


def targets(
    params: PyTree,
    strategy: Strategies,
    device: Device,
    normalize: Normalize = "layer",
) -> dict[str, chip.LayerProgram]:
    """Targets of all weights, on four devices a weight or more: unused ones count 0.

    One and two pairs then share a trace, and the draws of the devices that both use.
    """
    checks.word("normalize", normalize, Normalize)
    check_strategy(strategy, device)
    chosen, low = chip.weights(params), device.g_min
    axes = tuple(chip.layouts(params).items())
    if isinstance(strategy, Strategy):
        return _encode(chosen, uniform(strategy), low, normalize, axes)
    return {
        path: _encode(
            {path: chosen[path]}, uniform(strategy[path]), low, normalize, (own,)
        )[path]
        for own in axes
        for path in own[:1]
    }


@functools.partial(jax.jit, static_argnames=("normalize", "axes"))
def _encode(
    weights: dict[str, Array],
    strategy: Strategy,
    low: Array,
    normalize: Normalize,
    axes: tuple[tuple[str, Layout], ...],
) -> dict[str, chip.LayerProgram]:
    def pad(layer: chip.LayerProgram) -> chip.LayerProgram:
        g, missing = layer.targets, max(0, _DEVICES - layer.targets.shape[-1])
        unused = jnp.full((*g.shape[:-1], missing), low, g.dtype)
        return replace(
            layer,
            targets=jnp.concatenate([g, unused], -1),
            coefficients=jnp.pad(layer.coefficients, (0, missing)),
        )

    layers = chip.encode_weights(
        weights,
        strategy,
        select=lambda *_: True,
        normalize=normalize,
        layout=dict(axes),
    )
    return {path: pad(layer) for path, layer in layers.items()}


def uniform(strategy: Strategy) -> Strategy:
    """The same strategy, without a name and on as many knots as most have: one trace.

    Beyond the last knot targets are held anyway, so that more knots there are exact.
    """
    missing = max(0, _KNOTS - strategy.knots.shape[0])
    beyond = strategy.knots[-1] + np.arange(1, missing + 1)
    held = np.broadcast_to(strategy.targets[-1], (missing, strategy.targets.shape[-1]))
    return replace(
        strategy,
        name="",
        knots=jnp.concatenate([strategy.knots, beyond]).astype(strategy.knots.dtype),
        targets=jnp.concatenate([strategy.targets, held]),
    )


_DEVICES = 4
_KNOTS = 11


def expected_error(
    layers: dict[str, chip.LayerProgram],
    params: PyTree,
    device: Device,
    times: np.ndarray,
) -> np.ndarray:
    """Rms of (weight - trained weight) / w_max over all weights `[times]`, exactly."""
    return np.asarray(
        _expected(layers, chip.weights(params), device, jnp.asarray(times))
    )


@jax.jit
def _expected(
    layers: dict[str, chip.LayerProgram],
    ideal: dict[str, Array],
    device: Device,
    times: Array,
) -> Array:
    table = moment_table(device, times)

    def square(layer: chip.LayerProgram, w: Array) -> Array:
        found, alpha = layer_moments(layer, table, times)
        bias = chip.finish(layer, alpha * found.mean) - w
        spread = (alpha * layer.unit) ** 2 * found.var
        axes = tuple(range(1, bias.ndim))
        safe = jnp.where(layer.w_max > 0, layer.w_max, 1)
        return jnp.sum((bias**2 + spread) / safe**2, axes)

    total = sum(square(layer, ideal[path]) for path, layer in layers.items())
    return jnp.sqrt(total / sum(w.size for w in ideal.values()))
