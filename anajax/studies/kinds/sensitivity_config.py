"""Configs of sensitivity studies: which imperfection matters, where, and how much."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from anajax.analysis.hardware import NON_IDEALITIES
from anajax.programming.end_to_end.fisher import CHIPS
from anajax.studies.config.on_hardware import HardwareConfig
from anajax.studies.config.sections import Factors, Positive, Section, one_of, refuse


def _known(names: list[str] | None) -> list[str] | None:
    for name in names or []:
        one_of(name, NON_IDEALITIES)
    return names


Names = Annotated[
    list[str] | None,
    Field(min_length=1, description="names of imperfections, or null for all"),
    AfterValidator(_known),
]


class OneAtATimeSection(Section):
    """Each imperfection is scaled until the network has lost `gap`, others fixed."""

    gap: Positive = 0.01
    """Accepted loss of the metric: 0.01 is one percentage point of accuracy."""
    against: Literal["digital", "nominal"] = Field(
        default="nominal", description='"digital" or "nominal"'
    )
    """Reference of the loss: the digital network, or chips with all factors 1."""
    imperfections: Names = None
    factors: Factors = Field(
        default_factory=lambda: [2.0 ** (i / 2) for i in range(-4, 15)]
    )


class GradientsSection(Section):
    """Elasticities from one backward pass per chip."""

    chips: int = Field(default=CHIPS, ge=2, description="2 chips or more")
    inputs: int = Field(default=128, ge=1, description="1 calibration input or more")


class GlobalSection(Section):
    """All imperfections together, with log-uniform factors."""

    samples: int = Field(default=32, ge=2, description="2 samples or more")
    chips: int = Field(default=4, ge=1, description="1 chip or more for each point")
    low: Positive = 0.5
    high: Positive = 4.0
    imperfections: Names = None

    @model_validator(mode="after")
    def _widens(self) -> "GlobalSection":
        if self.low >= self.high:
            refuse("have `low` below `high`", [self.low, self.high], "Swap them.")
        return self


class VarianceSection(GlobalSection):
    """Sobol indices: shares of the variance of the metric."""

    @field_validator("samples")
    @classmethod
    def _power(cls, samples: int) -> int:
        if samples & (samples - 1):
            refuse("be a power of 2", samples, f"Use {2 ** samples.bit_length()}.")
        return samples


class LayersSection(Section):
    """Each layer analog alone, and the order in which layers are made digital."""

    chips: int = Field(default=16, ge=2, description="2 chips or more")
    order: Literal["greedy", "single"] = Field(
        default="greedy", description='"greedy" or "single"'
    )
    """Greedy: the next layer is the one that, made digital, leaves the lowest mean
    loss, given those before it. Single: by the loss of each layer alone."""


class SensitivityConfig(HardwareConfig):
    """Which imperfection of the hardware matters, at the last of the times.

    Sections that are null are left out of the study.
    """

    study: Literal["sensitivity"]
    one_at_a_time: OneAtATimeSection | None = OneAtATimeSection()
    gradients: GradientsSection | None = GradientsSection()
    screening: GlobalSection | None = GlobalSection(samples=8)
    variance: VarianceSection | None = VarianceSection()
    layers: LayersSection | None = LayersSection()

    @model_validator(mode="after")
    def _asks(self) -> "SensitivityConfig":
        if not any(getattr(self, name) for name in ANALYSES):
            raise ValueError(
                f"`CONFIG` must ask for one of {', '.join(ANALYSES)}: got null for "
                "all. Leave one out to get its defaults."
            )
        return self


ANALYSES = ("one_at_a_time", "gradients", "screening", "variance", "layers")
"""The analyses of a sensitivity study, in the order of its report."""
