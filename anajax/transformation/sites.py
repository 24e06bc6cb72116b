"""A product of a weight and an activation, and its evaluation on tiles."""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr

from anajax import rng
from anajax._core import checks
from anajax._core.tree import replace
from anajax._core.types import JArray, PRNGKey
from anajax.crossbar.converters import Clip, ContinuousBits, SelfRanging, Uniform
from anajax.crossbar.periphery import (
    IO,
    ConstantScale,
    LearnedRange,
)
from anajax.mapping.layout import Layout
from anajax.transformation._jax import bind, precision, varying, with_automatic_axes
from anajax.transformation.multiply import Held as Held
from anajax.transformation.multiply import How, multiply, no_periphery, of_part
from anajax.transformation.products import Convolution, Dot
from anajax.transformation.rules import Rule

RANGED = Uniform | Clip | ContinuousBits | SelfRanging
"""ADCs whose range can be calibrated."""


@dataclasses.dataclass(frozen=True)
class Site:
    """One product of the function that runs on tiles."""

    name: str
    """Path of the weight; repeated uses of a weight are numbered (`"head#1"`)."""
    rule: Rule
    """The rule that applies."""
    form: Dot | Convolution
    """The product."""
    side: int
    """Which operand is the weight."""
    loops: tuple[int, ...] = ()
    """Loops whose step selects the weight: each step has its own ranges."""
    layouts: Mapping[str, Layout] = dataclasses.field(default_factory=dict)
    """Meaning of the axes of each parameter in the weight, by path."""
    folded: bool = False
    """Whether the weight is another function of the parameters."""
    array: str = ""
    """Name of the folded array; other products of one array have the same."""
    rows_joined: bool = False
    """Whether several parameters share its columns."""
    vectors: int = 0
    """Vectors that each of its matrices multiplies in one run of the equation."""
    around: tuple[tuple[int, int], ...] = ()
    """Enclosing loops and branches, outermost first: number, and how often each is run
    (0 if shapes do not tell)."""


class Sum(NamedTuple):
    """At run time: an array, the weight in it, and what is added to it."""

    value: JArray
    base: Any
    rest: JArray


def plain_value(value: Any) -> Any:
    """An array, whether plain, a known sum, or held by a chip."""
    return value.value if isinstance(value, Sum | Held) else value


def unsummed(value: Any) -> Any:
    """An array, or weights on a chip, at the outputs of a function."""
    return value.value if isinstance(value, Sum) else value


@dataclasses.dataclass(frozen=True)
class Context:
    """State of a run of the function besides its values."""

    key: PRNGKey | None
    """Key of the noise."""
    ranges: Mapping[str, "Mapping[str, JArray] | IO"]
    """Input and ADC ranges by site, or its whole periphery."""
    observer: Any = None
    """Called with the operands of each site instead of multiplying on tiles; or `None`.
    """
    steps: tuple[tuple[int, JArray, int], ...] = ()
    """The enclosing loops: number, step, and length (0 if unknown)."""
    mask: JArray | None = None
    """Inputs that are valid for the observer: see `masked`."""
    seen: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Results of the observer, by site."""
    digital: Mapping[str, JArray] = dataclasses.field(default_factory=dict)
    """Factors after the ADCs of the parts of weights on a chip, by path."""
    keys: Mapping[str, rng.FirstRead] = dataclasses.field(default_factory=dict)
    """Keys of sites that were derived together; the others are derived from `key`."""
    folded: Mapping[str, JArray] | None = None
    """Folded arrays by name, used instead of the computed ones; products are then
    exact. Missing ones are recorded in `seen`."""
    adds: bool = False
    """Whether results of the observer are summed over steps; else the largest is kept.
    """

    def over(self, values: JArray) -> JArray:
        """Results of all steps together, from those of each (first axis)."""
        return jnp.sum(values, axis=0) if self.adds else jnp.max(values, axis=0)

    def both(self, left: JArray, right: JArray) -> JArray:
        """Results of two steps together."""
        return left + right if self.adds else jnp.maximum(left, right)

    def inside(self, *steps: tuple[int, JArray, int]) -> "Context":
        """The context of a part that reports its results separately."""
        return dataclasses.replace(self, steps=self.steps + steps, seen={})

    def masked(self, site: Site, x: JArray) -> JArray:
        """The activation of a site, NaN where it is masked.

        The axes of the mask are the first of the activation's, as far as they agree; a
        remaining axis with the length of an enclosing loop is its step. Values without
        an axis are valid if anything along it is.

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
        """The noise key of a site in this step of all enclosing loops.

        Inside a `shard_map` that tracks what differs between devices, devices with
        different operands have different keys.
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
        """The periphery of a site with its ranges inserted."""
        given = self.ranges.get(site.name)
        if given is None:
            return site.rule.io
        return as_io(site, self.at_step(site, given))

    def at_step(self, site: Site, given: Any) -> Any:
        """What belongs to a site in this step of the loops that select its weight."""
        steps = {loop: step for loop, step, _ in self.steps}
        for loop in site.loops:
            given = jax.tree.map(lambda r, i=steps[loop]: r[i], given)
        return given


class Action(abc.ABC):
    """What replaces an equation."""

    @abc.abstractmethod
    def run(self, context: Context, eqn: Any, values: list[Any]) -> list[Any]:
        """The outputs of the equation."""


def as_io(site: Site, given: "Mapping[str, JArray] | IO") -> IO:
    """The periphery of a site with these ranges, or the given whole periphery."""
    return given if isinstance(given, IO) else with_ranges(site.rule.io, given)


def with_ranges(io: IO, ranges: Mapping[str, JArray]) -> IO:
    """A periphery with its input range and the bound of its ADC set, if it has them.

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


@dataclasses.dataclass(frozen=True)
class Product(Action):
    """The equation of a site, evaluated on tiles."""

    site: Site

    def run(self, context: Context, eqn: Any, values: list[Any]) -> list[Any]:
        """The product; terms added to the weight are multiplied digitally.

        Without a periphery and a chip, the equation stays unchanged, unless an observer
        adds something up over it.
        """
        if context.folded is not None:
            return self._folded(context.folded, context, eqn, values)
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

    def _folded(
        self, given: Mapping[str, JArray], context: Context, eqn: Any, values: list
    ) -> list[Any]:
        """The exact product, with a folded array that is given."""
        site, operands = self.site, [plain_value(value) for value in values]
        own = operands[site.side]
        if site.folded and site.array in given:
            array = context.at_step(site, given[site.array])
            operands[site.side] = array.astype(own.dtype)
        elif site.folded:
            context.seen[site.array] = own
        return bind(eqn, operands)

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
