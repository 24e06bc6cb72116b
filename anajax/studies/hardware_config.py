"""Configs of hardware beyond the device: faults, converters, wires; and the network.

Shared by studies of sensitivity and sweeps.
"""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from anajax._tree import replace
from anajax.converters import graded, uniform
from anajax.devices.base import Device
from anajax.devices.faults import Faults
from anajax.periphery import IO, ConstantScale, OutputNoise
from anajax.studies.config import DeviceSection, StudyConfig
from anajax.studies.sections import Factor, Section
from anajax.studies.strategy_config import LEARNED, StrategySection, named
from anajax.tiling import TileRule
from anajax.wires import Wires

Fraction = Annotated[
    float, Field(ge=0, le=1, description="a fraction of cells or lines, 0 to 1")
]
Bits = Annotated[float, Field(ge=2, le=24, description="2 to 24 bits")]
Size = Annotated[
    int | None, Field(ge=1, description="1 line or more, or null for no limit")
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


class PeripherySection(Section):
    """Converters, noise and wires at the tiles of every layer.

    Input and ADC ranges are those that the trained network calls for on its calibration
    inputs.
    """

    dac_bits: Bits | None = Field(default=None, description="2 to 24 bits, or null")
    adc_bits: Bits | None = Field(default=None, description="2 to 24 bits, or null")
    output_noise: Factor = Field(
        default=0.0, description="sd of 0 or more, in w_max of a layer at full input"
    )
    wires: Factor = Field(
        default=0.0, description="a resistance of 0 Ohm or more per segment"
    )
    rows: Size = 512
    columns: Size = 512

    @property
    def tiles(self) -> TileRule:
        """The largest tile."""
        return TileRule(rows=self.rows, columns=self.columns)

    def resistance(self) -> Wires | None:
        """The wires, where there are any."""
        return Wires(row=self.wires, column=self.wires) if self.wires else None

    def io(self) -> IO | None:
        """The periphery to calibrate, fine and without noise; none if it is ideal."""
        if self.dac_bits is None and self.adc_bits is None and not self.output_noise:
            return None
        parts: dict[str, Any] = {"scaling": ConstantScale(value=1.0)}
        for name, bits in (("dac", self.dac_bits), ("adc", self.adc_bits)):
            if bits is not None:
                parts[name] = uniform(_FINE, 1.0)
        return IO(**parts)

    def finish(self, io: IO, w_max: Any) -> IO:
        """The periphery of one layer from its calibrated one.

        Args:
            io: with ranges that were calibrated.
            w_max: largest weight of the layer, the unit of its output noise.
        """
        parts = {}
        for name, bits in (("dac", self.dac_bits), ("adc", self.adc_bits)):
            if bits is not None:
                fine = graded(getattr(io, name))
                parts[name] = replace(fine, codes=2.0 ** (bits - 1) - 1)
        if self.output_noise:
            parts["noise"] = OutputNoise(sd=self.output_noise * w_max)
        return replace(io, **parts)


_FINE = 16
"""Bits of the converters that ranges are calibrated with."""


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
        if self.strategy.name in LEARNED:
            raise ValueError(
                f"`strategy` must be a table over weights: got {self.strategy.name}. "
                "Learn it in a study of strategies."
            )
        return self
