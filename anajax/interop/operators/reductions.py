"""Sums and other reductions along axes, and normalizations."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anajax.interop.operators.node import Node, Operator, library


def _reduction(function: Any) -> Operator:
    def reduce(node: Node, x: Any, axes: Any = None) -> Any:
        along = node.axes(axes, x.ndim)
        if not along and node.get("noop_with_empty_axes", 0):
            return x
        keep = bool(node.get("keepdims", 1))
        y = function(library(x), x, axis=along or None, keepdims=keep)
        return y.astype(x.dtype)

    return reduce


def _log_sum_exp(xp: Any, x: Any, **how: Any) -> Any:
    return jax.nn.logsumexp(jnp.asarray(x), **how)


_REDUCTIONS: dict[str, Any] = {
    "ReduceL1": lambda xp, x, **how: xp.sum(xp.abs(x), **how),
    "ReduceL2": lambda xp, x, **how: xp.sqrt(xp.sum(x * x, **how)),
    "ReduceLogSum": lambda xp, x, **how: xp.log(xp.sum(x, **how)),
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceMax": lambda xp, x, **how: _extreme(xp, "max", x, **how),
    "ReduceMean": lambda xp, x, **how: xp.mean(x, **how),
    "ReduceMin": lambda xp, x, **how: _extreme(xp, "min", x, **how),
    "ReduceProd": lambda xp, x, **how: xp.prod(x, **how),
    "ReduceSum": lambda xp, x, **how: xp.sum(x, **how),
    "ReduceSumSquare": lambda xp, x, **how: xp.sum(x * x, **how),
}


def _extreme(xp: Any, name: str, x: Any, **how: Any) -> Any:
    """The largest or smallest; of none, the bound of the type."""
    if x.dtype == bool:
        start = name == "min"
    elif x.dtype.kind in "iu":
        bounds = np.iinfo(x.dtype)
        start = bounds.max if name == "min" else bounds.min
    else:
        start = np.inf if name == "min" else -np.inf
    return getattr(xp, name)(x, initial=np.asarray(start, x.dtype), **how)


def _arg(name: str) -> Operator:
    def arg(node: Node, x: Any) -> Any:
        axis, last = node.get("axis", 0), node.get("select_last_index", 0)
        x = jnp.flip(x, axis) if last else jnp.asarray(x)
        found = getattr(jnp, name)(x, axis=axis, keepdims=bool(node.get("keepdims", 1)))
        return x.shape[axis] - 1 - found if last else found

    return arg


def _softmax(function: Any) -> Operator:
    def softmax(node: Node, x: Any) -> Any:
        x = jnp.asarray(x)
        if node.opset >= 13:
            return function(x, axis=node.get("axis", -1))
        axis = node.get("axis", 1) % max(x.ndim, 1)
        flat = jnp.reshape(x, (*x.shape[:axis], -1))
        return jnp.reshape(function(flat, axis=-1), x.shape)

    return softmax


def _hardmax(x: Any, axis: int) -> Any:
    best = jnp.argmax(x, axis=axis)
    return jax.nn.one_hot(best, x.shape[axis], axis=axis, dtype=x.dtype)


def _cumsum(node: Node, x: Any, axis: Any) -> Any:
    axis, backward = int(node.static(axis).item()), node.get("reverse", 0)
    x = jnp.flip(x, axis) if backward else jnp.asarray(x)
    y = jnp.cumsum(x, axis, dtype=x.dtype)
    y = y - x if node.get("exclusive", 0) else y
    return jnp.flip(y, axis) if backward else y


def _top_k(node: Node, x: Any, k: Any = None) -> Any:
    count = node.get("k") if k is None else node.whole(k)[0]
    axis, largest = node.get("axis", -1), node.get("largest", 1)
    x = jnp.moveaxis(jnp.asarray(x), axis, -1)
    order = jnp.argsort(x, axis=-1, stable=True, descending=bool(largest))
    index = order[..., :count]
    values = jnp.take_along_axis(x, index, axis=-1)
    return jnp.moveaxis(values, -1, axis), jnp.moveaxis(index, -1, axis)


def _per_channel(v: Any, x: Any) -> Any:
    return jnp.reshape(v, (-1, *[1] * (x.ndim - 2)))


def _batch_norm(
    node: Node, x: Any, scale: Any, bias: Any, mean: Any, variance: Any
) -> Any:
    if node.get("training_mode", 0) or node.get("spatial", 1) != 1:
        return node.refuse("BatchNormalization as trained", f"training in {node}")
    x = jnp.asarray(x)
    slope = scale * jax.lax.rsqrt(jnp.asarray(variance) + node.get("epsilon", 1e-5))
    y = (x - _per_channel(mean, x)) * _per_channel(slope, x) + _per_channel(bias, x)
    return y.astype(x.dtype)


def _standard(x: Any, axes: tuple[int, ...], epsilon: float) -> tuple[Any, Any, Any]:
    mean = jnp.mean(x, axis=axes, keepdims=True)
    variance = jnp.mean((x - mean) ** 2, axis=axes, keepdims=True)
    inverse = jax.lax.rsqrt(variance + epsilon)
    return (x - mean) * inverse, mean, inverse


def _layer_norm(node: Node, x: Any, scale: Any, bias: Any = None) -> Any:
    axes = tuple(range(node.get("axis", -1) % x.ndim, x.ndim))
    wide = jnp.asarray(x, jnp.promote_types(x.dtype, jnp.float32))
    y, mean, inverse = _standard(wide, axes, node.get("epsilon", 1e-5))
    y = y.astype(x.dtype) * scale
    return (y if bias is None else y + bias), mean, inverse


def _rms_norm(node: Node, x: Any, scale: Any) -> Any:
    axes = tuple(range(node.get("axis", -1) % x.ndim, x.ndim))
    wide = jnp.asarray(x, jnp.promote_types(x.dtype, jnp.float32))
    power = jnp.mean(wide * wide, axis=axes, keepdims=True)
    y = wide * jax.lax.rsqrt(power + node.get("epsilon", 1e-5))
    return y.astype(x.dtype) * scale


def _instance_norm(node: Node, x: Any, scale: Any, bias: Any) -> Any:
    x = jnp.asarray(x)
    y, _, _ = _standard(x, tuple(range(2, x.ndim)), node.get("epsilon", 1e-5))
    return y * _per_channel(scale, x) + _per_channel(bias, x)


def _group_norm(node: Node, x: Any, scale: Any, bias: Any) -> Any:
    x, groups = jnp.asarray(x), node.get("num_groups")
    parts = jnp.reshape(x, (x.shape[0], groups, -1))
    y, _, _ = _standard(parts, (2,), node.get("epsilon", 1e-5))
    if node.opset < 21:  # one factor for each group
        scale, bias = (jnp.repeat(v, x.shape[1] // groups) for v in (scale, bias))
    return jnp.reshape(y, x.shape) * _per_channel(scale, x) + _per_channel(bias, x)


def _lp_norm(node: Node, x: Any) -> Any:
    axis, p = node.get("axis", -1), node.get("p", 2)
    size = jnp.sum(jnp.abs(x) ** p, axis=axis, keepdims=True) ** (1 / p)
    return x / jnp.where(size == 0, 1, size)


def _lrn(node: Node, x: Any) -> Any:
    x, size = jnp.asarray(x), node.get("size")
    before = (size - 1) // 2
    pads = [(0, 0), (before, size - 1 - before), *[(0, 0)] * (x.ndim - 2)]
    window = (1, size, *[1] * (x.ndim - 2))
    total = jax.lax.reduce_window(
        x * x, np.zeros((), x.dtype), jax.lax.add, window, (1,) * x.ndim, pads
    )
    bias, alpha = node.get("bias", 1.0), node.get("alpha", 1e-4)
    return x / (bias + alpha / size * total) ** node.get("beta", 0.75)


OPERATORS: dict[str, Operator] = {
    **{kind: _reduction(function) for kind, function in _REDUCTIONS.items()},
    "ArgMax": _arg("argmax"),
    "ArgMin": _arg("argmin"),
    "BatchNormalization": _batch_norm,
    "CumSum": _cumsum,
    "GroupNormalization": _group_norm,
    "Hardmax": _softmax(_hardmax),
    "InstanceNormalization": _instance_norm,
    "LRN": _lrn,
    "LayerNormalization": _layer_norm,
    "LogSoftmax": _softmax(jax.nn.log_softmax),
    "LpNormalization": _lp_norm,
    "RMSNormalization": _rms_norm,
    "Softmax": _softmax(jax.nn.softmax),
    "TopK": _top_k,
}
