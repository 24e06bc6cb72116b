"""Which axes of a weight array number layers, and which are its rows and columns."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Layout:
    """The axes of a weight array by what products make of them.

    `known` is false where no axis is only rows or only columns, as in one long vector
    that a network cuts its matrices out of.
    """

    stack: tuple[int, ...] = ()
    """Axes that number matrices: layers of a stack, experts, groups."""
    rows: tuple[int, ...] = ()
    """Inputs: the axes summed over."""
    columns: tuple[int, ...] = ()
    """Outputs."""

    @property
    def known(self) -> bool:
        """Whether it says which axes are rows and which are columns."""
        return bool(self.rows or self.columns)
