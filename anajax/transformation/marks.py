"""Marks: how a value in a network depends on its weights.

Each value of a jaxpr is an activation (`None`: it depends on an input), a `Constant`, a
`Weight` (parameters after shape operations only), a `Sum` of a weight and what other
parameters add to it, or `Folded`: another function of parameters.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

from anajax.mapping.layout import Layout


class Atom(NamedTuple):
    """A factor of an axis of a value: which axes of the parameter it runs over."""

    axes: tuple[int, ...]
    size: int


Dim = tuple[Atom, ...]
"""An axis of a value as its factors, slowest first."""


@dataclasses.dataclass(frozen=True)
class Part:
    """The contribution of one parameter to a value, axis by axis."""

    path: str
    """Path of the parameter."""
    shape: tuple[int, ...]
    """Shape of the parameter."""
    dims: tuple[Dim, ...]
    """Axes of the value."""
    stack: tuple[int, ...] = ()
    """Axes of the parameter in which an index selects one entry."""
    loops: tuple[int, ...] = ()
    """Loops whose step selects it, outermost first."""

    def layout(
        self,
        roles: Sequence[Sequence[tuple[str, int]]],
        order: Sequence[int] = (),
        tile_rows: int | None = None,
    ) -> Layout:
        """The layout of the parameter, from the roles of the value's axes in a product.

        Args:
            roles: factors of each axis by role ("group", "row", "column") and size.
            order: axes of the value that are rows, in their order.
            tile_rows: largest number of rows per tile, if the order of rows matters.
        """
        found: dict[int, set[str]] = {axis: set() for axis in range(len(self.shape))}
        for dim, wanted in zip(self.dims, roles, strict=True):
            parts = factored(dim, [size for _, size in wanted])
            for (role, _), atoms in zip(wanted, parts, strict=True):
                for atom in atoms:
                    for axis in atom.axes:
                        found[axis].add(role)
        kinds = [self._kind(axis, roles) for axis, roles in found.items()]
        if "mixed" in kinds:
            stack = tuple(axis for axis, kind in enumerate(kinds) if kind == "group")
            return Layout(stack=stack)
        if "column" not in kinds and "free" in kinds:  # of length 1
            kinds[len(kinds) - 1 - kinds[::-1].index("free")] = "column"
        stack, rows, columns = (
            tuple(axis for axis, kind in enumerate(kinds) if kind in names)
            for names in (("group",), ("row", "free"), ("column",))
        )
        if tile_rows is None:
            return Layout(stack=stack, rows=rows, columns=columns)
        met = [axis for i in order for axis in merged(self.dims[i])]
        rows = tuple(sorted(rows, key=lambda a: met.index(a) if a in met else -1))
        return Layout(stack=stack, rows=rows, columns=columns, tile_rows=tile_rows)

    def _kind(self, axis: int, roles: set[str]) -> str:
        if {"row", "column"} <= roles:
            return "mixed"
        for kind in ("column", "row", "group"):
            if kind in roles:
                return kind
        return "group" if axis in self.stack else "free"


@dataclasses.dataclass(frozen=True)
class Weight:
    """Parameters after shape operations: one, or several joined."""

    parts: tuple[Part, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of the parameters."""
        return tuple(dict.fromkeys(part.path for part in self.parts))

    @property
    def loops(self) -> tuple[int, ...]:
        """Loops whose step selects the weight."""
        return self.parts[0].loops


@dataclasses.dataclass(frozen=True)
class Sum:
    """A weight and what other parameters add to it, as adapters do."""

    base: Weight
    added: tuple[str, ...]
    """Paths of the parameters added."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of all parameters."""
        return self.base.paths + self.added

    @property
    def loops(self) -> tuple[int, ...]:
        """Loops whose step selects the weight."""
        return self.base.loops


@dataclasses.dataclass(frozen=True)
class Folded:
    """Any other function of parameters and constants."""

    paths: tuple[str, ...]
    why: str
    """Why it is not a `Weight`."""
    loops: tuple[int, ...] = ()
    """Loops whose step selects its parameters."""


@dataclasses.dataclass(frozen=True)
class Constant:
    """A value that depends on neither parameters nor inputs."""


_OF_PARAMETERS = (Weight, Sum, Folded)
Mark = Weight | Sum | Folded | Constant | None


def parameter(path: str, shape: Sequence[int]) -> Weight:
    """The mark of a whole parameter."""
    dims = tuple((Atom((axis,), n),) for axis, n in enumerate(shape))
    return Weight((Part(path, tuple(shape), dims),))


def paths_of(marks: Sequence[Mark]) -> tuple[str, ...]:
    """Paths of all parameters among marks, without duplicates."""
    found = (p for m in marks if isinstance(m, _OF_PARAMETERS) for p in m.paths)
    return tuple(dict.fromkeys(found))


def folded(marks: Sequence[Mark], why: str) -> Mark:
    """The mark of a function of values with these marks."""
    if any(mark is None for mark in marks):
        return None
    paths = paths_of(marks)
    if not paths:
        return Constant()
    first = next((m.why for m in marks if isinstance(m, Folded)), why)
    loops = max((m.loops for m in marks if isinstance(m, _OF_PARAMETERS)), key=len)
    return Folded(paths, first, loops)


def plain(mark: Mark) -> Mark:
    """The mark without the terms of a sum, for values that leave a function."""
    if isinstance(mark, Sum):
        return Folded(mark.paths, "goes through `add` first", mark.loops)
    return mark


def merged(dim: Dim) -> tuple[int, ...]:
    """All axes of the parameter that an axis of a value runs over."""
    return tuple(dict.fromkeys(axis for atom in dim for axis in atom.axes))


def resized(dim: Dim, size: int) -> Dim:
    """An axis cut to another size."""
    if size == 1:
        return ()
    return (Atom(merged(dim), size),)


def factored(dim: Dim, sizes: Sequence[int]) -> list[Dim]:
    """An axis split into axes of these sizes.

    If its factors do not fit, each new axis is taken to run over all of them.
    """
    if len(sizes) == 1:
        return [dim]
    rest, found = list(dim), []
    for size in sizes:
        taken: list[Atom] = []
        while size > 1:
            if not rest or math.gcd(rest[0].size, size) == 1:
                return [(Atom(merged(dim), n),) if n > 1 else () for n in sizes]
            axes, whole = rest.pop(0)
            shared = whole if size % whole == 0 else size if whole % size == 0 else 0
            if not shared:
                return [(Atom(merged(dim), n),) if n > 1 else () for n in sizes]
            taken.append(Atom(axes, shared))
            if whole > shared:
                rest.insert(0, Atom(axes, whole // shared))
            size //= shared
        rest = [atom for atom in rest if atom.size > 1]
        found.append(tuple(taken))
    return found
