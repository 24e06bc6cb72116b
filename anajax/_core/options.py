"""Fields of records of options: a default, its bounds and their words stand once."""

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
    """A dataclass field with a default, and what a config may put in its place.

    Args:
        default: of the field.
        words: what may be given, such as "1 step or more".
        least: smallest value.
        above: what a value must exceed.
        most: largest value.
        static: whether it is structure of a pytree, see `anajax._core.tree.static`.
    """
    bounds = {"ge": least, "gt": above, "le": most}
    given = {name: value for name, value in bounds.items() if value is not None}
    about = {"option": given | {"description": words}, "static": static}
    return dataclasses.field(default=default, metadata=about)
