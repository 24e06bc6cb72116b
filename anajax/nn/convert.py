"""From a digital Flax network to one on tiles, and back, by `anajax.analog`.

    rules = (
        Rule("embed|norm.*", digital=True),
        Rule(".*", io=periphery.standard(), tiles=TileRule(rows=512, columns=512)),
    )
    model, report = to_analog(digital, rules)
    y = with_key(model, key)(x)

The converted model is a clone with the same parameters under the same paths and with
the same call signature; `chip.perturb`, optimizers and checkpoints see no difference.
Each layer with a product calls `anajax.analog` on itself. For functions that are not
Flax layers, use `anajax.analog`; its `put_on_chip` uses the cells of a chip:

    params, apply = functional(digital)
    part = anajax.analog(apply, rules).put_on_chip(params, x, ...)
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from anajax._core import checks
from anajax._core.types import PRNGKey, PyTree
from anajax.nn import shapes
from anajax.nn.analog import (
    Analog,
    CellOnTiles,
    OnTiles,
    analog_layers,
    named,
    on_tiles,
    parameters,
    path_name,
    retype,
    set_key,
    with_parameters,
)
from anajax.transformation import ParameterReport, Rule
from anajax.transformation import analog as transformed

M = TypeVar("M", bound=nnx.Module)

CELLS: tuple[type, ...] = (
    nnx.LSTMCell,
    nnx.OptimizedLSTMCell,
    nnx.GRUCell,
    nnx.SimpleCell,
)
"""Recurrent cells made of such layers."""
DIGITAL: tuple[type, ...] = (
    nnx.Embed, nnx.BatchNorm, nnx.LayerNorm, nnx.RMSNorm, nnx.GroupNorm,
    nnx.InstanceNorm, nnx.LoRA,
)  # fmt: skip
"""Layers that stay digital without a rule."""


class LayerReport(NamedTuple):
    """How one layer that holds weights is treated."""

    path: str
    kind: str
    """Type of the digital layer."""
    rule: str
    """Pattern of the rule that applies; empty if none does."""
    groups: int = 0
    """Number of separate matrices, of all layers of a stack; 0 if digital."""
    rows: int = 0
    """Number of rows of each matrix."""
    columns: int = 0
    """Number of columns of each matrix."""
    tiles: int = 0
    """Number of tiles of all matrices; 0 if digital."""
    stack: int = 1
    """Number of layers of a stack, as made by `nnx.vmap`."""


class Report(NamedTuple):
    """How `to_analog` treated every layer that holds weights."""

    layers: tuple[LayerReport, ...]

    @property
    def analog(self) -> tuple[LayerReport, ...]:
        """The layers that were converted."""
        return tuple(layer for layer in self.layers if layer.tiles)

    @property
    def tiles(self) -> int:
        """Number of tiles of the whole network."""
        return sum(layer.tiles for layer in self.layers)

    def __str__(self) -> str:
        count = sum(layer.stack for layer in self.analog)
        lines = [f"{count} layers on {self.tiles} tiles"]
        for r in self.layers:
            size = f"{r.rows} x {r.columns}" + (f" x {r.groups}" * (r.groups > 1))
            place = f"{size} on {r.tiles} tiles" if r.tiles else "digital"
            lines.append(f"{named(r.path):<32} {r.kind:<16} {place}")
        return "\n".join(lines)


class Conversion(NamedTuple):
    """A converted model and the report on it."""

    model: Any
    report: Report


# --- there --------------------------------------------------------------------------


def to_analog(model: nnx.Module, rules: Sequence[Rule]) -> Conversion:
    """A clone of `model` with its layers on tiles, following the rules.

    Layers without a matching rule stay digital, and are listed as such. Embeddings and
    normalizations stay digital in any case, as do the adapters of `nnx.LoRA` and
    `nnx.LoRALinear`. Tied layers and tied weights stay tied. Layers stacked by
    `nnx.vmap` (on leading axes) each have their own periphery; call them inside an
    `nnx.scan` or `nnx.vmap` over all their Variables.

    Args:
        model: digital network of Flax layers; not changed, and shares no array with the
            result.
        rules: in order; the first that matches the path of a layer applies (not the
            path of its kernel; `""` if the model is a single layer).

    Raises:
        ValueError: if a rule matches no layer; if a layer that holds weights has a type
            that cannot be converted and no rule keeps it digital; if a layer needs more
            tiles than its rule allows.

    Example:
        >>> rule = anajax.Rule(".*", io=periphery.standard())
        >>> found = anajax.to_analog(model, [rule])
        >>> anajax.with_key(found.model, key)(x).shape
        (8, 4)
    """
    rules = (rules,) if isinstance(rules, Rule) else tuple(rules)
    _check_of_layers(rules)
    entries: list[LayerReport] = []

    def swap(path: tuple, node: Any) -> Any:
        if not isinstance(node, nnx.Module):
            return node
        if isinstance(node, CELLS):
            return _swap_cell(node)
        if not _holds_weights(node):
            return node
        name = path_name(path)
        rule = next((r for r in rules if r.covers(name)), None)
        node, entry = _swap_layer(node, name, rule)
        entries.append(entry)
        return node

    converted = nnx.recursive_map(swap, _copy(model), graph=True)
    _check_rules(rules, [entry.path for entry in entries])
    return Conversion(converted, Report(tuple(entries)))


def _copy(model: M) -> M:
    """A clone with arrays of its own: either may be donated."""
    graph, state = nnx.split(model)
    own = jax.tree.map(lambda x: x.copy() if isinstance(x, jax.Array) else x, state)
    return nnx.merge(graph, own)


def _holds_weights(node: nnx.Module) -> bool:
    if isinstance(node, shapes.LAYERS + DIGITAL):
        return True
    own = (v for v in vars(node).values() if isinstance(v, nnx.Param))
    return any(jnp.ndim(v.get_value()) >= 2 for v in own)


def _swap_cell(node: nnx.Module) -> nnx.Module:
    if any(isinstance(v, OnTiles) for v in vars(node).values()):
        return retype(node, on_tiles(type(node), CellOnTiles))
    return node


def _swap_layer(
    node: nnx.Module, name: str, rule: Rule | None
) -> tuple[nnx.Module, LayerReport]:
    kind = type(node).__name__
    stays = LayerReport(name, kind, "" if rule is None else rule.path)
    if isinstance(node, DIGITAL) or (rule is not None and rule.digital):
        return node, stays
    if not isinstance(node, shapes.LAYERS):
        _unsupported(name, kind)
    if rule is None:
        return node, stays
    stack = _stack(node, name)
    analog = Analog(rule, name=name, stack=stack)
    new = retype(node, on_tiles(type(node)), analog=analog)
    entry = _entry(new, stays, rule, math.prod(stack))
    if rule.max_tiles is not None and entry.tiles > rule.max_tiles:
        size = f"{entry.groups} matrices of {entry.rows} x {entry.columns}"
        got = f"{entry.tiles} for {size} in {named(name)!r}"
        remedy = "Allow more, take larger tiles, or keep the layer digital."
        checks.fail("max_tiles", f"allow {rule.max_tiles} tiles", got, remedy)
    return new, entry


def _entry(layer: Any, stays: LayerReport, rule: Rule, count: int) -> LayerReport:
    """The report on a layer, from the products of one call of it."""
    kernel, *_ = found = _products(layer, rule, named(stays.path))
    return stays._replace(
        groups=kernel.groups * count,
        rows=kernel.rows,
        columns=kernel.columns,
        tiles=sum(p.tiles for p in found) * count,
        stack=count,
    )


def _products(layer: Any, rule: Rule, name: str) -> tuple[ParameterReport, ...]:
    stack = len(layer.analog.stack)
    given = parameters(layer)
    params = {
        n: jax.ShapeDtypeStruct(jnp.shape(v)[stack:], v.dtype) for n, v in given.items()
    }
    x = jax.ShapeDtypeStruct(shapes.of_input(layer), given["kernel"].dtype)

    def apply(params: PyTree, x: Any) -> Any:
        return with_parameters(layer, params[name])(x)

    plain = Rule(".*", tiles=rule.tiles, fold=True)
    return transformed(apply, plain).report({name: params}, x).analog


def _stack(node: Any, name: str) -> tuple[int, ...]:
    """Leading axes of a kernel beyond those of its layer, as `nnx.vmap` makes them."""
    shape, own = node.kernel.get_value().shape, shapes.of_kernel(node)
    extra = len(shape) - len(own)
    if extra and shape[extra:] != own:
        got = f"a kernel {shape} of a layer {own} at {named(name)!r}"
        remedy = "Stack by nnx.vmap with out_axes=0."
        checks.fail("model", "stack layers on leading axes", got, remedy)
    return shape[:extra]


def _unsupported(name: str, kind: str) -> None:
    known = ", ".join(t.__name__ for t in shapes.LAYERS)
    rule = f"only meet layers that can be converted ({known})"
    keep = f"Keep it digital by Rule({name!r}, digital=True) before the others"
    got = f"{kind} at {named(name)!r}, which holds weights"
    checks.fail("rules", rule, got, f"{keep}, or use `anajax.analog`.")


def _check_of_layers(rules: Sequence[Rule]) -> None:
    for rule in rules:
        for name in ("fold", "activations"):
            if getattr(rule, name):
                remedy = "Use `anajax.analog`, which takes any function."
                checks.fail(name, "be false for layers", f"{rule.path!r}", remedy)


def _check_rules(rules: Sequence[Rule], paths: Sequence[str]) -> None:
    for rule in rules:
        if not any(rule.covers(path) for path in paths):
            got = f"none for {rule.path!r} among {list(paths)}"
            remedy = "Correct the pattern: it must match a whole path."
            checks.fail("rules", "each cover a layer that holds weights", got, remedy)


# --- and back -----------------------------------------------------------------------


def to_digital(model: M) -> M:
    """A clone of a converted model with plain Flax layers.

    The weights are the current ones of the model; periphery and noise are dropped.

    Example:
        >>> converted = anajax.to_analog(model, [anajax.Rule(".*")]).model
        >>> bool(jnp.all(anajax.to_digital(converted)(x) == model(x)))
        True
    """

    def swap(path: tuple, node: Any) -> Any:
        if not isinstance(node, OnTiles | CellOnTiles):
            return node
        return retype(node, node.digital, drop="analog")

    return nnx.recursive_map(swap, nnx.clone(model), graph=True)


# --- use ----------------------------------------------------------------------------


def with_key(model: M, key: PRNGKey | None) -> M:
    """A view of `model` whose products draw their noise from `key`.

    Parameters are copied; works inside `jit`, `grad`, `vmap` and `scan`.

    Example:
        >>> rule = anajax.Rule(".*", io=periphery.standard())
        >>> converted = anajax.to_analog(model, [rule]).model
        >>> anajax.with_key(converted, key)(x).shape
        (8, 4)
    """
    view = nnx.clone(model)
    set_key(view, key)
    return view


def functional(model: nnx.Module) -> tuple[dict, Callable[..., Any]]:
    """Parameters as a nested dict, and `apply(params, *inputs, key=None, **options)`.

    Pure in parameters and key, for any training loop; learned input ranges are included
    in the parameters, at `<layer>/analog/input_range`. For a digital model it is a
    function for `anajax.analog`, and the key is ignored.
    """
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    constants = nnx.to_pure_dict(rest)

    def noisy(
        params: PyTree, *inputs: Any, key: PRNGKey | None = None, **options: Any
    ) -> Any:
        merged = nnx.merge(graphdef, params, constants)
        set_key(merged, key)
        return merged(*inputs, **options)

    def digital(params: PyTree, *inputs: Any, **options: Any) -> Any:
        options.pop("key", None)
        return nnx.merge(graphdef, params, constants)(*inputs, **options)

    apply = noisy if any(analog_layers(model)) else digital
    return nnx.to_pure_dict(params), apply
