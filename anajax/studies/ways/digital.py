"""Training of weights in a study, and the digital network trained in the same way."""

import dataclasses
from typing import Any, Literal

from pydantic import model_validator

from anajax import rng, training
from anajax._core import checks
from anajax._core.options import option
from anajax._core.types import PyTree
from anajax.analysis.workload import (
    Workload,
    labels_loss,
    training_inputs,
    training_labels,
)
from anajax.costs.objective import EnergyOptions, spending
from anajax.programming import targets_file
from anajax.studies.config.sections import refuse
from anajax.studies.ways.base import DIGITAL, Way
from anajax.studies.ways.site import Program, Site
from anajax.studies.ways.tables import START

Goal = Literal["digital", "labels"]
"""Goal of learning: to match the outputs of the digital network (distillation, without
labels), or the labels of the training split."""
GOALS = '"digital" or "labels"'


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingOptions(training.TrainOptions, EnergyOptions):
    """Hardware-aware training with the device's noise, from the trained network.

    Chips are programmed with the tuned least-significant-first strategy, read at one of
    the times of the study, and used with the converters of the study.
    """

    goal: Goal = option(DIGITAL, GOALS)


HELD = 256
"""Number of held-out inputs for choosing the rate and what to keep."""


class Digital(Way):
    """The digital network, after the same number of training steps without noise."""

    name: str = DIGITAL
    family = "digital"
    through_noise = False

    @property
    def title(self) -> str:
        """The label, by default "trained_digital"."""
        return self.label or f"trained_{DIGITAL}"

    def build(self, site: Site) -> Program:
        """Nothing is programmed on chips."""
        return Program(params=site.params, layers={})

    @model_validator(mode="after")
    def _is_trained(self) -> "Digital":
        if not self.trained:
            refuse(
                "have `trained` for digital",
                False,
                "Drop the entry: the digital network is in all results.",
            )
        return self


WAYS = (Digital,)


def need_labels(goal: Goal, work: Workload) -> None:
    """Refuse to learn labels for a network without any.

    Raises:
        ValueError: if there is no training split.
    """
    checks.word("goal", goal, Goal)
    if goal == "labels" and work.train_y is None:
        raise ValueError(
            f"`goal` must be digital for a workload without a training split: got "
            f"labels for {work.name}. Leave it out."
        )


def train(site: Site, options: TrainingOptions, *, through_noise: bool) -> PyTree:
    """The parameters of the network after training.

    They are read from the study's folder if they exist.

    Args:
        site: where they are programmed.
        options: goal, steps, rate.
        through_noise: whether to train with noise and converters, or the digital
            network.
    """
    work = site.work
    goal: Any = {"loss": work.divergence_fn}
    if options.goal == "labels":
        goal = {"labels": training_labels(work), "loss": labels_loss(work)}

    def make() -> bytes:
        spend, energy = None, options.energy(site.loads)
        if through_noise:
            where = site.device, START.strategies(site), site.times
            how = {"normalize": site.network.normalize, **site.which}
            noise = training.device_noise(*where, **how)
            spend = None if energy is None else spending(*where, energy, **how)
            apply, chosen = site.network.learned, options
        else:
            noise, apply = None, work.apply
            chosen = dataclasses.replace(options, chips=1)  # all are the same
        held = None
        if options.needs_held:
            labels = work.held_y if options.goal == "labels" else None
            held = work.held_x[:HELD], None if labels is None else labels[:HELD]
        loop = training.trainer(
            apply, work.params, training_inputs(work), noise, chosen,
            digital=work.apply, energy=spend, held=held, **goal,
        )  # fmt: skip
        key = rng.path_key(site.key, targets_file.TRAINED)
        return targets_file.params_to_bytes(
            loop(key, site.kept.course("", chosen.steps))
        )

    content = site.kept.file(targets_file.TRAINED, make)
    return targets_file.params_from_bytes(content, work.params)
