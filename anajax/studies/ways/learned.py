"""Targets for every weight from the network's own loss, through the chip."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from anajax import chip, rng
from anajax._core import checks
from anajax._core.options import option
from anajax._core.types import Array
from anajax.analysis.workload import (
    Workload,
    labels_loss,
    training_inputs,
    training_labels,
)
from anajax.chip import Strategies
from anajax.costs.objective import EnergyOptions
from anajax.devices.base import Device
from anajax.programming import targets_file
from anajax.programming.end_to_end.layer_by_layer import (
    optimize_layer_by_layer,
    units_of,
)
from anajax.programming.end_to_end.learnable import LearnOptions
from anajax.programming.end_to_end.targets import optimize_targets
from anajax.studies.config.sections import Options, refuse
from anajax.studies.ways.base import DIGITAL, Effort, Way
from anajax.studies.ways.digital import GOALS, HELD, Goal, need_labels
from anajax.studies.ways.recommended import Recommended
from anajax.studies.ways.site import Program, Site
from anajax.studies.ways.tables import START


@dataclasses.dataclass(frozen=True, kw_only=True)
class TargetsOptions(LearnOptions, EnergyOptions):
    """How `targets` are learned, see `anajax.optimize_targets`."""

    by: Literal["network", "layer"] = option("network", '"network" or "layer"')
    """By layer, each layer in turn reproduces its own outputs, and steps are divided
    among them."""
    goal: Goal = option(DIGITAL, GOALS)


class Targets(Way):
    """Targets and digital parameters, learned by gradients through chips."""

    name: str = "targets"
    family = "optimized"
    learn: Options[TargetsOptions] | None = Field(
        default=None, description="options of `targets`, or null for the defaults"
    )

    start: list[str] | None = Field(
        default=None, min_length=1, description="labels of strategies, or null"
    )
    """Starting point: the recommended one of these, chosen on held-out inputs and
    chips, among programs that follow tables. By default least-significant-first, tuned.
    """

    @property
    def options(self) -> TargetsOptions:
        """How they are learned."""
        return TargetsOptions() if self.learn is None else self.learn.record

    @property
    def effort(self) -> Effort:
        """With digital parameters, learning is joint."""
        return Effort.JOINT if DIGITAL in self.options.parts else Effort.TARGETS

    @property
    def held_out(self) -> int:
        """Number of held-out inputs for choosing the rate and what to keep."""
        return HELD if self.options.needs_held or self.start else 0

    @property
    def choices(self) -> list[Any]:
        """The way that chooses its starting point, if there are several."""
        if self.start is None:
            return []
        return [Recommended(label=f"{self.title}-start", among=list(self.start))]

    @property
    def labels(self) -> bool:
        """Whether it learns from labels."""
        return self.options.goal == "labels"

    def check(self, work: Workload, device: Device) -> None:
        """Refuse a memory with few levels, and learning from labels without any."""
        self.need_analog(device)
        need_labels(self.options.goal, work)
        if self.options.by == "layer" and work.model is None:
            rule = "be network for a network that is given as a function"
            checks.fail("learn.by", rule, "layer", "Leave it out.")

    def build(self, site: Site) -> Program:
        """Learned targets, read from the study's folder if they exist."""

        def make() -> bytes:
            return targets_file.to_bytes(*self._learn(site, tables()))

        site, tables = self._begun(site)
        content = site.kept.file(targets_file.FOLDER, make)
        return site.of_layers(*targets_file.from_bytes(content))

    def _begun(self, site: Site) -> tuple[Site, Callable[[], Strategies]]:
        """Where it starts: the parameters, and the tables once they are wanted."""
        if self.start is None:
            return site, lambda: START.strategies(site)
        if site.choose is None:
            remedy = "Leave it out, or run a study."
            checks.fail("start", "be null outside of a study", self.start, remedy)
        begin = site.choose(self.choices[0])
        tables = begin.strategies
        if tables is None:
            remedy = "Leave out learned targets and loops."
            checks.fail("start", "name programs that follow tables", "others", remedy)
        return dataclasses.replace(site, params=begin.params), lambda: tables

    def _learn(
        self, site: Site, tables: Strategies
    ) -> tuple[dict[str, chip.LayerProgram], dict[str, Array]]:
        """Targets, and what stays digital, by path."""
        work, options = site.work, self.options
        inputs = training_inputs(work)
        shared: Any = {
            "key": rng.path_key(site.key, self.title),
            "learn": options.parts,
            "chips": options.chips,
            "batch": min(options.batch, len(inputs)),
            "learning_rate": options.learning_rate,
            "weight_rate": options.weight_rate,
            "normalize": site.network.normalize,
            **site.which,
        }
        if options.goal == "labels":
            shared |= {"labels": training_labels(work), "loss": labels_loss(work)}
        where = site.params, site.device, tables
        if options.by == "layer":
            units = units_of(work.model, inputs)
            steps = max(1, options.steps // len(units))
            found = optimize_layer_by_layer(
                units, *where, inputs, site.times, steps=steps,
                checkpoint=lambda u: site.kept.course(f"-learn-{u:03d}", steps),
                **shared,
            )  # fmt: skip
        else:
            shared = {"loss": work.divergence_fn} | shared
            if options.needs_held:
                labels = work.held_y if options.goal == "labels" else None
                labels = None if labels is None else labels[:HELD]
                shared["held"] = work.held_x[:HELD], labels
                shared["never_worse"] = options.never_worse
            digital = work.apply
            if site.params is not work.params:  # the goal stays the network as given
                digital = _fixed(work)
            found = optimize_targets(
                site.network.learned, *where, inputs, site.times,
                steps=options.steps, digital=digital,
                checkpoint=site.kept.course("-learn-000", options.steps),
                energy=options.energy(site.loads), **shared,
            )  # fmt: skip
        rest = chip.others(found.params, select=lambda path, _: path in found.layers)
        return found.layers, rest

    @field_validator("trained")
    @classmethod
    def _alone(cls, trained: bool) -> bool:
        if trained:
            refuse(
                "have no `trained` for targets",
                True,
                "Drop it: `learn` with weights is training of its own.",
            )
        return trained

    @model_validator(mode="after")
    def _by_layer(self) -> "Targets":
        options = self.options
        if options.by == "layer" and DIGITAL in options.parts:
            refuse(
                "have no `digital` among its parts by layer",
                list(options.parts),
                "Drop it, or learn by network.",
            )
        if options.by == "layer" and options.needs_held:
            refuse(
                "have a rate, and no `never_worse`, by layer",
                "them",
                "Learn by network.",
            )
        if options.by == "layer" and options.energy() is not None:
            refuse("have no energy by layer", "some", "Drop it, or learn by network.")
        if options.by == "layer" and options.goal == "labels":
            refuse("have the goal `digital` by layer", "labels", "Drop the goal.")
        return self


WAYS = (Targets,)


def _fixed(work: Workload) -> Callable[[Any, Any], Any]:
    """The digital network as given, whatever parameters it is called with."""
    return lambda params, x: work.apply(work.params, x)
