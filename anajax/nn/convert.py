"""From a digital network to one on tiles, and back.

    rules = (
        Rule("embed|norm.*", digital=True),
        Rule(".*", io=periphery.standard(), tiles=TileRule(rows=512, columns=512)),
    )
    model, report = to_analog(digital, rules)
    y = with_key(model, key)(x)

The converted model is a clone with the same parameters under the same paths and with
the same call signature; `chip.perturb`, optimizers and checkpoints see no difference.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from anajax import rng
from anajax._core import checks
from anajax._core.types import PRNGKey, PyTree
from anajax.nn import layers, recurrent
from anajax.nn.analog import Analog, named, retype
from anajax.transformation.rules import Rule

M = TypeVar("M", bound=nnx.Module)

LAYERS: dict[type, type] = {
    nnx.Linear: layers.AnalogLinear,
    nnx.LoRALinear: layers.AnalogLoRALinear,
    nnx.LinearGeneral: layers.AnalogLinearGeneral,
    nnx.Einsum: layers.AnalogEinsum,
    nnx.Conv: layers.AnalogConv,
    nnx.ConvTranspose: layers.AnalogConvTranspose,
}
"""Layers with a product, and their analog form; matched by exact type."""
CELLS: dict[type, type] = {
    nnx.LSTMCell: recurrent.AnalogLSTMCell,
    nnx.OptimizedLSTMCell: recurrent.AnalogOptimizedLSTMCell,
    nnx.GRUCell: recurrent.AnalogGRUCell,
    nnx.SimpleCell: recurrent.AnalogSimpleCell,
}
"""Cells made of such layers."""
DIGITAL: tuple[type, ...] = (
    nnx.Embed, nnx.BatchNorm, nnx.LayerNorm, nnx.RMSNorm, nnx.GroupNorm,
    nnx.InstanceNorm, nnx.LoRA,
)  # fmt: skip
"""Layers that stay digital without a rule."""
HOOKS: dict[type, dict[str, Any]] = {
    nnx.Linear: {"dot_general": jax.lax.dot_general},
    nnx.LoRALinear: {"dot_general": jax.lax.dot_general},
    nnx.LinearGeneral: {"dot_general": None, "dot_general_cls": None},
    nnx.Einsum: {"einsum_op": jnp.einsum},
    nnx.Conv: {"conv_general_dilated": jax.lax.conv_general_dilated},
    nnx.ConvTranspose: {},
}
"""Flax's own places for a product: what they hold in a layer that can be converted."""


class LayerReport(NamedTuple):
    """What became of one layer that holds weights."""

    path: str
    kind: str
    """Type of the digital layer."""
    rule: str
    """Pattern of the rule that decided; empty if none did."""
    groups: int = 0
    """Separate matrices, of all layers of a stack; 0 if it stays digital."""
    rows: int = 0
    """Rows of each matrix."""
    columns: int = 0
    """Columns of each matrix."""
    tiles: int = 0
    """Tiles of all matrices; 0 if it stays digital."""
    stack: int = 1
    """Layers of a stack, as `nnx.vmap` makes them."""


class Report(NamedTuple):
    """What `to_analog` did with every layer that holds weights."""

    layers: tuple[LayerReport, ...]

    @property
    def analog(self) -> tuple[LayerReport, ...]:
        """The layers that were converted."""
        return tuple(layer for layer in self.layers if layer.tiles)

    @property
    def tiles(self) -> int:
        """Tiles of the whole network."""
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
    """A clone of `model` with its layers on tiles, as the rules say.

    Layers that no rule covers stay digital, and are listed as such. Embeddings and
    normalizations stay digital in any case, as do the adapters of `nnx.LoRA` and
    `nnx.LoRALinear`. Tied layers and tied weights stay tied. Layers that `nnx.vmap`
    stacked (on leading axes) are layers of their own, with a periphery each; call them
    inside of an `nnx.scan` or `nnx.vmap` over all their Variables.

    Args:
        model: digital network of Flax layers; not changed, and shares no array with
            the result.
        rules: in order; the first that covers the path of a layer counts (not of its
            kernel; `""` where the model is one layer itself).

    Raises:
        ValueError: if a rule covers no layer; if a layer that holds weights is of a
            type that cannot be converted and no rule keeps it digital; if a layer
            takes more tiles than its rule allows.

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
        if type(node) in CELLS:
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


def path_name(path: tuple) -> str:
    """`("blocks", 0, "conv")` as `"blocks/0/conv"`."""
    return "/".join(map(str, path))


def _holds_weights(node: nnx.Module) -> bool:
    if type(node) in LAYERS or type(node) in DIGITAL:
        return True
    own = (v for v in vars(node).values() if isinstance(v, nnx.Param))
    return any(jnp.ndim(v.get_value()) >= 2 for v in own)


def _swap_cell(node: nnx.Module) -> nnx.Module:
    if any(isinstance(v, layers.AnalogLinear) for v in vars(node).values()):
        return retype(node, CELLS[type(node)])
    return node


def _swap_layer(
    node: nnx.Module, name: str, rule: Rule | None
) -> tuple[nnx.Module, LayerReport]:
    kind = type(node)
    stays = LayerReport(name, kind.__name__, "" if rule is None else rule.path)
    if kind in DIGITAL or (rule is not None and rule.digital):
        return node, stays
    if kind not in LAYERS:
        _unsupported(name, kind.__name__)
    if rule is None:
        return node, stays
    _check_convertible(node, name)
    kernel = node.kernel.get_value()  # pyright: ignore[reportAttributeAccessIssue]
    stack = _stack(node, kernel.shape, name)
    analog = Analog(
        rule.io,
        tiles=rule.tiles,
        normalize=rule.normalize,
        name=name,
        patches=rule.patches,
        stack=stack,
    )
    new = retype(node, LAYERS[kind], drop=tuple(HOOKS[kind]), analog=analog)
    if kind is nnx.LinearGeneral:
        new.dot_general_cls = None
    one = jax.ShapeDtypeStruct(kernel.shape[len(stack) :], kernel.dtype)
    groups, rows, columns = jax.eval_shape(new.matrices, one).shape
    groups *= math.prod(stack)
    row_parts, column_parts = rule.tiles.parts(rows, columns)
    tiles = groups * len(row_parts) * len(column_parts)
    if rule.max_tiles is not None and tiles > rule.max_tiles:
        got = f"{tiles} for {groups} matrices of {rows} x {columns} in {named(name)!r}"
        remedy = "Allow more, take larger tiles, or keep the layer digital."
        checks.fail("max_tiles", f"allow {rule.max_tiles} tiles", got, remedy)
    entry = stays._replace(
        groups=groups, rows=rows, columns=columns, tiles=tiles, stack=math.prod(stack)
    )
    return new, entry


def _stack(node: Any, shape: tuple[int, ...], name: str) -> tuple[int, ...]:
    """Leading axes of a kernel beyond those of its layer, as `nnx.vmap` makes them."""
    if isinstance(node, nnx.Linear):
        own = (node.in_features, node.out_features)
    elif isinstance(node, nnx.LinearGeneral):
        own = (*node.batch_axis.values(), *node.in_features, *node.out_features)
    else:
        own = tuple(node.kernel_shape)
    extra = len(shape) - len(own)
    if extra and shape[extra:] != own:
        got = f"a kernel {shape} of a layer {own} at {named(name)!r}"
        remedy = "Stack by nnx.vmap with out_axes=0."
        checks.fail("model", "stack layers on leading axes", got, remedy)
    return shape[:extra]


def _check_convertible(node: Any, name: str) -> None:
    kind = type(node)
    for hook, own in HOOKS[kind].items():
        if getattr(node, hook) not in (None, own, jax.lax.dot_general):
            _unsupported(name, f"{kind.__name__} with its own `{hook}`")
    if kind is nnx.ConvTranspose and node.padding == "CIRCULAR":
        _unsupported(name, "ConvTranspose with circular padding")


def _unsupported(name: str, kind: str) -> None:
    known = ", ".join(t.__name__ for t in LAYERS)
    rule = f"only meet layers that can be converted ({known})"
    remedy = f"Keep it digital by Rule({name!r}, digital=True) before the others."
    got = f"{kind} at {named(name)!r}, which holds weights"
    checks.fail("rules", rule, got, remedy)


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

    The weights are those that the model holds now: of the digital network, or of a
    chip after `on_chip.program_layers` (less its digital offset). Periphery, noise and
    compensation are dropped.

    Example:
        >>> converted = anajax.to_analog(model, [anajax.Rule(".*")]).model
        >>> bool(jnp.all(anajax.to_digital(converted)(x) == model(x)))
        True
    """
    back = {analog: digital for digital, analog in (LAYERS | CELLS).items()}

    def swap(path: tuple, node: Any) -> Any:
        if type(node) not in back:
            return node
        kind = back[type(node)]
        if "analog" in vars(node) and node.analog.offset.get_value() is not None:
            kernel = node.kernel[...]
            offset = node.analog.offset.get_value().astype(kernel.dtype)
            node.kernel[...] = kernel - offset
        return retype(node, kind, drop=("analog",), **HOOKS.get(kind, {}))

    return nnx.recursive_map(swap, nnx.clone(model), graph=True)


# --- use ----------------------------------------------------------------------------


def analog_layers(model: nnx.Module) -> Iterator[tuple[str, Any]]:
    """Path and layer of each analog layer of a model; `""` if it is one itself."""
    for path, node in nnx.iter_modules(model):
        if type(node) in LAYERS.values():
            yield path_name(path), node


def set_key(model: nnx.Module, key: PRNGKey | None) -> None:
    """Give each analog layer its noise key, named by its path, in place.

    One key is one realization of the noise for given inputs; take a new one for each
    step or batch. Under a transform, call it on a model merged inside of it.
    """
    for path, layer in analog_layers(model):
        own = None if key is None else rng.path_key(key, path)
        layer.analog.key.set_value(None if own is None else layer.analog.own_key(own))


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
    """Parameters as a nested dict, and `apply(params, *inputs, key=None)`.

    Pure in parameters and key, for any training loop; learned input ranges are among
    the parameters, at `<layer>/analog/input_range`.
    """
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    constants = nnx.to_pure_dict(rest)

    def apply(params: PyTree, *inputs: Any, key: PRNGKey | None = None) -> Any:
        merged = nnx.merge(graphdef, params, constants)
        set_key(merged, key)
        return merged(*inputs)

    return nnx.to_pure_dict(params), apply
