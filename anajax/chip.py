"""A network on a chip: program, age and read a pytree of weights.

The same physics serves any pytree of parameters (plain dicts, flax linen, flax nnx
state, equinox): weights are selected by name and shape (`table` shows how), and their
noise is keyed by path, so that adding a layer changes no other layer's noise.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import mapping, rng
from anajax._core import checks
from anajax._core.tree import pytree, replace
from anajax._core.types import PRNGKey, PyTree
from anajax.compensation import Recalibrations, compensation, hold
from anajax.compensation import Scope as Scope
from anajax.devices.base import Cells, Device, check_time, check_times
from anajax.layer import LayerProgram as LayerProgram
from anajax.layer import Through as Through
from anajax.layer import Unwritten as Unwritten
from anajax.layer import as_layer as as_layer
from anajax.layer import finish as finish
from anajax.layer import read_layer as read_layer
from anajax.layer import schedule as schedule
from anajax.mapping.selection import Layouts as Layouts
from anajax.mapping.selection import Select as Select
from anajax.mapping.selection import Table as Table
from anajax.mapping.selection import default_select as default_select
from anajax.mapping.selection import insert as insert
from anajax.mapping.selection import layouts as layouts
from anajax.mapping.selection import normalized_weights as normalized_weights
from anajax.mapping.selection import one_by_one
from anajax.mapping.selection import others as others
from anajax.mapping.selection import path_name as path_name
from anajax.mapping.selection import table as table
from anajax.mapping.selection import weights as weights
from anajax.mapping.strategy import Normalize, Normalized, Strategy
from anajax.redrawn import drawn as drawn

Strategies = Strategy | Mapping[str, Strategy]


@pytree
class Chip:
    """The programmed cells of one chip by path, and their first read-out."""

    layers: dict[str, LayerProgram]
    cells: dict[str, Cells]
    first: dict[str, JArray]
    """Normalized weights as first read (0 s): the reference of drift compensation."""
    key: PRNGKey
    """Parent key of all reads of the chip."""


def encode_weights(
    params: PyTree,
    strategy: Strategies,
    *,
    select: Select = default_select,
    normalize: Normalize = "layer",
    layout: Layouts = None,
) -> dict[str, LayerProgram]:
    """The targets of all selected weights.

    Args:
        params: pytree of arrays.
        strategy: one for all, or one per path.
        select: which leaves are weights, by path and value.
        normalize: which weights share a full scale, see `mapping.normalized`.
        layout: meaning of the axes that names and shapes do not determine, see `table`.

    Raises:
        ValueError: if a weight is not finite, a path has no strategy, or the meaning of
            an axis that matters is unknown.
    """
    found = normalized_weights(
        params, select=select, normalize=normalize, layout=layout
    )
    return {
        path: as_layer(w, _strategy_for(strategy, path)) for path, w in found.items()
    }


def unwritten(
    params: PyTree,
    strategy: Strategies,
    *,
    select: Select = default_select,
    normalize: Normalize = "layer",
    layout: Layouts = None,
) -> dict[str, Unwritten]:
    """Like `encode_weights`, but targets are computed only when they are needed."""

    def one(path: str, w: Normalized) -> Unwritten:
        own = _strategy_for(strategy, path)
        rest = as_layer(replace(w, u=jnp.zeros((0,), w.u.dtype)), own)
        return Unwritten(strategy=own, rest=rest, shape=w.u.shape)

    how: Any = {"select": select, "normalize": normalize, "layout": layout}
    return {path: one(path, w) for path, w in one_by_one(params, **how)}


def program(
    device: Device,
    layers: dict[str, LayerProgram],
    *,
    key: PRNGKey,
    through: Through | None = None,
) -> Chip:
    """Program one chip and read it for the first time.

    Args:
        device: the device model.
        layers: targets by path, refused outside the range of the device.
        key: one key is one chip.
        through: effect of wire resistance on the conductances as read; none by default.
    """
    mapping.check_layers(layers, device)
    cells = {
        path: layer.write(device, key=rng.path_key(key, path))
        for path, layer in layers.items()
    }
    chip = Chip(layers=layers, cells=cells, first={}, key=key)
    key = rng.stream(key, rng.Stage.TIME, 0)
    return replace(chip, first=_read_all(device, chip, 0.0, key, through))


def read(
    device: Device,
    chip: Chip,
    *,
    t: Float[JArray, ""] | float,
    index: int | JArray,
    scope: Scope = "layer",
    held: Recalibrations | None = None,
    through: Through | None = None,
    extrapolate: bool = False,
) -> dict[str, JArray]:
    """The weights of a chip at time `t`, drift-compensated, in the network's units.

    Args:
        device: the device model.
        chip: from `program`.
        t: seconds since the first read.
        index: number of this read-out, from 1; selects its read noise.
        scope: the weights that share one compensation factor, measured in this
            read-out.
        held: factors from `recalibrate`, used instead.
        through: effect of wire resistance, as in `program`.
        extrapolate: whether `t` may lie outside what the device's source covers.

    Raises:
        ValueError: if `t` or the chip is not valid for this device.
    """
    check_time(device, t, extrapolate=extrapolate)
    checks.word("scope", scope, Scope)
    mapping.check_layers(chip.layers, device)
    key = rng.stream(chip.key, rng.Stage.TIME, index)
    now = _read_all(device, chip, t, key, through)
    if held is None:
        alpha = compensation(chip.first, now, chip.layers, scope)
    else:
        alpha = held.at(t)
    return {
        path: finish(layer, alpha[path] * schedule(layer, t) * now[path])
        for path, layer in chip.layers.items()
    }


def recalibrate(
    device: Device,
    chip: Chip,
    times: Float[JArray, "recalibrations"],
    *,
    scope: Scope = "layer",
    through: Through | None = None,
    extrapolate: bool = False,
) -> Recalibrations:
    """Measure the drift compensation of a chip only at scheduled times.

        held = recalibrate(device, part, jnp.array([3600.0, 86400.0]))
        weights = read(device, part, t=t, index=1, held=held)

    Each measurement is a read-out with its own noise. Between two measurements the
    factors of the earlier one are used; before the first there is no compensation.

    Args:
        device: the device model.
        chip: from `program`.
        times: seconds since the first read, increasing.
        scope: the weights that share one compensation factor.
        through: effect of wire resistance, as in `program`.
        extrapolate: whether times may lie outside what the device's source covers.

    Raises:
        ValueError: if times are out of range.
    """
    check_times(device, times, extrapolate=extrapolate)
    checks.word("scope", scope, Scope)
    times = jnp.asarray(times, dtype=float)

    def measure(t_i: tuple[JArray, JArray]) -> dict[str, JArray]:
        key = rng.stream(chip.key, rng.Stage.RECALIBRATE, t_i[1])
        now = _read_all(device, chip, t_i[0], key, through)
        return compensation(chip.first, now, chip.layers, scope)

    return hold(times, jax.lax.map(measure, (times, jnp.arange(times.size))))


def perturb(
    params: PyTree,
    device: Device,
    strategy: Strategies,
    *,
    t: Float[JArray, ""] | float,
    key: PRNGKey,
    select: Select = default_select,
    scope: Scope = "layer",
    normalize: Normalize = "layer",
    layout: Layouts = None,
    extrapolate: bool = False,
) -> PyTree:
    """Parameters as one chip holds them at time `t`: same pytree in and out.

    Args:
        params: pytree of arrays of any framework.
        device: the device model.
        strategy: how weights become conductances; one for all, or one per path.
        t: seconds since the first read after programming.
        key: one key is one chip (at any time).
        select: which leaves are weights, or the report of an analog function.
        scope: the weights that share one drift compensation factor.
        normalize: which weights share a full scale, see `mapping.normalized`.
        layout: meaning of the axes that names and shapes do not determine, see `table`.
        extrapolate: whether `t` may lie outside what the device's source covers.

    Returns:
        The same pytree with perturbed weights, of the same dtypes; other leaves are
        untouched.

    Raises:
        ValueError: if weights, times or targets are out of range, nothing is selected,
            or the meaning of an axis that matters is unknown.

    Example:
        >>> noisy = anajax.perturb(params, device, strategy, t=86400.0, key=key)
        >>> noisy["kernel"].shape
        (6, 4)
    """
    check_time(device, t, extrapolate=extrapolate)
    mapping.check_strategy(strategy, device)
    checks.word("scope", scope, Scope)
    how: Any = {"select": select, "normalize": normalize, "layout": layout}
    layers, own = unwritten(params, strategy, **how), weights(params, select=select)
    check_columns(layers, scope)
    return insert(
        params, drawn(device, layers, own, t=t, index=1, key=key, scope=scope)
    )


def check_columns(
    layers: Mapping[str, LayerProgram] | Mapping[str, Unwritten], scope: Scope
) -> None:
    """Refuse layers with unknown columns if factors are taken per column.

    Raises:
        ValueError: naming the first such layer.
    """
    checks.word("scope", scope, Scope)
    if scope == "column":
        for path, layer in layers.items():
            layer.layout.need_columns(path, layer.shape)


def _strategy_for(strategy: Strategies, path: str) -> Strategy:
    if not isinstance(strategy, Mapping):
        return mapping.as_strategy(strategy)
    if path not in strategy:
        checks.fail(
            "strategy",
            "have one entry per selected weight",
            f"no entry for {path!r} among {sorted(strategy)}",
            "Add it, or leave this weight out of `select`.",
        )
    return strategy[path]


def _read_all(
    device: Device,
    chip: Chip,
    t: Float[JArray, ""] | float,
    key: PRNGKey,
    through: Through | None,
) -> dict[str, JArray]:
    """The analog parts c.g / K of all weights in one read-out."""
    return {
        path: read_layer(
            device,
            layer,
            chip.cells[path],
            t=t,
            path=path,
            key=rng.path_key(key, path),
            through=through,
        )
        for path, layer in chip.layers.items()
    }
