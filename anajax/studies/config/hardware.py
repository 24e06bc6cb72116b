"""Configs of what stands around the arrays, and of what in them is broken."""

from typing import Annotated

from pydantic import Field

from anajax._core.tree import replace
from anajax.analysis.periphery import Periphery
from anajax.devices.base import Device
from anajax.devices.faults import Faults
from anajax.studies.config.sections import Factor, Section

Bits = Annotated[float, Field(ge=2, le=24, description="2 to 24 bits")]
Size = Annotated[
    int | None, Field(ge=1, description="1 line or more, or null for no limit")
]
Share = Annotated[float, Field(gt=0, le=1, description="a share above 0, at most 1")]


class PeripherySection(Section):
    """What stands around the arrays, see `anajax.analysis.periphery.Periphery`."""

    dac_bits: Bits | None = Field(default=None, description="2 to 24 bits, or null")
    adc_bits: Bits | None = Field(default=None, description="2 to 24 bits, or null")
    output_noise: Factor = Field(
        default=0.0, description="sd of 0 or more, in the largest weight at full input"
    )
    wires: Factor = Field(
        default=0.0, description="a resistance of 0 Ohm or more per segment"
    )
    inputs: Share = 1.0
    outputs: Share = 1.0
    rows: Size = 512
    columns: Size = 512

    def build(self) -> Periphery:
        """The record of the library."""
        return Periphery(**self.model_dump())


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
