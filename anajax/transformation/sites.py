"""A product of a weight and an activation, and how it is done on tiles."""

import abc
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from anajax import crossbar, rng
from anajax._core import checks
from anajax._core.tree import replace
from anajax._core.types import JArray, PRNGKey
from anajax.crossbar.converters import Clip, ContinuousBits, Ideal, SelfRanging, Uniform
from anajax.crossbar.periphery import (
    IO,
    ConstantScale,
    LearnedRange,
    NoIRDrop,
    NoNoise,
    NoScaling,
)
from anajax.crossbar.tiling import Scaling, TileRule
from anajax.mapping.layout import Layout
from anajax.transformation import direct
from anajax.transformation._jax import bind, precision, varying, with_automatic_axes
from anajax.transformation.products import Convolution, Dot
from anajax.transformation.rules import Rule

RANGED = Uniform | Clip | ContinuousBits | SelfRanging
"""ADCs whose range can be calibrated."""


@dataclasses.dataclass(frozen=True)
class Site:
    """One product of the function that runs on tiles."""

    name: str
    """Path of the weight; further uses of one weight are numbered (`"head#1"`)."""
    rule: Rule
    """How it is done."""
    form: Dot | Convolution
    """The product."""
    side: int
    """Which operand is the weight."""
    loops: tuple[int, ...] = ()
    """Loops whose step picks the weight: each step has its own ranges."""
    layouts: Mapping[str, Layout] = dataclasses.field(default_factory=dict)
    """By path of each parameter in the weight, what its axes are."""
    folded: bool = False
    """Whether the weight is another function of the parameters."""
    rows_joined: bool = False
    """Whether several parameters share its columns."""
    vectors: int = 0
    """Vectors that each of its matrices meets at one run of the equation."""
    around: tuple[tuple[int, int], ...] = ()
    """Loops and branches around it, the outermost first: number, and how often each is
    run (0 where shapes do not tell)."""


class Sum(NamedTuple):
    """At run time: an array, the weight in it, and what is added to that."""

    value: JArray
    base: Any
    rest: JArray


class Held(NamedTuple):
    """At run time: weights that the cells of a chip hold; all arrays of one shape."""

    value: JArray
    """The weights as trained: what is not done on tiles meets these."""
    parts: tuple[JArray, ...]
    """The weights of the chip as parts with an ADC conversion each."""
    variance: tuple[JArray, ...]
    """Read-noise variance of each part, fresh at each product; or none at all."""
    offset: JArray | None
    """Subtracted digitally."""
    factor: JArray | None
    """Digital factor of the drift compensation."""


def plain_value(value: Any) -> Any:
    """An array, whether or not it is known as a sum or held by a chip."""
    return value.value if isinstance(value, Sum | Held) else value


def unsummed(value: Any) -> Any:
    """An array, or weights on a chip: what leaves a function."""
    return value.value if isinstance(value, Sum) else value


@dataclasses.dataclass(frozen=True)
class Context:
    """What a run of the function has besides its values."""

    key: PRNGKey | None
    """Names the noise."""
    ranges: Mapping[str, "Mapping[str, JArray] | IO"]
    """Input and ADC ranges by site; or its whole periphery."""
    observer: Any = None
    """Looks at the operands of each site instead of multiplying on tiles; or `None`."""
    steps: tuple[tuple[int, JArray, int], ...] = ()
    """The loops around: number, step, and length (0 where it is not known)."""
    mask: JArray | None = None
    """What counts for the observer: see `masked`."""
    seen: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What the observer found, by site."""
    digital: Mapping[str, JArray] = dataclasses.field(default_factory=dict)
    """Factors behind the ADCs of the parts of weights on a chip, by path."""
    keys: Mapping[str, rng.FirstRead] = dataclasses.field(default_factory=dict)
    """Keys of sites that were derived together; the others follow from `key`."""
    adds: bool = False
    """Whether what the observer finds adds up over steps; else the largest counts."""

    def over(self, values: JArray) -> JArray:
        """What was found in all steps together, from that of each (first axis)."""
        return jnp.sum(values, axis=0) if self.adds else jnp.max(values, axis=0)

    def both(self, left: JArray, right: JArray) -> JArray:
        """What was found in two steps together."""
        return left + right if self.adds else jnp.maximum(left, right)

    def inside(self, *steps: tuple[int, JArray, int]) -> "Context":
        """The context of a part that reports what it saw by itself."""
        return dataclasses.replace(self, steps=self.steps + steps, seen={})

    def masked(self, site: Site, x: JArray) -> JArray:
        """The activation of a site, NaN where it does not count.

        The axes of the mask are the first of the activation's, as far as they agree;
        of those left over one that has the length of a loop around is its step. What
        has no axis counts where anything along it does.

        Raises:
            ValueError: if not even the first axis agrees.
        """
        if self.mask is None:
            return x
        mask, own = self.mask, 0
        while own < min(mask.ndim, x.ndim - 1) and mask.shape[own] == x.shape[own]:
            own += 1
        for loop, step, length in self.steps[::-1]:
            if loop not in site.loops and length in mask.shape[own:]:
                axis = own + mask.shape[own:].index(length)
                mask = jnp.take(mask, step, axis=axis)
        if not own:
            rule = f"begin as the activation {x.shape} of {site.name!r} does"
            remedy = "Pass the part of the inputs that counts, without a mask."
            checks.fail("mask", rule, self.mask.shape, remedy)
        mask = jnp.any(mask, axis=tuple(range(own, mask.ndim)))
        mask = mask.reshape(mask.shape + (1,) * (x.ndim - own))
        seen = jnp.where(jnp.isnan(x), jnp.inf, x)  # what went wrong is not left out
        return jnp.where(mask, seen, jnp.nan)

    def key_of(self, site: Site, *operands: JArray) -> PRNGKey | rng.FirstRead | None:
        """The noise key of a site in this step of all loops around it.

        Inside a `shard_map` that keeps track of what differs between devices, devices
        with different operands have different keys.
        """
        if self.key is None:
            return None
        known, axes = self.keys.get(site.name), varying(*operands)
        if known is not None and not self.steps and not axes:
            return known
        key = rng.path_key(self.key, site.name) if known is None else known.key
        for _, step, _ in self.steps:
            key = jr.fold_in(rng.path_key(key, "step"), step)
        for axis in axes:
            key = jr.fold_in(rng.path_key(key, axis), jax.lax.axis_index(axis))
        return key

    def io_of(self, site: Site) -> IO:
        """The periphery of a site with its ranges put in."""
        given = self.ranges.get(site.name)
        if given is None:
            return site.rule.io
        steps = {loop: step for loop, step, _ in self.steps}
        for loop in site.loops:
            given = jax.tree.map(lambda r, i=steps[loop]: r[i], given)
        return as_io(site, given)


class Action(abc.ABC):
    """What is done instead of an equation."""

    @abc.abstractmethod
    def run(self, context: Context, eqn: Any, values: list[Any]) -> list[Any]:
        """The outputs of the equation."""


def as_io(site: Site, given: "Mapping[str, JArray] | IO") -> IO:
    """The periphery of a site with these ranges, or the one that is given whole."""
    return given if isinstance(given, IO) else with_ranges(site.rule.io, given)


def with_ranges(io: IO, ranges: Mapping[str, JArray]) -> IO:
    """A periphery with its input range and the bound of its ADC set, where it has them.

    Args:
        io: the periphery.
        ranges: `"input"`, `"adc"`, or both.
    """
    scaling, adc = io.scaling, io.adc
    if "input" in ranges and isinstance(scaling, LearnedRange):
        scaling = replace(scaling, range=ranges["input"])
    if "input" in ranges and isinstance(scaling, ConstantScale):
        scaling = replace(scaling, value=ranges["input"])
    if "adc" in ranges and isinstance(adc, SelfRanging):
        adc = adc.fixed(ranges["adc"])
    elif "adc" in ranges and isinstance(adc, RANGED):
        adc = replace(adc, bound=ranges["adc"])
    return replace(io, scaling=scaling, adc=adc)


def tiles_of(
    rule: "Rule | How", w: JArray | Held, digital: JArray | None = None
) -> crossbar.Tiles:
    """The tiles of one matrix `[in, out]`; of a chip with the factors of its parts."""
    if not isinstance(w, Held):
        return crossbar.from_weights(w, rule.tiles, normalize=rule.normalize)
    return crossbar.from_groups(
        jnp.stack(w.parts, -1),
        rule.tiles,
        digital=np.ones(len(w.parts)) if digital is None else digital,
        normalize=rule.normalize,
        variance=jnp.stack(w.variance, -1) if w.variance else None,
    )


class How(NamedTuple):
    """What sites share that do the same product: they share a trace as well."""

    form: Dot | Convolution
    rows: int | None
    columns: int | None
    normalize: Scaling
    patches: int

    @property
    def tiles(self) -> TileRule:
        """The largest tile."""
        return TileRule(rows=self.rows, columns=self.columns)


@functools.partial(jax.jit, static_argnums=0)
def multiply(
    how: How,
    io: IO,
    x: JArray,
    w: JArray | Held,
    key: PRNGKey | rng.FirstRead | None,
    digital: JArray | None,
) -> JArray:
    """The product of a site on tiles.

    Args:
        how: the product and its tiles.
        io: the periphery.
        x: the activation.
        w: the weight, or the cells that hold it.
        key: names the noise.
        digital: factors behind the ADCs of the parts of a weight on a chip.
    """

    def product(x: JArray, w: Any, part: Any) -> tuple[JArray, None]:
        own = key if part is None else of_part(key, part)
        return _in_groups(how, io, x, w, own, digital), None

    form = how.form
    if isinstance(form, Convolution) and not isinstance(w, Held):
        if direct.fits(form, how.tiles, io):
            return direct.convolved(form, how.tiles, how.normalize, io, x, w, key)
    return form.run(x, w, product, how.patches)[0]


def of_part(key: PRNGKey | rng.FirstRead | None, part: JArray | int) -> PRNGKey | None:
    """The key of a part of a batch."""
    key = key.key if isinstance(key, rng.FirstRead) else key
    return None if key is None else jr.fold_in(rng.path_key(key, "part"), part)


def _in_groups(
    how: How,
    io: IO,
    x: JArray,
    w: JArray | Held,
    key: PRNGKey | None,
    digital: JArray | None,
) -> JArray:
    """Products `[groups batch out]` of vectors `[groups batch in]` with matrices."""

    def one(x: JArray, w: JArray | Held, key: PRNGKey | None) -> JArray:
        tiles = tiles_of(how, w, digital)
        if isinstance(w, Held) and w.factor is not None:
            tiles = crossbar.rescale(tiles, crossbar.of_tiles(w.factor, how.tiles))
        y = crossbar.mvm(tiles, x, io, key=key)
        if not isinstance(w, Held) or w.offset is None:
            return y
        offset = crossbar.from_weights(w.offset, how.tiles)
        return y - crossbar.mvm(offset, x, inputs_alone(io))

    if x.shape[0] == 1:
        return one(x[0], jax.tree.map(lambda a: a[0], w), key)[None]
    numbers = jnp.arange(x.shape[0])
    keys = None if key is None else rng.streams(key, rng.Stage.TILE, numbers)
    return jax.vmap(one)(x, w, keys)


def no_periphery(io: IO) -> bool:
    """Whether a product with it is the digital one, however it is tiled and scaled."""
    kinds = (NoScaling, Ideal, NoNoise, NoNoise, Ideal, NoIRDrop)
    parts = (io.scaling, io.dac, io.weight_noise, io.noise, io.adc, io.drop)
    return all(map(isinstance, parts, kinds))


def inputs_alone(io: IO) -> IO:
    """The way of the input alone: no noise, no ADC."""
    return IO(scaling=io.scaling, dac=io.dac, slicing=io.slicing)


@dataclasses.dataclass(frozen=True)
class Product(Action):
    """The equation of a site, done on tiles."""

    site: Site

    def run(self, context: Context, eqn: Any, values: list[Any]) -> list[Any]:
        """The product; terms added to the weight are multiplied digitally.

        What meets neither a periphery nor a chip stays the equation that it was, unless
        something is to be added up over it.
        """
        weight = values[self.site.side]
        weight = weight.base if isinstance(weight, Sum) else weight
        bare = no_periphery(self.site.rule.io) and not isinstance(weight, Held)
        if bare and not context.adds:
            return bind(eqn, [plain_value(value) for value in values])
        site, kind = self.site, eqn.outvars[0].aval.dtype
        x, w = plain_value(values[1 - site.side]), values[site.side]
        work = jnp.result_type(kind, x.dtype, plain_value(weight).dtype)
        cast = jax.tree.map(lambda a: a.astype(work), weight)
        if context.observer is not None:
            self._observe(context, eqn, context.masked(site, x).astype(work), cast)
            return bind(eqn, [plain_value(value) for value in values])
        y = self._multiplied(context, eqn, x.astype(work), cast)
        if not isinstance(w, Sum):
            return [y.astype(kind)]
        pair = (w.rest, x) if site.side == 0 else (x, w.rest)
        return [y.astype(kind) + bind(eqn, pair)[0]]

    def _multiplied(self, context: Context, eqn: Any, x: JArray, w: Any) -> JArray:
        site, rule = self.site, self.site.rule
        tiles = rule.tiles.rows, rule.tiles.columns
        how = How(site.form, *tiles, rule.normalize, rule.patches)
        digital = context.digital.get(next(iter(site.layouts), ""))
        if x.size:
            checks.finite("x", x)
        key = context.key_of(site, x, plain_value(w))

        def whole(*operands: Any) -> tuple[JArray, None]:
            with precision(eqn):
                return multiply(how, *operands), None

        operands = context.io_of(site), x, w, key, digital
        return with_automatic_axes(whole, eqn)(*operands)[0]

    def _observe(self, context: Context, eqn: Any, x: JArray, w: Any) -> None:
        site, masked = self.site, context.mask is not None
        if x.size and not masked:
            checks.finite(f"inputs of {site.name}", x)
        key = context.key_of(site, x, plain_value(w))

        def product(x: JArray, w: Any, part: Any) -> Any:
            own = key if part is None else of_part(key, part)
            io = context.io_of(site)
            return context.observer(site, x, w, io=io, masked=masked, key=own)

        def whole(x: JArray, w: Any) -> Any:
            with precision(eqn):
                return site.form.run(x, w, product, site.rule.patches, context.over)

        context.seen[site.name] = with_automatic_axes(whole, eqn)(x, w)[1]
