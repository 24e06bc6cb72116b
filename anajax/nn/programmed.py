"""A chip's weights in a converted model, and drift compensation through its periphery.

aged = insert_weights(model, weights, variance)     # raw, as the cells are now
factors = compensation_factors(read_outs(fresh, key=k0), read_outs(aged, key=k1))
aged = compensate(aged, factors)

`recalibrations` does so on a schedule.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from anajax import compensation, crossbar, rng
from anajax._core import checks
from anajax._core.tree import replace
from anajax._core.types import Float, JArray, PRNGKey
from anajax.compensation import Per, Recalibrations, hold
from anajax.crossbar.periphery import LearnedRange
from anajax.nn.analog import Analog, Parts, over_stack
from anajax.rng import Stage

M = TypeVar("M", bound=nnx.Module)


def analog_by_path(model: nnx.Module) -> dict[str, Any]:
    """Analog layers of a model by path, such as `{"conv1": AnalogConv(...)}`.

    A model that is one layer itself has the path `""`.
    """
    return {
        "/".join(map(str, path)): node
        for path, node in nnx.iter_modules(model)
        if isinstance(getattr(node, "analog", None), Analog)
    }


def kernel_path(path: str) -> str:
    """Path of the kernel of a layer; the whole model may be one layer."""
    return f"{path}/kernel" if path else "kernel"


def insert_weights(
    model: M,
    weights: Mapping[str, JArray],
    variance: Mapping[str, JArray] | None = None,
    offset: Mapping[str, JArray] | None = None,
    parts: Mapping[str, Parts] | None = None,
) -> M:
    """A clone of a converted model that holds the weights of a chip.

    Args:
        model: from `to_analog`.
        weights: kernels by path as `chip.read` gives them (`"conv1/kernel"`), in the
            units of the network.
        variance: read-noise variance of each, or of each of its `parts`, fresh at
            every product, same shapes; give the weights without read noise then.
        offset: subtracted from each weight digitally, same shapes; the same for all
            weights of a column.
        parts: weights as the sum of parts with an ADC conversion each; the kernels
            take no part in products then.

    Raises:
        ValueError: if a path is not a kernel of an analog layer, or a shape differs.
    """
    model = nnx.clone(model)
    found = {kernel_path(p): layer for p, layer in analog_by_path(model).items()}
    variance, offset, parts = variance or {}, offset or {}, parts or {}
    values = {path: part.values for path, part in parts.items()}
    given = {"weights": weights, "variance": variance, "offset": offset}
    for name, arrays in (given | {"parts": values}).items():
        for path, array in arrays.items():
            if path not in found:
                remedy = f"Known: {sorted(found)}."
                checks.fail(name, "belong to analog layers", repr(path), remedy)
            shape = found[path].kernel[...].shape
            if name in ("variance", "parts") and path in parts:
                shape = (*shape, parts[path].digital.shape[-1])
            if array.shape != shape:
                rule = f"have the kernel's shape {shape} at {path!r}"
                checks.fail(name, rule, array.shape, "Read this network's own chip.")
    for path, array in weights.items():
        kernel = found[path].kernel
        kernel[...] = array.astype(kernel[...].dtype)
    for path, array in variance.items():
        found[path].analog.variance.set_value(array)
    for path, array in offset.items():
        found[path].analog.offset.set_value(array)
    for path, part in parts.items():
        stack = found[path].analog.stack
        digital = jnp.broadcast_to(part.digital, (*stack, part.digital.shape[-1]))
        found[path].analog.parts.set_value(replace(part, digital=digital))
    return model


def read_outs(
    model: nnx.Module, *, key: PRNGKey, per: Per = "global"
) -> dict[str, JArray]:
    """What each layer answers to one-hot inputs through its periphery, without bias.

    Inputs are at full range: 1, or the learned input range. Any compensation that the
    model carries is left out.

    Args:
        model: converted model with its current weights.
        key: names the noise of this read-out.
        per: what factors will be taken over, as in `compensation_factors`.

    Returns:
        By path, the answer to each input: of each tile `[groups in t k c]` for factors
        per tile, else of the layer `[groups in out]`. Stacks lead by their axes.
    """
    checks.word("per", per, Per)
    part = crossbar.partial_sums if per == "tile" else crossbar.mvm

    def one(layer: Any, key: PRNGKey) -> JArray:
        return _read_out(layer, part, key)

    return {
        path: over_stack(layer, one, layer.analog.own_key(rng.path_key(key, path)))
        for path, layer in analog_by_path(model).items()
    }


def _read_out(layer: Any, product: Callable[..., JArray], key: PRNGKey) -> JArray:
    analog, io = layer.analog, layer.analog.periphery()
    scaling = io.scaling
    learned = isinstance(scaling, LearnedRange)
    height = jnp.max(scaling.range) if learned else jnp.ones(())
    tiles = analog.tiles(layer.kernel[...], layer.matrices, compensated=False)
    groups = tiles.matrix.shape[0]

    def one(tiles: crossbar.Tiles, key: PRNGKey) -> JArray:
        return compensation.read_out(
            lambda x: product(tiles, x * height, io, key=key) / height,
            tiles.rows,
            dtype=tiles.matrix.dtype,
        )

    keys = rng.streams(key, Stage.TILE, jnp.arange(groups))
    return jax.vmap(one)(tiles, keys)


def compensation_factors(
    reference: Mapping[str, JArray], now: Mapping[str, JArray], *, per: Per = "global"
) -> dict[str, JArray]:
    """Factors by path from two read-outs: the first of a chip, and the current one.

    Args:
        reference: `read_outs` just after programming.
        now: `read_outs` at the time of the recalibration.
        per: `"global"` (one per layer), `"column"` or `"tile"`.

    Raises:
        ValueError: for an unknown `per`, or read-outs of unlike networks.
    """
    checks.word("per", per, Per)
    if set(reference) != set(now):
        got = sorted(set(reference) ^ set(now))
        checks.fail("now", "hold the layers of `reference`", got, "Read both alike.")
    return {p: _factor(reference[p], now[p], per) for p in now}


def _factor(reference: JArray, now: JArray, per: Per) -> JArray:
    factor = compensation.compensation_factor(reference, now, per=per)
    return factor[..., 0] if per == "global" else factor


def compensate(model: M, factors: Mapping[str, JArray]) -> M:
    """A clone of `model` whose outputs are multiplied by the factors, digitally.

    A factor holds until the next recalibration: read out and call this again.

    Raises:
        ValueError: if a path is not that of an analog layer.
    """
    model = nnx.clone(model)
    found = analog_by_path(model)
    for path, factor in factors.items():
        if path not in found:
            remedy = f"Known: {sorted(found)}."
            checks.fail("factors", "belong to analog layers", repr(path), remedy)
        found[path].analog.factor.set_value(factor)
    return model


def recalibrations(
    model_at: Callable[[JArray], nnx.Module],
    times: Float[JArray, "recalibrations"],
    *,
    key: PRNGKey,
    per: Per = "global",
) -> Recalibrations:
    """Measure the factors of one chip at every time of a schedule.

        schedule = recalibrations(
            lambda t: program_layers(model, device, part, t=t), [60.0, 86400.0], key=key
        )
        today = compensate(program_layers(model, device, part, t=t), schedule.at(t))

    The reference is a read-out at 0 s. Each read-out draws its own noise.

    Args:
        model_at: the converted model with the raw weights of the chip at a time (s).
        times: when to recalibrate: seconds since the first read, increasing.
        key: names the noise of the read-outs.
        per: `"global"` (one factor per layer), `"column"` or `"tile"`.

    Raises:
        ValueError: if times are out of range, or for an unknown `per`.
    """
    checks.word("per", per, Per)
    checks.times("times", times)
    times = jnp.asarray(times, dtype=float)

    def outs(t: JArray, index: int) -> dict[str, JArray]:
        own = rng.stream(key, Stage.TIME, index)
        return read_outs(model_at(t), key=own, per=per)

    first = outs(jnp.zeros((), times.dtype), 0)
    found = [
        compensation_factors(first, outs(t, i), per=per) for i, t in enumerate(times, 1)
    ]
    return hold(times, jax.tree.map(lambda *f: jnp.stack(f), *found))
