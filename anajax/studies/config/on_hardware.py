"""Configs of one network on one kind of hardware: sensitivity studies and sweeps."""

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from anajax.studies.config.strategy import DIGITAL, LEARNED, StrategySection, named
from anajax.studies.config.study import DeviceSection, StudyConfig


class HardwareConfig(StudyConfig):
    """One network by one strategy on one kind of hardware."""

    device: DeviceSection
    strategy: Annotated[StrategySection, BeforeValidator(named)] = Field(
        default=StrategySection(name="lsp_first_tuned"),
        description="a strategy by hand, tuned or optimized",
    )

    @model_validator(mode="after")
    def _is_table(self) -> "HardwareConfig":
        if self.strategy.name in (*LEARNED, DIGITAL) or self.strategy.trained:
            what = "trained " * self.strategy.trained + self.strategy.name
            raise ValueError(
                f"`strategy` must be a table over weights as given: got {what}. "
                "Learn or train in a study of strategies."
            )
        return self
