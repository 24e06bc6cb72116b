"""Strategy studies: one network on one or many devices, programmed in many ways."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import xarray as xr
from jax.sharding import Mesh

from anajax._core.types import PyTree
from anajax.analysis.engine import Arrays, Engine, Kept, Tally
from anajax.analysis.hardware import NOISE, Factors, Hardware, impair, present
from anajax.analysis.network import AnalogNetwork
from anajax.analysis.tolerance import RAY, Requirement, requirement
from anajax.analysis.workload import Workload, evaluate, outputs
from anajax.programming import strategy_file
from anajax.programming.strategy_file import from_text, to_text
from anajax.studies.bill import Bill
from anajax.studies.config.rivals import rivals
from anajax.studies.config.study import (
    DevicesConfig,
    ProgrammedConfig,
    StrategiesConfig,
)
from anajax.studies.kinds import strategies_page as page
from anajax.studies.kinds import strategies_results as arrays
from anajax.studies.kinds.base import Kind
from anajax.studies.plan import (
    Case,
    Placed,
    bill_of,
    cases_of,
    check_large,
    devices_per_weight,
    engine_of,
    measure,
    network_of,
)
from anajax.studies.programs import Programs
from anajax.studies.store.clock import Ahead
from anajax.studies.store.drafts import Draft, Saving, drop_all
from anajax.studies.store.parts import Parts
from anajax.studies.ways.base import DIGITAL, Effort, Way
from anajax.studies.ways.recommended import Recommended
from anajax.studies.ways.site import Program

SEARCH, TABLES, NEW = 0.3, 0.05, 0.4
"""Time until the first chip of the first searched and the first hand-designed program,
and of the first program on a memory of another structure, as a share of that of the
first part of a study, which compiles what all need (measured on configs/quickstart.yaml
and devices.yaml)."""


def prepare(
    config: ProgrammedConfig, work: Workload, mesh: Mesh | None
) -> "StrategiesStudy":
    """Check all inputs of a strategy study.

    Raises:
        ValueError: if a device, its times, or the periphery do not fit the network.
    """
    cases = cases_of(config, work)
    network = network_of(config, work)
    for case in cases:
        _check_required(config, network.hardware(case.device))
    check_large(config, network, engine_of(config, mesh))
    return StrategiesStudy(
        config=config,
        network=network,
        cases=cases,
        engine=engine_of(config, mesh),
        bill=bill_of(config, network),
    )


def _check_required(config: ProgrammedConfig, hardware: Hardware) -> None:
    asked = config.required.parameters if config.required else ()
    there = present(hardware)
    missing = sorted(set(asked) - {*there, *NOISE, "ray"})
    if missing:
        raise ValueError(
            "`required.parameters` must be present in this hardware: got "
            f"{missing}. It has {', '.join(there) or 'none'}."
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class StrategiesStudy:
    """A strategy study with complete and valid inputs."""

    config: ProgrammedConfig
    network: AnalogNetwork
    cases: list[Case]
    engine: Engine
    bill: Bill | None = None
    """The costs of programs, if the config names a chip."""

    @property
    def work(self) -> Workload:
        """The digital network."""
        return self.network.work

    @property
    def parts(self) -> int:
        """Number of parts."""
        each = len(self.config.strategies) + len(self.requirements)
        return len(self.cases) * each

    @property
    def order(self) -> list[Way]:
        """Strategies in the order in which they run: those that take longest first."""
        return sorted(self.config.strategies, key=lambda way: -way.effort)

    @property
    def ahead(self) -> list[Ahead]:
        """What is known of each part before it begins, in order."""
        chooses = any(isinstance(way, Recommended) for way in self.order)
        one = [self._ahead(way, chooses=chooses) for way in self.order]
        many = len(self.config.required.factors) if self.config.required else 0
        each = many / len(self.config.times)  # only the last time is measured
        required = Ahead("required", chips=each)
        one += [required] * len(self.requirements)
        known, found = set[Any](), list[Ahead]()
        for case in self.cases:
            structure = jax.tree.structure(case.device)
            if known and structure not in known:
                found += [one[0]._replace(begins=NEW, anew=True), *one[1:]]
            else:
                found += one
            known.add(structure)
        return found

    @property
    def report_seconds(self) -> float:
        """About the seconds that its figures, with a panel per memory, take."""
        return 3.0 + 0.45 * len(self.cases)

    def _ahead(self, way: Way, *, chooses: bool) -> Ahead:
        """What is known of the part of a way.

        Args:
            way: a way of the study.
            chooses: whether a way of the study compares others, and so makes them.
        """
        kind = f"{way.effort}{' trained' * way.trained}{' chosen' * bool(way.choices)}"
        if isinstance(way, Recommended):
            return Ahead(kind, self._validated(way), TABLES)
        if way.effort == Effort.HAND:  # another number of devices compiles anew
            kind = f"{kind} {devices_per_weight(way, self.config):g}"
            return Ahead(kind, begins=0.0 if chooses else TABLES)
        return Ahead(kind, begins=SEARCH)

    def _validated(self, way: Recommended) -> float:
        """Measurements for a choice, relative to those of a program."""
        work, config = self.work, self.config
        held, batches = min(way.items, len(work.held_x)), -(-len(work.x) // work.batch)
        chips = len(rivals(way, config.ways)) * way.chips / config.chips
        return chips * -(-held // work.batch) / batches

    @property
    def requirements(self) -> list[tuple[str, str]]:
        """Strategy and parameter of each search for device requirements."""
        asked = self.config.required
        if asked is None:
            return []
        labels = asked.strategies or [
            e.title for e in self.config.strategies if e.family != DIGITAL
        ]
        return [(label, name) for label in labels for name in asked.parameters]

    def run(self, parts: Parts, digital: np.ndarray) -> xr.Dataset:
        """Compute all parts that are not done yet, and write the tables of strategies.

        Args:
            parts: saves parts, and returns saved ones.
            digital: metric of the digital network `[items]`.
        """
        config, tables, programs = self.config, [], {}
        for case in self.cases:
            runner = Runner(self, case, parts)
            measured = {e.title: runner.measure(e) for e in self.order}
            found = {e.title: measured[e.title] for e in config.strategies}
            exact = runner.exact_part(digital)
            table = arrays.of_case(config, self.work, case, found, exact)
            table = arrays.with_costs(table, self.bill, found, exact)
            needs = {key: runner.require(*key, digital) for key in self.requirements}
            tables.append(arrays.with_required(table, needs, self.work))
            programs |= self._tables(case, found)
        drop_all(parts.folder)  # not earlier: a draft may be of the next device
        parts.folder.write(strategy_file.FILE, to_text(programs).encode())
        return arrays.combine(config, self.work, self.cases, tables)

    def _tables(self, case: Case, parts: Mapping[str, Arrays]) -> dict[str, Any]:
        """Strategies by name, for programs that follow a table."""
        programs = {}
        for label, part in parts.items():
            name = label if len(self.cases) == 1 else f"{case.label}/{label}"
            found = from_text(str(part["strategies"]), name)
            if label in found:
                programs[name] = found[label]
        return programs


class Runner:
    """Programs and measures the chips of one device."""

    def __init__(self, study: StrategiesStudy, case: Case, parts: Parts):
        self.study, self.case, self.parts = study, case, parts
        self.programs = Programs(
            study.config, study.network, case, parts, bill=study.bill
        )

    def measure(self, entry: Way) -> Arrays:
        """The results of a strategy on all chips."""
        for way in entry.choices:
            self.programs.choice(way)  # so that it is in the results
        return self._found(entry)

    def _found(self, entry: Way, *, counts: bool = True) -> Arrays:
        title = f"{self.case.label}: {entry.title}"
        return self.parts.get(
            self.programs.name(entry),
            lambda draft: self._part(entry, draft),
            title=title,
            needs=("loss",),
            counts=counts,
        )

    def _part(self, entry: Way, draft: Draft) -> dict[str, Any]:
        program, config = self.programs.of(entry), self.study.config
        twin = self.programs.twin(entry)
        if twin is not None:
            same = self._found(twin, counts=False)
            return same | {"strategies": self.programs.text(entry)}
        if not program.layers:
            items = np.asarray(evaluate(self.study.work, program.params))
            return self.exact_part(items, program.params)
        tally = self._measure(
            program,
            {},
            self.case.times,
            Saving(draft, config.save_every),
        )
        none = np.full(self.case.times.size, np.nan)
        expected = program.expected_error
        return tally.of(0) | {
            "expected_rms_error": none if expected is None else expected,
            "strategies": self.programs.text(entry),
            **self._costs(program),
        }

    def _costs(self, program: Program) -> dict[str, Any]:
        """Costs of a program, if the study names a chip."""
        if self.study.bill is None:
            return {}
        loop = program.expected_error is None
        return self.study.bill(
            program.layers, self.case.bare, self.case.times, params=program.params,
            loop=loop,
        )  # fmt: skip

    def exact_part(self, items: np.ndarray, params: PyTree = None) -> dict[str, Any]:
        """The results of a digital network: the same on all chips and at all times.

        Args:
            items: its metric `[items]`.
            params: parameters after training, if it was trained.
        """
        work, chips, times = self.study.work, self.study.config.chips, self.case.times
        loss = 0.0
        if params is not None:
            loss = work.divergence_fn(outputs(work, params), outputs(work))
        masks = [np.asarray(mask, bool) for mask in work.subsets.values()]

        def same(value: Any, *shape: int) -> np.ndarray:
            return np.broadcast_to(np.asarray(value, items.dtype), shape)

        means, every = [items[mask].mean() for mask in masks], (chips, times.size)
        made = self.study.bill
        return {
            "metric": same(items.mean(), *every),
            "loss": same(loss, *every),
            "item_metric": same(items, times.size, items.size),
            "subset_metric": same(np.reshape(means, (-1, 1, 1)), len(masks), *every),
            "weight_rms_error": same(0, *every),
            "expected_rms_error": same(0, times.size),
            "strategies": to_text({}),
            **({} if made is None else made.none(times.size)),
        }

    def _measure(
        self,
        program: Program,
        factors: Factors,
        times: Any,
        kept: Kept,
    ) -> Tally:
        """Measure all chips with a program, with factors on imperfections."""
        study, network = self.study, self.study.network
        hardware = network.hardware(self.case.device, params=program.params)
        placed = Placed(
            network=network, hardware=impair(hardware, factors), program=program
        )
        return measure(study.config, study.engine, placed, times, kept=kept)

    def require(self, label: str, parameter: str, digital: np.ndarray) -> Requirement:
        """The largest factor on an imperfection that a strategy tolerates."""
        config: Any = self.study.config
        entry = next(e for e in config.strategies if e.title == label)
        names = RAY if parameter == "ray" else (parameter,)
        sign = 1.0 if self.study.work.higher_is_better else -1.0

        def compute(draft: Draft) -> dict[str, Any]:
            program, gaps = self.programs.of(entry), []
            for i, factor in enumerate(config.required.factors):
                scaled, last = dict.fromkeys(names, factor), self.case.times[-1:]
                kept = draft.section(f"{i}", 1 / len(config.required.factors))
                found = self._measure(program, scaled, last, kept)
                found = found.metric[0, :, 0]
                gaps.append(sign * (float(digital.mean()) - found.astype(float)))
            factors = np.asarray(config.required.factors)
            found = requirement(parameter, factors, np.array(gaps), config.required.gap)
            return vars(found)

        name = f"required-{self.case.label}-{label}-{parameter}"
        title = f"{label}: tolerated factor on {parameter}"
        found = self.parts.get(name, compute, title=title)
        return Requirement(**found | {"parameter": parameter})  # pyright: ignore


KIND = Kind(
    name="strategies",
    config=StrategiesConfig,
    prepare=prepare,
    title=page.title,
    blocks=page.blocks,
    assumptions=page.assumptions,
)
DEVICES = dataclasses.replace(KIND, name="devices", config=DevicesConfig)
"""Strategy studies on many devices."""
