"""A network on a chip: program, age and read a pytree of weights.

The same physics serves any pytree of parameters (plain dicts, flax linen, flax nnx
state, equinox): weights are chosen by a predicate on their path, and their noise is
keyed by that path, so that adding a layer changes no other layer's noise.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import _checks, mapping, rng
from anajax._tree import pytree, replace
from anajax._types import PRNGKey, PyTree
from anajax.compensation import Recalibrations, hold
from anajax.devices import base as _device
from anajax.devices.base import FIRST_READ, Cells, Device, check_time, check_times
from anajax.mapping import Normalize, Normalized, Strategy, encode, normalized

Select = Callable[[str, Any], bool]
Strategies = Strategy | Mapping[str, Strategy]
Scope = Literal["layer", "network", "column", "none"]
"""Over which weights one drift compensation factor is shared."""
Through = Callable[[str, JArray], JArray]
"""`through(path, g [*weights devices])`: conductances as they act, behind wires."""


@pytree
class Layer:
    """One weight array as targets: what is programmed, and how it is read back."""

    targets: Float[JArray, "*weights devices"]
    """Target conductances, uS."""
    coefficients: Float[JArray, "devices"]
    """Normalized weight per uS of each device: signed significance over K."""
    offset: Float[JArray, ""]
    """Subtracted digitally, in normalized weight."""
    w_max: Float[JArray, ""]
    """Largest |weight|, in the units of the network."""
    column: Float[JArray, "*columns"] = 1.0  # pyright: ignore[reportAssignmentType]
    """Digital scale of each column (last axis of the weights), or of all."""
    drift: Float[JArray, ""] = 0.0  # pyright: ignore[reportAssignmentType]
    """Exponent a of a scheduled correction (1 + t / t0)^a on top of the measured
    drift compensation."""
    t0: Float[JArray, ""] = FIRST_READ  # pyright: ignore[reportAssignmentType]
    """Seconds that this schedule counts in, see `devices.base.first_read`."""

    @property
    def unit(self) -> Float[JArray, "*columns"]:
        """What a normalized weight of 1 is in the network, by column or for all."""
        return self.w_max * self.column

    def write(self, device: Device, *, key: PRNGKey) -> Cells:
        """Program the devices of this layer on one chip."""
        return _device.program(device, self.targets, key=key)


@pytree
class Chip:
    """The programmed cells of one chip, by path, and their read-out just after."""

    layers: dict[str, Layer]
    cells: dict[str, Cells]
    first: dict[str, JArray]
    """Normalized weights as first read (0 s): the reference of drift compensation."""
    key: PRNGKey
    """Parent of the keys of its reads."""


def default_select(path: str, leaf: Any) -> bool:
    """Floating arrays of two or more axes, except embeddings."""
    floating = hasattr(leaf, "ndim") and jnp.issubdtype(leaf.dtype, jnp.floating)
    return bool(floating) and leaf.ndim >= 2 and "embedding" not in path.lower()


def weights(params: PyTree, *, select: Select = default_select) -> dict[str, JArray]:
    """The selected weight arrays by path, such as `{"conv/kernel": ...}`.

    Raises:
        ValueError: if no array is selected.
    """
    _checks.function("select", select, 'lambda path, leaf: path.endswith("kernel")')
    chosen = {p: v for p, v in _leaves(params) if select(p, v)}
    if not chosen:
        names = [p for p, _ in _leaves(params)]
        _checks.fail(
            "select", "choose a weight array", f"none of {names}", "Widen the rule."
        )
    return chosen


def others(params: PyTree, *, select: Select = default_select) -> dict[str, JArray]:
    """The floating arrays by path that are not selected: they stay digital."""
    return {
        path: leaf
        for path, leaf in _leaves(params)
        if hasattr(leaf, "dtype")
        and jnp.issubdtype(leaf.dtype, jnp.floating)
        and not select(path, leaf)
    }


def as_layer(weights: Normalized, strategy: Strategy) -> Layer:
    """The targets of normalized weights by a strategy."""
    c = strategy.cell.coefficients(strategy.significance)
    return Layer(
        targets=encode(strategy, weights.u),
        coefficients=c / strategy.scale,
        offset=strategy.offset / strategy.scale,
        w_max=weights.w_max,
        column=weights.column,
    )


def encode_weights(
    params: PyTree,
    strategy: Strategies,
    *,
    select: Select = default_select,
    normalize: Normalize = "layer",
) -> dict[str, Layer]:
    """Targets of all selected weights.

    Args:
        params: pytree of arrays.
        strategy: one for all, or one per path.
        select: which leaves are weights, by path and value.
        normalize: whose largest |weight| fills the range, see `mapping.normalized`.

    Raises:
        ValueError: if a weight is not finite, or a path has no strategy.
    """
    return {
        path: _encode_layer(w, _strategy_for(strategy, path), path, normalize)
        for path, w in weights(params, select=select).items()
    }


def program(
    device: Device,
    layers: dict[str, Layer],
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
    _checks.word("scope", scope, Scope)
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
    _checks.word("scope", scope, Scope)
    times = jnp.asarray(times, dtype=float)

    def measure(t_i: tuple[JArray, JArray]) -> dict[str, JArray]:
        key = rng.stream(chip.key, rng.Stage.RECALIBRATE, t_i[1])
        now = _read_all(device, chip, t_i[0], key, through)
        return compensation(chip.first, now, chip.layers, scope)

    return hold(times, jax.lax.map(measure, (times, jnp.arange(times.size))))


def schedule(layer: Layer, t: Float[JArray, ""] | float) -> JArray:
    """The scheduled part of a layer's drift compensation at `t` (s)."""
    return (1 + jnp.asarray(t, layer.w_max.dtype) / layer.t0) ** layer.drift


def finish(layer: Layer, analog: JArray) -> JArray:
    """Weights in the network's units from their compensated analog part c.g / K."""
    return (analog - layer.offset) * layer.unit


def compensation(
    first: dict[str, JArray],
    now: dict[str, JArray],
    layers: dict[str, Layer],
    scope: Scope,
) -> dict[str, JArray]:
    """Factors alpha by path: mean |first read-out| over mean |read-out now|.

    A network's factor weighs each layer's weights in the network's units; a column is
    the last axis of a weight array (its outputs).
    """
    _checks.word("scope", scope, Scope)
    if scope == "none":
        return {path: jnp.ones(()) for path in now}
    if scope == "network":
        units = {path: layer.unit for path, layer in layers.items()}
        above = sum(jnp.sum(jnp.abs(u * first[p])) for p, u in units.items())
        below = sum(jnp.sum(jnp.abs(u * now[p])) for p, u in units.items())
        return {path: above / jnp.maximum(below, _TINY) for path in now}
    return {path: _factor(first[path], now[path], scope) for path in now}


def insert(params: PyTree, new: Mapping[str, JArray]) -> PyTree:
    """The pytree `params` with the arrays of `new` at their paths."""
    flat, tree = jax.tree_util.tree_flatten_with_path(params)
    leaves = [new.get(path_name(path), leaf) for path, leaf in flat]
    return jax.tree.unflatten(tree, leaves)


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
    extrapolate: bool = False,
) -> PyTree:
    """Parameters as one chip holds them at time `t`: pytree in, pytree out.

    Args:
        params: pytree of arrays of any framework.
        device: the device model.
        strategy: how weights become conductances; one for all, or one per path.
        t: seconds since the first read after programming.
        key: one key is one chip (at any time).
        select: which leaves are weights, by path and value.
        scope: the weights that share one drift compensation factor.
        normalize: whose largest |weight| fills the range, see `mapping.normalized`.
        extrapolate: whether `t` may lie outside what the device's source covers.

    Returns:
        The same pytree with perturbed weights; other leaves are untouched.

    Raises:
        ValueError: if weights, times or targets are out of range, or nothing is
            selected.
    """
    check_time(device, t, extrapolate=extrapolate)
    mapping.check_strategy(strategy, device)
    _checks.word("scope", scope, Scope)
    layers = encode_weights(params, strategy, select=select, normalize=normalize)
    chip = program(device, layers, key=key)
    found = read(device, chip, t=t, index=1, scope=scope, extrapolate=True)
    return insert(params, found)


def path_name(path: tuple) -> str:
    """A pytree path as names joined by "/", whatever container it goes through.

    What Flax wraps around names is left out: `params` in front, a variable's `.value`
    behind.
    """
    if path and path[-1] == jax.tree_util.GetAttrKey("value"):
        path = path[:-1]
    if path and path[0] == jax.tree_util.DictKey("params"):
        path = path[1:]
    kinds = ("key", "name", "idx")
    return "/".join(
        str(next(getattr(entry, k) for k in kinds if hasattr(entry, k)))
        for entry in path
    )


_TINY = 1e-12


def _leaves(params: PyTree) -> list[tuple[str, Any]]:
    flat, _ = jax.tree_util.tree_flatten_with_path(params)
    return [(path_name(path), leaf) for path, leaf in flat]


def _strategy_for(strategy: Strategies, path: str) -> Strategy:
    if not isinstance(strategy, Mapping):
        return mapping.as_strategy(strategy)
    if path not in strategy:
        _checks.fail(
            "strategy",
            "have one entry per selected weight",
            f"no entry for {path!r} among {sorted(strategy)}",
            "Add it, or leave this weight out of `select`.",
        )
    return strategy[path]


def _encode_layer(
    w: JArray, strategy: Strategy, path: str, normalize: Normalize
) -> Layer:
    _checks.finite(path, w, "Find the layer whose training diverged.")
    if isinstance(w, np.ndarray):
        w = jnp.asarray(w)
    return as_layer(normalized(w, normalize), strategy)


def _read_all(
    device: Device,
    chip: Chip,
    t: Float[JArray, ""] | float,
    key: PRNGKey,
    through: Through | None,
) -> dict[str, JArray]:
    """The analog parts c.g / K of all weights in one read-out."""

    def one(path: str, layer: Layer) -> JArray:
        own = rng.path_key(key, path)
        aged = _device.age(device, chip.cells[path], t=t, extrapolate=True)
        g = _device.read(device, aged, t=t, key=own, extrapolate=True)
        return (g if through is None else through(path, g)) @ layer.coefficients

    return {path: one(path, layer) for path, layer in chip.layers.items()}


def _factor(first: JArray, now: JArray, scope: Scope) -> JArray:
    axes = tuple(range(now.ndim - 1)) if scope == "column" else None
    above, below = (jnp.mean(jnp.abs(w), axes) for w in (first, now))
    return jnp.where(below > _TINY, above / jnp.maximum(below, _TINY), 1.0)
