"""The periphery of the arrays of a network: converters, output noise, wires."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from anajax._core.options import option
from anajax._core.tree import replace
from anajax._core.types import Array
from anajax.crossbar.converters import continuous_bits, uniform
from anajax.crossbar.periphery import IO, ConstantScale, OutputNoise
from anajax.crossbar.tiling import TileRule
from anajax.crossbar.wires import Wires


@dataclasses.dataclass(frozen=True, kw_only=True)
class Periphery:
    """Converters, noise and wires at the tiles of every layer.

    Input and ADC ranges are calibrated for the trained network on its calibration
    inputs; `inputs` and `outputs` are the fractions that must fit. If a few inputs are
    much larger than the others (such as the energy of speech), use 0.999, or the others
    get few steps of a DAC.
    """

    dac_bits: float | None = option(None, "2 to 24 bits, or null", least=2, most=24)
    adc_bits: float | None = option(None, "2 to 24 bits, or null", least=2, most=24)
    output_noise: float = option(
        0.0, "sd of 0 or more, in units of the largest weight at full input", least=0
    )
    """Standard deviation, in units of the largest weight at full input."""
    wires: float = option(0.0, "a resistance of 0 Ohm or more per segment", least=0)
    """Ohm per segment."""
    inputs: float = option(1.0, "a fraction above 0, at most 1", above=0, most=1)
    outputs: float = option(1.0, "a fraction above 0, at most 1", above=0, most=1)
    rows: int | None = option(512, "1 line or more, or null for no limit", least=1)
    columns: int | None = option(512, "1 line or more, or null for no limit", least=1)

    @property
    def structure(self) -> tuple[Any, ...]:
        """Everything except the numbers that may change within one trace."""
        kinds = self.dac_bits is None, self.adc_bits is None
        there = bool(self.output_noise), bool(self.wires)
        return *kinds, *there, self.rows, self.columns, self.inputs, self.outputs

    @property
    def tiles(self) -> TileRule:
        """The largest tile."""
        return TileRule(rows=self.rows, columns=self.columns)

    def resistance(self) -> Wires | None:
        """The wire resistance, or none."""
        return Wires(row=self.wires, column=self.wires) if self.wires else None

    def io(self) -> IO | None:
        """The periphery for calibration: fine steps, no noise; None if it is ideal."""
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
            ios: calibrated peripheries, by path of the weight.
            units: unit of output noise, by path: the value of a normalized weight of 1.
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
