"""LSTM, GRU and the plain recurrent network, as scans over time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from anajax.interop.operators.node import Node, Operator

_ACTIVATIONS: dict[bytes, Callable[[Any], Any]] = {
    b"sigmoid": jax.nn.sigmoid,
    b"tanh": jnp.tanh,
    b"relu": jax.nn.relu,
    b"softsign": jax.nn.soft_sign,
    b"softplus": jax.nn.softplus,
}
_DEFAULTS = {
    "LSTM": [b"sigmoid", b"tanh", b"tanh"],
    "GRU": [b"sigmoid", b"tanh"],
    "RNN": [b"tanh"],
}
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def _functions(node: Node, direction: int, directions: int) -> list[Any]:
    default = _DEFAULTS[node.kind]
    given = node.get("activations", default * directions)
    names = [
        bytes(n).lower() for n in given[direction * len(default) :][: len(default)]
    ]
    unknown = [n for n in names if n not in _ACTIVATIONS]
    if unknown or node.get("activation_alpha") or node.get("activation_beta"):
        node.refuse("usual activations", f"{unknown or 'parameters of them'} in {node}")
    return [_ACTIVATIONS[name] for name in names]


def _lstm_step(node: Node, f: list[Any], r: Any, b: Any, p: Any) -> Callable[..., Any]:
    """One step; gates i, o, f, c."""
    p = (0, 0, 0) if p is None else jnp.split(p, 3)

    def step(state: Any, x: Any) -> Any:
        h, c = state
        i, o, forget, new = jnp.split(_clipped(node, x + h @ r.T), 4, axis=-1)
        i = f[0](i + p[0] * c)
        keep = 1 - i if node.get("input_forget", 0) else f[0](forget + p[2] * c)
        c = keep * c + i * f[1](new)
        return f[0](o + p[1] * c) * f[2](c), c

    return step


def _gru_step(node: Node, f: list[Any], r: Any, b: Any, p: Any) -> Callable[..., Any]:
    """One step; gates z, r, h. Biases of h inside or outside the reset."""
    size = r.shape[1]
    gates, inner = r[: 2 * size].T, r[2 * size :].T
    bias = b[2 * size :]

    def step(state: Any, x: Any) -> Any:
        (h,) = state
        z, reset = jnp.split(f[0](_clipped(node, x[:, : 2 * size] + h @ gates)), 2, -1)
        if node.get("linear_before_reset", 0):
            more = reset * (h @ inner + bias)
        else:
            more = (reset * h) @ inner + bias
        new = f[1](_clipped(node, x[:, 2 * size :] + more))
        return ((1 - z) * new + z * h,)

    return step


def _rnn_step(node: Node, f: list[Any], r: Any, b: Any, p: Any) -> Callable[..., Any]:
    return lambda state, x: (f[0](_clipped(node, x + state[0] @ r.T)),)


def _clipped(node: Node, x: Any) -> Any:
    limit = node.get("clip", 0.0)
    return jnp.clip(x, -limit, limit) if limit else x


_STEPS = {"LSTM": _lstm_step, "GRU": _gru_step, "RNN": _rnn_step}


def _biases(node: Node, b: Any, size: int, dtype: Any) -> tuple[Any, Any]:
    """Bias of the inputs' product, and what of the recurrent bias stays with it."""
    count = _GATES[node.kind] * size
    if b is None:
        return jnp.zeros(count, dtype), jnp.zeros(count, dtype)
    inputs, recurrent = b[:count], b[count:]
    if node.kind != "GRU":
        return inputs + recurrent, recurrent
    outside = recurrent.at[2 * size :].set(0)  # that of h meets the reset
    return inputs + outside, recurrent


def _recurrent(
    node: Node,
    x: Any,
    w: Any,
    r: Any,
    b: Any = None,
    lengths: Any = None,
    h: Any = None,
    c: Any = None,
    p: Any = None,
) -> Any:
    x = jnp.asarray(x)
    batch_first = node.get("layout", 0)
    if batch_first:
        x = jnp.swapaxes(x, 0, 1)
        h, c = (None if v is None else jnp.swapaxes(v, 0, 1) for v in (h, c))
    way = bytes(node.get("direction", b"forward"))
    count, size = w.shape[0], r.shape[2]
    zeros = jnp.zeros((count, x.shape[1], size), x.dtype)
    states = [zeros if v is None else jnp.asarray(v) for v in (h, c)]
    states = states[: 1 + (node.kind == "LSTM")]
    runs = []
    for d in range(count):
        one = [_direction(v, d) for v in (w, r, b, p)]
        backward = way == b"reverse" or d == 1
        functions = _functions(node, d, count)
        begin = tuple(state[d] for state in states)
        runs.append(_run(node, functions, x, one, begin, lengths, backward))
    ys = jnp.stack([y for y, _ in runs], axis=1)
    last = [jnp.stack(v) for v in zip(*(end for _, end in runs), strict=True)]
    if batch_first:
        return (jnp.transpose(ys, (2, 0, 1, 3)), *(jnp.swapaxes(v, 0, 1) for v in last))
    return (ys, *last)


def _direction(v: Any, d: int) -> Any:
    if v is None:
        return None
    return jax.lax.index_in_dim(jnp.asarray(v), d, 0, keepdims=False)


def _run(
    node: Node,
    functions: list[Any],
    x: Any,
    weights: list[Any],
    begin: tuple[Any, ...],
    lengths: Any,
    backward: bool,
) -> tuple[Any, Any]:
    """One direction: states [steps batch hidden], and the last ones."""
    w, r, b, p = weights
    inputs, inner = _biases(node, b, r.shape[1], x.dtype)
    step = _STEPS[node.kind](node, functions, r, inner, p)
    products = x @ w.T + inputs
    steps = x.shape[0]

    def masked(state: Any, at: Any) -> Any:
        number, x = at
        new = step(state, x)
        if lengths is None:
            return new, new[0]
        inside = (number < jnp.asarray(lengths))[:, None]
        new = tuple(jnp.where(inside, a, b) for a, b in zip(new, state, strict=True))
        return new, jnp.where(inside, new[0], 0)

    at = (jnp.arange(steps), products)
    last, ys = jax.lax.scan(masked, begin, at, reverse=backward)
    return ys, last


OPERATORS: dict[str, Operator] = dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent)
