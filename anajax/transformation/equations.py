"""What is done for each equation: shape operations, sums, products, `shard_map`.

A handler returns what replaces an equation (nothing if it stays unchanged) and what its
outputs are. Handlers for control flow are in `control`.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from anajax._core import checks
from anajax.mapping.layout import Layout
from anajax.transformation import shapes
from anajax.transformation._jax import Literal, bind, opened
from anajax.transformation.marks import (
    Constant,
    Folded,
    Mark,
    Part,
    Sum,
    Weight,
    folded,
    paths_of,
    plain,
    resized,
)
from anajax.transformation.plan import Action, Builder, Handler, Plan, ordinary, run
from anajax.transformation.products import Convolution, Dot, Roles, convolution, dot
from anajax.transformation.rules import EMPTY, Rule, first
from anajax.transformation.sites import Context, Held, plain_value
from anajax.transformation.sites import Sum as SumValue

ONLY_PARAMETERS = "its product does not depend on an input"

# --- shapes and sums -----------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Reshaped(Action):
    """A shape operation on each array of a sum, or on weights of a chip."""

    def run(self, context: Context, eqn: Any, values: list[Any]) -> list[Any]:
        """The result, of the same kind."""
        whole, *more = values
        more = [plain_value(v) for v in more]
        arrays, tree = jax.tree.flatten(whole)
        each = [bind(eqn, [array, *more]) for array in arrays]
        return [tree.unflatten(arrays) for arrays in zip(*each, strict=True)]


def shape_operation(
    builder: Builder, eqn: Any, marks: list[Mark]
) -> tuple[Action | None, list[Mark]]:
    """A shape operation on its first operand."""
    mark, *others = marks
    weight = mark.base if isinstance(mark, Sum) else mark
    name = eqn.primitive.name
    constant = all(isinstance(m, Constant) for m in others)
    lookup = name == "gather" and shapes.looked_up(eqn, constant)
    strict = isinstance(mark, Sum) or builder.holds(marks)
    padded = name == "pad" and (not constant or (strict and not _zero(eqn.invars[1])))
    if not isinstance(weight, Weight) or lookup or padded:
        return ordinary(builder, eqn, marks)
    outs = shapes.through(weight, eqn, shapes.RULES[name])
    if any(out is None for out in outs):
        return ordinary(builder, eqn, marks)
    if isinstance(mark, Sum):
        return Reshaped(), [Sum(out, mark.added) for out in outs if out]
    return Reshaped() if builder.holds(marks) else None, list(outs)


@dataclasses.dataclass(frozen=True)
class Joined(Action):
    """Several weights of a chip, concatenated."""

    def run(self, context: Context, eqn: Any, values: list[Any]) -> list[Any]:
        """One record for all."""
        filled = [_filled(v, values) for v in values]
        found = [jax.tree.structure(v) for v in filled]
        if any(form != found[0] for form in found):
            remedy = "Program them by one strategy."
            got = "as many parts in one, others in another"
            checks.fail("strategy", "treat joined weights equally", got, remedy)
        return [jax.tree.map(lambda *arrays: bind(eqn, arrays)[0], *filled)]


def _filled(value: Held, others: list[Held]) -> Held:
    """The record with what others have beside: no offset is 0, no factor is 1."""
    offset, factor = value.offset, value.factor
    if offset is None and any(o.offset is not None for o in others):
        offset = jnp.zeros_like(value.value)
    if factor is None and any(o.factor is not None for o in others):
        factor = jnp.ones_like(value.value)
    return value._replace(offset=offset, factor=factor)


def _zero(v: Any) -> bool:
    return isinstance(v, Literal) and v.val == 0


def join(
    builder: Builder, eqn: Any, marks: list[Mark]
) -> tuple[Action | None, list[Mark]]:
    """Several weights, concatenated."""
    if not all(isinstance(mark, Weight) for mark in marks):
        return ordinary(builder, eqn, marks)
    rule = shapes.JOINS[eqn.primitive.name]
    outs = [shapes.through(mark, eqn, rule)[0] for mark in marks if mark]
    whole = Weight(tuple(part for out in outs if out for part in out.parts))
    return Joined() if builder.holds(marks) else None, [whole]


@dataclasses.dataclass(frozen=True)
class Alongside(Action):
    """Operands passed on unchanged, including weights of a chip."""

    def run(self, context: Context, eqn: Any, values: list[Any]) -> list[Any]:
        """The operands."""
        outs = bind(eqn, [plain_value(v) for v in values])
        return [
            v._replace(value=out) if isinstance(v, Held) else out
            for v, out in zip(values, outs, strict=True)
        ]


def alongside(
    builder: Builder, eqn: Any, marks: list[Mark]
) -> tuple[Action | None, list[Mark]]:
    """Operands passed on unchanged."""
    action = Alongside() if builder.holds(marks) else None
    return action, [plain(mark) for mark in marks]


@dataclasses.dataclass(frozen=True)
class Added(Action):
    """A weight (operand `side`) and what is added to or subtracted from it."""

    side: int

    def run(self, context: Context, eqn: Any, values: list[Any]) -> list[Any]:
        """The sum."""
        base, rest = values[self.side], plain_value(values[1 - self.side])
        value = bind(eqn, [plain_value(v) for v in values])[0]
        rest = -rest if eqn.primitive.name == "sub" else rest
        if isinstance(base, SumValue):
            base, rest = base.base, base.rest + rest
        return [SumValue(value, base, rest)]


def add(
    builder: Builder, eqn: Any, marks: list[Mark]
) -> tuple[Action | None, list[Mark]]:
    """A sum; of a weight and another function of parameters it is an adapted weight."""
    sides = (0,) if eqn.primitive.name == "sub" else (0, 1)
    alike = len({v.aval.shape for v in eqn.invars}) == 1
    for side in sides if alike else ():
        base, other = marks[side], marks[1 - side]
        if isinstance(base, Weight | Sum) and isinstance(other, Folded):
            weight = base if isinstance(base, Weight) else base.base
            if _rule(builder, weight.paths).fold:
                continue
            added = other.paths + (base.added if isinstance(base, Sum) else ())
            for path in other.paths:
                if builder.reasons.get(path, ONLY_PARAMETERS) == ONLY_PARAMETERS:
                    why = f"is added to {weight.paths[0]!r}, digitally"
                    builder.reasons[path] = why
            return Added(side), [Sum(weight, added)]
    return ordinary(builder, eqn, marks)


# --- products ------------------------------------------------------------------------


def product(
    builder: Builder, eqn: Any, marks: list[Mark]
) -> tuple[Action | None, list[Mark]]:
    """A product: a site if one operand is a weight."""
    weights = [isinstance(mark, Weight | Sum) for mark in marks[:2]]
    functions = [isinstance(mark, Folded) for mark in marks[:2]]
    known = [a or b for a, b in zip(weights, functions, strict=True)]
    if all(known):
        builder.explain(paths_of(marks), ONLY_PARAMETERS)
        return None, [folded(marks, ONLY_PARAMETERS)]
    action = None
    if any(known):
        action = _weight_site(builder, eqn, known.index(True), marks[known.index(True)])
        return action, [None]
    if builder.activations and any(mark is None for mark in marks[:2]):
        action = _activation_site(builder, eqn)
    return action, [folded(marks, "")]


def _form(
    builder: Builder, eqn: Any, side: int, mark: Mark
) -> tuple[Dot | Convolution | None, str]:
    if not jnp.issubdtype(eqn.outvars[0].aval.dtype, jnp.floating):
        return None, "its product is not one of real numbers"
    if 0 in (*eqn.invars[0].aval.shape, *eqn.invars[1].aval.shape):
        return None, EMPTY
    if eqn.primitive.name == "dot_general":
        weight = mark.base if isinstance(mark, Sum) else mark
        parts = weight.parts if isinstance(weight, Weight) else ()
        return dot(eqn, side, parts), "is not summed over in its product"
    form = convolution(eqn) if side == 1 else None
    return form, "is not the kernel of its convolution"


def _weight_site(builder: Builder, eqn: Any, side: int, mark: Mark) -> Action | None:
    base = mark.base if isinstance(mark, Sum) else mark
    if isinstance(base, Folded):
        return _folded_site(builder, eqn, side, base)
    assert isinstance(base, Weight)
    form, why = _form(builder, eqn, side, mark)
    if form is None:
        builder.explain(base.paths, why)
        return None
    rule, roles = _rule(builder, base.paths), form.roles()
    cut = form.row_order, rule.tiles.rows
    layouts = {part.path: part.layout(roles, *cut) for part in base.parts}
    return builder.add(
        "+".join(base.paths),
        rule=rule,
        form=form,
        side=side,
        loops=base.loops,
        layouts=layouts,
        rows_joined=len(layouts) > 1 and _share_columns(base, roles),
        vectors=_vectors(eqn, form),
    )


def _share_columns(weight: Weight, roles: Roles) -> bool:
    """Whether joined parameters lie one after another along rows."""
    rows = [axis for axis, kinds in enumerate(roles) if kinds[0][0] == "row"]
    return any(
        math.prod(atom.size for atom in part.dims[axis]) < roles[axis][0][1]
        for part in weight.parts
        for axis in rows
    )


def _folded_site(builder: Builder, eqn: Any, side: int, mark: Folded) -> Action | None:
    rules = {path: first(builder.rules, path, activations=False) for path in mark.paths}
    paths = [p for p, rule in rules.items() if rule and rule.fold and not rule.digital]
    form, why = _form(builder, eqn, side, mark)
    if not paths or form is None:
        builder.explain(mark.paths, mark.why if form else why)
        return None
    layouts = {path: Layout() for path in paths}
    return builder.add(
        "+".join(paths),
        rule=_rule(builder, paths),
        form=form,
        side=side,
        loops=mark.loops,
        layouts=layouts,
        folded=True,
        source=eqn.invars[side],
        vectors=_vectors(eqn, form),
    )


def _vectors(eqn: Any, form: Dot | Convolution) -> int:
    """How many vectors each matrix meets."""
    groups, _, columns = form.sizes
    return math.prod(eqn.outvars[0].aval.shape) // (groups * columns)


def _rule(builder: Builder, paths: Sequence[str]) -> Rule:
    rules = [first(builder.rules, path, activations=False) for path in paths]
    for path, rule in zip(paths, rules, strict=True):
        if rule is not rules[0]:
            got = f"{paths[0]!r} and {path!r} joined in one product, under two rules"
            remedy = "Cover both by one rule."
            checks.fail("rules", "treat joined weights equally", got, remedy)
    assert rules[0] is not None
    return rules[0]


def _activation_site(builder: Builder, eqn: Any) -> Action | None:
    name = f"activations/{len(builder.products)}"
    form, _ = _form(builder, eqn, 1, None)
    if form is None:
        return None
    builder.products.append(name)
    rule = first(builder.rules, name, activations=True)
    if rule is None or rule.digital:
        return None
    vectors = _vectors(eqn, form)
    return builder.add(name, rule=rule, form=form, side=1, vectors=vectors)


# --- parts of sharded arrays ----------------------------------------------------------


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
    """A call on each part of sharded operands: each part holds a part of a weight."""
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
    whole = [math.prod(atom.size for atom in dim) for dim in part.dims]
    pairs = zip(part.dims, whole, shape, strict=True)
    dims = tuple(dim if old == new else resized(dim, new) for dim, old, new in pairs)
    return dataclasses.replace(part, dims=dims)


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(shapes.RULES, shape_operation),
    **dict.fromkeys(shapes.JOINS, join),
    **dict.fromkeys(shapes.ALONGSIDE, alongside),
    **dict.fromkeys(("add", "add_any", "sub"), add),
    **dict.fromkeys(("dot_general", "conv_general_dilated"), product),
    "shard_map": shard_map,
}
"""Handlers of other equations; equations without a handler stay unchanged."""
