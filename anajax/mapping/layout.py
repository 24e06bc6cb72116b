"""The meaning of the axes of a weight array: layers of a stack, inputs, outputs.

A layer is one matrix: its inputs are the rows of a crossbar, its outputs the columns.
An array may have several axes of each kind (a convolution, attention heads), and hold
many layers of one shape (`nn.scan`, `vmap`), each with its own range and drift factor.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax._core import checks
from anajax.crossbar.split import even_parts

Axes = tuple[int, ...]


def _axes(name: str, axes: Any) -> Axes:
    try:
        return tuple(int(axis) for axis in axes)
    except (TypeError, ValueError):
        checks.fail(name, "be a tuple of axes", repr(axes), "Write such as (0, 1).")


@dataclasses.dataclass(frozen=True)
class Layout:
    """The axes of a weight array, each named once; negative ones count from the end.

    If only rows or only columns are named, the remaining axes are the others. If
    neither is named, it is unknown which are which: then `known` is false, and
    functions that need columns refuse the array.

        Layout(rows=(0,), columns=(1,))  # [in, out], as in Flax
        Layout(columns=(0,))  # [out, in, ...], as in PyTorch and Equinox
        Layout(stack=(0,), columns=(-1,))  # [layers, in, out], as nn.scan makes it
        Layout(rows=(0,))  # [in], with one output

    Raises:
        ValueError: if an axis is named twice.
    """

    stack: Axes = ()
    """Axes that number layers."""
    rows: Axes = ()
    """Inputs."""
    columns: Axes = ()
    """Outputs."""
    tile_rows: int | None = None
    """Largest number of rows per tile, counted in the order of `rows`; `None`: unknown.
    """

    def __post_init__(self) -> None:
        for name in ("stack", "rows", "columns"):
            object.__setattr__(self, name, _axes(name, getattr(self, name)))
        every = self.stack + self.rows + self.columns
        if len(set(every)) < len(every):
            checks.fail("layout", "name each axis once", self, "Correct it.")
        if self.tile_rows is not None:
            checks.whole("tile_rows", self.tile_rows, least=1)

    @property
    def known(self) -> bool:
        """Whether it says which axes are rows and which are columns."""
        return bool(self.rows or self.columns)

    def on(self, ndim: int, path: str = "") -> "Layout":
        """The layout for an array of `ndim` axes: all of them named, from 0.

        Raises:
            ValueError: if it does not fit an array with that many axes; names `path`.
        """
        every = self.stack + self.rows + self.columns
        if any(not -ndim <= axis < ndim for axis in every):
            self._unfit(ndim, path)
        stack, rows, columns = (
            tuple(axis % ndim for axis in axes)
            for axes in (self.stack, self.rows, self.columns)
        )
        named = stack + rows + columns
        rest = tuple(axis for axis in range(ndim) if axis not in named)
        if self.known:
            rows, columns = rows or rest, columns or rest
        vector = ndim - len(stack) == 1  # a matrix of one column, or of one row
        both = bool(rows and columns) or vector or not self.known
        complete = not self.known or len(stack + rows + columns) == ndim
        if len(set(named)) < len(named) or not (both and complete):
            self._unfit(ndim, path)
        return dataclasses.replace(self, stack=stack, rows=rows, columns=columns)

    def _unfit(self, ndim: int, path: str) -> None:
        rule = f"name rows and columns among the {ndim} axes of {path!r}, each once"
        checks.fail("layout", rule, self, "Correct it.")

    def sizes(self, shape: Sequence[int]) -> tuple[int, int, int]:
        """Number of layers, rows and columns of an array; 0 if unknown."""
        layers = math.prod(shape[axis] for axis in self.stack)
        if not self.known:
            return layers, 0, 0
        full = self.on(len(shape))
        rows, columns = (
            math.prod(shape[axis] for axis in axes)
            for axes in (full.rows, full.columns)
        )
        return layers, rows, columns

    def per_layer(self, reduce: Callable[..., JArray], w: JArray) -> JArray:
        """`reduce` over each layer: a scalar, or an array broadcasting over a stack."""
        if not self.stack:
            return reduce(w)
        axes = tuple(a for a in range(w.ndim) if a not in self.on(w.ndim).stack)
        return reduce(w, axis=axes, keepdims=True)

    def per_column(
        self, reduce: Callable[..., JArray], w: JArray, path: str = ""
    ) -> JArray:
        """`reduce` over the inputs: one number per output, broadcasts against weights.

        Raises:
            ValueError: if columns are unknown; names `path`.
        """
        self.need_columns(path, w.shape)
        full = self.on(w.ndim, path)
        return reduce(w, axis=full.rows, keepdims=not full.trailing(w.ndim))

    def mean_ratio(
        self, first: JArray, now: JArray, scope: str, path: str = ""
    ) -> JArray:
        """Mean |first| over mean |now|, by column or by layer: drift compensation."""

        def mean(w: JArray) -> JArray:
            if scope == "column":
                return self.per_column(jnp.mean, jnp.abs(w), path)
            return self.per_layer(jnp.mean, jnp.abs(w))

        above, below = mean(first), mean(now)
        return jnp.where(below > TINY, above / jnp.maximum(below, TINY), 1.0)

    def per_tile_column(
        self, reduce: Callable[..., JArray], w: JArray, path: str = ""
    ) -> JArray:
        """`reduce` over the inputs of each tile, per output; shaped like the weights.

        Raises:
            ValueError: if columns or the rows of a tile are unknown; names `path`.
        """
        matrices = self.matrices(w, path)
        if self.tile_rows is None:
            checks.fail(
                "normalize",
                'know how many rows a tile has, for "tile"',
                f"no information for {path or 'an array'!r}",
                'Pass select=report of rules with TileRule(rows=...), or use "column".',
            )
        sizes = even_parts(matrices.shape[1], -(-matrices.shape[1] // self.tile_rows))
        parts = jnp.split(matrices, list(itertools.accumulate(sizes))[:-1], axis=1)
        each = [
            jnp.broadcast_to(reduce(m, axis=1, keepdims=True), m.shape) for m in parts
        ]
        return self.restored(jnp.concatenate(each, axis=1), w.shape)

    def trailing(self, ndim: int) -> bool:
        """Whether the columns are the last axis and all others rows."""
        return not self.stack and self.on(ndim).columns == (ndim - 1,)

    def column_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of one number per output if columns are known, else ()."""
        if not self.known:
            return ()
        if self.trailing(len(shape)):
            return (shape[-1],)
        rows = self.on(len(shape)).rows
        return tuple(1 if axis in rows else n for axis, n in enumerate(shape))

    def layer_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of one number per layer: () unless there is a stack."""
        if not self.stack:
            return ()
        stack = self.on(len(shape)).stack
        return tuple(n if axis in stack else 1 for axis, n in enumerate(shape))

    def matrices(
        self, w: Float[JArray, "*weights"], path: str = "", *, more: int = 0
    ) -> Float[JArray, "layers rows columns *more"]:
        """The matrices of an array, whose last `more` axes are not the weights'.

        Raises:
            ValueError: if columns are unknown; names `path`.
        """
        ndim = w.ndim - more
        shape, rest = w.shape[:ndim], w.shape[ndim:]
        self.need_columns(path, shape)
        full = self.on(ndim, path)
        order = full.stack + full.rows + full.columns
        moved = jnp.transpose(w, (*order, *range(ndim, w.ndim)))
        return moved.reshape(*full.sizes(shape), *rest)

    def restored(
        self, matrices: Float[JArray, "layers rows columns *more"], shape: Sequence[int]
    ) -> JArray:
        """The array `[*shape *more]` from its matrices; inverse of `matrices`."""
        full, ndim = self.on(len(shape)), len(shape)
        order = full.stack + full.rows + full.columns
        more = matrices.shape[3:]
        spread = matrices.reshape(*(shape[axis] for axis in order), *more)
        back = [order.index(axis) for axis in range(ndim)]
        return jnp.transpose(spread, (*back, *range(ndim, ndim + len(more))))

    def need_columns(self, path: str, shape: Sequence[int]) -> None:
        """Refuse an array with unknown columns."""
        if not self.known:
            checks.fail(
                "layout",
                "say which axes are outputs, since they matter here",
                f"no information for {path or 'an array'!r} of shape {tuple(shape)}",
                f"Pass {REMEDY}.",
            )


TINY = 1e-12
REMEDY = (
    'layout="in_out" (outputs last), "out_in" (outputs first), or a '
    "Layout of anajax.mapping.layout by path: {path: Layout(stack=(0,), columns=(2,))}"
)
ONE_LAYER = Layout()
"""No stack; rows and columns unknown."""
IN_OUT, OUT_IN = Layout(columns=(-1,)), Layout(columns=(0,))
"""`[in, ..., out]` as in Flax, and `[out, in, ...]` as in PyTorch and Equinox."""
