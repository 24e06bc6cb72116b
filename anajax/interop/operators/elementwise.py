"""Operators on each element: arithmetic, functions, comparisons, types."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anajax.interop.operators.node import Node, Operator, library


def _same(name: str) -> Operator:
    """The operator that NumPy and JAX call `name`."""
    return lambda node, *values: getattr(library(*values), name)(*values)


def _activation(function: Any) -> Operator:
    return lambda node, x: function(x)


def _many(name: str) -> Operator:
    def fold(node: Node, *values: Any) -> Any:
        return functools.reduce(getattr(library(*values), name), values)

    return fold


def _mean(node: Node, *values: Any) -> Any:
    return functools.reduce(library(*values).add, values) / np.asarray(
        len(values), values[0].dtype
    )


def _divide(node: Node, a: Any, b: Any) -> Any:
    xp = library(a, b)
    if a.dtype.kind not in "iu":
        return xp.divide(a, b)
    return (
        xp.trunc(xp.true_divide(a, b)).astype(a.dtype)
        if xp is np
        else jax.lax.div(*jnp.broadcast_arrays(a, jnp.asarray(b, a.dtype)))
    )


def _power(node: Node, a: Any, b: Any) -> Any:
    return library(a, b).power(a, b).astype(a.dtype)


def _modulo(node: Node, a: Any, b: Any) -> Any:
    return getattr(library(a, b), "fmod" if node.get("fmod", 0) else "mod")(a, b)


def _clip(node: Node, x: Any, low: Any = None, high: Any = None) -> Any:
    low = node.get("min") if low is None else low
    high = node.get("max") if high is None else high
    xp = library(x, low, high)
    x = x if low is None else xp.maximum(x, xp.asarray(low, x.dtype))
    return x if high is None else xp.minimum(x, xp.asarray(high, x.dtype))


def _dropout(node: Node, x: Any, ratio: Any = None, training: Any = None) -> Any:
    if training is not None and np.any(node.static(training)):
        return node.refuse("Dropout as trained", f"training in {node}")
    return x, library(x).ones(x.shape, bool)


def _scaler(node: Node, x: Any) -> Any:
    """Of the domain ai.onnx.ml: inputs standardized, as scikit-learn exports them."""
    offset, scale = (np.asarray(node.get(n, 0.0), np.float32) for n in _SCALER)
    return (x - offset) * scale


_SCALER = ("offset", "scale")


def _cast(node: Node, x: Any) -> Any:
    to = node.get("to")
    if not isinstance(to, np.dtype):
        return node.refuse("Cast to numbers", f"{to} in {node}")
    return _converted(x, to, bool(node.get("saturate", 1)))


def _converted(x: Any, to: Any, saturate: bool) -> Any:
    """Another type; what is too large for eight bits becomes the largest."""
    xp = library(x)
    if saturate and jnp.issubdtype(to, jnp.floating) and to.itemsize == 1:
        most = xp.asarray(jnp.finfo(to).max, x.dtype)
        x = xp.clip(x, -most, most)
    return x.astype(to if xp is np else jax.dtypes.canonicalize_dtype(to))


def _where(node: Node, condition: Any, a: Any, b: Any) -> Any:
    return library(condition, a, b).where(condition, a, b)


def _gelu(node: Node, x: Any) -> Any:
    approximate = bytes(node.get("approximate", b"none")) == b"tanh"
    return jax.nn.gelu(x, approximate=approximate)


def _elu(node: Node, x: Any) -> Any:
    return jax.nn.elu(x, node.get("alpha", 1.0))


def _celu(node: Node, x: Any) -> Any:
    return jax.nn.celu(x, node.get("alpha", 1.0))


def _selu(node: Node, x: Any) -> Any:
    alpha, gamma = node.get("alpha", 1.6732632), node.get("gamma", 1.0507010)
    return gamma * jax.nn.elu(x, alpha)


def _leaky(node: Node, x: Any) -> Any:
    return jnp.where(x < 0, x * node.get("alpha", 0.01), x)


def _prelu(node: Node, x: Any, slope: Any) -> Any:
    return jnp.where(x < 0, x * slope, x)


def _thresholded(node: Node, x: Any) -> Any:
    return jnp.where(x > node.get("alpha", 1.0), x, jnp.zeros_like(x))


def _hard_sigmoid(node: Node, x: Any) -> Any:
    return jnp.clip(node.get("alpha", 0.2) * x + node.get("beta", 0.5), 0, 1)


def _swish(node: Node, x: Any) -> Any:
    return x * jax.nn.sigmoid(node.get("alpha", 1.0) * x)


def _shrink(node: Node, x: Any) -> Any:
    bias, limit = node.get("bias", 0.0), node.get("lambd", 0.5)
    small = jnp.zeros_like(x)
    return jnp.where(x < -limit, x + bias, jnp.where(x > limit, x - bias, small))


def _isinf(node: Node, x: Any) -> Any:
    above = node.get("detect_positive", 1) * (x == np.inf)
    return ((node.get("detect_negative", 1) * (x == -np.inf)) + above).astype(bool)


def _dequantize(node: Node, x: Any, scale: Any, zero: Any = None) -> Any:
    if node.get("block_size", 0):
        return node.refuse("DequantizeLinear by axis", f"blocks in {node}")
    if scale.ndim == 1 and x.ndim:
        shape = [1] * x.ndim
        shape[node.get("axis", 1)] = -1
        scale, zero = (None if v is None else v.reshape(shape) for v in (scale, zero))
    x = x.astype(scale.dtype)
    return (x if zero is None else x - zero.astype(scale.dtype)) * scale


_ALIKE = {
    "Abs": "abs", "Acos": "arccos", "Acosh": "arccosh", "Add": "add",
    "And": "logical_and", "Asin": "arcsin", "Asinh": "arcsinh", "Atan": "arctan",
    "Atanh": "arctanh", "BitwiseAnd": "bitwise_and", "BitwiseNot": "bitwise_not",
    "BitwiseOr": "bitwise_or", "BitwiseXor": "bitwise_xor", "Ceil": "ceil",
    "Cos": "cos", "Cosh": "cosh", "Equal": "equal", "Exp": "exp", "Floor": "floor",
    "Greater": "greater", "GreaterOrEqual": "greater_equal", "IsNaN": "isnan",
    "Less": "less", "LessOrEqual": "less_equal", "Log": "log", "Mul": "multiply",
    "Neg": "negative", "Not": "logical_not", "Or": "logical_or",
    "Reciprocal": "reciprocal", "Round": "round", "Sign": "sign", "Sin": "sin",
    "Sinh": "sinh", "Sqrt": "sqrt", "Sub": "subtract", "Tan": "tan", "Tanh": "tanh",
    "Xor": "logical_xor",
}  # fmt: skip

OPERATORS: dict[str, Operator] = {
    **{kind: _same(name) for kind, name in _ALIKE.items()},
    "ai.onnx.ml.Scaler": _scaler,
    "Cast": _cast,
    "CastLike": lambda node, x, like: _converted(
        x, like.dtype, bool(node.get("saturate", 1))
    ),
    "Celu": _celu,
    "Clip": _clip,
    "DequantizeLinear": _dequantize,
    "Div": _divide,
    "Dropout": _dropout,
    "Elu": _elu,
    "Erf": _activation(jax.lax.erf),
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _activation(lambda x: x * jnp.clip(x / 6 + 0.5, 0, 1)),
    "Identity": lambda node, x: x,
    "IsInf": _isinf,
    "LeakyRelu": _leaky,
    "Max": _many("maximum"),
    "Mean": _mean,
    "Min": _many("minimum"),
    "Mish": _activation(lambda x: x * jnp.tanh(jax.nn.softplus(x))),
    "Mod": _modulo,
    "PRelu": _prelu,
    "Pow": _power,
    "Relu": _activation(lambda x: jnp.maximum(x, jnp.zeros((), x.dtype))),
    "Selu": _selu,
    "Shrink": _shrink,
    "Sigmoid": _activation(jax.nn.sigmoid),
    "Softplus": _activation(jax.nn.softplus),
    "Softsign": _activation(jax.nn.soft_sign),
    "Sum": _many("add"),
    "Swish": _swish,
    "ThresholdedRelu": _thresholded,
    "Where": _where,
}
