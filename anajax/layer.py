"""One weight array as targets, and how its devices are read back as weights."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax._core import checks
from anajax._core.tree import pytree, replace, static
from anajax._core.types import PRNGKey
from anajax.devices import base as _device
from anajax.devices.base import FIRST_READ, Cells, Device
from anajax.mapping.layout import ONE_LAYER, Layout
from anajax.mapping.strategy import Normalized, Strategy, encode

Through = Callable[[str, JArray], JArray]
"""`through(path, g [*weights devices])`: effective conductances with wire resistance.
"""


@pytree
class LayerProgram:
    """One weight array as targets: what is programmed, and how it is read back.

    It may hold a stack of layers, each with its own range and drift factors.

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
    """Largest |weight| in the network's units, for each layer of a stack, in axes that
    broadcast against the weights."""
    column: Float[JArray, "*columns"] = 1.0  # pyright: ignore[reportAssignmentType]
    """Digital scale per column, broadcasting against the weights, or one for all."""
    drift: Float[JArray, "*layers"] = 0.0  # pyright: ignore[reportAssignmentType]
    """Exponent a of a scheduled correction (1 + t / t0)^a, applied in addition to the
    measured drift compensation."""
    t0: Float[JArray, ""] = FIRST_READ  # pyright: ignore[reportAssignmentType]
    """Time constant t0 of this schedule, s, see `devices.base.first_read`."""
    layout: Layout = static(default=ONE_LAYER)
    """Meaning of the axes of the weights."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weights."""
        return self.targets.shape[:-1]

    @property
    def unit(self) -> Float[JArray, "*columns"]:
        """Network weight for a normalized weight of 1, by column or for all."""
        return self.w_max * self.column

    def write(self, device: Device, *, key: PRNGKey) -> Cells:
        """Program the devices of this layer on one chip.

        Raises:
            ValueError: if lines may be dead, and rows and columns are unknown.
        """
        shape, layout = self.shape, self.layout
        if not _has_lines(device) or layout.trailing(len(shape)):
            return _device.program(device, self.targets, key=key)
        cells = _device.program(device, layout.matrices(self.targets, more=1), key=key)
        return jax.tree.map(lambda v: layout.restored(v, shape), cells)


@pytree
class Unwritten:
    """A layer whose targets are computed from its weights when they are needed."""

    strategy: Strategy
    rest: LayerProgram
    """Everything except the targets."""
    shape: tuple[int, ...] = static()
    """Shape of the weights."""

    @property
    def layout(self) -> Layout:
        """Meaning of the axes of the weights."""
        return self.rest.layout

    @property
    def w_max(self) -> Float[JArray, "*layers"]:
        """Largest |weight| in the network's units."""
        return self.rest.w_max

    @property
    def offset(self) -> Float[JArray, ""]:
        """Subtracted digitally, in normalized weight."""
        return self.rest.offset

    @property
    def targets(self) -> Float[JArray, "*weights devices"]:
        """Refused: targets are computed from the weights when they are needed.

        Raises:
            ValueError: always; the message says how to get them.
        """
        checks.fail(
            "layers",
            "have targets",
            f"{self.shape} weights without targets",
            "Make them with `layer.of(weights)`, or draw chips with `chip.drawn`.",
        )

    def of(self, weights: Float[JArray, "*weights"]) -> LayerProgram:
        """The layer with its targets, bit-identical to those of `encode_weights`."""
        weights = weights.astype(jnp.promote_types(weights.dtype, jnp.float32))
        safe = jnp.where(self.w_max > 0, self.w_max, 1)
        targets = encode(self.strategy, weights / (safe * self.rest.column))
        return replace(self.rest, targets=targets)


def as_layer(weights: Normalized, strategy: Strategy) -> LayerProgram:
    """The targets of normalized weights under a strategy."""
    c = strategy.cell.coefficients(strategy.significance)
    return LayerProgram(
        targets=encode(strategy, weights.u),
        coefficients=c / strategy.scale,
        offset=strategy.offset / strategy.scale,
        w_max=weights.w_max,
        column=weights.column,
        layout=weights.layout,
    )


def with_columns(layer: LayerProgram | Unwritten) -> LayerProgram | Unwritten:
    """The layer with one digital scale per column, if its columns are known.

    Programs that learn such scales and programs that have none then share a trace.
    """
    if isinstance(layer, Unwritten):
        return layer
    own, column = layer.layout.column_shape(layer.shape), jnp.asarray(layer.column)
    shape = jnp.broadcast_shapes(column.shape, own)
    return replace(layer, column=jnp.broadcast_to(column, shape))


def schedule(layer: LayerProgram, t: Float[JArray, ""] | float) -> JArray:
    """The scheduled part of a layer's drift compensation at time `t` (s)."""
    return (1 + jnp.asarray(t, layer.w_max.dtype) / layer.t0) ** layer.drift


def finish(layer: LayerProgram, analog: JArray) -> JArray:
    """Weights in the network's units from their compensated analog part c.g / K."""
    return (analog - layer.offset) * layer.unit


def read_layer(
    device: Device,
    layer: LayerProgram,
    cells: Cells,
    *,
    t: Float[JArray, ""] | float,
    path: str,
    key: PRNGKey,
    through: Through | None = None,
) -> JArray:
    """The analog parts c.g / K of a layer's weights in one read-out.

    Args:
        device: the device model.
        layer: the targets.
        cells: from `layer.write`.
        t: seconds since the first read.
        path: of the layer, for `through`.
        key: key of the layer for this read-out of the chip.
        through: effect of wire resistance on the conductances as read.
    """
    aged = _device.age(device, cells, t=t, extrapolate=True)
    g = _device.read(device, aged, t=t, key=key, extrapolate=True)
    return combined(g if through is None else through(path, g), layer)


def combined(g: JArray, layer: LayerProgram) -> JArray:
    """The analog parts c.g / K of weights from their devices, the last axis of `g`."""
    g, c = jax.lax.optimization_barrier(g), layer.coefficients  # one pass over cells
    return sum((g[..., i] * c[i] for i in range(1, len(c))), g[..., 0] * c[0])


def _has_lines(device: Device) -> bool:
    """Whether rows or columns may be dead, as far as is known."""
    lines = device.faults and (device.faults.dead_rows, device.faults.dead_columns)
    return lines is not None and not (
        checks.concrete(lines) and not any(np.any(np.asarray(v)) for v in lines)
    )
