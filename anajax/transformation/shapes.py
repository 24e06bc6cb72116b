"""The effect of shape operations on parameters inside a value, per primitive.

A rule maps the contribution of one parameter (`Part`) through an equation, to one part
per output, or to `None` if the result is not a weight any more.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from anajax.transformation.marks import (
    Atom,
    Dim,
    Part,
    Weight,
    factored,
    merged,
    resized,
)

Parts = Sequence[Part | None]
Rule = Callable[[Part, Any], Parts]


def unstacked(part: Part, loop: int) -> Part:
    """What one step of a loop sees of a value that it runs over."""
    return dataclasses.replace(
        part,
        dims=part.dims[1:],
        stack=part.stack + merged(part.dims[0]),
        loops=(*part.loops, loop),
    )


def _unchanged(part: Part, eqn: Any) -> Parts:
    return [part]


def _convert(part: Part, eqn: Any) -> Parts:
    real = jnp.issubdtype(eqn.outvars[0].aval.dtype, jnp.floating)
    return [part if real else None]


def _transpose(part: Part, eqn: Any) -> Parts:
    return [_with(part, [part.dims[i] for i in eqn.params["permutation"]])]


def _squeeze(part: Part, eqn: Any) -> Parts:
    gone = {axis % len(part.dims) for axis in eqn.params["dimensions"]}
    return [_with(part, [d for i, d in enumerate(part.dims) if i not in gone])]


def _broadcast(part: Part, eqn: Any) -> Parts:
    before, after = eqn.invars[0].aval.shape, eqn.params["shape"]
    dims: list[Dim] = [(Atom((), n),) if n > 1 else () for n in after]
    for axis, place in enumerate(eqn.params["broadcast_dimensions"]):
        if before[axis] == after[place]:
            dims[place] = part.dims[axis]
    return [_with(part, dims)]


def _reshape(part: Part, eqn: Any) -> Parts:
    before, after = eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
    dims: list[Dim] = [() for _ in after]
    for old, new in matched(before, after):
        whole = tuple(atom for i in old for atom in part.dims[i])
        sizes = [after[i] for i in new]
        for i, dim in zip(new, factored(whole, sizes), strict=True):
            dims[i] = dim
    return [_with(part, dims)]


def matched(before: Sequence[int], after: Sequence[int]) -> list[tuple[list, list]]:
    """Axes that a reshape maps to each other: runs of equal size, without ones."""
    if 0 in before:
        return []
    old, new = ([i for i, n in enumerate(shape) if n > 1] for shape in (before, after))
    runs = []
    while old and new:
        left, right = [old.pop(0)], [new.pop(0)]
        while (a := math.prod(before[i] for i in left)) != (
            b := math.prod(after[i] for i in right)
        ):
            left, right = (
                (left + [old.pop(0)], right) if a < b else (left, right + [new.pop(0)])
            )
        runs.append((left, right))
    return runs


def _cut(part: Part, before: Sequence[int], after: Sequence[int]) -> Part:
    """A block of a value; an axis of which one entry is left numbers layers."""
    dims, stack = [], part.stack
    for dim, old, new in zip(part.dims, before, after, strict=True):
        if old != new and new == 1:
            stack += merged(dim)
        dims.append(dim if old == new else resized(dim, new))
    return dataclasses.replace(part, dims=tuple(dims), stack=stack)


def _slice(part: Part, eqn: Any) -> Parts:
    return [_cut(part, eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape)]


def _dynamic_slice(part: Part, eqn: Any) -> Parts:
    before, after = eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
    picked = sum(o != n and n == 1 for o, n in zip(before, after, strict=True))
    if picked and len(before) - picked < 2:
        return [None]  # a row looked up
    return _slice(part, eqn)


def _split(part: Part, eqn: Any) -> Parts:
    before = eqn.invars[0].aval.shape
    return [_cut(part, before, out.aval.shape) for out in eqn.outvars]


def _stack(part: Part, eqn: Any) -> Parts:
    axis = eqn.params["axis"]
    return [_with(part, [*part.dims[:axis], (), *part.dims[axis:]])]


def _gather(part: Part, eqn: Any) -> Parts:
    """Whole matrices by index: the axes of the indices then number matrices."""
    numbers, before = eqn.params["dimension_numbers"], eqn.invars[0].aval.shape
    picked = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    kept = [axis for axis in range(len(before)) if axis not in picked]
    sizes = eqn.params["slice_sizes"]
    whole = all(sizes[axis] == before[axis] for axis in kept)
    if not whole or not set(numbers.start_index_map) <= set(picked):
        return [None]
    after = eqn.outvars[0].aval.shape
    axes = tuple(axis for p in picked for axis in merged(part.dims[p]))
    dims: list[Dim] = [(Atom(axes, n),) if n > 1 else () for n in after]
    for axis, place in zip(kept, numbers.offset_dims, strict=True):
        dims[place] = part.dims[axis]
    return [dataclasses.replace(part, dims=tuple(dims), stack=part.stack + axes)]


def _with(part: Part, dims: Sequence[Dim]) -> Part:
    return dataclasses.replace(part, dims=tuple(dims))


RULES: dict[str, Rule] = {
    "broadcast_in_dim": _broadcast,
    "convert_element_type": _convert,
    "copy": _unchanged,
    "copy_p": _unchanged,
    "dynamic_slice": _dynamic_slice,
    "gather": _gather,
    "name": _unchanged,
    "pad": _unchanged,
    "pcast": _unchanged,
    "pvary": _unchanged,
    "reshape": _reshape,
    "reshard": _unchanged,
    "rev": _unchanged,
    "sharding_constraint": _unchanged,
    "slice": _slice,
    "split": _split,
    "squeeze": _squeeze,
    "stop_gradient": _unchanged,
    "transpose": _transpose,
}
"""Shape operations on their first operand."""
JOINS: dict[str, Rule] = {"concatenate": _unchanged, "stack": _stack}
"""Shape operations on all of their operands together."""
ALONGSIDE: frozenset[str] = frozenset({"optimization_barrier", "device_put"})
"""Operations that pass on each operand unchanged."""


def looked_up(eqn: Any, constant: bool) -> bool:
    """Whether a gather looks up rows for inputs, as an embedding does.

    Rows at constant indices are a permutation or a part of the weight, and whole
    matrices (two axes or more) are selected by an index; neither is a lookup.
    """
    numbers = eqn.params["dimension_numbers"]
    return not constant and len(numbers.offset_dims) < 2


def through(mark: Weight, eqn: Any, rule: Rule) -> list[Weight | None]:
    """The marks of the outputs of a shape operation on a weight."""
    found = [rule(part, eqn) for part in mark.parts]
    outs = []
    for parts in zip(*found, strict=True):
        whole = tuple(part for part in parts if part is not None)
        outs.append(Weight(whole) if len(whole) == len(parts) else None)
    return outs
