"""What a traced function computes of numbers that are known beforehand."""

from collections.abc import Iterator
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, Literal


def constant_equations(closed: ClosedJaxpr) -> Iterator[Any]:
    """Equations, at any depth, whose inputs do not depend on the function's inputs.

    A jaxpr in an equation gets the inputs of the equation, as far as their number fits;
    carried values count as known if they start so.
    """
    yield from _walk(closed.jaxpr, set(closed.jaxpr.invars))


def _walk(jaxpr: Jaxpr, unknown: set) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        reached = [not isinstance(v, Literal) and v in unknown for v in equation.invars]
        if any(reached):
            unknown.update(equation.outvars)
        elif equation.invars:
            yield equation
        for inner in _inner(equation):
            fits = len(inner.invars) == len(reached)
            pairs = zip(inner.invars, reached, strict=True) if fits else ()
            own = {v for v, r in pairs if r} if fits else set(inner.invars)
            yield from _walk(inner, own)


def _inner(equation: Any) -> Iterator[Jaxpr]:
    for value in equation.params.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            if isinstance(one, ClosedJaxpr):
                one = one.jaxpr
            if isinstance(one, Jaxpr):
                yield one


def booleans(equation: Any) -> bool:
    """Whether an equation reads booleans."""
    return any(v.aval.dtype == bool for v in equation.invars)
