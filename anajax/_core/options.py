"""Fields of option records: default, bounds and description in one place."""

import dataclasses
from typing import Any


def option(
    default: Any,
    words: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    static: bool = False,
) -> Any:
    """A dataclass field with a default, and the values that a config may give it.

    Args:
        default: default of the field.
        words: allowed values, such as "1 step or more".
        least: smallest value.
        above: exclusive lower limit.
        most: largest value.
        static: whether it is structure of a pytree, see `anajax._core.tree.static`.
    """
    bounds = {"ge": least, "gt": above, "le": most}
    given = {name: value for name, value in bounds.items() if value is not None}
    about = {"option": given | {"description": words}, "static": static}
    return dataclasses.field(default=default, metadata=about)
