"""Operators on shapes and positions: elements move, nothing is computed."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anajax.interop.operators.node import Node, Operator, known, library


def _reshape(node: Node, x: Any, shape: Any = None) -> Any:
    want = node.get("shape") if shape is None else node.whole(shape)
    if not node.get("allowzero", 0):
        want = [x.shape[i] if n == 0 else n for i, n in enumerate(want)]
    return library(x).reshape(x, want)


def _transpose(node: Node, x: Any) -> Any:
    return library(x).transpose(x, node.get("perm"))


def _concat(node: Node, *values: Any) -> Any:
    return library(*values).concatenate(values, axis=node.get("axis", 1))


def _flatten(node: Node, x: Any) -> Any:
    axis = node.get("axis", 1)
    first = math.prod(x.shape[: axis if axis >= 0 else axis + x.ndim])
    return library(x).reshape(x, (first, math.prod(x.shape) // max(first, 1)))


def _squeeze(node: Node, x: Any, axes: Any = None) -> Any:
    return library(x).squeeze(x, axis=node.axes(axes, x.ndim))


def _unsqueeze(node: Node, x: Any, axes: Any = None) -> Any:
    given = node.get("axes") if axes is None else node.whole(axes)
    return library(x).expand_dims(x, tuple(given))


def _expand(node: Node, x: Any, shape: Any) -> Any:
    want = np.broadcast_shapes(x.shape, tuple(node.whole(shape)))
    return library(x).broadcast_to(x, want)


def _shape(node: Node, x: Any) -> Any:
    return np.asarray(x.shape, np.int64)[node.get("start", 0) : node.get("end")]


def _constant(node: Node) -> Any:
    kinds = {"value": None, "value_float": np.float32, "value_floats": np.float32}
    for name in (*kinds, "value_int", "value_ints"):
        if name in node.attributes:
            return np.asarray(node.get(name), kinds.get(name, np.int64))
    return node.refuse("Constant of numbers", f"{sorted(node.attributes)} in {node}")


def _constant_of_shape(node: Node, shape: Any) -> Any:
    value = np.asarray(node.get("value", np.zeros(1, np.float32)))
    return np.full(node.whole(shape), value.ravel()[0], value.dtype)


def _slice(
    node: Node,
    x: Any,
    starts: Any = None,
    ends: Any = None,
    axes: Any = None,
    steps: Any = None,
) -> Any:
    begin, end = (
        node.get(name) if given is None else node.whole(given)
        for name, given in (("starts", starts), ("ends", ends))
    )
    along = node.axes(axes, x.ndim) or range(len(begin))
    by = [1] * len(begin) if steps is None else node.whole(steps)
    cut = [slice(None)] * x.ndim
    for a, b, e, s in zip(along, begin, end, by, strict=True):
        if s < 0 and e < -x.shape[a]:
            e = None  # to the first element
        cut[a] = slice(b, e, s)
    if known(x) or all(s.step in (None, 1) for s in cut):
        return x[tuple(cut)]
    return _strided(x, cut)


def _strided(x: Any, cut: list[slice]) -> Any:
    for axis, part in enumerate(cut):
        index = range(*part.indices(x.shape[axis]))
        if len(index) and index.step > 0:
            x = jax.lax.slice_in_dim(x, index[0], index[-1] + 1, index.step, axis)
        else:
            x = jnp.take(x, np.asarray(index, np.int32), axis=axis)
    return x


def _from_start(index: Any, size: int) -> Any:
    """Indices that count from the end, counted from the start."""
    return library(index).where(index < 0, index + size, index)


def _gather(node: Node, x: Any, index: Any) -> Any:
    axis = node.get("axis", 0) % x.ndim
    size = x.shape[axis]
    if known(index) and np.any((index < -size) | (index >= size)):
        raise IndexError(f"index outside an axis of {size}")
    if known(x, index):
        return np.take(x, index, axis=axis)
    if known(index) and not index.ndim:  # one layer of several
        return jax.lax.index_in_dim(x, int(index) % size, axis, keepdims=False)
    return jnp.take(x, _from_start(index, size), axis=axis, mode="clip")


def _gather_elements(node: Node, x: Any, index: Any) -> Any:
    axis = node.get("axis", 0)
    index = _from_start(index, x.shape[axis])
    cut = tuple(
        slice(None) if i == axis % x.ndim else slice(0, n)
        for i, n in enumerate(index.shape)
    )
    return jnp.take_along_axis(jnp.asarray(x)[cut], jnp.asarray(index), axis=axis)


def _gather_nd(node: Node, x: Any, index: Any) -> Any:
    def gather(x: Any, index: Any) -> Any:
        return x[tuple(jnp.moveaxis(index, -1, 0))]

    for _ in range(node.get("batch_dims", 0)):
        gather = jax.vmap(gather)
    return gather(jnp.asarray(x), jnp.asarray(index))


def _combined(node: Node, at: Any, values: Any) -> Any:
    kind = bytes(node.get("reduction", b"none")).decode()
    names = {"none": "set", "add": "add", "mul": "multiply", "max": "max", "min": "min"}
    return getattr(at, names[kind])(values)


def _scatter_nd(node: Node, x: Any, index: Any, values: Any) -> Any:
    at = jnp.asarray(x).at[tuple(jnp.moveaxis(jnp.asarray(index), -1, 0))]
    return _combined(node, at, values)


def _scatter_elements(node: Node, x: Any, index: Any, values: Any) -> Any:
    axis = node.get("axis", 0) % x.ndim
    places = list(jnp.indices(index.shape, sparse=True))
    places[axis] = _from_start(jnp.asarray(index), x.shape[axis])
    return _combined(node, jnp.asarray(x).at[tuple(places)], values)


def _split(node: Node, x: Any, sizes: Any = None) -> Any:
    axis = node.get("axis", 0)
    parts = node.get("split") if sizes is None else node.whole(sizes)
    if parts is None:
        count = node.get("num_outputs", len(node.outputs))
        size = -(-x.shape[axis] // count)
        parts = [size] * count
    ends = np.minimum(np.cumsum(parts), x.shape[axis])[:-1]
    return tuple(library(x).split(x, ends.tolist(), axis=axis))


def _pad(
    node: Node, x: Any, pads: Any = None, value: Any = None, axes: Any = None
) -> Any:
    given = node.get("pads") if pads is None else node.whole(pads)
    along = node.axes(axes, x.ndim) or range(x.ndim)
    widths = [(0, 0)] * x.ndim
    for i, axis in enumerate(along):
        widths[axis] = (given[i], given[i + len(given) // 2])
    cut = tuple(
        slice(max(-a, 0), n + min(b, 0))
        for (a, b), n in zip(widths, x.shape, strict=True)
    )
    x, widths = x[cut], [(max(a, 0), max(b, 0)) for a, b in widths]
    mode = bytes(node.get("mode", b"constant")).decode()
    if mode != "constant":
        return library(x).pad(x, widths, mode=mode)
    fill = node.get("value", 0.0) if value is None else value
    xp = library(x, fill if hasattr(fill, "dtype") else None)
    fill = xp.reshape(xp.asarray(fill, x.dtype), ())
    return xp.pad(x, widths, constant_values=fill)


def _tile(node: Node, x: Any, repeats: Any) -> Any:
    return library(x).tile(x, node.whole(repeats))


def _range(node: Node, start: Any, limit: Any, step: Any) -> Any:
    values = [node.static(v).item() for v in (start, limit, step)]
    count = max(math.ceil((values[1] - values[0]) / values[2]), 0)
    return (np.arange(count) * values[2] + values[0]).astype(start.dtype)


def _trilu(node: Node, x: Any, k: Any = None) -> Any:
    name = "triu" if node.get("upper", 1) else "tril"
    return getattr(jnp, name)(x, 0 if k is None else node.whole(k)[0])


def _depth_to_space(node: Node, x: Any) -> Any:
    n, c, h, w = x.shape
    b = node.get("blocksize")
    if bytes(node.get("mode", b"DCR")) == b"DCR":
        x = jnp.transpose(jnp.reshape(x, (n, b, b, -1, h, w)), (0, 3, 4, 1, 5, 2))
    else:
        x = jnp.transpose(jnp.reshape(x, (n, -1, b, b, h, w)), (0, 1, 4, 2, 5, 3))
    return jnp.reshape(x, (n, c // b**2, h * b, w * b))


def _space_to_depth(node: Node, x: Any) -> Any:
    n, c, h, w = x.shape
    b = node.get("blocksize")
    x = jnp.reshape(x, (n, c, h // b, b, w // b, b))
    depth_first = bytes(node.get("mode", b"DCR")) == b"DCR"
    order = (0, 3, 5, 1, 2, 4) if depth_first else (0, 1, 3, 5, 2, 4)
    return jnp.reshape(jnp.transpose(x, order), (n, -1, h // b, w // b))


def _one_hot(node: Node, index: Any, depth: Any, values: Any) -> Any:
    count = node.whole(depth)[0]
    index = _from_start(jnp.asarray(index), count)
    hot = jax.nn.one_hot(index, count, axis=node.get("axis", -1), dtype=bool)
    return jnp.where(hot, values[1], values[0])


def _eye_like(node: Node, x: Any) -> Any:
    dtype = node.get("dtype", x.dtype)
    return np.eye(*x.shape, k=node.get("k", 0), dtype=dtype)


def _nonzero(node: Node, x: Any) -> Any:
    return np.asarray(np.nonzero(node.static(x)), np.int64)


OPERATORS: dict[str, Operator] = {
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "EyeLike": _eye_like,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "NonZero": _nonzero,
    "OneHot": _one_hot,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
    "Shape": _shape,
    "Size": lambda node, x: np.asarray(math.prod(x.shape), np.int64),
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Trilu": _trilu,
    "Unsqueeze": _unsqueeze,
}
STATIC: dict[str, tuple[int, ...]] = {
    "ConstantOfShape": (0,), "CumSum": (1,), "Dropout": (1, 2), "Expand": (1,),
    "NonZero": (0,),
    "OneHot": (1,), "Pad": (1, 3), "Range": (0, 1, 2), "Reshape": (1,),
    "Resize": (1, 2, 3), "Slice": (1, 2, 3, 4), "Split": (1,), "Squeeze": (1,),
    "Tile": (1,), "TopK": (1,), "Trilu": (1,), "Unsqueeze": (1,), "Upsample": (1,),
    "If": (0,),
}  # fmt: skip
"""Operands that set shapes, by operator; for `Reduce...`, all but the first."""
