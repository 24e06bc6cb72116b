"""Products of weights and activations."""

from typing import Any

import jax
import jax.numpy as jnp

from anajax.interop.operators.node import Node, Operator


def _gemm(node: Node, a: Any, b: Any, c: Any = None) -> Any:
    a = jnp.transpose(a) if node.get("transA", 0) else jnp.asarray(a)
    b = jnp.transpose(b) if node.get("transB", 0) else jnp.asarray(b)
    y, alpha = a @ b, node.get("alpha", 1.0)
    y = y if alpha == 1 else y * jnp.asarray(alpha, y.dtype)
    if c is None:
        return y
    beta = node.get("beta", 1.0)
    return y + (c if beta == 1 else c * jnp.asarray(beta, y.dtype))


def _einsum(node: Node, *operands: Any) -> Any:
    return jnp.einsum(bytes(node.get("equation")).decode(), *operands)


def padding(
    node: Node, sizes: Any, kernel: Any, strides: Any, dilations: Any
) -> list[tuple[int, int]]:
    """Zeros before and after each spatial axis, from `auto_pad` or `pads`."""
    auto = bytes(node.get("auto_pad", b"NOTSET"))
    n = len(sizes)
    if auto in (b"NOTSET", b""):
        pads = node.get("pads", [0] * 2 * n)
        return list(zip(pads[:n], pads[n:], strict=True))
    if auto == b"VALID":
        return [(0, 0)] * n
    found = []
    for size, k, stride, dilation in zip(
        sizes, kernel, strides, dilations, strict=True
    ):
        span = (-(-size // stride) - 1) * stride + dilation * (k - 1) + 1
        total = max(span - size, 0)
        less = total // 2
        found.append(
            (less, total - less) if auto == b"SAME_UPPER" else (total - less, less)
        )
    return found


def _numbers(x: Any, w: Any) -> Any:
    space = "DHWABCEFG"[: x.ndim - 2]
    orders = ("NC" + space, "OI" + space, "NC" + space)
    return jax.lax.conv_dimension_numbers(x.shape, w.shape, orders)


def _with_bias(y: Any, bias: Any) -> Any:
    return y if bias is None else y + jnp.reshape(bias, (-1, *[1] * (y.ndim - 2)))


def _conv(node: Node, x: Any, w: Any, bias: Any = None) -> Any:
    x, w = jnp.asarray(x), jnp.asarray(w)
    kernel, n = w.shape[2:], x.ndim - 2
    strides, dilations = (node.get(k, [1] * n) for k in ("strides", "dilations"))
    y = jax.lax.conv_general_dilated(
        x,
        w,
        strides,
        padding(node, x.shape[2:], kernel, strides, dilations),
        rhs_dilation=dilations,
        dimension_numbers=_numbers(x, w),
        feature_group_count=node.get("group", 1),
    )
    return _with_bias(y, bias)


def _conv_transpose(node: Node, x: Any, w: Any, bias: Any = None) -> Any:
    x, w = jnp.asarray(x), jnp.asarray(w)
    kernel, n, groups = w.shape[2:], x.ndim - 2, node.get("group", 1)
    strides, dilations = (node.get(k, [1] * n) for k in ("strides", "dilations"))
    more = node.get("output_padding", [0] * n)
    spans = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
    full = [
        s * (size - 1) + extra + span + 1
        for s, size, extra, span in zip(strides, x.shape[2:], more, spans, strict=True)
    ]
    cut = _cut(node, x.shape[2:], strides, full)
    w = jnp.reshape(w, (groups, w.shape[0] // groups, *w.shape[1:]))
    w = jnp.reshape(jnp.swapaxes(w, 1, 2), (-1, w.shape[1], *kernel))
    w = jax.lax.rev(w, range(2, w.ndim))
    y = jax.lax.conv_general_dilated(
        x,
        w,
        [1] * n,
        [(s - a, s - b + e) for s, (a, b), e in zip(spans, cut, more, strict=True)],
        lhs_dilation=strides,
        rhs_dilation=dilations,
        dimension_numbers=_numbers(x, w),
        feature_group_count=groups,
    )
    return _with_bias(y, bias)


def _cut(
    node: Node, sizes: Any, strides: Any, full: list[int]
) -> list[tuple[int, int]]:
    """What is cut from both ends of the full result of a transposed convolution."""
    auto, want = bytes(node.get("auto_pad", b"NOTSET")), node.get("output_shape")
    if want is None and auto in (b"SAME_UPPER", b"SAME_LOWER"):
        want = [size * s for size, s in zip(sizes, strides, strict=True)]
    if want is None:
        return padding(node, sizes, sizes, strides, strides)
    totals = [f - w for f, w in zip(full, want[-len(full) :], strict=True)]
    ends = [(t // 2, t - t // 2) for t in totals]
    return ends if auto == b"SAME_UPPER" else [(b, a) for a, b in ends]


OPERATORS: dict[str, Operator] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Einsum": _einsum,
    "Gemm": _gemm,
    "MatMul": lambda node, a, b: jnp.matmul(a, b),
}
