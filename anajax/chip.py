"""A network on a chip: program, age and read a pytree of weights.

The same physics serves any pytree of parameters (plain dicts, flax linen, flax nnx
state, equinox): weights are chosen by names and shapes (`table` says how), and their
noise is keyed by their path, so that adding a layer changes no other layer's noise.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import mapping, rng
from anajax._core import checks
from anajax._core.tree import pytree, replace, static
from anajax._core.types import PRNGKey, PyTree
from anajax.compensation import Recalibrations, hold
from anajax.devices import base as _device
from anajax.devices.base import FIRST_READ, Cells, Device, check_time, check_times
from anajax.mapping.layout import ONE_LAYER, Layout
from anajax.mapping.selection import Layouts as Layouts
from anajax.mapping.selection import Select as Select
from anajax.mapping.selection import Table as Table
from anajax.mapping.selection import default_select as default_select
from anajax.mapping.selection import insert as insert
from anajax.mapping.selection import layouts as layouts
from anajax.mapping.selection import normalized_weights as normalized_weights
from anajax.mapping.selection import others as others
from anajax.mapping.selection import path_name as path_name
from anajax.mapping.selection import table as table
from anajax.mapping.selection import weights as weights
from anajax.mapping.strategy import Normalize, Normalized, Strategy, encode

Strategies = Strategy | Mapping[str, Strategy]
Scope = Literal["layer", "network", "column", "none"]
"""Over which weights one drift compensation factor is shared."""
Through = Callable[[str, JArray], JArray]
"""`through(path, g [*weights devices])`: effective conductances, wires included."""


@pytree
class LayerProgram:
    """One weight array as targets: what is programmed, and how it is read back.

    It may hold a stack of layers, each with a range and drift factors of its own.

    Example:
        >>> layers = anajax.chip.encode_weights(params, strategy)
        >>> layers["kernel"].targets.shape  # four devices for each weight
        (6, 4, 4)
    """

    targets: Float[JArray, "*weights devices"]
    """Target conductances, uS."""
    coefficients: Float[JArray, "devices"]
    """Normalized weight per uS of each device: signed significance over K."""
    offset: Float[JArray, ""]
    """Subtracted digitally, in normalized weight."""
    w_max: Float[JArray, "*layers"]
    """Largest |weight|, in the units of the network; of each layer of a stack, in axes
    that broadcast against the weights."""
    column: Float[JArray, "*columns"] = 1.0  # pyright: ignore[reportAssignmentType]
    """Digital scale of each column, broadcasting against the weights, or of all."""
    drift: Float[JArray, "*layers"] = 0.0  # pyright: ignore[reportAssignmentType]
    """Exponent a of a scheduled correction (1 + t / t0)^a on top of the measured
    drift compensation."""
    t0: Float[JArray, ""] = FIRST_READ  # pyright: ignore[reportAssignmentType]
    """Seconds that this schedule counts in, see `devices.base.first_read`."""
    layout: Layout = static(default=ONE_LAYER)
    """What the axes of the weights are."""

    @property
    def unit(self) -> Float[JArray, "*columns"]:
        """What a normalized weight of 1 is in the network, by column or for all."""
        return self.w_max * self.column

    def write(self, device: Device, *, key: PRNGKey) -> Cells:
        """Program the devices of this layer on one chip.

        Raises:
            ValueError: if lines may be dead, and rows and columns are not known.
        """
        shape, layout = self.targets.shape[:-1], self.layout
        if not _has_lines(device) or layout.trailing(len(shape)):
            return _device.program(device, self.targets, key=key)
        cells = _device.program(device, layout.matrices(self.targets, more=1), key=key)
        return jax.tree.map(lambda v: layout.restored(v, shape), cells)


@pytree
class Chip:
    """The programmed cells of one chip, by path, and their read-out just after."""

    layers: dict[str, LayerProgram]
    cells: dict[str, Cells]
    first: dict[str, JArray]
    """Normalized weights as first read (0 s): the reference of drift compensation."""
    key: PRNGKey
    """Parent of the keys of its reads."""


def as_layer(weights: Normalized, strategy: Strategy) -> LayerProgram:
    """The targets of normalized weights by a strategy."""
    c = strategy.cell.coefficients(strategy.significance)
    return LayerProgram(
        targets=encode(strategy, weights.u),
        coefficients=c / strategy.scale,
        offset=strategy.offset / strategy.scale,
        w_max=weights.w_max,
        column=weights.column,
        layout=weights.layout,
    )


def encode_weights(
    params: PyTree,
    strategy: Strategies,
    *,
    select: Select = default_select,
    normalize: Normalize = "layer",
    layout: Layouts = None,
) -> dict[str, LayerProgram]:
    """Targets of all selected weights.

    Args:
        params: pytree of arrays.
        strategy: one for all, or one per path.
        select: which leaves are weights, by path and value.
        normalize: whose largest |weight| fills the range, see `mapping.normalized`.
        layout: what axes are, where names and shapes do not tell, see `table`.

    Raises:
        ValueError: if a weight is not finite, a path has no strategy, or an axis that
            counts is not known.
    """
    found = normalized_weights(
        params, select=select, normalize=normalize, layout=layout
    )
    return {
        path: as_layer(w, _strategy_for(strategy, path)) for path, w in found.items()
    }


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
        through: what wires make of the conductances as read; nothing by default.
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
        index: number of this read-out, from 1: names its read noise.
        scope: the weights that share one compensation factor, measured in this very
            read-out.
        held: factors from `recalibrate`, in place of those.
        through: what wires make of the conductances as read, as in `program`.
        extrapolate: whether `t` may lie outside what the device's source covers.

    Raises:
        ValueError: if `t` or the chip is not one for this device.
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
    """Measure the drift compensation of a chip at the times of a schedule only.

        held = recalibrate(device, part, jnp.array([3600.0, 86400.0]))
        weights = read(device, part, t=t, index=1, held=held)

    Each measurement is a read-out with its own noise; between two, the factors of the
    last stay in force, and before the first there is no compensation.

    Args:
        device: the device model.
        chip: from `program`.
        times: seconds since the first read, increasing.
        scope: the weights that share one factor.
        through: what wires make of the conductances as read, as in `program`.
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


def schedule(layer: LayerProgram, t: Float[JArray, ""] | float) -> JArray:
    """The scheduled part of a layer's drift compensation at `t` (s)."""
    return (1 + jnp.asarray(t, layer.w_max.dtype) / layer.t0) ** layer.drift


def finish(layer: LayerProgram, analog: JArray) -> JArray:
    """Weights in the network's units from their compensated analog part c.g / K."""
    return (analog - layer.offset) * layer.unit


def compensation(
    first: dict[str, JArray],
    now: dict[str, JArray],
    layers: dict[str, LayerProgram],
    scope: Scope,
) -> dict[str, JArray]:
    """Factors alpha by path: mean |first read-out| over mean |read-out now|.

    A network's factor weighs each layer's weights in the network's units; a layer of a
    stack has a factor of its own, and so has each column (output).

    Raises:
        ValueError: by columns, where these are not known.
    """
    checks.word("scope", scope, Scope)
    if scope == "none":
        return {path: jnp.ones(()) for path in now}
    if scope == "network":
        units = {path: layer.unit for path, layer in layers.items()}
        above = sum(jnp.sum(jnp.abs(u * first[p])) for p, u in units.items())
        below = sum(jnp.sum(jnp.abs(u * now[p])) for p, u in units.items())
        shrunk = below > 0  # in the network's units: no size of its own is small
        alpha = jnp.where(shrunk, above / jnp.where(shrunk, below, 1.0), 1.0)
        return dict.fromkeys(now, alpha)
    return {
        path: layers[path].layout.mean_ratio(first[path], now[path], scope, path)
        for path in now
    }


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
    """Parameters as one chip holds them at time `t`: pytree in, pytree out.

    Args:
        params: pytree of arrays of any framework.
        device: the device model.
        strategy: how weights become conductances; one for all, or one per path.
        t: seconds since the first read after programming.
        key: one key is one chip (at any time).
        select: which leaves are weights, or a report of an analog function.
        scope: the weights that share one drift compensation factor.
        normalize: whose largest |weight| fills the range, see `mapping.normalized`.
        layout: what axes are, where names and shapes do not tell, see `table`.
        extrapolate: whether `t` may lie outside what the device's source covers.

    Returns:
        The same pytree with perturbed weights, of the same dtypes; other leaves are
        untouched.

    Raises:
        ValueError: if weights, times or targets are out of range, nothing is selected,
            or an axis that counts is not known.

    Example:
        >>> noisy = anajax.perturb(params, device, strategy, t=86400.0, key=key)
        >>> noisy["kernel"].shape
        (6, 4)
    """
    check_time(device, t, extrapolate=extrapolate)
    mapping.check_strategy(strategy, device)
    checks.word("scope", scope, Scope)
    layers = encode_weights(
        params, strategy, select=select, normalize=normalize, layout=layout
    )
    check_columns(layers, scope)
    chip = program(device, layers, key=key)
    found = read(device, chip, t=t, index=1, scope=scope, extrapolate=True)
    return insert(params, found)


def check_columns(layers: Mapping[str, LayerProgram], scope: Scope) -> None:
    """Refuse layers whose columns are not known where factors are by column.

    Raises:
        ValueError: names the first of them.
    """
    checks.word("scope", scope, Scope)
    if scope == "column":
        for path, layer in layers.items():
            layer.layout.need_columns(path, layer.targets.shape[:-1])


def _has_lines(device: Device) -> bool:
    """Whether rows or columns may be dead, as far as is known."""
    lines = device.faults and (device.faults.dead_rows, device.faults.dead_columns)
    return lines is not None and not (
        checks.concrete(lines) and not any(np.any(np.asarray(v)) for v in lines)
    )


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


def combined(g: JArray, layer: LayerProgram) -> JArray:
    """The analog parts c.g / K of weights from their devices, the last axis of `g`."""
    g, c = jax.lax.optimization_barrier(g), layer.coefficients  # one pass over cells
    return sum((g[..., i] * c[i] for i in range(1, len(c))), g[..., 0] * c[0])


def _read_all(
    device: Device,
    chip: Chip,
    t: Float[JArray, ""] | float,
    key: PRNGKey,
    through: Through | None,
) -> dict[str, JArray]:
    """The analog parts c.g / K of all weights in one read-out."""

    def one(path: str, layer: LayerProgram) -> JArray:
        own = rng.path_key(key, path)
        aged = _device.age(device, chip.cells[path], t=t, extrapolate=True)
        g = _device.read(device, aged, t=t, key=own, extrapolate=True)
        return combined(g if through is None else through(path, g), layer)

    return {path: one(path, layer) for path, layer in chip.layers.items()}
