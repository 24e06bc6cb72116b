"""Configs: what a study is asked to do, validated before any work.

A config is YAML; every message names the key, the rule, what came, and a remedy.
"""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    field_validator,
    model_validator,
)

from anajax.analysis.engine import EVERY
from anajax.chip import Scope
from anajax.programming.search.gradient import optimize_strategy
from anajax.programming.search.objective import Aggregate
from anajax.studies.config.durations import parse_duration
from anajax.studies.config.hardware import FaultsSection, PeripherySection
from anajax.studies.config.sections import (
    Factor,
    Positive,
    Section,
    default,
    increasing,
    one_of,
    refuse,
)
from anajax.studies.config.strategy import (
    ALL,
    DIGITAL,
    RequiredSection,
    StrategyList,
    TrainingSection,
    entries,
    named,
)

Seconds = Annotated[
    float,
    BeforeValidator(parse_duration),
    Field(ge=0, description="a time of 0 s or more"),
]
Times = Annotated[
    list[Seconds],
    Field(min_length=1, description='a list of times such as ["1 s", "1 d"]'),
    AfterValidator(increasing),
]


class WorkloadSection(Section):
    """The network and its data."""

    name: str = Field(description="the name of a workload")
    items: int | None = Field(
        default=None, ge=1, description="a number of test items, or null for all"
    )

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        from anajax.workloads.catalog import names

        one_of(name, names())
        return name


class NoiseSection(Section):
    """Factors on the imperfections of a device."""

    programming: Factor = 1.0
    drift_mean: Factor = 1.0
    drift_spread: Factor = 1.0
    read: Factor = 1.0


class DeviceSection(Section):
    """A preset, a device file or a function of yours, perhaps of few levels."""

    name: str | None = Field(default=None, description="the name of a preset")
    file: str | None = Field(default=None, description="the path of a device file")
    python: str | None = Field(
        default=None, description="a Python file and its function: my.py:my_device"
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="options of the preset or function by name"
    )
    levels: list[Factor] | None = Field(
        default=None, description="conductances in uS, or null for those of the device"
    )
    noise: NoiseSection = NoiseSection()

    def with_file(self, find: Callable[[str], str]) -> "DeviceSection":
        """The section with `find(file)` in place of its file, where it has one."""
        changes = {}
        if self.file is not None:
            changes["file"] = find(self.file)
        if self.python is not None:
            file, _, name = self.python.rpartition(":")
            changes["python"] = f"{find(file)}:{name}"
        return self.model_copy(update=changes)

    @field_validator("name")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None:
            from anajax.devices.records import presets

            one_of(name, presets())
        return name

    @field_validator("python")
    @classmethod
    def _function_of_a_file(cls, place: str | None) -> str | None:
        if place is not None and ".py:" not in place:
            example = "Write my_memory.py:my_device."
            refuse("name a Python file and its function", place, example)
        return place

    @model_validator(mode="after")
    def _one_source(self) -> "DeviceSection":
        given = [k for k in ("name", "file", "python") if getattr(self, k) is not None]
        if len(given) != 1:
            refuse(
                "have one of `name`, `file` and `python`",
                " and ".join(given) or "none",
                "Name a preset, a device file, or a function: my_memory.py:my_device.",
            )
        if self.file is not None and self.options:
            refuse(
                "have no `options` with a `file`",
                sorted(self.options),
                "Remove them: a device file holds all numbers.",
            )
        if self.name is not None:
            from anajax.devices.records import presets

            known = inspect.signature(presets()[self.name]).parameters
            for option in self.options:
                one_of(option, known, what=f"have options of {self.name} only")
        return self


class CompensationSection(Section):
    """What is measured on a chip, and when, to make up for its drift.

    Weights that share one drift compensation factor: between two recalibrations the
    last factor is held; before the first there is none. And the statistics of batch
    norms, at every read-out on calibration inputs (AdaBS; Joshi et al., Nat. Commun.
    11, 2473, 2020).
    """

    scope: Scope = Field(
        default="layer", description='"layer", "network", "column" or "none"'
    )
    recalibrate: Times | None = Field(
        default=None,
        description='times such as ["1 h", "1 d"], or null for every read-out',
    )

    norms: bool = Field(default=False, description="true or false")

    @model_validator(mode="after")
    def _measured(self) -> "CompensationSection":
        if self.recalibrate is not None and self.scope == "none":
            refuse(
                "have no `recalibrate` without a scope",
                self.recalibrate,
                "Choose a scope, or remove the times.",
            )
        return self


class OptimizerSection(Section):
    """The search for the best strategy, see `anajax.programming.optimize_strategy`."""

    pairs: int = Field(default=2, ge=1, le=8, description="1 to 8 pairs a weight")
    knots: int = Field(
        default=default(optimize_strategy, "knots"),
        ge=3,
        le=101,
        description="3 to 101 knots",
    )
    starts: int = Field(
        default=default(optimize_strategy, "starts"),
        ge=0,
        le=256,
        description="0 to 256 random starts",
    )
    steps: int = Field(
        default=default(optimize_strategy, "steps"),
        ge=1,
        le=100_000,
        description="1 to 100000 steps of each round",
    )
    learning_rate: Positive = default(optimize_strategy, "learning_rate")
    per_layer: bool = Field(
        default=False, description="true for a strategy of its own in every layer"
    )
    aggregate: Aggregate = Field(default="mean", description='"mean" or "minimax"')
    never_worse: bool = Field(
        default=False,
        description="true for no more error than any hand strategy at any time",
    )
    time_weights: list[Factor] | None = Field(
        default=None, description="one weight per time, or null for equal ones"
    )


class StudyConfig(Section):
    """What all studies of networks on chips share."""

    study: str
    workload: WorkloadSection
    times: Times
    chips: int = Field(default=25, ge=2, le=100_000, description="2 chips or more")
    chunk: int = Field(default=1, ge=1, description="1 chip or more at once")
    stop_at_se: Positive | None = Field(
        default=None, description="a standard error of the metric, or null"
    )
    """No more chips are taken once the metric is known this well at all times."""
    look_every: int = Field(
        default=EVERY, ge=2, description="2 chips or more between looks"
    )
    """Chips between two looks at the standard error."""
    seed: int = Field(
        default=0, ge=0, lt=2**32, description="a whole number below 2^32"
    )
    normalize: Literal["layer", "column"] = Field(
        default="layer", description='"layer" or "column"'
    )
    """What is scaled to the full range of conductances: each layer, or each column."""
    faults: FaultsSection | None = None
    """In place of those of a device file, if it has any."""
    periphery: PeripherySection | None = None
    compensation: CompensationSection = CompensationSection()
    optimizer: OptimizerSection = OptimizerSection()
    extrapolate: bool = Field(
        default=False, description="true to allow times that the source does not cover"
    )

    def with_files(self, find: Callable[[str], str]) -> Self:
        """The config with `find(file)` in place of every device file that it names."""
        changes: dict[str, Any] = {}
        if hasattr(self, "device"):
            changes["device"] = devices_of(self)[0].with_file(find)
        elif hasattr(self, "devices"):
            changes["devices"] = [s.with_file(find) for s in devices_of(self)]
        return self.model_copy(update=changes)

    @model_validator(mode="after")
    def _matches(self) -> "StudyConfig":
        weights = self.optimizer.time_weights
        if weights is not None and (
            len(weights) != len(self.times) or not any(weights)
        ):
            raise ValueError(
                "`optimizer.time_weights` must have one entry per time, not all 0: "
                f"got {weights}. Give {len(self.times)} weights."
            )
        return self


class ProgrammedConfig(StudyConfig):
    """What studies that compare strategies share."""

    strategies: StrategyList
    training: TrainingSection | None = None
    required: RequiredSection | None = None
    save_every: int | None = Field(
        default=None,
        ge=1,
        description="chips, 1 or more, or null for several times a minute",
    )
    """Chips after which they are saved, besides several times a minute."""

    @model_validator(mode="after")
    def _trained(self) -> "ProgrammedConfig":
        asking = [e.title for e in self.strategies if e.trained]
        if asking and self.training is None:
            raise ValueError(
                f"`training` must be there for strategies with `trained`: got null for "
                f"{asking}. Add the section `training`, which may be {{}}."
            )
        alike = [e.title for e in self.strategies if e.name == DIGITAL]
        if alike and self.training.goal == DIGITAL:  # pyright: ignore
            raise ValueError(
                f"`training.goal` must be labels for {alike}: got digital, which is "
                "where the digital network is already. Drop the entry."
            )
        return self

    @model_validator(mode="after")
    def _listed(self) -> "ProgrammedConfig":
        titles = [e.title for e in self.strategies if e.name != DIGITAL]
        wanted = self.required and self.required.strategies or []
        unknown = sorted(set(wanted) - set(titles))
        if unknown:
            raise ValueError(
                f"`required.strategies` must be labels of programs in `strategies`: "
                f"got {unknown}. There are {titles}."
            )
        return self


class StrategiesConfig(ProgrammedConfig):
    """One network on one device, programmed by several strategies."""

    study: Literal["strategies"]
    device: DeviceSection
    strategies: StrategyList = entries(*ALL, "optimized")


class DevicesConfig(ProgrammedConfig):
    """One network on many devices, each over the times that its source covers."""

    study: Literal["devices"]
    devices: Annotated[
        list[Annotated[DeviceSection, BeforeValidator(named)]],
        Field(min_length=1, description="a list of devices"),
    ]
    strategies: StrategyList = entries("single_pair", "lsp_first_tuned", "optimized")


def devices_of(config: StudyConfig) -> list[DeviceSection]:
    """The device sections of a study of any kind."""
    if hasattr(config, "device"):
        return [config.device]  # pyright: ignore[reportAttributeAccessIssue]
    return list(getattr(config, "devices", []))
