"""Studies of strategies: one network on one device or many, programmed in many ways."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import xarray as xr
from jax.sharding import Mesh

from anajax import chip, rng, training
from anajax._core.types import PRNGKey, PyTree
from anajax.analysis.engine import Arrays, Engine, Kept, Tally
from anajax.analysis.hardware import NOISE, Factors, Hardware, impair, present
from anajax.analysis.network import AnalogNetwork
from anajax.analysis.tolerance import RAY, Requirement, requirement
from anajax.analysis.workload import Workload, evaluate, outputs
from anajax.programming import strategy_file, targets_file
from anajax.programming.end_to_end.targets import distillation
from anajax.programming.strategy_file import from_text, to_text
from anajax.studies.config.strategy import DIGITAL, StrategySection
from anajax.studies.config.study import (
    DevicesConfig,
    ProgrammedConfig,
    StrategiesConfig,
)
from anajax.studies.kinds import strategies_page as page
from anajax.studies.kinds import strategies_results as arrays
from anajax.studies.kinds.base import Kind
from anajax.studies.store.drafts import Course, Draft, Saving, drop_all
from anajax.studies.store.parts import Parts
from anajax.studies.ways.cases import Case, cases_of
from anajax.studies.ways.deploy import engine_of, measure, network_of
from anajax.studies.ways.learned import (
    START,
    Built,
    build,
    learn,
    of_targets,
)
from anajax.studies.ways.searches import kept_searches
from anajax.studies.ways.tables import Keep, Programmer
from anajax.studies.ways.trained import exact, trainer


def prepare(
    config: ProgrammedConfig, work: Workload, mesh: Mesh | None
) -> "StrategiesStudy":
    """Check all inputs of a study of strategies.

    Raises:
        ValueError: if a device, its times, or the periphery do not suit the network.
    """
    cases = cases_of(config)
    _check_labels(config, work)
    network = network_of(config, work)
    for case in cases:
        _check_required(config, network.hardware(case.device))
    return StrategiesStudy(
        config=config,
        network=network,
        cases=cases,
        engine=engine_of(config, mesh),
    )


def _check_required(config: ProgrammedConfig, hardware: Hardware) -> None:
    asked = config.required.parameters if config.required else ()
    there = present(hardware)
    missing = sorted(set(asked) - {*there, *NOISE, "ray"})
    if missing:
        raise ValueError(
            "`required.parameters` must be some that this hardware has: got "
            f"{missing}. It has {', '.join(there) or 'none'}."
        )


def _check_labels(config: ProgrammedConfig, work: Workload) -> None:
    learned = [e.learn for e in config.strategies if e.learn is not None]
    sections = [s for s in (config.training, *learned) if s is not None]
    if any(s.goal == "labels" for s in sections) and work.train_y is None:
        raise ValueError(
            f"`goal` must be digital for a workload without a training split: got "
            f"labels for {work.name}. Leave it out."
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class StrategiesStudy:
    """A study of strategies whose inputs are all there and valid."""

    config: ProgrammedConfig
    network: AnalogNetwork
    cases: list[Case]
    engine: Engine

    @property
    def work(self) -> Workload:
        """The digital network."""
        return self.network.work

    @property
    def parts(self) -> int:
        """How many parts there are to do."""
        each = len(self.config.strategies) + len(self.requirements)
        return len(self.cases) * each

    @property
    def requirements(self) -> list[tuple[str, str]]:
        """Strategy and parameter of each search for the loosest device."""
        asked = self.config.required
        if asked is None:
            return []
        labels = asked.strategies or [
            e.title for e in self.config.strategies if e.name != DIGITAL
        ]
        return [(label, name) for label in labels for name in asked.parameters]

    def run(self, parts: Parts, digital: np.ndarray) -> xr.Dataset:
        """Do all parts that are not done, and write the tables of strategies.

        Args:
            parts: what is done; saves what is not.
            digital: metric of the digital network `[items]`.
        """
        config, tables, programs = self.config, [], {}
        for case in self.cases:
            runner = Runner(self, case, parts)
            found = {e.title: runner.measure(e) for e in config.strategies}
            exact = runner.exact_part(digital)
            table = arrays.of_case(config, self.work, case, found, exact)
            needs = {key: runner.require(*key, digital) for key in self.requirements}
            drop_all(parts.folder)
            tables.append(arrays.with_required(table, needs, self.work))
            programs |= self._tables(case, found)
        parts.folder.write(strategy_file.FILE, to_text(programs).encode())
        return arrays.combine(config, self.work, self.cases, tables)

    def _tables(self, case: Case, parts: Mapping[str, Arrays]) -> dict[str, Any]:
        """Strategies by name, of programs that follow a table."""
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
        self.folder = parts.folder
        self.key = jax.random.key(study.config.seed)
        self._built: dict[str, Built] = {}

    def _draft(self, name: str) -> Draft:
        return Draft(self.folder, name)

    def measure(self, entry: StrategySection) -> Arrays:
        """The results of a strategy on all chips."""
        title = f"{self.case.label}: {entry.title}"
        return self.parts.get(
            self._name(entry),
            lambda draft: self._part(entry, draft, title),
            title=title,
            needs=("loss",),
        )

    def _name(self, entry: StrategySection) -> str:
        return f"{self.case.label}-{entry.title}"

    def _part(self, entry: StrategySection, draft: Draft, title: str) -> dict[str, Any]:
        if entry.name == DIGITAL:
            params = self._trained_digital
            items = np.asarray(evaluate(self.study.work, params))
            return self.exact_part(items, params)
        built, config = self._program(entry), self.study.config
        tally = self._measure(
            built,
            {},
            self.case.times,
            Saving(draft, config.save_every),
            lambda tally: self.parts.notify(
                f"{title}, {tally.taken[0]} of {config.chips} chips", False
            ),
        )
        tables = {entry.title: built.strategies} if built.strategies else {}
        return tally.of(0) | {
            "expected_rms_error": built.expected_error,
            "strategies": to_text(tables),
        }

    def exact_part(self, items: np.ndarray, params: PyTree = None) -> dict[str, Any]:
        """The results of a digital network: the same on all chips and at all times.

        Args:
            items: its metric `[items]`.
            params: after training, if it was trained.
        """
        work, chips, times = self.study.work, self.study.config.chips, self.case.times
        loss = 0.0
        if params is not None:
            loss = distillation(outputs(work, params), outputs(work))
        masks = [np.asarray(mask, bool) for mask in work.subsets.values()]

        def same(value: Any, *shape: int) -> np.ndarray:
            return np.broadcast_to(np.asarray(value, items.dtype), shape)

        means, every = [items[mask].mean() for mask in masks], (chips, times.size)
        return {
            "metric": same(items.mean(), *every),
            "loss": same(loss, *every),
            "item_metric": same(items, times.size, items.size),
            "subset_metric": same(np.reshape(means, (-1, 1, 1)), len(masks), *every),
            "weight_rms_error": same(0, *every),
            "expected_rms_error": same(0, times.size),
            "strategies": to_text({}),
        }

    def _measure(
        self,
        built: Built,
        factors: Factors,
        times: Any,
        kept: Kept,
        notify: Callable[[Tally], None] = lambda tally: None,
    ) -> Tally:
        """What all chips with a program give, factors on imperfections."""
        study, network = self.study, self.study.network
        hardware = network.hardware(self.case.device, params=built.params)
        return measure(
            study.config,
            study.engine,
            network,
            impair(hardware, factors),
            built.layers,
            times,
            params=built.params,
            kept=kept,
            notify=notify,
        )

    def require(self, label: str, parameter: str, digital: np.ndarray) -> Requirement:
        """The largest factor on an imperfection that would do for a strategy."""
        config: Any = self.study.config
        entry = next(e for e in config.strategies if e.title == label)
        names = RAY if parameter == "ray" else (parameter,)
        sign = 1.0 if self.study.work.higher_is_better else -1.0

        def compute(draft: Draft) -> dict[str, Any]:
            built, gaps = self._program(entry), []
            for i, factor in enumerate(config.required.factors):
                scaled, last = dict.fromkeys(names, factor), self.case.times[-1:]
                found = self._measure(built, scaled, last, draft.section(f"{i}"))
                found = found.metric[0, :, 0]
                gaps.append(sign * (float(digital.mean()) - found.astype(float)))
            factors = np.asarray(config.required.factors)
            found = requirement(parameter, factors, np.array(gaps), config.required.gap)
            return vars(found)

        name = f"required-{self.case.label}-{label}-{parameter}"
        title = f"{label}: {parameter} that would do"
        found = self.parts.get(name, compute, title=title)
        return Requirement(**found | {"parameter": parameter})  # pyright: ignore

    # --- programs ---------------------------------------------------------------------

    def _program(self, entry: StrategySection) -> Built:
        """What is on the chips."""
        if entry.title not in self._built:
            self._built[entry.title] = self._build(entry)
        return self._built[entry.title]

    def _build(self, entry: StrategySection) -> Built:
        params = self._trained if entry.trained else self.study.work.params
        programmer = self._programmer(params)
        if entry.name != "targets":
            programmer = dataclasses.replace(programmer, keep=self._keep(entry))
            return build(entry, programmer, self.study.work, params)
        name = f"{targets_file.FOLDER}/{self._name(entry)}.safetensors"

        def course(unit: int, steps: int) -> Course:
            draft = self._draft(f"{self._name(entry)}-learn-{unit:03d}.npz")
            return Course(draft, last=steps)

        def make() -> bytes:
            layers, rest = learn(
                entry, programmer, self.study.work, self.study.network.learned, course
            )
            return targets_file.to_bytes(layers, rest)

        layers, rest = targets_file.from_bytes(self._kept(name, make))
        return of_targets(layers, chip.insert(params, rest), programmer)

    def _keep(self, entry: StrategySection) -> Keep:
        """Strategies that were found before the study was stopped, or for its parts."""
        draft = self._draft(f"{self._name(entry)}.json")
        part = self.parts.find(self._name(entry))
        return kept_searches(entry.title, draft, part and str(part["strategies"]))

    @functools.cached_property
    def _trained(self) -> PyTree:
        """The parameters after hardware-aware training."""
        config: Any = self.study.config
        work, network = self.study.work, self.study.network

        def make() -> bytes:
            programmer = self._programmer(work.params)
            noise = training.device_noise(
                self.case.bare, programmer.build(START), self.case.times,
                normalize=config.normalize,
            )  # fmt: skip
            train = trainer(work, noise, config.training, apply=network.learned)
            course = self._training_course(self.case.label)
            return targets_file.params_to_bytes(train(self._training_key, course))

        return self._kept_params(self.case.label, make)

    @functools.cached_property
    def _trained_digital(self) -> PyTree:
        """The parameters after as many steps without noise, whatever the device."""
        config: Any = self.study.config

        def make() -> bytes:
            one = config.training.model_copy(update={"chips": 1})  # all are the same
            train = trainer(self.study.work, exact, one)
            course = self._training_course(DIGITAL)
            return targets_file.params_to_bytes(train(self._training_key, course))

        return self._kept_params(DIGITAL, make)

    def _training_course(self, label: str) -> Course:
        return Course(self._draft(f"{targets_file.TRAINED}-{label}.npz"))

    @property
    def _training_key(self) -> PRNGKey:
        return rng.path_key(self._init_key, targets_file.TRAINED)

    @property
    def _init_key(self) -> PRNGKey:
        return rng.stream(self.key, rng.Stage.INIT)

    def _kept_params(self, label: str, make: Callable[[], bytes]) -> PyTree:
        name = f"{targets_file.TRAINED}/{label}.safetensors"
        return targets_file.params_from_bytes(
            self._kept(name, make), self.study.work.params
        )

    def _kept(self, name: str, make: Callable[[], bytes]) -> bytes:
        """A file that takes long to make: read from the folder, or made and saved."""
        if not self.folder.has(name):
            self.folder.write(name, make())
        return self.folder.content(name)

    def _programmer(self, params: PyTree) -> Programmer:
        return Programmer(
            config=self.study.config,
            device=self.case.bare,
            weights=chip.weights(params),
            layouts=chip.layouts(params),
            times=self.case.times,
            key=self._init_key,
        )


KIND = Kind(
    name="strategies",
    config=StrategiesConfig,
    prepare=prepare,
    title=page.title,
    blocks=page.blocks,
    assumptions=page.assumptions,
)
DEVICES = dataclasses.replace(KIND, name="devices", config=DevicesConfig)
"""The same on many devices."""
