"""The plan of a function: its products that become sites, found from its jaxpr.

Nothing is computed here. `Builder.walk` marks each value (`marks`), and notes what
replaces each equation; `run` executes a plan.
"""

import collections
import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from anajax._core import checks
from anajax._core.types import PyTree
from anajax.mapping.selection import path_name
from anajax.transformation._jax import Literal, bind, last_uses, trace
from anajax.transformation.marks import Constant, Mark, Sum, Weight, folded, paths_of
from anajax.transformation.rules import Rule
from anajax.transformation.sites import Action as Action
from anajax.transformation.sites import Context, Product, Site, plain_value

Handler = Callable[["Builder", Any, list[Mark]], tuple[Action | None, list[Mark]]]
"""Returns what replaces an equation for these operands, and what its outputs are."""


class Traced(NamedTuple):
    """A function of arrays alone, and the arrays."""

    jaxpr: Any
    consts: list[Any]
    out: Any
    """Shapes of the output, as a pytree."""
    arrays: list[Any]
    """All arrays; those of the parameters come first."""
    shapes: dict[str, tuple[int, ...]]
    """Shapes of the parameters, by path."""


def flattened(
    apply: Callable[..., Any], params: PyTree, inputs: tuple, options: dict[str, Any]
) -> Traced:
    """The jaxpr of `apply(params, *inputs, **options)`; other leaves stay unchanged.

    Raises:
        ValueError: if two parameters have the same path.
    """
    named, _ = jax.tree_util.tree_flatten_with_path(params)
    leaves, form = jax.tree.flatten((params, inputs, options))
    arrays = [leaf for leaf in leaves if _is_array(leaf)]

    def flat(*arrays: Any) -> Any:
        rest = iter(arrays)
        whole = [next(rest) if _is_array(leaf) else leaf for leaf in leaves]
        params, inputs, options = jax.tree.unflatten(form, whole)
        return apply(params, *inputs, **options)

    found = trace(flat, *arrays)
    return Traced(*found, arrays, _shapes([(path_name(p), leaf) for p, leaf in named]))


def _shapes(named: list[tuple[str, Any]]) -> dict[str, tuple[int, ...]]:
    arrays = [(path, tuple(leaf.shape)) for path, leaf in named if _is_array(leaf)]
    if len(dict(arrays)) < len(arrays):
        paths = [path for path, _ in arrays]
        got = sorted({path for path in paths if paths.count(path) > 1})
        checks.fail("params", "have a path for each array", got, "Rename one.")
    return dict(arrays)


def _is_array(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype")


@dataclasses.dataclass(frozen=True)
class Plan:
    """A jaxpr, what replaces some of its equations, and what its outputs are."""

    jaxpr: Any
    consts: list[Any]
    actions: list[Action | None]
    outs: list[Mark]
    sites: tuple[Site, ...]
    """Sites within, including nested ones."""

    @property
    def active(self) -> bool:
        """Whether it differs from the jaxpr alone."""
        return any(action is not None for action in self.actions)


def run(plan: Plan, context: Context, values: Sequence[Any]) -> list[Any]:
    """The outputs of a planned jaxpr."""
    jaxpr, env = plan.jaxpr, {}
    env.update(zip(jaxpr.constvars, plan.consts, strict=True))
    env.update(zip(jaxpr.invars, values, strict=True))

    def read(v: Any) -> Any:
        return v.val if isinstance(v, Literal) else env[v]

    for eqn, action, gone in zip(
        jaxpr.eqns, plan.actions, last_uses(jaxpr), strict=True
    ):
        operands = [read(v) for v in eqn.invars]
        if action is None:
            outs = bind(eqn, [plain_value(v) for v in operands])
        else:
            outs = action.run(context, eqn, operands)
        env.update(zip(eqn.outvars, outs, strict=True))
        for v in gone:
            env.pop(v, None)
    return [read(v) for v in jaxpr.outvars]


class Builder:
    """Finds the sites of a function and records what happens to its parameters.

    Args:
        rules: which weights become analog.
        handlers: handlers of equations, by primitive.
        held: parameters that are held by the cells of a chip.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        handlers: Mapping[str, Handler],
        held: Collection[str] = (),
    ):
        self.rules, self.handlers, self.held = rules, handlers, held
        self.sites: list[Site] = []
        self.reasons: dict[str, str] = {}
        self.products: list[str] = []
        self.loops = 0
        self.around: tuple[tuple[int, int], ...] = ()
        self._uses: collections.Counter[str] = collections.Counter()
        self._arrays: dict[Any, str] = {}

    @property
    def activations(self) -> bool:
        """Whether some rule is for products of two activations."""
        return any(rule.activations for rule in self.rules)

    def walk(self, jaxpr: Any, consts: list[Any], marks: Sequence[Mark]) -> Plan:
        """The plan of a jaxpr whose inputs have these marks."""
        env: dict[Any, Mark] = dict.fromkeys(jaxpr.constvars, Constant())
        env.update(zip(jaxpr.invars, marks, strict=True))
        before = len(self.sites)
        actions = []
        for eqn in jaxpr.eqns:
            operands = [_read(env, v) for v in eqn.invars]
            handler = self.handlers.get(eqn.primitive.name, ordinary)
            action, outs = handler(self, eqn, operands)
            env.update(zip(eqn.outvars, outs, strict=True))
            actions.append(action)
        outs = [_read(env, v) for v in jaxpr.outvars]
        return Plan(jaxpr, consts, actions, outs, tuple(self.sites[before:]))

    def holds(self, marks: Sequence[Mark]) -> bool:
        """Whether a weight among these is held by the cells of a chip."""
        weights = [m for m in marks if isinstance(m, Weight | Sum)]
        return bool(self.held) and any(p in self.held for p in paths_of(weights))

    def new_loop(self) -> int:
        """The number of a new loop."""
        self.loops += 1
        return self.loops

    @contextlib.contextmanager
    def repeated(self, loop: int, length: int) -> Iterator[None]:
        """Sets how often the sites found within are run; 0 if shapes do not tell."""
        outside, self.around = self.around, (*self.around, (loop, length))
        yield
        self.around = outside

    def explain(self, paths: Sequence[str], why: str) -> None:
        """Note why these parameters have no site, unless that is already known."""
        for path in paths:
            self.reasons.setdefault(path, why)

    def add(self, base: str, *, source: Any = None, **fields: Any) -> Product:
        """A new site of the weight named `base`; of a folded weight's `source`."""
        count = self._uses[base]
        self._uses[base] += 1
        name = f"{base}#{count}" if count else base
        array = "" if source is None else self._arrays.setdefault(source, name)
        site = Site(name=name, around=self.around, array=array, **fields)
        self.sites.append(site)
        return Product(site)


def _read(env: Mapping[Any, Mark], v: Any) -> Mark:
    return Constant() if isinstance(v, Literal) else env[v]


OPAQUE = frozenset({
    "custom_lin", "custom_linear_solve", "custom_vmap_call", "pallas_call",
    "ragged_dot", "ragged_dot_general",
})  # fmt: skip
"""Primitives whose products stay unchanged."""


def ordinary(builder: Builder, eqn: Any, marks: list[Mark]) -> tuple[None, list[Mark]]:
    """An equation that stays unchanged."""
    name = eqn.primitive.name
    out = None if eqn.effects else folded(marks, f"goes through `{name}` first")
    if out is None and name in OPAQUE:
        builder.explain(paths_of(marks), f"goes into `{name}`, which stays as it is")
    return None, [out] * len(eqn.outvars)
