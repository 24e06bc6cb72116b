"""Products in a canonical form: weights `[groups in out]`, vectors `[groups batch in]`.

`Dot` stands for one `dot_general`, `Convolution` for one `conv_general_dilated`. Each
gives the meaning of its weight's axes (`roles`), and evaluates the product with a
function that multiplies in the canonical form.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from anajax._core.types import JArray
from anajax.crossbar.windows import Over, Window, in_parts, largest, unfold
from anajax.transformation.marks import Part

Multiply = Callable[[JArray, Any, Any], Any]
"""`(x [groups batch in], w [groups in out], part) -> (y [groups batch out], more)`; the
weights may be several arrays (a pytree) of one shape."""
Roles = list[list[tuple[str, int]]]
"""Factors of each axis of a weight, by role and size."""


@dataclasses.dataclass(frozen=True)
class Dot:
    """`dot_general` with the weight on one side."""

    x: tuple[int, ...]
    """Shape of the activation."""
    w: tuple[int, ...]
    """Shape of the weight."""
    rows: tuple[tuple[int, ...], tuple[int, ...]]
    """Contracted axes of the activation and of the weight."""
    batch: tuple[tuple[int, ...], tuple[int, ...]]
    """Batch axes of the activation and of the weight, paired."""
    weight_first: bool
    copies: tuple[int, ...] = ()
    """Which of the batch pairs only repeat one weight."""

    @property
    def groups(self) -> tuple[int, ...]:
        """Which of the batch pairs number matrices."""
        return tuple(i for i in range(len(self.batch[0])) if i not in self.copies)

    def _free(self, side: int) -> tuple[int, ...]:
        used = (*self.rows[side], *self.batch[side])
        return tuple(i for i in range(len((self.x, self.w)[side])) if i not in used)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Numbers of groups, rows and columns."""
        batch = [self.batch[1][i] for i in self.groups]
        groups, rows, columns = (
            math.prod(self.w[i] for i in axes)
            for axes in (batch, self.rows[1], self._free(1))
        )
        return groups, rows, columns

    @property
    def row_order(self) -> tuple[int, ...]:
        """Axes of the weight that are rows, slowest first."""
        return self.rows[1]

    def roles(self) -> Roles:
        """The role of each axis of the weight."""
        kinds = dict.fromkeys(self._free(1), "column")
        kinds |= dict.fromkeys(self.rows[1], "row")
        kinds |= dict.fromkeys(self.batch[1], "group")
        return [[(kinds[axis], n)] for axis, n in enumerate(self.w)]

    def run(
        self, x: JArray, w: Any, multiply: Multiply, limit: int, over: Over = largest
    ) -> Any:
        """The product, with axes in the order of `dot_general`, and further results."""
        del limit, over
        groups, rows, _ = self.sizes
        pairs = [[self.batch[s][i] for i in self.groups] for s in (0, 1)]
        copies = [[self.batch[s][i] for i in self.copies] for s in (0, 1)]
        w = jax.tree.map(self.matrices, w)
        order = (*pairs[0], *copies[0], *self._free(0), *self.rows[0])
        vectors = jnp.transpose(x, order).reshape(groups, -1, rows)
        y, more = multiply(vectors, w, None)
        batch = [(-1, i) for i in (*self.groups, *self.copies)]
        free = [[(side, i) for i in self._free(side)] for side in (0, 1)]
        have = [*batch, *free[0], *free[1]]
        shape = [self._length(*name) for name in have]
        want = [*sorted(batch), *free[self.weight_first], *free[not self.weight_first]]
        return jnp.transpose(y.reshape(shape), [have.index(n) for n in want]), more

    def matrices(self, w: JArray) -> JArray:
        """A weight as its matrices `[groups in out]`."""
        for i in self.copies:
            w = jax.lax.slice_in_dim(w, 0, 1, axis=self.batch[1][i])
        pairs, copies = (
            [self.batch[1][i] for i in numbers]
            for numbers in (self.groups, self.copies)
        )
        order = (*copies, *pairs, *self.rows[1], *self._free(1))
        return jnp.transpose(w, order).reshape(self.sizes)

    def _length(self, side: int, i: int) -> int:
        return self.x[self.batch[0][i]] if side < 0 else (self.x, self.w)[side][i]


def dot(eqn: Any, side: int, parts: Sequence[Part]) -> Dot | None:
    """The form of a `dot_general` whose operand `side` is the weight.

    `None` if no axis is contracted.
    """
    contract, batch = eqn.params["dimension_numbers"]
    shapes = [tuple(v.aval.shape) for v in eqn.invars]
    if not contract[0]:
        return None
    other = 1 - side
    copies = tuple(
        i for i, axis in enumerate(batch[side]) if parts and _repeats(parts, axis)
    )
    return Dot(
        x=shapes[other],
        w=shapes[side],
        rows=(tuple(contract[other]), tuple(contract[side])),
        batch=(tuple(batch[other]), tuple(batch[side])),
        weight_first=side == 0,
        copies=copies,
    )


def _repeats(parts: Sequence[Part], axis: int) -> bool:
    dims = [part.dims[axis] for part in parts]
    return all(dim and not any(atom.axes for atom in dim) for dim in dims)


@dataclasses.dataclass(frozen=True)
class Convolution:
    """`conv_general_dilated` with the weight as its kernel."""

    x_order: tuple[int, ...]
    """Axes of the input: batch, channels, space."""
    w_order: tuple[int, ...]
    """Axes of the kernel: outputs, inputs, space."""
    y_order: tuple[int, ...]
    """Axes of the result: batch, channels, space."""
    w: tuple[int, ...]
    """Shape of the kernel."""
    window: Window
    groups: int

    @property
    def kernel(self) -> tuple[int, ...]:
        """Size of the kernel in space."""
        return tuple(self.w[i] for i in self.w_order[2:])

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Numbers of groups, rows and columns."""
        out, inputs = (self.w[i] for i in self.w_order[:2])
        return self.groups, math.prod(self.kernel) * inputs, out // self.groups

    @property
    def row_order(self) -> tuple[int, ...]:
        """Axes of the kernel that are rows, slowest first."""
        return (*self.w_order[2:], self.w_order[1])

    def roles(self) -> Roles:
        """The role of each axis of the kernel."""
        out = self.w_order[0]
        columns = [("group", self.groups), ("column", self.w[out] // self.groups)]
        columns = columns if self.groups > 1 else [("column", self.w[out])]
        return [columns if i == out else [("row", n)] for i, n in enumerate(self.w)]

    def run(
        self, x: JArray, w: Any, multiply: Multiply, limit: int, over: Over = largest
    ) -> Any:
        """The product, with the axes of the convolution, and further results."""
        groups, rows, columns = self.sizes
        w = jax.tree.map(self.matrices, w)
        x = jnp.transpose(x, (self.x_order[0], *self.x_order[2:], self.x_order[1]))

        def some(x: JArray, part: Any) -> Any:
            windows = unfold(x, self.kernel, self.window)
            *outer, positions, channels = windows.shape
            count = math.prod(outer)  # not -1: a batch may be empty
            shape = (count, positions, groups, channels // groups)
            vectors = jnp.moveaxis(windows.reshape(shape), 2, 0)
            y, more = multiply(vectors.reshape(groups, count, rows), w, part)
            return jnp.moveaxis(y, 0, 1).reshape(*outer, groups * columns), more

        y, more = in_parts(some, x, self._per_item(x), limit, over)
        return self.ordered(y), more

    def convolve(self, x: JArray, w: JArray) -> JArray:
        """The convolution itself, `[batch *space channels]`."""
        numbers = jax.lax.ConvDimensionNumbers(self.x_order, self.w_order, self.y_order)
        strides, padding, spread, dilation = self.window
        y = jax.lax.conv_general_dilated(
            x, w, strides, padding, spread, dilation, numbers, self.groups
        )
        return jnp.transpose(y, (self.y_order[0], *self.y_order[2:], self.y_order[1]))

    def ordered(self, y: JArray) -> JArray:
        """A result `[batch *space channels]` with the axes of the convolution."""
        back = (self.y_order[0], *self.y_order[2:], self.y_order[1])
        return jnp.transpose(y, [back.index(i) for i in range(y.ndim)])

    def matrices(self, w: JArray) -> JArray:
        """A kernel as its matrices `[groups in out]`."""
        groups, rows, columns = self.sizes
        w = jnp.transpose(w, (*self.w_order[2:], *self.w_order[1::-1]))
        return w.reshape(rows, groups, columns).swapaxes(0, 1)

    def _per_item(self, x: JArray) -> int:
        windows = jax.eval_shape(lambda x: unfold(x, self.kernel, self.window), x[:1])
        return windows.size


def convolution(eqn: Any) -> Convolution | None:
    """The form of a convolution with its kernel as the weight.

    `None` where the batch is split into groups, as in the gradient of a kernel.
    """
    params = eqn.params
    if params["batch_group_count"] != 1:
        return None
    numbers = params["dimension_numbers"]
    return Convolution(
        x_order=tuple(numbers.lhs_spec),
        w_order=tuple(numbers.rhs_spec),
        y_order=tuple(numbers.out_spec),
        w=tuple(eqn.invars[1].aval.shape),
        window=Window(
            strides=tuple(params["window_strides"]),
            padding=tuple(map(tuple, params["padding"])),
            spread=tuple(params["lhs_dilation"]),
            dilation=tuple(params["rhs_dilation"]),
        ),
        groups=params["feature_group_count"],
    )
