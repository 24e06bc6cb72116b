"""Configs of what stands around the arrays: converters, noise of outputs, wires."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from anajax._core.tree import replace
from anajax._core.types import Array
from anajax.crossbar.converters import continuous_bits, uniform
from anajax.crossbar.periphery import IO, ConstantScale, OutputNoise
from anajax.crossbar.tiling import TileRule
from anajax.crossbar.wires import Wires
from anajax.studies.config.sections import Factor, Section

Bits = Annotated[float, Field(ge=2, le=24, description="2 to 24 bits")]
Size = Annotated[
    int | None, Field(ge=1, description="1 line or more, or null for no limit")
]
Share = Annotated[float, Field(gt=0, le=1, description="a share above 0, at most 1")]


class PeripherySection(Section):
    """Converters, noise and wires at the tiles of every layer.

    Input and ADC ranges are those that the trained network calls for on its calibration
    inputs, where `inputs` and `outputs` are the shares that must fit. A few inputs of
    another scale (the energy of speech) leave all others few steps of a DAC: 0.999.
    """

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

    def finish(
        self, ios: Mapping[str, IO], units: Mapping[str, Array]
    ) -> dict[str, IO]:
        """The periphery of every layer from its calibrated one.

        Args:
            ios: by path of the weight, with ranges that were calibrated.
            units: of output noise, by path: what a normalized weight of 1 is.
        """
        return {path: self._finish(io, units[path]) for path, io in ios.items()}

    def _finish(self, io: IO, unit: Array) -> IO:
        parts = {}
        for name, bits in (("dac", self.dac_bits), ("adc", self.adc_bits)):
            if bits is not None:
                fine = continuous_bits(getattr(io, name))
                parts[name] = replace(fine, codes=2.0 ** (bits - 1) - 1)
        if self.output_noise:
            parts["noise"] = OutputNoise(sd=self.output_noise * unit)
        return replace(io, **parts)


_FINE = 16
"""Bits of the converters that ranges are calibrated with."""
