"""Configs of one network on one kind of hardware: sensitivity studies and sweeps."""

from pydantic import model_validator

from anajax.studies.config.study import DeviceSection, StudyConfig
from anajax.studies.ways.base import DIGITAL
from anajax.studies.ways.catalog import Entry
from anajax.studies.ways.tables import START


class HardwareConfig(StudyConfig):
    """One network, programmed in one way, on one kind of hardware."""

    device: DeviceSection
    strategy: Entry = START

    @model_validator(mode="after")
    def _is_on_chips(self) -> "HardwareConfig":
        if self.strategy.family == DIGITAL:
            raise ValueError(
                f"`strategy` must put weights on chips: got {self.strategy.title}. "
                "Compare with it in a study of strategies."
            )
        return self
