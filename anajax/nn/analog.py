"""What an analog layer holds besides its weights, and the product it makes of them.

A layer's kernel is cut into tiles at each call (cheap, and differentiable), so that
training, programming and clipping see the parameters of the digital network under
their own names. Noise needs no random state: each product takes the layer's key and
folds its own input into it. So products inside a user's `scan`, `vmap` or `jit` get
fresh noise, and the call signature stays that of the digital network.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from anajax import crossbar
from anajax._core import checks
from anajax._core.tree import pytree, replace
from anajax._core.types import Float, JArray, PRNGKey
from anajax.crossbar.converters import warn_narrow, wide
from anajax.crossbar.periphery import IO, LearnedRange
from anajax.crossbar.product import TileRule, Tiles
from anajax.crossbar.tiling import Scaling
from anajax.rng import Stage, streams

M = TypeVar("M", bound=nnx.Module)
T = TypeVar("T")
Reshape = Callable[[JArray], JArray]


class InputRange(nnx.Param):
    """A learned input range; trained with the other parameters."""


class Periphery(nnx.Variable):
    """The `IO` record of a layer; not trained."""


class ReadVariance(nnx.Variable):
    """Read-noise variance of each weight or of each of its parts; or `None`."""


@pytree
class Parts:
    """Weights split by the ADC that converts them: weight = values @ digital."""

    values: Float[JArray, "*kernel groups"]
    """In the units of the weights: a cell at full conductance is the largest weight."""
    digital: Float[JArray, "groups"]
    """Factor of each group after the ADC (its significance)."""


class WeightParts(nnx.Variable):
    """`Parts` that stand for the kernel of a layer on a chip; or `None`."""


class Offset(nnx.Variable):
    """Subtracted digitally from each weight, shaped as the kernel; or `None`."""


class Compensation(nnx.Variable):
    """Digital factor of the drift compensation, `[groups ...]`; or `None`."""


class NoiseKey(nnx.Variable):
    """The key that the noise of a layer's products derives from; or `None`."""


class LayerIndex(nnx.Variable):
    """Number of each layer of a stack; inside of its scan or vmap, of the one layer."""


class Analog(nnx.Module):
    """The analog side of a layer: periphery, tiles, read noise, compensation.

    A stack of layers (of `nnx.vmap`) has its leading axes in all Variables, so that
    the scan or vmap that hands out one kernel hands out one periphery with it.

    Args:
        io: the periphery; a `LearnedRange` becomes an `InputRange` parameter.
        tiles: largest tile.
        normalize: `"none"`, `"array"` or `"tile"`, see `crossbar.from_weights`.
        name: path of the layer: names its noise and its errors.
        patches: most numbers of unfolded input that a convolution holds at once.
        stack: leading axes of a stack of layers.
    """

    def __init__(
        self,
        io: IO,
        *,
        tiles: TileRule,
        normalize: Scaling = "none",
        name: str = "layer",
        patches: int = 2**24,
        stack: tuple[int, ...] = (),
    ):
        checks.word("normalize", normalize, Scaling)

        def own(leaf: JArray) -> JArray:  # a copy: no two layers share a buffer
            return jnp.array(jnp.broadcast_to(leaf, (*stack, *leaf.shape)))

        self.io = Periphery(jax.tree.map(own, io))
        scaling = io.scaling
        learned = isinstance(scaling, LearnedRange)
        self.input_range = InputRange(own(scaling.range)) if learned else None
        number = jnp.arange(math.prod(stack)).reshape(stack)
        self.index = LayerIndex(number) if stack else None
        self.parts = WeightParts(None)
        self.variance = ReadVariance(None)
        self.offset = Offset(None)
        self.factor = Compensation(None)
        self.key = NoiseKey(None)
        self.rows, self.columns = tiles.rows, tiles.columns
        self.normalize, self.name, self.patches = normalize, name, patches
        self.context = None
        self.observer: Callable[[JArray, JArray | int], None] | None = None

    @property
    def stack(self) -> tuple[int, ...]:
        """Axes of a stack of layers; `()` for one, also inside of its scan or vmap."""
        return () if self.index is None else self.index.get_value().shape

    def own_key(self, key: PRNGKey) -> PRNGKey:
        """The key itself, or that of each layer of a stack."""
        if self.index is None:
            return key
        keys = streams(key, Stage.LAYER, self.index.get_value().ravel())
        return keys.reshape(self.stack)

    def check_single(self) -> None:
        """Refuse a product with a whole stack.

        Raises:
            ValueError: if this is a stack, outside of a scan or vmap over all of it.
        """
        if self.stack:
            rule = "be used inside of a scan or vmap over all of its Variables"
            remedy = "Do not leave out those that are no nnx.Param (nnx.StateAxes)."
            got = f"a stack {self.stack} at once"
            checks.fail(named(self.name), rule, got, remedy)

    def periphery(self) -> IO:
        """The current `IO`, with the input range as it is trained."""
        io = self.io.get_value()
        if self.input_range is None:
            return io
        scaling = LearnedRange(range=self.input_range[...])
        return replace(io, scaling=scaling)

    def tiles(
        self, kernel: JArray, matrices: Reshape, *, compensated: bool = True
    ) -> Tiles:
        """The tiles of all groups of a kernel, stacked on a new leading axis."""
        planes, variance, factor = self._planes(kernel, matrices)
        parts = planes, variance, factor if compensated else None
        return jax.vmap(lambda part: self._build(*part))(parts)

    def product(
        self, x: Float[JArray, "groups batch in"], kernel: JArray, matrices: Reshape
    ) -> Float[JArray, "groups batch out"]:
        """Products of the groups of a layer with their matrices.

        Args:
            x: input vectors.
            kernel: the weights, as the layer keeps them.
            matrices: makes the kernel (or its variance) `[groups in out]`.

        Raises:
            ValueError: if `x` is not finite (outside of traces), or there is noise
                and no key.
        """
        if x.size:
            remedy = "Find the layer before it that diverged."
            checks.finite(f"inputs of {self.name}", x, remedy)
        if self.observer is not None:
            self.observer(x, 0 if self.index is None else self.index[...])
        io, key, dtype = self.periphery(), self._key_for(x), x.dtype
        warn_narrow(io.adc, dtype)
        x, kernel = wide(x), wide(kernel)
        offset = self.offset.get_value()
        if offset is not None:  # the same in all rows
            offset = matrices(offset.astype(kernel.dtype))[:, :1]
        parts = *self._planes(kernel, matrices), offset

        def one(x: JArray, parts: tuple, key: PRNGKey | None) -> JArray:
            *analog, offset = parts
            y = crossbar.mvm(self._build(*analog), x, io, key=key)
            return y if offset is None else y - self._digital_sum(x, io) * offset

        if x.shape[0] == 1:
            first = jax.tree.map(lambda part: part[0], parts)
            return one(x[0], first, key)[None].astype(dtype)
        keys = None if key is None else streams(key, Stage.TILE, jnp.arange(x.shape[0]))
        return jax.vmap(one)(x, parts, keys).astype(dtype)

    def _planes(
        self, kernel: JArray, matrices: Reshape
    ) -> tuple[JArray, JArray | None, JArray | None]:
        """Planes `[groups in out g]`, their variance, and the factors."""
        variance, parts = self.variance.get_value(), self.parts.get_value()
        if variance is not None:
            variance = variance.astype(kernel.dtype)
        if parts is None:
            values = kernel[..., None]
            variance = None if variance is None else variance[..., None]
        else:
            values = parts.values.astype(kernel.dtype)
        each = jax.vmap(matrices, in_axes=-1, out_axes=-1)
        variance = None if variance is None else each(variance)
        return each(values), variance, self.factor.get_value()

    def _build(
        self, planes: JArray, variance: JArray | None, factor: JArray | None
    ) -> Tiles:
        parts = self.parts.get_value()
        tiles = crossbar.from_planes(
            planes,
            TileRule(rows=self.rows, columns=self.columns),
            coefficients=(1.0,) if parts is None else parts.digital,
            combine="digital",
            normalize=self.normalize,
            variance=variance,
        )
        return tiles if factor is None else crossbar.rescale(tiles, factor)

    def _digital_sum(self, x: JArray, io: IO) -> Float[JArray, "batch 1"]:
        """Sum of each vector as the DACs apply it."""
        inputs_only = IO(scaling=io.scaling, dac=io.dac, slicing=io.slicing)
        ones = jnp.ones((x.shape[-1], 1), x.dtype)
        rule = TileRule(rows=self.rows)
        return crossbar.mvm(crossbar.from_weights(ones, rule), x, inputs_only)

    def _key_for(self, x: JArray) -> PRNGKey | None:
        key = self.key.get_value()
        if key is None:
            return None
        return content_key(key, (x, self.context))


def content_key(key: PRNGKey, arrays: Any) -> PRNGKey:
    """The key that belongs to the values of `arrays`, a pytree: fresh for fresh values.

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


def contract(
    analog: Analog,
    x: JArray,
    kernel: JArray,
    dimension_numbers: tuple[tuple, tuple],
) -> JArray:
    """What `jax.lax.dot_general(x, kernel, dimension_numbers)` gives, on tiles.

    Contracted axes of the kernel are rows, its free axes columns; each index of the
    batch axes is a matrix of its own.
    """
    analog.check_single()
    (x_in, k_in), (x_batch, k_batch) = (tuple(map(tuple, d)) for d in dimension_numbers)
    x_free = tuple(i for i in range(x.ndim) if i not in (*x_in, *x_batch))
    k_free = tuple(i for i in range(kernel.ndim) if i not in (*k_in, *k_batch))
    groups, rows, columns = (size(kernel, axes) for axes in (k_batch, k_in, k_free))

    def matrices(kernel: JArray) -> JArray:
        ordered = jnp.transpose(kernel, (*k_batch, *k_in, *k_free))
        return ordered.reshape(groups, rows, columns)

    vectors = jnp.transpose(x, (*x_batch, *x_free, *x_in))
    shape = [x.shape[i] for i in (*x_batch, *x_free)]
    count = size(x, x_free)
    y = analog.product(vectors.reshape(groups, count, rows), kernel, matrices)
    return y.reshape(*shape, *(kernel.shape[i] for i in k_free))


def size(array: JArray, axes: Sequence[int]) -> int:
    """Product of the lengths of `axes`."""
    result = 1
    for axis in axes:
        result *= array.shape[axis]
    return result


def named(path: str) -> str:
    """How messages and reports call the layer at a path."""
    return path or "(the model)"


# --- stacks -------------------------------------------------------------------------


def over_stack(layer: Any, function: Callable[..., Any], *each: Any) -> Any:
    """`function(layer, *each)`; of a stack, for each layer, results stacked."""
    graph, state = nnx.split(layer)

    def one(state: Any, *each: Any) -> Any:
        return function(nnx.merge(graph, state), *each)

    for _ in layer.analog.stack:
        one = jax.vmap(one)
    return one(state, *each)


def apart(layer: M) -> list[M]:
    """The layers of a stack, in order; a single layer itself."""
    stack = layer.analog.stack  # pyright: ignore[reportAttributeAccessIssue]
    if not stack:
        return [layer]
    graph, state = nnx.split(layer)
    parts = (jax.tree.map(lambda a, i=i: a[i], state) for i in np.ndindex(stack))
    return [nnx.merge(graph, part) for part in parts]


def together(layer: M, parts: Sequence[M]) -> None:
    """Set a stack to what its layers are now, from `apart`."""
    stack = layer.analog.stack  # pyright: ignore[reportAttributeAccessIssue]
    if stack:
        states = [nnx.state(part) for part in parts]

        def join(*arrays: JArray) -> JArray:
            return jnp.stack(arrays).reshape(*stack, *arrays[0].shape)

        nnx.update(layer, jax.tree.map(join, *states))


# --- shapes -------------------------------------------------------------------------


def retype(
    node: Any, kind: type[T], *, drop: Sequence[str] = (), **attributes: Any
) -> T:
    """A shallow copy of an nnx module as another class, sharing its Variables.

    Args:
        node: the module.
        kind: class of the copy.
        drop: attributes to leave out.
        **attributes: attributes to add or to put in place of others.
    """
    new: Any = object.__new__(kind)
    kept = {name: value for name, value in vars(node).items() if name not in drop}
    nodes = kept["_pytree__nodes"]  # flax's list of which attributes hold data
    marks = {name: mark for name, mark in nodes.items() if name not in drop}
    kept["_pytree__nodes"] = type(nodes)(marks)
    vars(new).update(kept)
    for name, value in attributes.items():
        setattr(new, name, value)
    return new
