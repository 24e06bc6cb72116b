"""Matrices on tiles: cut, assembled from devices, scaled; ready for products.

A matrix `[in, out]` is cut into `row_tiles x column_tiles` parts of nearly equal size.
Smaller tiles are padded with zeros to one shape, so that all tiles are one batched
product. Building is pure, differentiable, and cheap enough for every training step.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from anajax._core import checks
from anajax._core.tree import pytree, replace, static
from anajax._core.types import Any, Float, JArray
from anajax.crossbar.converters import Number
from anajax.crossbar.split import even_parts, join, split_axis
from anajax.crossbar.wires import Wires, effective_matrix, effective_planes

Known = JArray | np.ndarray
"""NumPy if the numbers are known, so that traces do not compute with them."""
Scaling = Literal["none", "array", "tile", "column"]
"""What is scaled to the same largest weight: nothing, each tile as a whole, or each
column of each tile separately (`"tile"`, as in `mapping.normalized`; `"column"` is a
synonym)."""


@pytree
class TileRule:
    """The largest tile: larger matrices are cut into parts of nearly equal size."""

    rows: int | None = static(default=None)
    """Largest number of rows (inputs) per tile; `None`: no limit."""
    columns: int | None = static(default=None)
    """Largest number of columns (outputs) per tile; `None`: no limit."""

    def __post_init__(self) -> None:
        for name, limit in (("rows", self.rows), ("columns", self.columns)):
            if limit is not None and (limit < 1 or limit != int(limit)):
                checks.fail(name, "be a positive integer", limit, "None: no limit.")

    def parts(self, rows: int, columns: int) -> tuple[list[int], list[int]]:
        """Sizes of the row parts and of the column parts of a matrix."""
        return (
            even_parts(rows, -(-rows // (self.rows or rows))),
            even_parts(columns, -(-columns // (self.columns or columns))),
        )


@pytree
class Tiles:
    """A matrix on tiles, as its converters see it.

    Axes: `t` row tiles of `r` rows, `k` column tiles of `c` columns, `g` groups of
    devices with their own ADC conversion (1 if devices are combined in analog).
    """

    matrix: Float[JArray, "t r k c g"]
    """Weight per cell and group before the ADC; 1 is one unit cell at full input."""
    variance: Float[JArray, "t r k c g"] | None
    """Read-noise variance of `matrix`, drawn for each product; `None` for none."""
    digital: Float[JArray, "g"]
    """Factor of each group after the ADC (its significance)."""
    scale: Float[JArray, "#t #k #c"]
    """Digital factor of each tile and column."""
    bias: Float[JArray, "out"] | None
    """Digital bias, or `None`."""
    rows: int = static()
    """Number of rows (inputs) of the whole matrix."""
    columns: int = static()
    """Number of columns (outputs) of the whole matrix."""

    @property
    def grid(self) -> tuple[int, int]:
        """Number of row tiles and column tiles."""
        return self.matrix.shape[0], self.matrix.shape[2]


# --- building -----------------------------------------------------------------------


def from_weights(
    weights: Float[JArray, "rows columns"],
    rule: TileRule = TileRule(),  # noqa: B008
    *,
    normalize: Scaling = "none",
    omega: Number = 1.0,
    variance: Float[JArray, "rows columns"] | None = None,
    bias: Float[JArray, "columns"] | None = None,
) -> Tiles:
    """Tiles of a plain weight matrix: each weight is one cell of either sign.

    Args:
        weights: `[in, out]`.
        rule: largest tile.
        normalize: scale the largest weight to `omega`, for each column of a `"tile"`
            (or `"column"`, the same) or for its whole `"array"`, undone digitally after
            the ADC; `"none"` leaves weights unchanged. No gradient flows through the
            normalization (with ideal converters its effect cancels). An all-zero part
            is scaled by 1.
        omega: largest weight after normalization.
        variance: read-noise variance of each weight, drawn for each product.
        bias: added digitally.

    Raises:
        ValueError: for an unknown `normalize`, `omega` <= 0 or shapes that do not fit.
    """
    _check_matrix("weights", weights, 2)
    return from_planes(
        weights[..., None],
        rule,
        coefficients=(1.0,),
        normalize=normalize,
        omega=omega,
        variance=None if variance is None else variance[..., None],
        bias=bias,
    )


def from_planes(
    planes: Float[JArray, "rows columns devices"],
    rule: TileRule = TileRule(),  # noqa: B008
    *,
    coefficients: Float[JArray, "devices"] | Sequence[Number],
    combine: str | tuple[int, ...] = "analog",
    unit: Number = 1.0,
    scale: Number = 1.0,
    normalize: Scaling = "none",
    omega: Number = 1.0,
    variance: Float[JArray, "rows columns devices"] | None = None,
    bias: Float[JArray, "columns"] | None = None,
) -> Tiles:
    """Tiles of cells with several devices: weight = scale * planes @ coefficients.

    Devices in a group share an ADC conversion (their currents add, with their relative
    coefficients); groups are added digitally. The digital factor of a group is its
    largest |coefficient|.

    Args:
        planes: conductance of each device, uS.
        rule: largest tile.
        coefficients: signed significance of each device, such as (F, -F, 1, -1).
        combine: `"analog"` (all devices in one group), `"digital"` (one group each), or
            the group of each device, such as (0, 0, 1, 1) for pairs.
        unit: conductance in uS that the ADC counts as one.
        scale: weight per uS: one number, or one per column `[out]`.
        normalize: as in `from_weights`, by the largest of all groups.
        omega: largest value of a group after normalization.
        variance: read-noise variance of each device, uS^2, drawn for each product.
        bias: added digitally.

    Raises:
        ValueError: if shapes or groups do not fit, or `unit` is not positive.
    """
    _check_matrix("planes", planes, 3)
    checks.positive("unit", unit)
    checks.positive("omega", omega)
    dtype, devices = planes.dtype, planes.shape[2]
    factors = _constant(coefficients, dtype)
    if factors.shape != (devices,):
        rule_text = f"have one value per device ({devices})"
        checks.fail("coefficients", rule_text, factors.shape, "Match `planes`.")
    analog, digital = group_shares(factors, combine)
    unit = _constant(unit, dtype)
    if variance is not None:
        if variance.shape != planes.shape:
            text, got = f"have the shape of the matrix {planes.shape}", variance.shape
            checks.fail("variance", text, got, "Give one variance per device.")
        variance = _mix(variance, (analog / unit) ** 2)
    return from_groups(
        _mix(planes, analog / unit),
        rule,
        digital=digital,
        scale=jnp.asarray(scale, dtype) * unit,
        normalize=normalize,
        omega=omega,
        variance=variance,
        bias=_check_bias(bias, planes.shape[1]),
    )


def from_groups(
    values: Float[JArray, "rows columns groups"],
    rule: TileRule,
    *,
    digital: Float[Known, "groups"],
    scale: Number = 1.0,
    normalize: Scaling = "none",
    omega: Number = 1.0,
    variance: Float[JArray, "rows columns groups"] | None = None,
    bias: Float[JArray, "columns"] | None = None,
) -> Tiles:
    """Tiles from the inputs of each ADC: weight = scale * values @ digital.

    Args:
        values: values of each group of devices with its own ADC conversion.
        rule: largest tile.
        digital: factor of each group after the ADC.
        scale: one number, or one per column `[out]`.
        normalize: as in `from_planes`.
        omega: largest value of a group after normalization.
        variance: read-noise variance of `values`, drawn for each product.
        bias: added digitally.
    """
    tiles = Tiles(
        matrix=_tile(values, rule),
        variance=None if variance is None else _tile(variance, rule),
        digital=jnp.asarray(digital),
        scale=_column_scale(jnp.asarray(scale, values.dtype), values.shape[1], rule),
        bias=bias,
        rows=values.shape[0],
        columns=values.shape[1],
    )
    return _normalized(tiles, normalize, omega)


def group_shares(
    factors: Float[Known, "devices"], combine: str | tuple[int, ...]
) -> tuple[Float[Known, "devices groups"], Float[Known, "groups"]]:
    """Each device's share in its group, and the digital factor of each group.

    NumPy arrays stay NumPy arrays. A group of all-zero factors gets 0.

    Raises:
        ValueError: if `combine` does not assign each device to a group.
    """
    xp = np if isinstance(factors, np.ndarray) else jnp
    member = membership(combine, factors.shape[0]).astype(factors.dtype)
    digital = xp.max(abs(factors)[:, None] * member, axis=0)
    return factors[:, None] * member / xp.where(digital > 0, digital, 1), digital


def _constant(value: Any, dtype: Any) -> Any:
    """Known numbers as a NumPy array, so that no trace computes with them.

    XLA for GPUs fails on selects among constants of one element in a `jax.checkpoint`.
    """
    if checks.concrete(value):
        return np.asarray(value, dtype)
    return jnp.asarray(value, dtype)


def membership(combine: str | tuple[int, ...], devices: int) -> np.ndarray:
    """Which device `[devices groups]` is in which group, for `from_planes`.

    Raises:
        ValueError: if `combine` does not assign each device to a group.
    """
    named = {"analog": (0,) * devices, "digital": tuple(range(devices))}
    index = named.get(combine, combine) if isinstance(combine, str) else combine
    remedy = f'Use "analog", "digital" or {devices} group numbers from 0.'
    if isinstance(index, str) or len(index) != devices:
        checks.fail("combine", "give each device a group", combine, remedy)
    if sorted(set(index)) != list(range(max(index) + 1)):
        checks.fail("combine", "number its groups 0, 1, ...", combine, remedy)
    return np.eye(max(index) + 1, dtype=bool)[list(index)]


def _mix(planes: JArray, factors: JArray) -> Float[JArray, "rows columns groups"]:
    return jnp.sum(planes[..., None] * factors, axis=2)  # elementwise beats a dot here


def _tile(planes: JArray, rule: TileRule) -> Float[JArray, "t r k c g"]:
    rows, columns = rule.parts(planes.shape[0], planes.shape[1])
    return split_axis(split_axis(planes, rows, axis=0), columns, axis=2)


def _column_scale(scale: JArray, columns: int, rule: TileRule) -> JArray:
    if scale.ndim == 0:
        return scale.reshape(1, 1, 1)
    if scale.shape != (columns,):
        rule_text = f"be one number or one per column ({columns},)"
        checks.fail("scale", rule_text, scale.shape, "Match the matrix.")
    return split_axis(scale, rule.parts(1, columns)[1], axis=0)[None]


def _normalized(tiles: Tiles, normalize: Scaling, omega: Number) -> Tiles:
    checks.word("normalize", normalize, Scaling)
    if normalize == "none":
        return tiles
    t, r, *rest = tiles.matrix.shape
    flat = jax.lax.stop_gradient(tiles.matrix).reshape(t, r, -1)
    # a loop over 2-D maxima: on CPU several times faster than one batched maximum
    largest = jax.lax.map(lambda tile: jnp.max(jnp.abs(tile), axis=0), flat)
    largest = largest.reshape(t, 1, *rest) / omega
    axes = (3, 4) if normalize == "array" else 4
    largest = jnp.max(largest, axis=axes, keepdims=True)
    largest = jnp.where(largest > 0, largest, 1)
    variance = tiles.variance
    return replace(
        tiles,
        matrix=tiles.matrix / largest,
        variance=None if variance is None else variance / largest**2,
        scale=tiles.scale * largest[:, 0, :, :, 0],
    )


def _check_matrix(name: str, matrix: JArray, ndim: int) -> None:
    if matrix.ndim != ndim or 0 in matrix.shape:
        axes = "[in, out]" if ndim == 2 else "[in, out, devices]"
        got = matrix.shape
        checks.fail(name, f"be a matrix {axes}", got, "Reshape kernels to 2-D first.")


def _check_bias(bias: JArray | None, columns: int) -> JArray | None:
    if bias is not None and bias.shape != (columns,):
        rule = f"have one value per column ({columns},)"
        checks.fail("bias", rule, bias.shape, "Match the matrix.")
    return bias


def through_wires(
    planes: Float[JArray, "rows columns devices"],
    rule: TileRule,
    wires: Wires,
    *,
    matrix: Callable[[JArray, Wires], JArray] = effective_matrix,
) -> Float[JArray, "rows columns devices"]:
    """Effective conductances with the wire resistance of each tile, for `from_planes`.

    Each tile is an array of the size of its part. Read-noise variances passed to
    `from_planes` may stay unchanged: wires only attenuate them.

    Args:
        planes: conductance of each device, uS.
        rule: largest tile.
        wires: resistances, ends, and layout of the devices.
        matrix: `wires.effective_matrix` (exact) or `wires.attenuated_matrix` (cheap).
    """
    _check_matrix("planes", planes, 3)
    rows, columns = rule.parts(*planes.shape[:2])

    def block(row: slice, height: int, column: slice, width: int) -> JArray:
        part = planes[row, column]
        shape = (-1, height, part.shape[1] // width, width, planes.shape[2])
        tiles = part.reshape(shape).swapaxes(1, 2)
        grid = tiles.shape[:2]
        tiles = tiles.reshape(-1, *tiles.shape[2:])
        out = jax.lax.map(lambda t: effective_planes(t, wires, matrix=matrix), tiles)
        return out.reshape(*grid, *out.shape[1:]).swapaxes(1, 2).reshape(part.shape)

    return jnp.concatenate(
        [
            jnp.concatenate([block(*r, *c) for c in _runs(columns)], axis=1)
            for r in _runs(rows)
        ]
    )


def _runs(parts: Sequence[int]) -> list[tuple[slice, int]]:
    """The stretches of an axis with parts of one size: at most two."""
    runs, start = [], 0
    for size in sorted(set(parts), reverse=True):
        stop = start + size * parts.count(size)
        runs.append((slice(start, stop), size))
        start = stop
    return runs


# --- taking apart -------------------------------------------------------------------


def weights(tiles: Tiles) -> Float[JArray, "rows columns"]:
    """The digital matrix that the tiles represent (no converters, no noise)."""
    full = (tiles.matrix @ tiles.digital) * tiles.scale[:, None]
    return join(join(full, tiles.columns, axis=2), tiles.rows, axis=0)


def of_tiles(factor: Float[JArray, "rows columns"], rule: TileRule) -> JArray:
    """Factors of tiles and columns `[t, k, c]` from those of their weights."""
    return jnp.max(_tile(factor[..., None], rule), axis=(1, 4))


def spread(
    factor: Float[JArray, "t k #c"], rule: TileRule, rows: int, columns: int
) -> Float[JArray, "rows columns"]:
    """The factor of each weight from those of tiles; the inverse of `of_tiles`."""
    (t, r), (k, c) = ((len(p), max(p)) for p in rule.parts(rows, columns))
    shape = t, r, k, c
    whole = jnp.broadcast_to(factor[:, None], shape)
    return join(join(whole, columns, axis=2), rows, axis=0)


def rescale(tiles: Tiles, factor: Number) -> Tiles:
    """The tiles with their digital scales multiplied, for drift compensation.

    Args:
        tiles: any tiles.
        factor: a number, one per output column `[out]`, or one per tile `[t, k, #c]`.
    """
    factor = jnp.asarray(factor, tiles.scale.dtype)
    if factor.ndim == 1:
        if factor.shape != (tiles.columns,):
            rule = f"have one value per column ({tiles.columns},)"
            checks.fail("factor", rule, factor.shape, "Or give one number.")
        sizes = even_parts(tiles.columns, tiles.grid[1])
        factor = split_axis(factor, sizes, axis=0)[None]
    return replace(tiles, scale=tiles.scale * factor)
