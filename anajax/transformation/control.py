"""Calls, checkpoints, loops and branches that contain sites.

Each stays unchanged if it contains no site. A loop passes the number of each step to
the noise of the sites within; if the loop runs over a weight (a stack of layers), the
number identifies the layer as well.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from anajax.transformation._jax import (
    CALLS,
    CHECKPOINTS,
    CUSTOM,
    called,
    constrained,
    opened,
    scan_counts,
)
from anajax.transformation.marks import (
    Constant,
    Folded,
    Mark,
    Sum,
    Weight,
    paths_of,
    plain,
)
from anajax.transformation.plan import Action, Builder, Handler, Plan, ordinary, run
from anajax.transformation.shapes import unstacked
from anajax.transformation.sites import Context, Held, plain_value, unsummed
from anajax.transformation.sites import Sum as SumValue

Outcome = tuple[Action | None, list[Mark]]


def _arrays(values: Sequence[Any], kinds: Sequence[Any]) -> list[Any]:
    """Values as arrays, also those that a jaxpr holds as numbers."""
    return [
        value
        if isinstance(value, jax.Array | SumValue | Held)
        else jnp.asarray(value, a.dtype)
        for value, a in zip(values, kinds, strict=True)
    ]


def _operands(eqn: Any, values: list[Any]) -> list[Any]:
    return _arrays(values, [v.aval for v in eqn.invars])


def _plain_values(values: Sequence[Any]) -> list[Any]:
    return [plain_value(value) for value in values]


def _like(before: Sequence[Any], after: Sequence[Any]) -> list[Any]:
    """A carry after a step: of the kind of each value that came in."""
    pairs = zip(before, after, strict=True)
    return [
        new if isinstance(old, SumValue | Held) else plain_value(new)
        for old, new in pairs
    ]


def _carried(jaxpr: Any, start: int, values: Sequence[Any]) -> list[Any]:
    """What a loop begins with: plain arrays where it changes them."""
    jaxpr, _ = opened(jaxpr)
    return [
        value if jaxpr.outvars[i] is jaxpr.invars[start + i] else plain_value(value)
        for i, value in enumerate(values)
    ]


def _kept_out(plan: Plan) -> list[Mark]:
    return [plain(mark) for mark in plan.outs]


# --- calls ---------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Call(Action):
    """A call of a jaxpr, evaluated inline."""

    plan: Plan

    def run(self, context: Context, eqn: Any, values: list[Any]) -> list[Any]:
        """The outputs of the call."""
        values = constrained(values, eqn.params.get("in_shardings"))
        outs = run(self.plan, context, values)
        return constrained(outs, eqn.params.get("out_shardings"))


def call(builder: Builder, eqn: Any, marks: list[Mark]) -> Outcome:
    """A nested call."""
    plan = builder.walk(*called(eqn), marks)
    if plan.active or builder.holds(plan.outs):
        return Call(plan), plan.outs
    return None, _kept_out(plan)


def custom(builder: Builder, eqn: Any, marks: list[Mark]) -> Outcome:
    """A call with custom derivatives, which are dropped if it contains a site."""
    if not any(isinstance(mark, Weight | Sum | Folded) for mark in marks):
        return ordinary(builder, eqn, marks)
    plan = builder.walk(*called(eqn), marks)
    if plan.active:
        return Call(plan), _kept_out(plan)
    return ordinary(builder, eqn, marks)


@dataclasses.dataclass(frozen=True)
class Checkpoint(Action):
    """A call that is recomputed in the backward pass."""

    plan: Plan

    def run(self, context: Context, eqn: Any, values: list[Any]) -> list[Any]:
        """The outputs of the call."""

        def body(*values: Any) -> Any:
            inner = context.inside()
            outs = run(self.plan, inner, values)
            return [unsummed(out) for out in outs], inner.seen

        names = ("prevent_cse", "policy")
        options = {name: eqn.params[name] for name in names if name in eqn.params}
        outs, seen = jax.checkpoint(body, **options)(*values)
        context.seen.update(seen)
        return outs


def checkpoint(builder: Builder, eqn: Any, marks: list[Mark]) -> Outcome:
    """A checkpointed call."""
    plan = builder.walk(*called(eqn), marks)
    active = plan.active or builder.holds(plan.outs)
    return Checkpoint(plan) if active else None, _kept_out(plan)


# --- loops ---------------------------------------------------------------------------


def _steady(builder: Builder, jaxpr: Any, start: int, marks: list[Mark]) -> list[Mark]:
    """The marks of what a loop carries: activations but for what it hands on as it is.

    Args:
        builder: keeps account.
        jaxpr: the body, with the carry as its first outputs.
        start: place of the carry among its inputs.
        marks: of the carry at the beginning.
    """
    steady = []
    for place, mark in enumerate(marks):
        same = jaxpr.outvars[place] is jaxpr.invars[start + place]
        if not same:
            builder.explain(paths_of([mark]), "is carried through a loop and changed")
        steady.append(mark if same else None)
    return steady


def _element(mark: Mark, loop: int) -> Mark:
    """What one step sees of an array that the loop runs over."""
    if isinstance(mark, Weight):
        return Weight(tuple(unstacked(part, loop) for part in mark.parts))
    if isinstance(mark, Sum):
        base = _element(mark.base, loop)
        assert isinstance(base, Weight)
        return Sum(base, mark.added)
    if isinstance(mark, Folded):
        return Folded(mark.paths, mark.why, (*mark.loops, loop))
    return mark


def _stacked(mark: Mark) -> Mark:
    """What the results of all steps are together."""
    if isinstance(mark, Weight | Sum | Folded):
        return Folded(mark.paths, "goes through `scan` first")
    return mark


@dataclasses.dataclass(frozen=True)
class Scan(Action):
    """A loop over arrays."""

    plan: Plan
    loop: int
    consts: int
    carried: int

    def run(self, context: Context, eqn: Any, values: list[Any]) -> list[Any]:
        """The outputs of the loop."""
        values = _operands(eqn, values)
        first = self.consts + self.carried
        consts, init, xs = (
            values[: self.consts],
            _carried(eqn.params["jaxpr"], self.consts, values[self.consts : first]),
            values[first:],
        )

        length = eqn.params["length"]

        def body(carry: list[Any], slices: tuple) -> Any:
            step, x = slices
            inner = context.inside((self.loop, step, length))
            outs = run(self.plan, inner, [*consts, *carry, *x])
            carry, ys = _like(carry, outs[: self.carried]), outs[self.carried :]
            return carry, (_plain_values(ys), inner.seen)

        carry, (ys, seen) = jax.lax.scan(
            body,
            init,
            (jnp.arange(length, dtype=jnp.int32), xs),
            length=length,
            reverse=eqn.params["reverse"],
            unroll=eqn.params["unroll"],
        )
        numbered = {site.name for site in self.plan.sites if self.loop in site.loops}
        for name, found in seen.items():
            if name not in numbered:
                found = jax.tree.map(context.over, found)
            context.seen[name] = found
        return [*carry, *ys]


def scan(builder: Builder, eqn: Any, marks: list[Mark]) -> Outcome:
    """A loop over arrays: over a stack of weights, or with the same weights."""
    jaxpr, constants = opened(eqn.params["jaxpr"])
    consts, carried = scan_counts(eqn)
    first, loop = consts + carried, builder.new_loop()
    carry = _steady(builder, jaxpr, consts, marks[consts:first])
    elements = [_element(mark, loop) for mark in marks[first:]]
    with builder.repeated(loop, eqn.params["length"]):
        plan = builder.walk(jaxpr, constants, [*marks[:consts], *carry, *elements])
    ys = [_stacked(mark) for mark in plan.outs[carried:]]
    if not (plan.active or builder.holds(carry)):
        return None, [*map(plain, carry), *ys]
    return Scan(plan, loop, consts, carried), [*carry, *ys]


@dataclasses.dataclass(frozen=True)
class While(Action):
    """A loop until a condition fails."""

    test: Plan
    body: Plan
    loops: tuple[int, int]

    def run(self, context: Context, eqn: Any, values: list[Any]) -> list[Any]:
        """The outputs of the loop."""
        values = _operands(eqn, values)
        tests = eqn.params["cond_nconsts"]
        first = tests + eqn.params["body_nconsts"]
        for_test, for_body = values[:tests], values[tests:first]

        def going(step: Any, carry: list[Any]) -> tuple[Any, dict]:
            inner = context.inside((self.loops[0], step, 0))
            return run(self.test, inner, [*for_test, *carry])[0], inner.seen

        def turn(step: Any, carry: list[Any]) -> tuple[list[Any], dict]:
            inner = context.inside((self.loops[1], step, 0))
            outs = run(self.body, inner, [*for_body, *carry])
            return _like(carry, outs), inner.seen

        def body(state: tuple) -> tuple:
            step, carry, seen = state
            _, at_test = going(step, carry)
            carry, found = turn(step, carry)
            return step + 1, carry, jax.tree.map(context.both, seen, at_test | found)

        bodies = eqn.params["body_nconsts"]
        carry = _carried(eqn.params["body_jaxpr"], bodies, values[first:])
        start = jnp.zeros((), jnp.int32), carry
        shapes = {}
        if context.observer is not None:
            shapes = jax.eval_shape(lambda *s: going(*s)[1] | turn(*s)[1], *start)
        state = (*start, _zeros(shapes))
        _, carry, seen = jax.lax.while_loop(lambda s: going(*s[:2])[0], body, state)
        context.seen.update(seen)
        return carry


def _zeros(shapes: Any) -> Any:
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)


def while_loop(builder: Builder, eqn: Any, marks: list[Mark]) -> Outcome:
    """A loop until a condition fails."""
    tests, bodies = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
    first, loops = tests + bodies, (builder.new_loop(), builder.new_loop())
    jaxpr, constants = opened(eqn.params["body_jaxpr"])
    carry = _steady(builder, jaxpr, bodies, marks[first:])
    condition = opened(eqn.params["cond_jaxpr"])
    with builder.repeated(loops[0], 0):
        test = builder.walk(*condition, [*marks[:tests], *carry])
    with builder.repeated(loops[1], 0):
        body = builder.walk(jaxpr, constants, [*marks[tests:first], *carry])
    if not (test.active or body.active or builder.holds(carry)):
        return None, [plain(mark) for mark in carry]
    return While(test, body, loops), carry


# --- branches ------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Switch(Action):
    """One of several calls, by an index."""

    plans: tuple[Plan, ...]
    outs: list[Mark]

    def run(self, context: Context, eqn: Any, values: list[Any]) -> list[Any]:
        """The outputs of the chosen branch."""
        index, *operands = _operands(eqn, values)
        kinds = [v.aval for v in eqn.outvars]

        def branch(plan: Plan) -> Callable[..., Any]:
            def chosen(*operands: Any) -> Any:
                inner = context.inside()
                outs = [
                    unsummed(out) if isinstance(mark, Weight) else plain_value(out)
                    for out, mark in zip(
                        run(plan, inner, operands), self.outs, strict=True
                    )
                ]
                return _arrays(outs, kinds), inner.seen

            return chosen

        branches = [branch(plan) for plan in self.plans]
        shapes: dict = {}
        for each in branches if context.observer is not None else ():
            shapes |= jax.eval_shape(each, *operands)[1]
        whole = [_with_zeros(each, shapes) for each in branches]
        outs, seen = jax.lax.switch(index, whole, *operands)
        context.seen.update(seen)
        return outs


def _with_zeros(branch: Callable[..., Any], shapes: dict) -> Callable[..., Any]:
    def chosen(*operands: Any) -> Any:
        outs, seen = branch(*operands)
        return outs, _zeros(shapes) | seen

    return chosen


def switch(builder: Builder, eqn: Any, marks: list[Mark]) -> Outcome:
    """A choice of one of several branches."""
    with builder.repeated(builder.new_loop(), 0):
        plans = tuple(
            builder.walk(*opened(branch), marks[1:])
            for branch in eqn.params["branches"]
        )
    outs = [_alike(each) for each in zip(*(_kept_out(p) for p in plans), strict=True)]
    for plan in plans:
        lost = [m for m, out in zip(plan.outs, outs, strict=True) if out is None]
        builder.explain(paths_of(lost), "is chosen by `cond` first")
    active = any(plan.active for plan in plans) or builder.holds(outs)
    return Switch(plans, outs) if active else None, outs


def _alike(marks: Sequence[Mark]) -> Mark:
    same = all(mark == marks[0] for mark in marks)
    return marks[0] if same and not isinstance(marks[0], Constant) else None


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(CALLS, call),
    **dict.fromkeys(CHECKPOINTS, checkpoint),
    **dict.fromkeys(CUSTOM, custom),
    "cond": switch,
    "scan": scan,
    "while": while_loop,
}
"""Handlers of equations that contain jaxprs."""
