"""Configs of one network on one kind of hardware: sensitivity studies and sweeps."""

from typing import Annotated

from pydantic import Field, PlainValidator, SerializeAsAny, model_validator

from anajax.studies.config.study import DeviceSection, StudyConfig
from anajax.studies.ways.base import Table
from anajax.studies.ways.catalog import as_way
from anajax.studies.ways.tables import START


class HardwareConfig(StudyConfig):
    """One network by one strategy on one kind of hardware."""

    device: DeviceSection
    strategy: Annotated[SerializeAsAny[Table], PlainValidator(as_way)] = Field(
        default=START,
        description="a strategy by hand, tuned or optimized",
    )

    @model_validator(mode="after")
    def _is_table(self) -> "HardwareConfig":
        if not isinstance(self.strategy, Table) or self.strategy.trained:
            what = "trained " * self.strategy.trained + self.strategy.name
            raise ValueError(
                f"`strategy` must be a table over weights as given: got {what}. "
                "Learn or train in a study of strategies."
            )
        return self
