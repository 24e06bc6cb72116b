"""Arguments of an operator: its node, and values known now (NumPy) or traced (JAX)."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from anajax._core import checks


@dataclasses.dataclass(frozen=True)
class Node:
    """One step of a graph."""

    kind: str
    """Name of the operator."""
    name: str
    inputs: tuple[str, ...]
    """Names of values; empty if an operand is missing."""
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    opset: int
    """Version of the operator set."""

    def __str__(self) -> str:
        return f"{self.kind} node {self.name or '/'.join(self.outputs)!r}"

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute."""
        return self.attributes.get(name, default)

    def refuse(self, rule: str, got: object) -> Any:
        """Refuse this node."""
        remedy = "Export the network without it."
        checks.fail("path", f"hold only {rule}", got, remedy)

    def static(self, value: Any) -> np.ndarray:
        """A value that must be known before the computation is traced."""
        if isinstance(value, Tracer):
            rule = f"be known where it sets a shape, in {self}"
            remedy = "Pass it as a Python number, or outside of jit."
            checks.fail("inputs", rule, f"a traced {value.aval}", remedy)
        return np.asarray(value)

    def whole(self, value: Any) -> list[int]:
        """A static value as integers."""
        return [int(v) for v in self.static(value).ravel()]

    def axes(self, value: Any, rank: int) -> tuple[int, ...] | None:
        """Axes from an operand or the attribute, not negative; `None` if not given."""
        given = self.get("axes") if value is None else self.whole(value)
        if given is None:
            return None
        return tuple(axis + rank if axis < 0 else axis for axis in given)


Operator = Callable[..., Any]
"""`(node, *operands) -> result`, or a tuple of results; missing operands are `None`."""


def known(*values: Any) -> bool:
    """Whether all values are known now."""
    return all(v is None or isinstance(v, np.ndarray | np.generic) for v in values)


def library(*values: Any) -> Any:
    """NumPy for values that are known now, JAX for others."""
    return np if known(*values) else jnp
