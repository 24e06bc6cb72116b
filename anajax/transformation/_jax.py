"""Everything the transformation needs to know about the internals of JAX.

Jaxprs and their equations come from `jax.extend.core`; beyond that, this module binds
equations and knows the parameters of a few primitives, which differ between JAX 0.10,
0.11 and 0.12.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

import jax
from jax.extend.core import Literal as Literal

CALLS = frozenset({"jit", "pjit", "closed_call", "core_call", "core_closed_call"})
"""Primitives that only call a jaxpr."""
CUSTOM = frozenset({"custom_jvp_call", "custom_vjp_call"})
"""Primitives that call a jaxpr with custom derivatives."""
CHECKPOINTS = frozenset({"checkpoint", "remat", "remat2"})
"""Primitives that call a jaxpr and recompute it in the backward pass."""


def trace(function: Any, *arguments: Any) -> tuple[Any, list[Any], Any]:
    """The jaxpr of a function, the constants it closes over, and its output's shape."""
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
    return closed.jaxpr, list(closed.consts), shape


def opened(jaxpr: Any) -> tuple[Any, list[Any]]:
    """A jaxpr and its constants, whether or not they are attached to it."""
    return getattr(jaxpr, "jaxpr", jaxpr), list(getattr(jaxpr, "consts", ()))


def called(eqn: Any) -> tuple[Any, list[Any]]:
    """The jaxpr called by a call or a checkpoint."""
    name = "jaxpr" if "jaxpr" in eqn.params else "call_jaxpr"
    return opened(eqn.params[name])


def scan_counts(eqn: Any) -> tuple[int, int]:
    """How many operands of a `scan` are constants, and how many are carried."""
    if "num_consts" in eqn.params:  # until 0.10
        return eqn.params["num_consts"], eqn.params["num_carry"]
    operands = list(range(len(eqn.invars)))
    consts, carry, _ = map(list, eqn.params["ft_in"].update(operands).unpack())
    return len(consts), len(carry)


def bind(eqn: Any, values: Sequence[Any]) -> list[Any]:
    """The outputs of an equation for these operands, as JAX itself computes them."""
    with eqn.ctx.manager:
        params = eqn.primitive.get_bind_params(eqn.params)
        outs = eqn.primitive.bind(*values, **params)
    return list(outs) if eqn.primitive.multiple_results else [outs]


def precision(eqn: Any) -> contextlib.AbstractContextManager[Any]:
    """The precision requested by a product, for products that replace it."""
    asked = eqn.params.get("precision")
    first = asked[0] if isinstance(asked, tuple) else asked
    if not isinstance(first, jax.lax.Precision):
        return contextlib.nullcontext()
    return jax.default_matmul_precision(first.name.lower())


def varying(*arrays: Any) -> tuple[str, ...]:
    """Mesh axes along which arrays differ, inside a `shard_map` that tracks this."""
    axes: set[str] = set()
    for array in arrays:
        kind = getattr(jax.typeof(array), "manual_axis_type", None)
        axes |= set(getattr(kind, "varying", ()))
    return tuple(sorted(axes))


def with_automatic_axes(function: Any, eqn: Any) -> Any:
    """`function` with automatic axes: for the result of `eqn`, and replicated numbers.

    Under a mesh with explicit axes it runs with automatic ones, and its result has the
    sharding of the equation's own result.
    """
    if not jax.sharding.get_abstract_mesh().explicit_axes:
        return function
    shardings = eqn.outvars[0].aval.sharding.spec, jax.sharding.PartitionSpec()
    return jax.sharding.auto_axes(function, out_sharding=shardings)


def constrained(values: Sequence[Any], shardings: Sequence[Any] | None) -> list[Any]:
    """Values with the shardings requested by a nested call, if any."""
    if shardings is None or len(shardings) != len(values):
        return list(values)
    return [
        jax.lax.with_sharding_constraint(value, sharding)
        if isinstance(sharding, jax.sharding.Sharding)
        else value
        for value, sharding in zip(values, shardings, strict=True)
    ]


def last_uses(jaxpr: Any) -> list[list[Any]]:
    """For each equation, the variables that nothing after it reads."""
    kept = {v for v in jaxpr.outvars if not isinstance(v, Literal)}
    freed = []
    for eqn in reversed(jaxpr.eqns):
        mentioned = [v for v in eqn.invars if not isinstance(v, Literal)]
        last = {v for v in (*mentioned, *eqn.outvars) if v not in kept}
        kept |= last
        freed.append(list(last))
    return freed[::-1]
