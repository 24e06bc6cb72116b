"""Weights and conductances: unit cells, strategies, and the conversions between them.

A unit cell is the group of devices that represents one weight; a strategy is a table of
target conductances over weight values. With normalized weight u = w / w_max,

    K u = sum_d c_d g_d - offset,    c_d = sign_d F_d,

where F is the significance factor of the device's pair (1 for the least significant)
and K (uS per unit of u) the digital scale. K may exceed the range of the devices: then
the table clips the rare large weights.
"""

from collections.abc import Mapping
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax._core import checks
from anajax._core.tree import pytree, replace, static
from anajax.devices.base import Device, check_device, check_targets
from anajax.mapping.cell import UnitCell as UnitCell
from anajax.mapping.cell import copies as copies
from anajax.mapping.cell import pairs as pairs
from anajax.mapping.cell import singles as singles
from anajax.mapping.cell import slices as slices
from anajax.mapping.layout import ONE_LAYER, Layout

Weights = Float[JArray, "*weights"]
Targets = Float[JArray, "*weights devices"]
Normalize = Literal["layer", "column", "tile"]
"""Weights that share a full scale: each layer, each column, or each column of each
tile."""


@pytree
class Strategy:
    """Target conductances over normalized weights, linear between the knots.

    Beyond the first and last knot, targets are constant (weights are clipped). A
    mirrored strategy has knots for u >= 0; for negative weights, the two devices of
    each pair are exchanged. A stepped strategy, for memories with few levels, holds the
    targets of each knot up to the next one.

    Raises:
        ValueError: if knots do not increase, shapes disagree, a value is not finite, a
            mirrored strategy is not made of pairs, `scale` is not positive, or the
            table decodes to weights that decrease by more than 0.2 % of the largest
            (for a stepped one: to a last weight below its first).

    Example:
        >>> strategies.single_pair(device).targets.shape  # knots, devices
        (2, 2)
    """

    name: str = static(default="custom")
    cell: UnitCell = static()
    knots: Float[JArray, "knots"]
    """Normalized weights, increasing."""
    targets: Float[JArray, "knots devices"]
    """Target conductances at the knots, uS."""
    significance: Float[JArray, "factors"]
    """Significance factor of each group, 1 for the least significant."""
    scale: Float[JArray, "*sweep"]
    """K: digital scale, uS per unit of normalized weight."""
    offset: Float[JArray, "*sweep"] = 0.0  # pyright: ignore[reportAssignmentType]
    """Conductance that is subtracted digitally, uS."""
    mirrored: bool = static(default=True)
    """Whether negative weights use the table of positive ones."""
    stepped: bool = static(default=False)
    """Whether targets are held from each knot up to the next, not interpolated."""

    def __post_init__(self) -> None:
        for name in ("knots", "targets", "significance", "scale", "offset"):
            checks.finite(name, getattr(self, name))
        checks.increasing("knots", self.knots)
        checks.positive("scale", self.scale)
        checks.positive("significance", self.significance)
        _check_shapes(self)
        if self.mirrored and not self.cell.paired:
            checks.fail(
                "mirrored", "be False for cells without pairs", True, "Pass False."
            )
        if checks.concrete(self):
            _check_increasing_weights(self)


@pytree
class Normalized:
    """Weights relative to their full scale."""

    u: Weights
    w_max: Float[JArray, "*layers"]
    """Largest |weight| of the layer in the network's units; for each layer of a stack,
    in axes that broadcast against the weights."""
    column: Float[JArray, "*columns"] = 1.0  # pyright: ignore[reportAssignmentType]
    """Largest |weight| of each column (of each tile) over `w_max`, broadcasting against
    the weights, or 1."""
    layout: Layout = static(default=ONE_LAYER)
    """Meaning of the axes of the weights."""

    @property
    def unit(self) -> Float[JArray, "*columns"]:
        """Network weight for a normalized weight of 1, by column or for all."""
        return self.w_max * self.column


def normalized(
    w: Weights,
    normalize: Normalize = "layer",
    layout: Layout = ONE_LAYER,
    *,
    path: str = "",
) -> Normalized:
    """Weights relative to the largest |weight| of the layer, column or tile column.

    Args:
        w: weights of one layer, or of a stack of layers.
        normalize: `"column"` lets each column use the whole range, with a digital scale
            after its ADC, like `weight_scaling_columnwise` of aihwkit; `"tile"` does so
            for each column of each row tile, which has its own ADC. A column of zeros
            keeps the scale of the layer.
        layout: which axes number layers, and which are columns (outputs).
        path: name of the weights in messages.

    Raises:
        ValueError: for another word, or if the columns or the rows of a tile are needed
            and unknown.
    """
    checks.word("normalize", normalize, Normalize)
    size = jnp.abs(w)
    w_max = layout.per_layer(jnp.max, size)
    safe = jnp.where(w_max > 0, w_max, 1)
    if normalize == "layer":
        return Normalized(u=w / safe, w_max=w_max, layout=layout)
    of = layout.per_column if normalize == "column" else layout.per_tile_column
    column = of(jnp.max, size, path) / safe
    column = jnp.where(column > 0, column, 1)
    u = w / (safe * column)
    return Normalized(u=u, w_max=w_max, column=column, layout=layout)


def as_strategy(strategy: Any) -> Strategy:
    """The strategy itself; anything else, such as its name, is refused.

    Raises:
        ValueError: saying what to pass instead.
    """
    if isinstance(strategy, Strategy):
        return strategy
    name = strategy if isinstance(strategy, str) else None
    name = getattr(strategy, "__name__", name or "lsp_first")
    remedy = f"Call it: anajax.strategies.{name}(device)."
    checks.fail("strategy", "be a Strategy", f"{strategy!r:.60}", remedy)


def check_strategy(strategy: Any, device: Device) -> None:
    """Refuse anything but a strategy whose targets are in the range of a device.

    Args:
        strategy: one strategy, or one per path.
        device: the device model.

    Raises:
        ValueError: saying what to pass instead.
    """
    check_device(device)
    every = strategy.values() if isinstance(strategy, Mapping) else [strategy]
    for one in map(as_strategy, every):
        what = f"{one.name!r} with "
        check_targets(device, one.targets, name="strategy", what=what)


def check_layers(layers: Mapping[str, Any], device: Device) -> None:
    """Refuse layers (by path) with targets outside a device's range; tracers pass."""
    check_device(device)
    for path, layer in layers.items():
        what = f"{path!r} with "
        check_targets(device, layer.targets, name="layers", what=what)


def encode(strategy: Strategy, weights: Weights) -> Targets:
    """Target conductances of normalized weights.

    Args:
        strategy: the table.
        weights: normalized weights u = w / w_max, usually in -1..1, any shape.

    Returns:
        Targets in uS, with one more axis for the devices of each weight.

    Example:
        >>> anajax.encode(strategy, jnp.array([0.5, -0.25])).shape  # uS
        (2, 4)
    """
    u = jnp.asarray(weights)
    if not as_strategy(strategy).mirrored:
        return _interpolate(strategy, u)
    positive = _interpolate(strategy, jnp.abs(u))
    swapped = positive[..., jnp.asarray(strategy.cell.mirror)]
    return jnp.where(u[..., None] < 0, swapped, positive)


def decode(
    strategy: Strategy,
    conductances: Targets,
    *,
    alpha: Float[JArray, "..."] | float = 1.0,
) -> Weights:
    """Normalized weights represented by conductances: (alpha c.g - offset) / K.

    Args:
        strategy: defines significance, scale and offset.
        conductances: uS; the last axis is the devices of a weight.
        alpha: drift compensation factor, broadcasting against the weights.

    Example:
        >>> g = anajax.encode(strategy, jnp.array([0.5, -0.25]))
        >>> np.round(anajax.decode(strategy, g), 3).tolist()
        [0.5, -0.25]
    """
    c = strategy.cell.coefficients(strategy.significance)
    return (alpha * (conductances @ c) - strategy.offset) / strategy.scale


def interpolation(strategy: Strategy, weights: Weights) -> JArray:
    """The matrix `[weights, knots]` that maps the table to targets at `weights`.

    Weights must lie within the table (not negative if it is mirrored).
    """
    index = jnp.arange(strategy.knots.shape[0])
    if strategy.stepped:
        return 1.0 * (index == _step(strategy.knots, weights)[..., None])
    i, fraction = _locate(strategy.knots, weights)
    low = (index == i[..., None]) * (1 - fraction)[..., None]
    return low + (index == i[..., None] + 1) * fraction[..., None]


def resample(strategy: Strategy, knots: Float[JArray, "new"] | np.ndarray) -> Strategy:
    """The same strategy on other knots (exact if they include its own)."""
    knots = jnp.asarray(knots, dtype=strategy.targets.dtype)
    targets = _interpolate(strategy, knots)
    return replace(strategy, knots=knots, targets=targets)


def canonical(strategy: Strategy) -> Strategy:
    """The same strategy with pairs in decreasing significance, and 1 for the least."""
    order = jnp.argsort(-strategy.significance)
    least = jnp.min(strategy.significance)
    rows = strategy.targets.reshape(*strategy.targets.shape[:-1], -1, 2)
    return replace(
        strategy,
        targets=rows[..., order, :].reshape(strategy.targets.shape),
        significance=strategy.significance[order] / least,
        scale=strategy.scale / least,
    )


def full_scale(
    strategy: Strategy, span: Float[JArray, "*sweep"] | float
) -> Float[JArray, "*sweep"]:
    """K_max: the scale at which |u| = 1 drives every device through `span` (uS)."""
    reach = jnp.sum(strategy.significance) * span
    return reach if strategy.cell.paired else reach / 2


def _locate(knots: JArray, u: JArray) -> tuple[JArray, JArray]:
    i = jnp.clip(jnp.searchsorted(knots, u, side="right") - 1, 0, knots.shape[0] - 2)
    low, high = knots[i], knots[i + 1]
    return i, jnp.clip((u - low) / (high - low), 0, 1)


def _step(knots: JArray, u: JArray) -> JArray:
    return jnp.maximum(jnp.searchsorted(knots, u, side="right") - 1, 0)


def _interpolate(strategy: Strategy, u: JArray) -> JArray:
    if strategy.stepped:
        return strategy.targets[_step(strategy.knots, u)]
    i, fraction = _locate(strategy.knots, u)
    f = fraction[..., None]
    return strategy.targets[i] * (1 - f) + strategy.targets[i + 1] * f


def _check_shapes(strategy: Strategy) -> None:
    knots, cell = strategy.knots.shape[-1], strategy.cell
    expected = {
        "targets": (knots, cell.devices),
        "significance": (cell.factors,),
    }
    for name, shape in expected.items():
        got = getattr(strategy, name).shape[-len(shape) :]
        if got != shape:
            checks.fail(
                name,
                f"have shape {shape} for this cell and its knots",
                got,
                "Give one row per knot and one column per device.",
            )


def _check_increasing_weights(strategy: Strategy) -> None:
    names = ("targets", "significance", "offset", "scale")  # NumPy compiles nothing
    targets, f, offset, scale = (np.asarray(getattr(strategy, n)) for n in names)
    u = (targets @ strategy.cell.coefficients(f) - offset) / scale
    if u.ndim != 1 or (strategy.stepped and u[-1] >= u[0]):
        return
    tolerance = 2e-3 * float(np.max(np.abs(u)))
    if np.any(np.diff(u) < -tolerance) or u[-1] <= u[0]:
        worst = int(np.argmin(np.diff(u)))
        checks.fail(
            "targets",
            "decode to increasing weights",
            f"{u[worst]:.4g} at knot {worst}, then {u[worst + 1]:.4g}",
            "Correct the table, the signs or the significance.",
        )
