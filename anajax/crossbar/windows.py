"""Convolutions as products: the windows of an input, unfolded into vectors."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from anajax._core.types import JArray

Over = Callable[[JArray], JArray]
"""How results of all parts are combined (first axis)."""


def largest(values: JArray) -> JArray:
    """The largest over the first axis."""
    return jnp.max(values, axis=0)


class Window(NamedTuple):
    """How a kernel moves over its input, axis by axis of space."""

    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    spread: tuple[int, ...]
    """Dilation of the input."""
    dilation: tuple[int, ...]
    """Dilation of the kernel."""


def unfold(x: JArray, kernel: Sequence[int], window: Window) -> JArray:
    """Windows of `x [n *space channels]`: `[n *out positions channels]`.

    One axis after the other: few operations, all of them exact copies.
    """
    pads = zip(window.padding, window.spread, strict=True)
    config = [(0, 0, 0), *((low, high, d - 1) for (low, high), d in pads), (0, 0, 0)]
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), config)[..., None, :]
    moves = zip(kernel, window.strides, window.dilation, strict=True)
    for axis, (size, stride, dilation) in enumerate(moves, start=1):
        reach = x.shape[axis] - (size - 1) * dilation  # 0 or less: no window fits
        if size == 1 and stride == 1:
            continue
        starts = [i * dilation if reach > 0 else 0 for i in range(size)]
        parts = [
            jax.lax.slice_in_dim(x, start, start + max(reach, 0), stride, axis)
            for start in starts
        ]
        x = jnp.stack(parts, axis=-2)  # [... positions of earlier axes, this one, c]
        *rest, earlier, here, channels = x.shape
        x = x.reshape(*rest, earlier * here, channels)  # not -1: a batch may be empty
    return x


def in_parts(
    function: Callable[[JArray, Any], Any],
    x: JArray,
    per_item: int,
    limit: int,
    over: Over = largest,
) -> Any:
    """`function(x, part)` on numbered parts of the batch with at most `limit` numbers.

    Parts are computed again in the backward pass, so that it holds one at a time.
    Further results are combined by the largest over the parts, or by `over`.
    """
    items = x.shape[0]
    fitting = (p for p in range(1, items + 1) if items % p == 0)
    parts = next((p for p in fitting if items // p * per_item <= limit), items)
    if parts <= 1:
        return function(x, None)
    split = x.reshape(parts, items // parts, *x.shape[1:])
    each = jax.checkpoint(lambda operands: function(*operands))
    y, more = jax.lax.map(each, (split, jnp.arange(parts)))
    more = jax.tree.map(over, more)
    return y.reshape(items, *y.shape[2:]), more
