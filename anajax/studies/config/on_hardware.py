"""Configs of one network on one kind of hardware: sensitivity studies and sweeps."""

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from anajax._core.tree import replace
from anajax.devices.base import Device
from anajax.devices.faults import Faults
from anajax.studies.config.hardware import PeripherySection
from anajax.studies.config.sections import Section
from anajax.studies.config.strategy import DIGITAL, LEARNED, StrategySection, named
from anajax.studies.config.study import DeviceSection, StudyConfig

Fraction = Annotated[
    float, Field(ge=0, le=1, description="a fraction of cells or lines, 0 to 1")
]


class FaultsSection(Section):
    """Fractions of cells and lines that do not work, see `anajax.devices.Faults`."""

    stuck_low: Fraction = 0.0
    stuck_high: Fraction = 0.0
    dead_rows: Fraction = 0.0
    dead_columns: Fraction = 0.0

    def build(self, device: Device) -> Device:
        """The device with these faults."""
        return replace(device, faults=Faults(**self.model_dump()))


class HardwareConfig(StudyConfig):
    """One network by one strategy on one kind of hardware."""

    device: DeviceSection
    faults: FaultsSection | None = None
    periphery: PeripherySection | None = None
    strategy: Annotated[StrategySection, BeforeValidator(named)] = Field(
        default=StrategySection(name="lsp_first_tuned"),
        description="a strategy by hand, tuned or optimized",
    )

    @model_validator(mode="after")
    def _every_read(self) -> "HardwareConfig":
        if self.compensation.recalibrate is not None:
            raise ValueError(
                "`compensation.recalibrate` must be null in a study of hardware: got "
                f"{self.compensation.recalibrate}. Study it with `study: strategies`."
            )
        return self

    @model_validator(mode="after")
    def _is_table(self) -> "HardwareConfig":
        if self.strategy.name in (*LEARNED, DIGITAL) or self.strategy.trained:
            what = "trained " * self.strategy.trained + self.strategy.name
            raise ValueError(
                f"`strategy` must be a table over weights as given: got {what}. "
                "Learn or train in a study of strategies."
            )
        return self
