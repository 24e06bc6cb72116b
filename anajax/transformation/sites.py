"""A product of a weight and an activation, and how it is done on tiles."""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr

from anajax import crossbar, rng
from anajax._core.tree import replace
from anajax._core.types import JArray, PRNGKey
from anajax.crossbar.converters import Clip, ContinuousBits, SelfRanging, Uniform
from anajax.crossbar.periphery import IO, ConstantScale, LearnedRange
from anajax.mapping.layout import Layout
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


class Sum(NamedTuple):
    """At run time: an array, the weight in it, and what is added to that."""

    value: JArray
    base: JArray
    rest: JArray


def plain_value(value: Any) -> Any:
    """An array, whether or not it is known as a sum."""
    return value.value if isinstance(value, Sum) else value


@dataclasses.dataclass(frozen=True)
class Context:
    """What a run of the function has besides its values."""

    key: PRNGKey | None
    """Names the noise."""
    ranges: Mapping[str, Mapping[str, JArray]]
    """Input and ADC ranges by site."""
    observer: Any = None
    """Looks at the operands of each site instead of multiplying on tiles; or `None`."""
    steps: tuple[tuple[int, JArray], ...] = ()
    """The loops around, by number, and their steps."""
    seen: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What the observer found, by site."""

    def inside(self, *steps: tuple[int, JArray]) -> "Context":
        """The context of a part that reports what it saw by itself."""
        return dataclasses.replace(self, steps=self.steps + steps, seen={})

    def key_of(self, site: Site, *operands: JArray) -> PRNGKey | None:
        """The noise key of a site in this step of all loops around it.

        Inside a `shard_map` that keeps track of what differs between devices, devices
        with different operands have different keys.
        """
        if self.key is None:
            return None
        key = rng.path_key(self.key, site.name)
        for _, step in self.steps:
            key = jr.fold_in(rng.path_key(key, "step"), step)
        for axis in varying(*operands):
            key = jr.fold_in(rng.path_key(key, axis), jax.lax.axis_index(axis))
        return key

    def io_of(self, site: Site) -> IO:
        """The periphery of a site with its ranges put in."""
        given = self.ranges.get(site.name)
        if given is None:
            return site.rule.io
        steps = dict(self.steps)
        for loop in site.loops:
            given = jax.tree.map(lambda r, i=steps[loop]: r[i], given)
        return with_ranges(site.rule.io, given)


class Action(abc.ABC):
    """What is done instead of an equation."""

    @abc.abstractmethod
    def run(self, context: Context, eqn: Any, values: list[Any]) -> list[Any]:
        """The outputs of the equation."""


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


def multiply(site: Site, context: Context, x: JArray, w: JArray, part: Any) -> Any:
    """Products `[groups batch out]` of the groups of a site, on tiles.

    Args:
        site: how.
        context: key and ranges.
        x: input vectors `[groups batch in]`.
        w: matrices `[groups in out]`.
        part: number of this part of the batch, or `None` for all of it.
    """
    io, key = context.io_of(site), context.key_of(site, x, w)
    if key is not None and part is not None:
        key = jr.fold_in(rng.path_key(key, "part"), part)

    def one(x: JArray, w: JArray, key: PRNGKey | None) -> JArray:
        rule = site.rule
        tiles = crossbar.from_weights(w, rule.tiles, normalize=rule.normalize)
        return crossbar.mvm(tiles, x, io, key=key)

    if x.shape[0] == 1:
        return one(x[0], w[0], key)[None]
    numbers = jnp.arange(x.shape[0])
    keys = None if key is None else rng.streams(key, rng.Stage.TILE, numbers)
    return jax.vmap(one)(x, w, keys)


@dataclasses.dataclass(frozen=True)
class Product(Action):
    """The equation of a site, done on tiles."""

    site: Site

    def run(self, context: Context, eqn: Any, values: list[Any]) -> list[Any]:
        """The product; terms added to the weight are multiplied digitally."""
        site, kind = self.site, eqn.outvars[0].aval.dtype
        x, w = plain_value(values[1 - site.side]), values[site.side]
        base = w.base if isinstance(w, Sum) else w
        work = jnp.result_type(kind, x.dtype, base.dtype)

        def product(x: JArray, w: JArray, part: Any) -> Any:
            if context.observer is None:
                return multiply(site, context, x, w, part), None
            return context.observer(site, x, w)

        operands = x.astype(work), base.astype(work)

        def whole(x: JArray, w: JArray) -> Any:
            with precision(eqn):
                return site.form.run(x, w, product, site.rule.patches)

        y, seen = with_automatic_axes(whole, eqn)(*operands)
        if seen is not None:
            context.seen[site.name] = seen
        if not isinstance(w, Sum):
            return [y.astype(kind)]
        pair = (w.rest, x) if site.side == 0 else (x, w.rest)
        return [y.astype(kind) + bind(eqn, pair)[0]]
