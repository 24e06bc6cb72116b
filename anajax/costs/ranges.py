"""Range of validity of a cost model; values outside are refused."""

from typing import Any

import numpy as np

from anajax._core import checks


def inside(
    argument: str, value: Any, low: float, high: float, *, of: str, unit: str = ""
) -> None:
    """Refuse a value outside the range of a model; tracers pass.

    Args:
        argument: name of the argument, for the message.
        value: a number or an array of numbers.
        low: lower limit.
        high: upper limit.
        of: name of the model.
        unit: unit of the value.
    """
    checks.finite(argument, value)
    if not checks.concrete(value):
        return
    array, tail = np.asarray(value, float), f" {unit}" if unit else ""
    near = 1e-6 * high
    if np.any((array < low - near) | (array > high + near)):
        checks.fail(
            argument,
            f"lie in {low:g} to {high:g}{tail}, the validity of {of}",
            f"{array.min():g}{tail}" if array.size == 1 else array.tolist(),
            "Choose another model, or widen the range of a copy of your own.",
        )


def given(argument: str, value: Any, *, of: str, unit: str) -> Any:
    """The value itself; a missing one is requested by name."""
    if value is None:
        checks.fail(argument, f"be given for {of}", "none", f"Give it in {unit}.")
    return value
