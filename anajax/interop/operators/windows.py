"""Pooling, and resizing by nearest-neighbor or linear interpolation."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anajax.interop.operators.node import Node, Operator
from anajax.interop.operators.products import padding


def _windows(node: Node, x: Any) -> tuple[dict[str, Any], list[tuple[int, int]]]:
    """Arguments of `reduce_window`, and the padding as the node asks for it."""
    kernel, n, sizes = node.get("kernel_shape"), x.ndim - 2, x.shape[2:]
    strides, dilations = (node.get(k, [1] * n) for k in ("strides", "dilations"))
    pads = padding(node, sizes, kernel, strides, dilations)
    ends = list(pads)
    for i in range(n) if node.get("ceil_mode", 0) else ():
        span = dilations[i] * (kernel[i] - 1) + 1
        room = sizes[i] + sum(pads[i]) - span
        steps = -(-room // strides[i])
        if steps * strides[i] >= sizes[i] + pads[i][0]:  # starts in the padding
            steps -= 1
        more = max(steps * strides[i] - room, 0)
        ends[i] = (pads[i][0], pads[i][1] + more)
    how = {
        "window_dimensions": (1, 1, *kernel),
        "window_strides": (1, 1, *strides),
        "window_dilation": (1, 1, *dilations),
        "padding": [(0, 0), (0, 0), *ends],
    }
    return how, pads


def _max_pool(node: Node, x: Any) -> Any:
    x = jnp.asarray(x)
    if len(node.outputs) > 1:
        return node.refuse("MaxPool without indices", f"two outputs in {node}")
    floating = jnp.issubdtype(x.dtype, jnp.floating)
    least = np.asarray(-np.inf if floating else jnp.iinfo(x.dtype).min, x.dtype)
    return jax.lax.reduce_window(x, least, jax.lax.max, **_windows(node, x)[0])


def _summed(x: Any, how: dict[str, Any]) -> Any:
    return jax.lax.reduce_window(x, np.zeros((), x.dtype), jax.lax.add, **how)


def _average_pool(node: Node, x: Any) -> Any:
    x = jnp.asarray(x)
    how, pads = _windows(node, x)
    ones, counted = jnp.ones(x.shape[2:], x.dtype)[None, None], how
    if node.get("count_include_pad", 0):
        ones = jnp.pad(ones, [(0, 0), (0, 0), *pads], constant_values=1)
        rest = [
            (a - c, b - d)
            for (a, b), (c, d) in zip(how["padding"][2:], pads, strict=True)
        ]
        counted = how | {"padding": [(0, 0), (0, 0), *rest]}
    return _summed(x, how) / _summed(ones, counted)


def _lp_pool(node: Node, x: Any) -> Any:
    x, p = jnp.asarray(x), node.get("p", 2)
    return _summed(jnp.abs(x) ** p, _windows(node, x)[0]) ** (1 / p)


def _global(name: str) -> Operator:
    def pool(node: Node, x: Any) -> Any:
        return getattr(jnp, name)(x, axis=tuple(range(2, x.ndim)), keepdims=True)

    return pool


def _resize(
    node: Node, x: Any, roi: Any = None, scales: Any = None, sizes: Any = None
) -> Any:
    x = jnp.asarray(x)
    if node.opset < 11:
        roi, scales = None, roi
    axes = [a % x.ndim for a in node.get("axes", range(x.ndim))]
    size = [x.shape[a] for a in axes]
    if sizes is not None and np.size(node.static(sizes)):
        out = node.whole(sizes)
        factors = [o / s for o, s in zip(out, size, strict=True)]
        factors, out = _fitted(node, factors, out, size)
    else:
        given = node.get("scales") if scales is None else node.static(scales)
        factors = [float(f) for f in np.ravel(given)]
        out = [int(np.floor(s * f)) for s, f in zip(size, factors, strict=True)]
    for axis, before, after, factor in zip(axes, size, out, factors, strict=True):
        if before != after or factor != 1:
            x = _along(node, x, axis, after, factor)
    return x


def _fitted(node: Node, factors: Any, out: Any, size: Any) -> tuple[Any, Any]:
    policy = bytes(node.get("keep_aspect_ratio_policy", b"stretch"))
    if policy == b"stretch":
        return factors, out
    factor = min(factors) if policy == b"not_larger" else max(factors)
    return [factor] * len(out), [int(np.floor(s * factor + 0.5)) for s in size]


def _along(node: Node, x: Any, axis: int, after: int, factor: float) -> Any:
    """One axis resized."""
    before, mode = x.shape[axis], bytes(node.get("mode", b"nearest"))
    default = b"asymmetric" if node.opset < 11 else b"half_pixel"
    kind = bytes(node.get("coordinate_transformation_mode", default))
    at = _coordinates(node, kind, before, after, factor)
    if mode == b"nearest":
        rounding = b"floor" if node.opset < 11 else b"round_prefer_floor"
        at = _ROUNDED[bytes(node.get("nearest_mode", rounding))](at)
        index = np.clip(at, 0, before - 1).astype(np.int32)
        return jnp.take(x, index, axis=axis)
    if mode != b"linear" or node.get("antialias", 0):
        return node.refuse("Resize by nearest or linear", f"{mode!r} in {node}")
    low = np.clip(np.floor(at), 0, before - 1).astype(np.int32)
    high = np.minimum(low + 1, before - 1)
    shape = [1] * x.ndim
    shape[axis] = -1
    part = np.clip(at - low, 0, 1).reshape(shape).astype(x.dtype)
    return (
        jnp.take(x, low, axis=axis) * (1 - part) + jnp.take(x, high, axis=axis) * part
    )


_ROUNDED: dict[bytes, Any] = {
    b"floor": np.floor,
    b"ceil": np.ceil,
    b"round_prefer_floor": lambda at: np.ceil(at - 0.5),
    b"round_prefer_ceil": lambda at: np.floor(at + 0.5),
}


def _coordinates(
    node: Node, kind: bytes, before: int, after: int, factor: float
) -> np.ndarray:
    """Where the elements of the result lie in the input."""
    i = np.arange(after, dtype=np.float64)
    if kind == b"asymmetric":
        return i / factor
    if kind == b"align_corners":
        return i * (before - 1) / max(factor * before - 1, 1)
    if kind == b"pytorch_half_pixel" and after == 1:
        return 0 * i
    if kind in (b"half_pixel", b"pytorch_half_pixel"):
        return (i + 0.5) / factor - 0.5
    if kind == b"half_pixel_symmetric":
        middle = before / 2 * (1 - after / (factor * before))
        return middle + (i + 0.5) / factor - 0.5
    return node.refuse("Resize by coordinates that are known", f"{kind!r} in {node}")


OPERATORS: dict[str, Operator] = {
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global("mean"),
    "GlobalMaxPool": _global("max"),
    "LpPool": _lp_pool,
    "MaxPool": _max_pool,
    "Resize": _resize,
    "Upsample": lambda node, x, scales=None: (
        _resize(node, x, None, scales) if node.opset >= 11 else _resize(node, x, scales)
    ),
}
