"""The supported ONNX operators: one table, name -> function."""

from anajax.interop.operators import (
    elementwise,
    products,
    recurrent,
    reductions,
    shapes,
    windows,
)
from anajax.interop.operators.node import Operator

TABLE: dict[str, Operator] = {
    **elementwise.OPERATORS,
    **products.OPERATORS,
    **recurrent.OPERATORS,
    **reductions.OPERATORS,
    **shapes.OPERATORS,
    **windows.OPERATORS,
}
"""`(node, *operands) -> result`, or a tuple of results, by the operator's name."""
