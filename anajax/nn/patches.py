"""Convolutions as products: input windows unfolded into vectors."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax

from anajax._core.types import JArray
from anajax.crossbar import windows

Window = tuple[tuple[int, ...], Any, tuple[int, ...], tuple[int, ...]]
"""Strides, padding, dilation of the input, dilation of the kernel."""


def unfold(x: JArray, kernel_size: Sequence[int], window: Window) -> JArray:
    """Windows of `x [n *spatial channels]`: `[n *out positions channels]`."""
    strides, _, spread, dilation = window
    pads = explicit_padding(x.shape[1:-1], kernel_size, window)
    moves = windows.Window(strides, tuple(pads), spread, dilation)
    return windows.unfold(x, kernel_size, moves)


def explicit_padding(
    size: Sequence[int], kernel_size: Sequence[int], window: Window
) -> list[tuple[int, int]]:
    """Padding as pairs; names such as `"SAME"` are worked out for this input."""
    strides, padding, spread, dilation = window
    if not isinstance(padding, str):
        return [tuple(pair) for pair in padding]
    inner = [(n - 1) * d + 1 if n else 0 for n, d in zip(size, spread, strict=True)]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel_size, dilation, strict=True)]
    return jax.lax.padtype_to_pads(inner, reach, strides, padding)


def transposed_padding(
    kernel_size: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
    padding: Any,
) -> list[tuple[int, int]]:
    """Padding of the spread-out input of a transposed convolution (as JAX pads it)."""
    if not isinstance(padding, str):
        if isinstance(padding, int):
            padding = [padding] * len(kernel_size)
        return [(p, p) if isinstance(p, int) else tuple(p) for p in padding]
    pads = []
    for k, s, d in zip(kernel_size, strides, dilation, strict=True):
        k = (k - 1) * d + 1
        total = k + s - 2
        if padding.upper() == "SAME":
            low = k - 1 if s > k - 1 else math.ceil(total / 2)
        else:
            total += max(k - s, 0)
            low = k - 1
        pads.append((low, total - low))
    return pads


def chunked(
    function: Callable[[JArray], JArray],
    x: JArray,
    kernel_size: Sequence[int],
    window: Window,
    limit: int,
) -> JArray:
    """`function(x)`, by parts of the batch whose windows hold at most `limit` numbers.

    Parts are recomputed in the backward pass, so that it holds one at a time as well.
    """
    first = jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype)
    one = jax.eval_shape(lambda x: unfold(x, kernel_size, window), first)
    parts = windows.in_parts(lambda x, _: (function(x), None), x, one.size, limit)
    return parts[0]
