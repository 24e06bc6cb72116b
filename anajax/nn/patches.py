"""Convolutions as products: input windows unfolded into vectors."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from anajax._core.types import JArray

Window = tuple[tuple[int, ...], Any, tuple[int, ...], tuple[int, ...]]
"""Strides, padding, dilation of the input, dilation of the kernel."""


def unfold(x: JArray, kernel_size: Sequence[int], window: Window) -> JArray:
    """Windows of `x [n *spatial channels]`: `[n *out positions channels]`.

    Made of strided slices: exact copies, and adds in the backward pass.
    """
    strides, _, spread, dilation = window
    pads = explicit_padding(x.shape[1:-1], kernel_size, window)
    config = [(low, high, d - 1) for (low, high), d in zip(pads, spread, strict=True)]
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *config, (0, 0, 0)])
    reach = [(k - 1) * d for k, d in zip(kernel_size, dilation, strict=True)]
    out = output_size(x.shape[1:-1], reach, strides)

    def part(offset: tuple[int, ...]) -> JArray:
        start = [o * d for o, d in zip(offset, dilation, strict=True)]
        stop = [
            a + max(0, (n - 1) * s + 1)
            for a, n, s in zip(start, out, strides, strict=True)
        ]
        cut = map(slice, start, stop, strides)
        return x[(slice(None), *cut, slice(None))]

    offsets = [()]
    for k in kernel_size:
        offsets = [(*o, i) for o in offsets for i in range(k)]
    return jnp.stack([part(o) for o in offsets], axis=-2)


def output_size(
    size: Sequence[int], reach: Sequence[int], strides: Sequence[int]
) -> list[int]:
    """Window positions along each axis of a padded input."""
    return [
        max(0, (n - r - 1) // s + 1)
        for n, r, s in zip(size, reach, strides, strict=True)
    ]


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
    items = x.shape[0]
    parts = next(
        (p for p in range(1, items + 1)
         if items % p == 0 and items // p * one.size <= limit),
        items,
    )  # fmt: skip
    if parts <= 1:
        return function(x)
    split = x.reshape(parts, items // parts, *x.shape[1:])
    y = jax.lax.map(jax.checkpoint(function), split)
    return y.reshape(items, *y.shape[2:])
