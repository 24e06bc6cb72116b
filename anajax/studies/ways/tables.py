"""Tables of targets over weight values: hand-designed, tuned, and optimized."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import jax.numpy as jnp
from pydantic import BeforeValidator, Field

from anajax._core import checks
from anajax._core.threads import each
from anajax._core.types import Array
from anajax.analysis.workload import Workload, training_inputs
from anajax.chip import Strategies
from anajax.devices.base import Device
from anajax.mapping import hand
from anajax.mapping.density import WeightDensity
from anajax.mapping.strategy import Strategy, pairs
from anajax.programming import optimize_layers, optimize_strategy
from anajax.programming.end_to_end.fisher import fisher_information
from anajax.programming.end_to_end.targets import distillation
from anajax.studies.config.sections import Positive
from anajax.studies.ways.base import Table
from anajax.studies.ways.site import Site

FISHER_INPUTS = 512
Build = Callable[..., Strategy]


def _listed(value: object) -> object:
    return [value] if isinstance(value, int | float) else value


class Hand(Table):
    """A hand-designed strategy."""

    family = "hand"
    by_hand: ClassVar[Build]
    k: Positive | None = Field(
        default=None, description="the digital scale relative to the full range"
    )

    def strategies(self, site: Site) -> Strategies:
        """The strategy, with the given options."""
        given = {n: getattr(self, n) for n in ("f", "k") if getattr(self, n, None)}
        return type(self).by_hand(site.device, **given)


class SinglePair(Hand):
    """One pair per weight."""

    name: str = "single_pair"
    by_hand = hand.single_pair


class OffsetDevice(Hand):
    """One device per weight, with a digital offset."""

    name: str = "offset_device"
    by_hand = hand.offset_device


class Pairs(Hand):
    """A strategy with two or more pairs of different significance."""

    f: Annotated[list[Positive], BeforeValidator(_listed)] | None = Field(
        default=None,
        description="a significance factor, or one per pair except the least",
    )


class MspFirst(Pairs):
    """The most significant pair first."""

    name: str = "msp_first"
    by_hand = hand.msp_first


class LspFirst(Pairs):
    """The least significant pair first."""

    name: str = "lsp_first"
    by_hand = hand.lsp_first


class EqualSplit(Pairs):
    """All pairs equal."""

    name: str = "equal_split"
    by_hand = hand.equal_split


class Tuned(Table):
    """A hand-designed strategy with F and K tuned on the exact weight error."""

    family = "hand"
    by_hand: ClassVar[Build]

    def strategies(self, site: Site) -> Strategies:
        """The best F and K."""
        by_hand = type(self).by_hand
        return site.search(functools.partial(tuned, by_hand, site))


class MspFirstTuned(Tuned):
    """The most significant pair first."""

    name: str = "msp_first_tuned"
    by_hand = hand.msp_first


class LspFirstTuned(Tuned):
    """The least significant pair first."""

    name: str = "lsp_first_tuned"
    by_hand = hand.lsp_first


class EqualSplitTuned(Tuned):
    """All pairs equal."""

    name: str = "equal_split_tuned"
    by_hand = hand.equal_split


class Optimized(Table):
    """Minimum expected weight error, by gradients, or enumeration for few levels."""

    name: str = "optimized"
    family = "optimized"
    importance: Literal["fisher"] | None = Field(
        default=None, description='"fisher", or null for equal weights'
    )
    """Weights of the squared weight errors in the search."""

    def check(self, work: Workload, device: Device) -> None:
        """Refuse Fisher information for a network without classes."""
        super().check(work, device)
        if self.importance is not None and work.divergence_fn is not distillation:
            rule = "be null for a network of values, not classes"
            checks.fail("importance", rule, "fisher", "Leave it out.")

    def strategies(self, site: Site) -> Strategies:
        """The result of a search from random starts and hand-designed strategies."""
        error = site.searched
        if self.importance is not None:
            if site.optimizer.objective != "weight":
                checks.fail(
                    "importance",
                    "be null with the objective of outputs",
                    self.importance,
                    "Drop it, or set optimizer.objective: weight.",
                )
            inputs, apply = training_inputs(site.work, FISHER_INPUTS), site.work.apply
            known = fisher_information(
                apply, site.params, inputs, key=site.key, **site.which
            )
            error = dataclasses.replace(error, importance=known)
        return site.search(functools.partial(_optimized, site), error)


WAYS = (
    SinglePair,
    MspFirst,
    LspFirst,
    EqualSplit,
    OffsetDevice,
    MspFirstTuned,
    LspFirstTuned,
    EqualSplitTuned,
    Optimized,
)
START = LspFirstTuned()
"""Starting point of everything that is learned or trained."""


def tuned(
    build: Build, site: Site, densities: Mapping[str, WeightDensity]
) -> dict[str, Strategy]:
    """F and K of a hand-designed strategy with minimum weight error, by path."""

    def one(density: WeightDensity) -> Strategy:
        return hand.tune_strategy(
            site.device,
            density,
            site.times,
            build=build,
            time_weights=site.time_weights,
            compensation=site.compensation,
        ).strategy

    return dict(zip(densities, each(one, densities.values()), strict=True))


def _optimized(
    site: Site, densities: Mapping[str, WeightDensity]
) -> Mapping[str, Strategy]:
    options = site.optimizer
    levels = site.device.levels is not None  # then nothing is descended
    start, least = {}, None
    if not levels or options.never_worse:
        start = _by_hand(site, densities)
    if options.never_worse:
        least = {p: site.searched.least(start[p], d) for p, d in densities.items()}
    how: Any = {
        "cell": pairs(options.pairs),
        "time_weights": site.time_weights,
        "aggregate": options.aggregate,
        "compensation": site.compensation,
        "energy": options.energy(),
    }
    if options.per_layer and not levels:
        found = optimize_layers(
            site.device, densities, site.times, warm=start, key=site.key,
            knots=options.knots, hops=2 * options.starts, steps=options.steps,
            ceilings=least, **how,
        )  # fmt: skip
        return {path: of_layer.strategy for path, of_layer in found.items()}
    return {
        path: optimize_strategy(
            site.device,
            density,
            site.times,
            key=site.key,
            knots=options.knots,
            starts=options.starts,
            warm=() if levels else start[path],
            steps=options.steps,
            learning_rate=options.learning_rate,
            ceiling=None if least is None else least[path],
            **how,
        ).strategy
        for path, density in densities.items()
    }


def _by_hand(
    site: Site, densities: Mapping[str, WeightDensity]
) -> dict[str, list[Strategy]]:
    """Least-significant-first, tuned, and untuned where nothing may be worse."""
    build = _powers(site.optimizer.pairs)
    plain = [build(site.device, f=f, k=1.0) for f in (2.0, 4.0)]
    more = plain if site.optimizer.never_worse else []
    return {p: [best, *more] for p, best in tuned(build, site, densities).items()}


@functools.cache
def _powers(count: int) -> Build:
    """Least-significant-first on `count` pairs whose factors are powers of one F."""
    if count == 1:
        return lambda device, *, f, k: hand.single_pair(device, k=k)
    if count == 2:
        return hand.lsp_first

    def build(device: Device, *, f: Array, k: Array) -> Strategy:
        factors = jnp.asarray(f) ** jnp.arange(count - 1, 0, -1)
        return hand.lsp_first(device, f=factors, k=k)

    return build
