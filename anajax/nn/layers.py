"""Flax's layers with their product replaced by a product on tiles.

Each class is the Flax layer of its name: shapes, padding, promotion of dtypes and the
(digital) bias are Flax's own code, and parameters keep their names. What is added is
the attribute `analog`. Layers are made by `anajax.nn.convert.to_analog`.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from anajax._core import checks
from anajax._core.types import JArray
from anajax.nn.analog import Analog, contract
from anajax.nn.patches import chunked, transposed_padding, unfold


class AnalogLinear(nnx.Linear):
    """`nnx.Linear` on tiles: `[in out]`."""

    analog: Analog

    def dot_general(  # pyright: ignore[reportIncompatibleVariableOverride]
        self, x: JArray, kernel: JArray, dimension_numbers: tuple, **_: Any
    ) -> JArray:
        """The analog product in place of `jax.lax.dot_general`."""
        return contract(self.analog, x, kernel, dimension_numbers)

    def matrices(self, kernel: JArray) -> JArray:
        """The kernel as matrices `[groups in out]`."""
        return kernel[None]


class AnalogLoRALinear(AnalogLinear, nnx.LoRALinear):
    """`nnx.LoRALinear` with its base on tiles; the adapter `lora` stays digital."""


class AnalogLinearGeneral(nnx.LinearGeneral):
    """`nnx.LinearGeneral` on tiles: inputs are rows, outputs columns, flattened.

    Each index of the batch axes is a matrix of its own.
    """

    analog: Analog

    def dot_general(  # pyright: ignore[reportIncompatibleVariableOverride]
        self, x: JArray, kernel: JArray, dimension_numbers: tuple, **_: Any
    ) -> JArray:
        """The analog product in place of `jax.lax.dot_general`."""
        return contract(self.analog, x, kernel, dimension_numbers)

    def matrices(self, kernel: JArray) -> JArray:
        """The kernel as matrices `[groups in out]`."""
        groups = len(self.batch_axis)
        rows = groups + len(self.axis)
        shape = [
            int(np.prod(kernel.shape[a:b])) for a, b in ((0, groups), (groups, rows))
        ]
        return kernel.reshape(*shape, -1)


class AnalogEinsum(nnx.Einsum):
    """`nnx.Einsum` on tiles: contracted letters are rows, new letters columns.

    Letters in both operands and in the output number separate matrices.
    """

    analog: Analog

    def einsum_op(  # pyright: ignore[reportIncompatibleVariableOverride]
        self, equation: str, x: JArray, kernel: JArray, **_: Any
    ) -> JArray:
        """The analog product in place of `jnp.einsum`."""
        given, weight, out = einsum_letters(equation, x.ndim)
        both = [c for c in given if c in weight]
        batch = [c for c in both if c in out]
        summed = [c for c in both if c not in out]
        rows, groups = (
            ([given.index(c) for c in letters], [weight.index(c) for c in letters])
            for letters in (summed, batch)
        )
        y = contract(self.analog, x, kernel, (tuple(rows), tuple(groups)))
        free = [c for c in given if c not in both] + [
            c for c in weight if c not in both
        ]
        order = batch + free
        return jnp.transpose(y, [order.index(c) for c in out])

    def matrices(self, kernel: JArray) -> JArray:
        """The kernel as matrices `[groups in out]`."""
        assert self.einsum_str is not None
        given, weight, out = einsum_letters(self.einsum_str)
        kinds = ([], [], [])
        for axis, c in enumerate(weight):
            kinds[0 if c in given and c in out else 1 if c in given else 2].append(axis)
        shape = [int(np.prod([kernel.shape[i] for i in axes])) for axes in kinds]
        return jnp.transpose(kernel, sum(kinds, [])).reshape(shape)


class AnalogConv(nnx.Conv):
    """`nnx.Conv` on tiles: rows are kernel positions x input channels.

    Each output position is one input vector, so that the periphery acts on the true
    product. Every group of channels is a matrix of its own.
    """

    analog: Analog

    def conv_general_dilated(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
        x: JArray,
        kernel: JArray,
        strides: Sequence[int],
        padding: Any,
        *,
        lhs_dilation: Sequence[int],
        rhs_dilation: Sequence[int],
        **_: Any,
    ) -> JArray:
        """The analog product in place of `jax.lax.conv_general_dilated`."""
        return _convolve(
            self,
            x,
            kernel,
            window=(tuple(strides), padding, tuple(lhs_dilation), tuple(rhs_dilation)),
            groups=self.feature_group_count,
        )

    def matrices(self, kernel: JArray) -> JArray:
        """The kernel as matrices `[groups in out]`."""
        groups, out = self.feature_group_count, kernel.shape[-1]
        split = kernel.reshape(-1, groups, out // groups)
        return jnp.swapaxes(split, 0, 1)


class AnalogConvTranspose(nnx.ConvTranspose):
    """`nnx.ConvTranspose` on tiles: a convolution of the spread-out input.

    Zeros between the inputs draw no current. Circular padding is not supported.
    """

    analog: Analog

    def __call__(self, inputs: JArray) -> JArray:
        """Apply the layer to `inputs [*batch *spatial in]`."""
        spatial = len(self.kernel_size)
        cut = inputs.ndim - spatial - 1
        batch, rest = inputs.shape[:cut], inputs.shape[cut:]
        x = inputs.reshape(math.prod(batch), *rest)
        kernel = self.kernel[...]
        bias = None if self.bias is None else self.bias[...]
        if self.mask is not None:
            kernel = kernel * self.mask
        x, kernel, bias = self.promote_dtype((x, kernel, bias), dtype=self.dtype)
        strides, dilation = (
            _spread(v, spatial) for v in (self.strides, self.kernel_dilation)
        )
        pads = transposed_padding(self.kernel_size, strides, dilation, self.padding)
        window = ((1,) * spatial, pads, strides, dilation)
        y = _convolve(self, x, kernel, window=window, groups=1)
        y = y if bias is None else y + bias
        return y.reshape(*batch, *y.shape[1:])

    def matrices(self, kernel: JArray) -> JArray:
        """The kernel as matrices `[1 in out]`."""
        if self.transpose_kernel:
            kernel = jnp.flip(kernel, range(len(self.kernel_size))).swapaxes(-1, -2)
        return kernel.reshape(1, -1, kernel.shape[-1])


def _convolve(
    layer: AnalogConv | AnalogConvTranspose,
    x: JArray,
    kernel: JArray,
    *,
    window: tuple,
    groups: int,
) -> JArray:
    layer.analog.check_single()

    def some(x: JArray) -> JArray:
        columns = unfold(x, layer.kernel_size, window)  # [n *out positions channels]
        *outer, positions, channels = columns.shape
        count, each = math.prod(outer), channels // groups
        split = columns.reshape(count, positions, groups, each)
        vectors = jnp.moveaxis(split, 2, 0).reshape(groups, count, positions * each)
        y = layer.analog.product(vectors, kernel, layer.matrices)
        return jnp.moveaxis(y, 0, 1).reshape(*outer, groups * y.shape[-1])

    return chunked(some, x, layer.kernel_size, window, layer.analog.patches)


def _spread(value: int | Sequence[int] | None, count: int) -> tuple[int, ...]:
    if value is None or isinstance(value, int):
        return (value or 1,) * count
    return tuple(value)


def einsum_letters(
    equation: str, ndim: int | None = None
) -> tuple[list[str], list[str], list[str]]:
    """Letters of input, kernel and output; an ellipsis of the input is written out.

    Args:
        equation: such as `"...a,ab->...b"`.
        ndim: axes of the input; without it, an ellipsis counts as no axes.

    Raises:
        ValueError: if a letter is repeated, or summed within one operand.
    """
    left, out = equation.replace(" ", "").split("->")
    given, weight = left.split(",")
    lost = 0 if ndim is None else ndim - len(given.replace("...", ""))
    unused = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in equation][:lost]
    given, out = (s.replace("...", "".join(unused)) for s in (given, out))
    unsummed = set(given) ^ set(weight)
    if (
        "." in weight
        or any(len(set(s)) != len(s) for s in (given, weight, out))
        or not unsummed <= set(out)
        or not set(weight) & set(given) - set(out)
    ):
        rule = "be one product of input and kernel, each letter once per operand"
        checks.fail("einsum_str", rule, repr(equation), "Or keep the layer digital.")
    return list(given), list(weight), list(out)
