"""Configs of studies, validated before any work.

A config is YAML; every message names the key, the rule, the value, and a remedy.
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

from anajax._core.units import parse_duration
from anajax.analysis.engine import EVERY
from anajax.analysis.hardware import NON_IDEALITIES, Periphery
from anajax.analysis.tolerance import FACTORS, RAY
from anajax.chip import Scope
from anajax.costs.known import CostOptions
from anajax.devices.faults import Faults
from anajax.studies.config.rivals import rivals
from anajax.studies.config.sections import (
    Factor,
    Factors,
    Options,
    Positive,
    Section,
    increasing,
    one_of,
    one_source,
    refuse,
)
from anajax.studies.config.workload import WorkloadSection
from anajax.studies.ways.base import DIGITAL, Way
from anajax.studies.ways.catalog import Entries, entries
from anajax.studies.ways.digital import HELD, TrainingOptions
from anajax.studies.ways.recommended import Recommended
from anajax.studies.ways.site import OptimizerOptions

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


class NoiseSection(Section):
    """Factors on the imperfections of a device."""

    programming: Factor = 1.0
    drift_mean: Factor = 1.0
    drift_spread: Factor = 1.0
    read: Factor = 1.0


class DeviceSection(Section):
    """A preset, a device file or your own function, possibly with few levels."""

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
        """The section with `find(file)` instead of its file, if it has one."""
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
        one_source(
            self,
            ("name", "file", "python"),
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
    """What is measured on a chip to compensate for its drift, and when.

    Weights that share one drift compensation factor; between two recalibrations the
    last factor is held, and before the first there is none. The statistics of batch
    norms can also be measured, at every read-out on calibration inputs (AdaBS; Joshi et
    al., Nat. Commun. 11, 2473, 2020).
    """

    scope: Scope = Field(
        default="layer", description='"layer", "network", "column" or "none"'
    )
    recalibrate: Times | None = Field(
        default=None,
        description='times such as ["1 h", "1 d"], or null for every read-out',
    )

    norms: bool = Field(default=False, description="true or false")
    through: Literal["weights", "periphery"] = Field(
        default="weights", description='"weights" or "periphery"'
    )
    """What multiplies the inputs: weights that were read and compensated, once per chip
    and time; or individual cells, with new read noise for each product and drift
    compensation measured through the converters."""

    @model_validator(mode="after")
    def _measured(self) -> "CompensationSection":
        if self.recalibrate is not None and self.scope == "none":
            refuse(
                "have no `recalibrate` without a scope",
                self.recalibrate,
                "Choose a scope, or remove the times.",
            )
        if self.through == "periphery" and self.scope == "network":
            refuse(
                "have a `scope` of single weights through the periphery",
                self.scope,
                'Use "layer", "column" or "none".',
            )
        return self


SCALED = (*NON_IDEALITIES, "ray")
"""What `required` can scale: imperfections of the hardware, or `RAY` together."""


class RequiredSection(Section):
    """Requirements on a device, see `anajax.analysis.tolerance.required_device`."""

    gap: Positive = 0.01
    """Largest accepted loss of the metric relative to the digital network."""
    strategies: list[str] | None = Field(
        default=None, min_length=1, description="labels of strategies, or null for all"
    )
    parameters: list[str] = Field(
        default_factory=lambda: [*RAY, "ray"],
        min_length=1,
        description=f"some of {', '.join(SCALED)}",
    )
    factors: Factors = Field(default_factory=lambda: list(FACTORS))

    @field_validator("parameters")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        for name in names:
            one_of(name, SCALED)
        return names


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
    """Stop measuring chips once the standard error is this small at all times."""
    look_every: int = Field(
        default=EVERY, ge=2, description="2 chips or more between checks"
    )
    """Number of chips between two checks of the standard error."""
    seed: int = Field(
        default=0, ge=0, lt=2**32, description="a whole number below 2^32"
    )
    normalize: Literal["layer", "column", "tile"] = Field(
        default="layer", description='"layer", "column" or "tile"'
    )
    """What is scaled to the full range of conductances: each layer, each column, or
    each column of each tile, whose rows are `periphery.rows`."""
    faults: Options[Faults] | None = None
    """Faults; they replace those of a device file, if it has any."""
    periphery: Options[Periphery] | None = None
    compensation: CompensationSection = CompensationSection()
    optimizer: Options[OptimizerOptions] = Options[OptimizerOptions]()
    training: Options[TrainingOptions] | None = None
    costs: Options[CostOptions] | None = None
    """Energy, latency and area on a chip, in the results; null for none."""
    extrapolate: bool = Field(
        default=False, description="true to allow times that the source does not cover"
    )

    def with_files(self, find: Callable[..., str]) -> Self:
        """The config with `find(file)` instead of every file that it names.

        Files of the network are found by `find(file, key)`.
        """
        changes: dict[str, Any] = {"workload": self.workload.with_file(find)}
        for one, many in (("device", "devices"), ("strategy", "strategies")):
            if hasattr(self, one):
                changes[one] = getattr(self, one).with_file(find)
            elif hasattr(self, many):
                changes[many] = [each.with_file(find) for each in getattr(self, many)]
        if self.costs is not None and self.costs.record.file:
            file = find(self.costs.record.chip, "costs.chip")
            new = self.costs.model_dump() | {"chip": file}
            changes["costs"] = type(self.costs).model_validate(new)
        return self.model_copy(update=changes)

    @model_validator(mode="after")
    def _matches(self) -> "StudyConfig":
        weights = self.optimizer.record.time_weights
        if weights is not None and (
            len(weights) != len(self.times) or not any(weights)
        ):
            raise ValueError(
                "`optimizer.time_weights` must have one entry per time, not all 0: "
                f"got {list(weights)}. Give {len(self.times)} weights."
            )
        return self

    @property
    def ways(self) -> list[Way]:
        """All ways to program that are named in it."""
        one = getattr(self, "strategy", None)
        return list(getattr(self, "strategies", [] if one is None else [one]))

    @property
    def programs(self) -> list[Way]:
        """All ways to program that are used, including mere candidates."""
        named = {way.title: way for way in self.ways}
        for way in self.ways:
            if isinstance(way, Recommended):
                way.check_time(self.times)
                named = {e.title: e for e in rivals(way, self.ways)} | named
        return list(named.values())

    @property
    def held_out(self) -> int:
        """Number of held-out inputs for choices."""
        each = [way.held_out for way in self.programs]
        trained = any(way.trained for way in self.programs)
        if trained and self.training and self.training.record.needs_held:
            each.append(HELD)
        return max(each, default=0)

    @model_validator(mode="after")
    def _trained(self) -> "StudyConfig":
        asking = [e.title for e in self.programs if e.trained]
        if asking and self.training is None:
            raise ValueError(
                f"`training` must be given for strategies with `trained`: got null for "
                f"{asking}. Add the section `training`, which may be {{}}."
            )
        alike = [e.title for e in self.ways if e.family == DIGITAL]
        if alike and self.training and self.training.record.goal == DIGITAL:
            raise ValueError(
                f"`training.goal` must be labels for {alike}: got digital, which "
                "the digital network meets already. Drop the entry."
            )
        return self


class ProgrammedConfig(StudyConfig):
    """What studies that compare strategies share."""

    strategies: Entries
    required: RequiredSection | None = None
    save_every: int | None = Field(
        default=None,
        ge=1,
        description="chips, 1 or more, or null for several times a minute",
    )
    """Number of chips after which they are saved, besides several times a minute."""

    @model_validator(mode="after")
    def _listed(self) -> "ProgrammedConfig":
        titles = [e.title for e in self.strategies if e.family != DIGITAL]
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
    strategies: Entries = entries(
        *("single_pair", "msp_first", "lsp_first", "lsp_first_tuned"),
        *("equal_split", "optimized"),
    )


def _named(entry: object) -> object:
    """A section that was given as its bare name."""
    return {"name": entry} if isinstance(entry, str) else entry


class DevicesConfig(ProgrammedConfig):
    """One network on many devices, each over the times covered by its source."""

    study: Literal["devices"]
    devices: Annotated[
        list[Annotated[DeviceSection, BeforeValidator(_named)]],
        Field(min_length=1, description="a list of devices"),
    ]
    strategies: Entries = entries("single_pair", "lsp_first_tuned", "optimized")


def devices_of(config: StudyConfig) -> list[DeviceSection]:
    """The device sections of a study of any kind."""
    if hasattr(config, "device"):
        return [config.device]  # pyright: ignore[reportAttributeAccessIssue]
    return list(getattr(config, "devices", []))
