"""`shard_map` within a function: planned inside, and run with sites inside."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax

from anajax._core import checks
from anajax.transformation._jax import opened
from anajax.transformation.marks import Mark, Part, Weight, plain, resized
from anajax.transformation.plan import Action, Builder, Handler, Plan, run
from anajax.transformation.sites import Context, Held, plain_value


@dataclasses.dataclass(frozen=True)
class ShardMap(Action):
    """A call on each part of sharded operands."""

    plan: Plan

    def run(self, context: Context, eqn: Any, values: list[Any]) -> list[Any]:
        """The outputs of the call."""
        if any(isinstance(value, Held) for value in values):
            got = "a weight on a chip inside of a shard_map of the function"
            remedy = "Put the whole function into a shard_map, over items."
            checks.fail("params", "stay in one piece on a chip", got, remedy)
        names = ("mesh", "in_specs", "out_specs", "check_vma")
        options = {name: eqn.params[name] for name in names}
        axes = eqn.params.get("newly_manual_axes", eqn.params.get("manual_axes"))

        options["out_specs"] = options["out_specs"], jax.sharding.PartitionSpec()

        def body(*values: Any) -> Any:
            inner = context.inside()
            outs = run(self.plan, inner, values)
            seen = jax.lax.pmax(inner.seen, tuple(axes)) if inner.seen else {}
            return tuple(plain_value(out) for out in outs), seen

        mapped = jax.shard_map(body, axis_names=set(axes), **options)
        outs, seen = mapped(*(plain_value(value) for value in values))
        context.seen.update(seen)
        return list(outs)


def shard_map(
    builder: Builder, eqn: Any, marks: list[Mark]
) -> tuple[Action | None, list[Mark]]:
    """A call on each part of sharded operands: each holds a part of a weight."""
    jaxpr, consts = opened(eqn.params["jaxpr"])
    parts = [
        _local(plain(mark), v.aval.shape)
        for mark, v in zip(marks, jaxpr.invars, strict=True)
    ]
    with builder.repeated(builder.new_loop(), 0):
        plan = builder.walk(jaxpr, consts, parts)
    outs: list[Mark] = [None] * len(eqn.outvars)
    return ShardMap(plan) if plan.active else None, outs


def _local(mark: Mark, shape: Sequence[int]) -> Mark:
    """A weight whose axes are cut to a part of it."""
    if not isinstance(mark, Weight):
        return mark
    return Weight(tuple(_cut(part, shape) for part in mark.parts))


def _cut(part: Part, shape: Sequence[int]) -> Part:
    whole = [_size(dim) for dim in part.dims]
    pairs = zip(part.dims, whole, shape, strict=True)
    dims = tuple(dim if old == new else resized(dim, new) for dim, old, new in pairs)
    return dataclasses.replace(part, dims=dims)


def _size(dim: Sequence[Any]) -> int:
    size = 1
    for atom in dim:
        size *= atom.size
    return size


HANDLERS: dict[str, Handler] = {"shard_map": shard_map}
"""What is done with `shard_map`."""
