"""Weights and conductances: unit cells, strategies, and the way between the two.

A unit cell is the group of devices that stands for one weight; a strategy is a table
of target conductances over weight values. With normalized weight u = w / w_max,

    K u = sum_d c_d g_d - offset,    c_d = sign_d F_d,

where F is the significance factor of the device's pair (1 for the least significant)
and K (uS per unit of u) the digital scale. K may exceed the range of the devices: the
rarest large weights are then clipped by the table.
"""

from collections.abc import Mapping
from typing import Any, Literal

import jax
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
"""What is scaled to the full range of a strategy: each layer, each column, or each
column of each tile."""


@pytree
class Strategy:
    """Target conductances over normalized weights, linear between the knots.

    Beyond the first and last knot the targets are held (weights are clipped). A
    mirrored strategy has knots for u >= 0; negative weights exchange the two devices
    of each pair. A stepped strategy, for memories of few levels, holds the targets of
    each knot up to the next one.

    Raises:
        ValueError: if knots do not increase, shapes disagree, a value is not finite,
            a mirrored strategy is not made of pairs, `scale` is not positive, or the
            table decodes to weights that decrease by more than 0.2 % of the largest
            (a stepped one: to a last weight below its first).

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
    """Weights as shares of what fills the range of the table."""

    u: Weights
    w_max: Float[JArray, "*layers"]
    """Largest |weight| of the layer, in the units of the network; of each layer of a
    stack, in axes that broadcast against the weights."""
    column: Float[JArray, "*columns"] = 1.0  # pyright: ignore[reportAssignmentType]
    """That of each column (of each tile) over `w_max`, broadcasting against the
    weights, or 1."""
    layout: Layout = static(default=ONE_LAYER)
    """What the axes of the weights are."""

    @property
    def unit(self) -> Float[JArray, "*columns"]:
        """What a normalized weight of 1 is in the network, by column or for all."""
        return self.w_max * self.column


def normalized(
    w: Weights,
    normalize: Normalize = "layer",
    layout: Layout = ONE_LAYER,
    *,
    path: str = "",
) -> Normalized:
    """Weights as shares of the largest |weight| of the layer, column or tile column.

    Args:
        w: weights of one layer, or of a stack of layers.
        normalize: `"column"` lets each column use the whole range, to be scaled
            digitally behind its ADC, as `weight_scaling_columnwise` of aihwkit does;
            `"tile"` each column of each row tile, which has an ADC of its own. A column
            of zeros keeps the scale of the layer.
        layout: which axes number layers, and which are columns (its outputs).
        path: what messages call the weights.

    Raises:
        ValueError: for another word, by columns where these are not known, or by tiles
            where their rows are not.
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
    """The strategy itself; what is none, such as the name of one, is refused.

    Raises:
        ValueError: says what to pass in its place.
    """
    if isinstance(strategy, Strategy):
        return strategy
    name = strategy if isinstance(strategy, str) else None
    name = getattr(strategy, "__name__", name or "lsp_first")
    remedy = f"Call it: anajax.strategies.{name}(device)."
    checks.fail("strategy", "be a Strategy", f"{strategy!r:.60}", remedy)


def check_strategy(strategy: Any, device: Device) -> None:
    """Refuse what is no strategy, or one whose targets a device does not have.

    Args:
        strategy: one, or one per path.
        device: the device model.

    Raises:
        ValueError: says what to pass in its place.
    """
    check_device(device)
    every = strategy.values() if isinstance(strategy, Mapping) else [strategy]
    for one in map(as_strategy, every):
        what = f"{one.name!r} with "
        check_targets(device, one.targets, name="strategy", what=what)


def check_layers(layers: Mapping[str, Any], device: Device) -> None:
    """Refuse layers (by path) whose targets a device does not have; tracers pass."""
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
        Targets in uS, one more axis for the devices of each weight.

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
    """Normalized weights that conductances stand for: (alpha c.g - offset) / K.

    Args:
        strategy: gives significance, scale and offset.
        conductances: uS, last axis the devices of a weight.
        alpha: drift compensation factor, broadcast against the weights.

    Example:
        >>> g = anajax.encode(strategy, jnp.array([0.5, -0.25]))
        >>> np.round(anajax.decode(strategy, g), 3).tolist()
        [0.5, -0.25]
    """
    c = strategy.cell.coefficients(strategy.significance)
    return (alpha * (conductances @ c) - strategy.offset) / strategy.scale


def interpolation(strategy: Strategy, weights: Weights) -> JArray:
    """The matrix `[weights, knots]` that takes the table to targets at `weights`.

    Weights must lie on the side of the table (not negative if it is mirrored).
    """
    index = jnp.arange(strategy.knots.shape[0])
    if strategy.stepped:
        return 1.0 * (index == _step(strategy.knots, weights)[..., None])
    i, fraction = _locate(strategy.knots, weights)
    low = (index == i[..., None]) * (1 - fraction)[..., None]
    return low + (index == i[..., None] + 1) * fraction[..., None]


def resample(strategy: Strategy, knots: Float[JArray, "new"] | np.ndarray) -> Strategy:
    """The same strategy on other knots (exact if its own are among them)."""
    knots = jnp.asarray(knots, dtype=strategy.targets.dtype)
    targets = _interpolate(strategy, knots)
    return replace(strategy, knots=knots, targets=targets)


def canonical(strategy: Strategy) -> Strategy:
    """The same strategy with pairs in falling significance and the least of them 1."""
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
    """K_max: the scale at which |u| = 1 takes every device through `span` (uS)."""
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
    with jax.ensure_compile_time_eval():  # concrete also inside a trace
        u = np.asarray(decode(strategy, strategy.targets))
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
