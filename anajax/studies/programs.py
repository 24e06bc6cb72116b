"""What the ways of a study put on chips of one device: each program is made once."""

import dataclasses
import functools

from anajax._core.types import PyTree
from anajax.analysis.network import AnalogNetwork
from anajax.programming.strategy_file import to_text
from anajax.studies.bill import Bill
from anajax.studies.config.study import StudyConfig
from anajax.studies.plan import Case, site_of
from anajax.studies.store.parts import Parts
from anajax.studies.ways import kept as made
from anajax.studies.ways.base import DIGITAL, Way
from anajax.studies.ways.digital import train
from anajax.studies.ways.site import Program, Site


class Programs:
    """The programs of a study on one device, read from its folder where they are there.

    What takes long (searches, targets, training) is kept in the folder as it is made.
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
        """The tables of a program as text, none where it follows none."""
        tables = self.of(way).strategies
        return to_text({way.title: tables} if tables else {})

    def part(self, way: Way) -> Program:
        """The program as a part of the study of its own."""
        title = f"{self.case.label}: {way.title}"

        def compute(_: object) -> dict[str, str]:
            return {"strategies": self.text(way)}

        self.parts.get(self.name(way), compute, title=title)
        return self.of(way)

    def of(self, way: Way) -> Program:
        """The program of a way; its tables are searched once for a study."""
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
        return dataclasses.replace(self._empty, kept=kept)

    @functools.cached_property
    def _empty(self) -> Site:
        case = self.case
        return site_of(self.config, self.network, case.bare, case.times, self.bill)
