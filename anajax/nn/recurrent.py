"""Recurrent cells of Flax whose inner layers are analog.

The cells are Flax's own code. Their analog layers fold the carried state into the key
of their noise as well as their input, so that a repeated input (silence, one symbol
over and over) still meets fresh noise at every time step of a scan.
"""

from typing import Any

from flax import nnx

from anajax.nn.analog import Analog
from anajax.nn.layers import AnalogLinear


class _FreshNoise:
    """Calls the cell of Flax with the carry in the context of all analog products."""

    def __call__(self, carry: Any, inputs: Any) -> Any:
        """One step of the cell: `(carry, inputs) -> (carry, output)`."""
        cell: type = type(self).__mro__[2]
        return cell.__call__(_within(self, cell, carry), carry, inputs)  # pyright: ignore


def _within(node: Any, kind: type, context: Any) -> Any:
    view = object.__new__(kind)
    for name, value in vars(node).items():
        if isinstance(value, AnalogLinear):
            value = _within(value, type(value), context)
        elif isinstance(value, Analog):
            value = _within(value, type(value), None)
            vars(value)["context"] = context
        vars(view)[name] = value
    return view


class AnalogLSTMCell(_FreshNoise, nnx.LSTMCell):
    """`nnx.LSTMCell` with analog inner layers."""


class AnalogOptimizedLSTMCell(_FreshNoise, nnx.OptimizedLSTMCell):
    """`nnx.OptimizedLSTMCell` with analog inner layers."""


class AnalogGRUCell(_FreshNoise, nnx.GRUCell):
    """`nnx.GRUCell` with analog inner layers."""


class AnalogSimpleCell(_FreshNoise, nnx.SimpleCell):
    """`nnx.SimpleCell` with analog inner layers."""
