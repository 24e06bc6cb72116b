"""Flax layers whose products run on tiles: their state and their calls.

A layer keeps its class, its parameters and its signature; its call goes through
`anajax.analog`. Noise needs no random state: each call folds its inputs into the key of
the layer. So calls inside a user's `scan`, `vmap` or `jit` have new noise each.
"""

import functools
import math
import types
from collections.abc import Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from anajax import rng
from anajax._core import checks
from anajax._core.tree import replace
from anajax._core.types import JArray, PRNGKey
from anajax.crossbar.periphery import IO, LearnedRange
from anajax.crossbar.tiling import TileRule
from anajax.rng import Stage, streams
from anajax.transformation import Rule
from anajax.transformation import analog as transformed

T = TypeVar("T")


class InputRange(nnx.Param):
    """A learned input range; trained with the other parameters."""


class Periphery(nnx.Variable):
    """The `IO` record of a layer; not trained."""


class NoiseKey(nnx.Variable):
    """The key from which the noise of a layer's products is derived; or `None`."""


class LayerIndex(nnx.Variable):
    """Index of each layer of a stack; inside its scan or vmap, of the one layer."""


class Analog(nnx.Module):
    """The analog side of a layer: periphery and tiles, and the key of its noise.

    A stack of layers (from `nnx.vmap`) has its leading axes in all Variables, so that
    the scan or vmap that selects one kernel also selects one periphery.

    Args:
        rule: how products are done; a `LearnedRange` becomes an `InputRange` parameter.
        name: path of the layer: identifies its noise and appears in its errors.
        stack: leading axes of a stack of layers.
    """

    def __init__(self, rule: Rule, *, name: str = "layer", stack: tuple[int, ...] = ()):
        def own(leaf: JArray) -> JArray:  # a copy: no two layers share a buffer
            return jnp.array(jnp.broadcast_to(leaf, (*stack, *leaf.shape)))

        self.io = Periphery(jax.tree.map(own, rule.io))
        scaling = rule.io.scaling
        learned = isinstance(scaling, LearnedRange)
        self.input_range = InputRange(own(scaling.range)) if learned else None
        number = jnp.arange(math.prod(stack)).reshape(stack)
        self.index = LayerIndex(number) if stack else None
        self.key = NoiseKey(None)
        self.rows, self.columns = rule.tiles.rows, rule.tiles.columns
        self.normalize, self.patches, self.name = rule.normalize, rule.patches, name
        self.context = None

    @property
    def stack(self) -> tuple[int, ...]:
        """Axes of a stack of layers; `()` for one, also inside its scan or vmap."""
        return () if self.index is None else self.index.get_value().shape

    def own_key(self, key: PRNGKey) -> PRNGKey:
        """The key itself, or one for each layer of a stack."""
        if self.index is None:
            return key
        keys = streams(key, Stage.LAYER, self.index.get_value().ravel())
        return keys.reshape(self.stack)

    def periphery(self) -> IO:
        """The current `IO`, with the trained input range."""
        io = self.io.get_value()
        if self.input_range is None:
            return io
        return replace(io, scaling=LearnedRange(range=self.input_range[...]))

    def rule(self, path: str = ".*", io: IO | None = None) -> Rule:
        """The rule for the products of the layer."""
        return Rule(
            path,
            io=self.periphery() if io is None else io,
            tiles=TileRule(rows=self.rows, columns=self.columns),
            normalize=self.normalize,
            patches=self.patches,
            fold=True,  # a kernel with a mask
        )

    def check(self, inputs: Any) -> None:
        """Refuse a product with a whole stack, and inputs that are not finite.

        Raises:
            ValueError: if this is a stack outside of a scan or vmap over all of it, or
                an input is not finite (outside of traces).
        """
        if self.stack:
            rule = "be used inside of a scan or vmap over all of its Variables"
            remedy = "Do not leave out those that are no nnx.Param (nnx.StateAxes)."
            got = f"a stack {self.stack} at once"
            checks.fail(named(self.name), rule, got, remedy)
        for x in jax.tree.leaves(inputs):
            if jnp.size(x):
                remedy = "Find the layer before it that diverged."
                checks.finite(f"inputs of {self.name}", x, remedy)

    def key_for(self, inputs: Any) -> PRNGKey | None:
        """The key of the noise of a call with these inputs."""
        key = self.key.get_value()
        return None if key is None else content_key(key, (inputs, self.context))


# --- calls --------------------------------------------------------------------------


class OnTiles:
    """A Flax layer whose products run on tiles; `on_tiles` makes its class."""

    analog: Analog
    digital: type
    """The Flax class of the layer."""

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """The output of the layer, computed on tiles."""
        if self.analog is None:  # while ranges are calibrated
            return self.digital.__call__(self, *inputs, **options)
        self.analog.check(inputs)

        def apply(params: dict[str, JArray], *inputs: Any, **options: Any) -> Any:
            return with_parameters(self, params)(*inputs, **options)

        hardware = transformed(apply, self.analog.rule())
        key = self.analog.key_for(inputs)
        return hardware(parameters(self), *inputs, key=key, **options)


class CellOnTiles:
    """A recurrent Flax cell whose layers run on tiles.

    The carried state is folded into the noise key together with the input, so that a
    repeated input (silence, one symbol over and over) has new noise at every time step
    of a scan.
    """

    digital: type
    """The Flax class of the cell."""

    def __call__(self, carry: Any, inputs: Any) -> Any:
        """One step of the cell: `(carry, inputs) -> (carry, output)`."""
        return self.digital.__call__(_within(self, self.digital, carry), carry, inputs)


@functools.cache
def on_tiles(kind: type, way: type = OnTiles) -> type:
    """The class of layers (or cells) of this kind that run on tiles."""
    text = {"__doc__": f"`{kind.__name__}` on tiles.", "digital": kind}
    return types.new_class(
        f"Analog{kind.__name__}", (way, kind), {}, lambda space: space.update(text)
    )


def parameters(layer: Any) -> dict[str, JArray]:
    """The parameters held by a layer itself, by name."""
    own = {n: v for n, v in vars(layer).items() if isinstance(v, nnx.Param)}
    return {n: v.get_value() for n, v in own.items() if v.get_value() is not None}


def with_parameters(layer: Any, params: dict[str, JArray]) -> Any:
    """The Flax layer with these arrays as its parameters."""
    own = {name: vars(layer)[name].copy(value) for name, value in params.items()}
    return _view(layer, layer.digital, own)


def _view(node: Any, kind: type, attributes: dict[str, Any]) -> Any:
    """A look at a module with other attributes, as a class; never handed out."""
    view = object.__new__(kind)
    vars(view).update({**vars(node), **attributes})
    return view


def _within(node: Any, kind: type, context: Any) -> Any:
    found = {}
    for name, value in vars(node).items():
        if isinstance(value, OnTiles) and value.analog is not None:
            side = _view(value.analog, Analog, {"context": context})
            found[name] = _view(value, type(value), {"analog": side})
    return _view(node, kind, found)


def content_key(key: PRNGKey, arrays: Any) -> PRNGKey:
    """A key derived from the values of the pytree `arrays`: a new one for new values.

    A hash of the bits of all numbers is folded into `key`. Equal arrays give equal
    keys; arrays that differ in one bit give unrelated ones (2^-32 to collide).
    """
    for leaf in jax.tree.leaves(arrays):
        key = jax.random.fold_in(key, _hash(jax.lax.stop_gradient(leaf)))
    return key


def _hash(x: JArray) -> JArray:
    words = jnp.float64 if x.dtype == jnp.float64 else jnp.float32
    bits = jax.lax.bitcast_convert_type(x.astype(words), jnp.uint32).ravel()
    mixed = bits ^ (jnp.arange(bits.size, dtype=jnp.uint32) * jnp.uint32(0x9E3779B1))
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):  # a murmur finalizer
        mixed = (mixed ^ (mixed >> shift)) * jnp.uint32(factor)
    return jnp.sum(mixed ^ (mixed >> 16), dtype=jnp.uint32)


# --- models -------------------------------------------------------------------------


def analog_layers(model: nnx.Module) -> Iterator[tuple[str, Any]]:
    """Path and layer of each analog layer of a model; `""` if it is one itself."""
    for path, node in nnx.iter_modules(model):
        if isinstance(node, OnTiles):
            yield path_name(path), node


def set_key(model: nnx.Module, key: PRNGKey | None) -> None:
    """Give each analog layer its noise key, named by its path, in place.

    One key is one realization of the noise for given inputs; use a new one for each
    step or batch. Under a transform, call it on a model merged inside of it.
    """
    for path, layer in analog_layers(model):
        own = None if key is None else rng.path_key(key, path)
        layer.analog.key.set_value(None if own is None else layer.analog.own_key(own))


def path_name(path: tuple) -> str:
    """`("blocks", 0, "conv")` as `"blocks/0/conv"`."""
    return "/".join(map(str, path))


def named(path: str) -> str:
    """How messages and reports name the layer at a path."""
    return path or "(the model)"


def retype(node: Any, kind: type[T], *, drop: str = "", **attributes: Any) -> T:
    """A shallow copy of an nnx module as another class, sharing its Variables.

    Args:
        node: the module.
        kind: class of the copy.
        drop: an attribute to leave out.
        **attributes: attributes to add.
    """
    new: Any = object.__new__(kind)
    kept = {name: value for name, value in vars(node).items() if name != drop}
    nodes = kept["_pytree__nodes"]  # flax's list of which attributes hold data
    marks = {name: mark for name, mark in nodes.items() if name != drop}
    kept["_pytree__nodes"] = type(nodes)(marks)
    vars(new).update(kept)
    for name, value in attributes.items():
        setattr(new, name, value)
    return new
