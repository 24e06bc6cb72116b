"""Programs of the ways of a study on one device: each is made once."""

import dataclasses
import functools
from typing import Any

import numpy as np

from anajax._core.types import PyTree
from anajax.analysis.network import AnalogNetwork
from anajax.programming.strategy_file import to_text
from anajax.studies.bill import Bill
from anajax.studies.config.rivals import rivals as rivals_of
from anajax.studies.config.study import StudyConfig
from anajax.studies.plan import Case, Placed, engine_of, measure, site_of
from anajax.studies.sample import to_choose
from anajax.studies.store.drafts import Draft
from anajax.studies.store.parts import Parts
from anajax.studies.ways import kept as made
from anajax.studies.ways.base import DIGITAL, Way
from anajax.studies.ways.digital import train
from anajax.studies.ways.recommended import (
    Choice,
    Losses,
    Recommended,
    as_arrays,
    choose,
    from_arrays,
)
from anajax.studies.ways.site import Program, Site


class Programs:
    """The programs of a study on one device, read from its folder if they exist.

    Results that take long (searches, targets, training) are saved there.
    """

    def __init__(
        self,
        config: StudyConfig,
        network: AnalogNetwork,
        case: Case,
        parts: Parts,
        bill: Bill | None = None,
    ):
        self.config, self.network, self.case = config, network, case
        self.parts, self.bill = parts, bill
        self._made: dict[str, Program] = {}
        self._trained: dict[bool, PyTree] = {}

    def name(self, way: Way) -> str:
        """The name of its files."""
        return f"{self.case.label}-{way.title}"

    def text(self, way: Way) -> str:
        """The tables of a program as text, None if it follows none."""
        tables = self.of(way).strategies
        return to_text({way.title: tables} if tables else {})

    def part(self, way: Way) -> Program:
        """The program as a separate part of the study."""
        title = f"{self.case.label}: {way.title}"

        def compute(_: object) -> dict[str, str]:
            return {"strategies": self.text(way)}

        self.parts.get(self.name(way), compute, title=title)
        return self.of(way)

    def of(self, way: Way) -> Program:
        """The program of a way; its tables are searched once per study."""
        if way.title not in self._made:
            name = self.name(way)
            part = self.parts.find(name)
            done = None if part is None else str(part["strategies"])
            site = self._site(self._kept(name, way.title, done))
            if way.trained:
                params = self._training(way.through_noise)
                site = dataclasses.replace(site, params=params)
            self._made[way.title] = way.build(site)
        return self._made[way.title]

    def twin(self, way: Way) -> Way | None:
        """The way of the study whose program was chosen."""
        if not isinstance(way, Recommended):
            return None
        program = self.of(way)
        others = (w for w in self.config.ways if w is not way)
        return next((w for w in others if self._made.get(w.title) is program), None)

    def choice(self, way: Recommended) -> Choice:
        """Validation results of the candidates."""
        name, rivals = self.name(way), rivals_of(way, self.config.ways)

        def compute(_: object) -> dict[str, Any]:
            each = enumerate(rivals)
            losses = {r.title: self._losses(way, i, rivals) for i, r in each}
            return as_arrays(choose(losses))

        found = self.parts.get(f"choice-{name}", compute, counts=False)
        self.parts.choices[name] = found
        return from_arrays(found)

    def _chosen(self, way: Recommended) -> Program:
        chosen = self.choice(way).chosen
        rivals = rivals_of(way, self.config.ways)
        return self.of(next(r for r in rivals if r.title == chosen))

    def _losses(self, way: Recommended, number: int, rivals: list[Way]) -> Losses:
        """What one of the programs loses on validation chips and items."""
        rival, count = rivals[number], len(rivals)
        span = number / count, (number + 1) / count
        title = f"{self.case.label}: validation of {rival.title}"

        def compute(draft: Draft) -> dict[str, Any]:
            program = self.of(rival)
            hardware = self.network.hardware(self.case.device, params=program.params)
            placed = Placed(network=self.network, hardware=hardware, program=program)
            engine = dataclasses.replace(engine_of(self.config, None), stop_at_se=None)
            apart = self.config.seed, way.chips, self.network, way.items
            tally = measure(
                self.config, engine, placed, self.case.times,
                sample=to_choose(*apart), kept=draft,
            )  # fmt: skip
            of_items = {"item_loss": tally.item_loss, "item_metric": tally.item_metric}
            some = of_items | {"loss": tally.loss, "metric": tally.metric}
            return {n: v[0] for n, v in some.items()}

        name = f"validation-{self.name(way)}-{rival.title}"
        found = self.parts.get(name, compute, title=title, counts=False, span=span)
        what, at = self._by(way, rivals), way.time_of(self.case.times)
        lower = what == "metric" and self.network.work.higher_is_better
        some = {n: (-1 if lower else 1) * found[n].astype(float) for n in found}

        def over_times(values: np.ndarray) -> np.ndarray:
            """Of chips or items in columns."""
            return np.atleast_2d(values[at]).mean(0)

        return Losses(
            effort=rival.effort,
            chips=over_times(some[what].T),
            items=over_times(some[f"item_{what}"]),
        )

    def _by(self, way: Recommended, rivals: list[Way]) -> str:
        goal = self.config.training and self.config.training.record.goal
        learned = [r.labels or (r.trained and goal == "labels") for r in rivals]
        return way.by or ("metric" if any(learned) else "loss")

    def _training(self, through_noise: bool) -> PyTree:
        """Parameters after training; without noise the same for all devices."""
        if through_noise not in self._trained:
            name = self.case.label if through_noise else DIGITAL
            site = self._site(self._kept(name, "training"))
            assert self.config.training is not None
            options = self.config.training.record
            found = train(site, options, through_noise=through_noise)
            self._trained[through_noise] = found
        return self._trained[through_noise]

    def _kept(self, name: str, title: str, done: str | None = None) -> made.Kept:
        told = self.parts.told(f"{self.case.label}: {title}")
        return made.Kept(folder=self.parts.folder, name=name, done=done, told=told)

    def _site(self, kept: made.Kept) -> Site:
        return dataclasses.replace(self._empty, kept=kept, choose=self._chosen)

    @functools.cached_property
    def _empty(self) -> Site:
        case = self.case
        return site_of(self.config, self.network, case.bare, case.times, self.bill)
