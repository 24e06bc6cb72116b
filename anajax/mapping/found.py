"""What every search for a strategy returns."""

from typing import Any

from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax._core.tree import pytree


@pytree
class Found:
    """The best strategy of a search, its value, and details of the search.

    Example:
        >>> found = anajax.tune_strategy(
        ...     device, density, times, build=strategies.lsp_first, points=3, rounds=1
        ... )
        >>> found.strategy.name, sorted(found.info)
        ('lsp_first', ['f', 'k'])
    """

    strategy: Any
    """A `Strategy`; for `optimize_closed_loop` a `Policy`."""
    value: Float[JArray, ""]
    """Minimized value, such as the expected squared error in units of w_max^2."""
    info: dict[str, JArray]
    """Arrays specific to this search; its docstring lists them."""
