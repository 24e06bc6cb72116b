"""Studies of strategies: one network on one device or many, programmed in many ways."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jax.tree_util import Partial

from anajax import chip, rng, training
from anajax._core.types import PRNGKey, PyTree
from anajax.analysis import sharding
from anajax.analysis.evaluate import evaluate
from anajax.analysis.tolerance import Requirement, required_device
from anajax.analysis.workload import Workload
from anajax.programming import strategy_file, targets_file
from anajax.programming.strategy_file import from_text, to_text
from anajax.studies.config.strategy import DIGITAL, StrategySection
from anajax.studies.config.study import ProgrammedConfig
from anajax.studies.kinds import strategies_results as arrays
from anajax.studies.report import results
from anajax.studies.report.results import Measured, Part
from anajax.studies.store.drafts import Course, Draft, drop_all
from anajax.studies.store.folder import Folder
from anajax.studies.store.parts import Notify, Parts
from anajax.studies.ways.cases import Case, cases_of
from anajax.studies.ways.judge import Judge
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

MESH = True


def prepare(
    config: ProgrammedConfig, work: Workload, mesh: Mesh | None
) -> "StrategiesStudy":
    """Check all inputs of a study of strategies.

    Raises:
        ValueError: if a device, its times, or the periphery do not suit the network.
    """
    cases = cases_of(config)
    _check_labels(config, work)
    judge = Judge(work, config.periphery, config.compensation, config.normalize)
    return StrategiesStudy(
        config=config, work=work, cases=cases, judge=judge, mesh=mesh
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
    work: Workload
    cases: list[Case]
    judge: Judge
    mesh: Mesh | None

    @property
    def parts(self) -> int:
        """How many parts there are to do."""
        each = len(self.config.strategies) + len(self.requirements)
        return len(self.cases) * each

    @property
    def call(self) -> int:
        """Chips in one call of the compiled program, whatever is saved when."""
        devices = 1 if self.mesh is None else self.mesh.shape[sharding.CHIPS]
        return min(self.config.chunk * devices, self.config.chips)

    @property
    def requirements(self) -> list[tuple[str, str]]:
        """Strategy and parameter of each search for the loosest device."""
        asked = getattr(self.config, "required", None)
        if asked is None:
            return []
        labels = asked.strategies or [
            e.title for e in self.config.strategies if e.name != DIGITAL
        ]
        return [(label, name) for label in labels for name in asked.parameters]

    def run(self, folder: Folder, *, notify: Notify) -> Any:
        """Do all parts that are not done, and write results and strategies.

        Args:
            folder: where parts and results are.
            notify: told of every part that is begun and finished.

        Returns:
            The results as an xarray Dataset, as written to `results.nc`.
        """
        digital = np.asarray(jax.jit(self.judge.items)(self.work.params))
        tables, programs = [], {}
        for case in self.cases:
            runner = Runner(self, case, Parts(folder, notify))
            parts = {e.title: runner.measure(e) for e in self.config.strategies}
            table = arrays.of_case(self.config, self.work, case, parts, digital)
            found = {key: runner.require(*key, digital) for key in self.requirements}
            drop_all(folder)
            unit = table[self.work.metric].attrs["units"]
            tables.append(arrays.add_required(table, found, unit))
            programs |= self._tables(case, parts)
        data = arrays.combine(
            self.config,
            self.work,
            self.cases,
            tables,
            float(digital.mean()),
            folder.identity,
        )
        folder.write(strategy_file.FILE, to_text(programs).encode())
        folder.write(results.RESULTS, results.to_netcdf(data))
        return data

    def _tables(self, case: Case, parts: dict[str, Part]) -> dict[str, Any]:
        """Strategies by name, of programs that follow a table."""
        programs = {}
        for label, part in parts.items():
            name = label if len(self.cases) == 1 else f"{case.label}/{label}"
            found = from_text(part.strategies, name)
            if label in found:
                programs[name] = found[label]
        return programs


class Runner:
    """Programs and measures the chips of one device."""

    def __init__(self, study: StrategiesStudy, case: Case, parts: Parts):
        self.study, self.case, self.parts = study, case, parts
        self.folder = parts.folder
        self.key = jax.random.key(study.config.seed)
        self._built: dict[str, tuple[Built, Partial]] = {}

    def _draft(self, name: str) -> Draft:
        return Draft(self.folder, name)

    def measure(self, entry: StrategySection) -> Part:
        """The results of a strategy on all chips."""
        title = f"{self.case.label}: {entry.title}"
        found = self.parts.get(
            self._name(entry),
            lambda draft: vars(self._part(entry, draft, title)),
            title=title,
        )
        return Part.of(found)

    def _name(self, entry: StrategySection) -> str:
        return f"{self.case.label}-{entry.title}"

    def _part(self, entry: StrategySection, draft: Draft, title: str) -> Part:
        if entry.name == DIGITAL:
            return self._exact_part(self._trained_digital)
        built, metric = self._program(entry)
        chips, call = self.study.config.chips, self.study.call
        measured = Measured(**draft.load_arrays())
        while measured.chips < chips:
            index = np.arange(measured.chips, min(measured.chips + call, chips))
            found = evaluate(
                metric,
                built.params,
                self.case.bare,
                built.layers,
                self.case.times,
                chips=np.minimum(np.arange(index[0], index[0] + call), chips - 1),
                key=self.key,
                **self._how,
            )
            items, error = (
                np.asarray(v)[: len(index)]
                for v in (found.metric, found.weight_rms_error)
            )
            measured = measured.with_chips(items, error, self.study.work.subsets)
            every = self.study.config.save_every
            due = every is not None and measured.chips % every < len(index)
            draft.save_arrays(vars(measured), now=due)
            self.parts.notify(f"{title}, {measured.chips} of {chips} chips", False)
        return measured.part(
            expected_rms_error=built.expected_error,
            strategies=to_text(
                {entry.title: built.strategies} if built.strategies else {}
            ),
        )

    def _exact_part(self, params: PyTree) -> Part:
        """The results of a digital network: the same on all chips and at all times."""
        items = np.asarray(jax.jit(self.study.judge.items)(params))
        shape = (self.study.config.chips, len(self.case.times))
        return (
            Measured()
            .with_chips(
                np.broadcast_to(items, (*shape, *items.shape)),
                np.zeros(shape, items.dtype),
                self.study.work.subsets,
            )
            .part(
                expected_rms_error=np.zeros(shape[1:], items.dtype),
                strategies=to_text({}),
            )
        )

    @property
    def _how(self) -> dict[str, Any]:
        """Options of `evaluate` that are the same for all programs."""
        config, judge = self.study.config, self.study.judge
        return {
            "chunk": config.chunk,
            "scope": config.compensation.scope,
            "recalibrate": config.compensation.recalibrate,
            "mesh": self.study.mesh,
            "keyed": True,
            "through": judge.through,
        }

    def require(self, label: str, parameter: str, digital: np.ndarray) -> Requirement:
        """The loosest value of a parameter that would do for a strategy."""
        config: Any = self.study.config
        entry = next(e for e in config.strategies if e.title == label)

        def compute(draft: Draft) -> dict[str, Any]:
            built, metric = self._program(entry)
            (found,) = required_device(
                metric,
                built.params,
                self.case.bare,
                built.layers,
                gap=config.required.gap,
                t=config.times[-1],
                key=self.key,
                parameters=[parameter],
                factors=config.required.factors,
                chips=config.chips,
                higher_is_better=self.study.work.higher_is_better,
                digital=float(digital.mean()),
                call=self.study.call,
                step=draft.steps(self.study.call),
                **self._how,
            )
            return vars(found)

        name = f"required-{self.case.label}-{label}-{parameter}"
        title = f"{label}: {parameter} that would do"
        found = self.parts.get(name, compute, title=title)
        return Requirement(**found | {"parameter": parameter})  # pyright: ignore

    # --- programs ---------------------------------------------------------------------

    def _program(self, entry: StrategySection) -> tuple[Built, Partial]:
        """What is on the chips, and the metric with ranges that suit it."""
        if entry.title not in self._built:
            built = self._build(entry)
            metric = self.study.judge.metric(built.params)
            if self.study.mesh is not None:
                metric = sharding.place(metric, self.study.mesh, cut="items")
            self._built[entry.title] = built, metric
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
                entry, programmer, self.study.work, self.study.judge.learned, course
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
        work, judge = self.study.work, self.study.judge

        def make() -> bytes:
            programmer = self._programmer(work.params)
            noise = training.device_noise(
                self.case.bare, programmer.build(START), self.case.times,
                normalize=config.normalize,
            )  # fmt: skip
            train = trainer(work, noise, config.training, apply=judge.learned)
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
