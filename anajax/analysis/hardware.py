"""The hardware of a study: its periphery, its numbers, its imperfections by name.

A `Periphery` describes converters, noise and wires around the arrays of a network. A
`Hardware` record holds every number that sensitivity studies and sweeps change, as
array leaves: hardware that differs only in numbers shares a trace.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from anajax._core import checks
from anajax._core.options import option
from anajax._core.tree import pytree, replace
from anajax._core.types import Array
from anajax.crossbar.converters import ContinuousBits, continuous_bits, uniform
from anajax.crossbar.periphery import IO, ConstantScale, OutputNoise
from anajax.crossbar.tiling import TileRule
from anajax.crossbar.wires import Wires
from anajax.devices.base import ANY_TIME, Device
from anajax.devices.variation import scale_noise

Factors = Mapping[str, Array | float]


@pytree
class Hardware:
    """Devices, the periphery of every layer, and wires."""

    device: Device
    """The device model, possibly with faults."""
    ios: Any
    """Periphery `IO` by path of the layer; empty if products are ideal."""
    wires: Wires | None
    """Resistance of the wires, or none."""


def bare(device: Device) -> Device:
    """The device without its texts, so that equal structures share a trace."""
    return replace(device, name="", source="", valid_times=ANY_TIME)


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


class NonIdeality(NamedTuple):
    """One non-ideality, as used in studies."""

    name: str
    """Key in configs."""
    title: str
    """Title in figures."""
    unit: str
    """Unit of the value that a factor multiplies."""


NON_IDEALITIES = {
    i.name: i
    for i in (
        NonIdeality("programming", "programming error", "× the device's own"),
        NonIdeality("drift_mean", "mean drift", "× the device's own"),
        NonIdeality("drift_spread", "spread of drift", "× the device's own"),
        NonIdeality("read", "read noise", "× the device's own"),
        NonIdeality("stuck_low", "cells stuck at g_min", "% of cells"),
        NonIdeality("stuck_high", "cells stuck at g_max", "% of cells"),
        NonIdeality("dead_rows", "dead rows", "% of rows"),
        NonIdeality("dead_columns", "dead columns", "% of columns"),
        NonIdeality("dac", "DAC step", "bits"),
        NonIdeality("adc", "ADC step", "bits"),
        NonIdeality("output_noise", "output noise", "of w_max at full input"),
        NonIdeality("wires", "wire resistance", "Ω per segment"),
    )
}
"""What factors can multiply, by name. A factor of 2 on a converter's step means one bit
less."""
NOISE = ("programming", "drift_mean", "drift_spread", "read")
FAULTS = ("stuck_low", "stuck_high", "dead_rows", "dead_columns")


def impair(hardware: Hardware, factors: Factors) -> Hardware:
    """The hardware with some imperfections multiplied by factors.

    Args:
        hardware: the unscaled hardware.
        factors: by name of `NON_IDEALITIES`, numbers or traced; a name that the
            hardware does not have changes nothing. Fractions of faults are limited to
            1.
    """
    unknown = sorted(set(factors) - set(NON_IDEALITIES))
    if unknown:
        known = f"Known: {', '.join(NON_IDEALITIES)}."
        checks.fail("factors", "name imperfections", unknown, known)
    device = scale_noise(
        hardware.device, **{n: factors[n] for n in NOISE if n in factors}
    )
    if device.faults is not None:
        faults = {
            n: jnp.minimum(getattr(device.faults, n) * factors[n], 1.0)
            for n in FAULTS
            if n in factors
        }
        device = replace(device, faults=replace(device.faults, **faults))
    wires = hardware.wires
    if wires is not None and "wires" in factors:
        row, column = (r * factors["wires"] for r in (wires.row, wires.column))
        wires = replace(wires, row=row, column=column)
    ios = {path: _impair_io(io, factors) for path, io in hardware.ios.items()}
    return Hardware(device=device, ios=ios, wires=wires)


def _impair_io(io: IO, factors: Factors) -> IO:
    changes: dict[str, Any] = {}
    for name in ("dac", "adc"):
        converter = getattr(io, name)
        if name in factors and isinstance(converter, ContinuousBits):
            changes[name] = replace(converter, codes=converter.codes / factors[name])
    if "output_noise" in factors and isinstance(io.noise, OutputNoise):
        changes["noise"] = replace(io.noise, sd=io.noise.sd * factors["output_noise"])
    return replace(io, **changes)


def present(hardware: Hardware) -> list[str]:
    """Names of the imperfections of the hardware: those with a value other than 0."""
    slots = {
        "programming": (hardware.device.programming, "scale"),
        "drift_mean": (hardware.device.drift, "mean_scale"),
        "drift_spread": (hardware.device.drift, "spread_scale"),
        "read": (hardware.device.read, "scale"),
    }
    found = {n: np.any(getattr(s, f, 0.0)) for n, (s, f) in slots.items()}
    found |= {n: np.any(getattr(hardware.device.faults, n, 0.0)) for n in FAULTS}
    for io in hardware.ios.values():
        found |= {n: isinstance(getattr(io, n), ContinuousBits) for n in ("dac", "adc")}
        noise = isinstance(io.noise, OutputNoise) and np.any(io.noise.sd)
        found["output_noise"] = noise
    wires = hardware.wires
    found["wires"] = wires is not None and np.any(wires.row) | np.any(wires.column)
    return [name for name in NON_IDEALITIES if found.get(name)]


def value(hardware: Hardware, name: str, factor: float, w_max: float) -> float:
    """An imperfection times a factor, in the unit of its `NonIdeality`.

    Args:
        hardware: the unscaled hardware.
        name: name of the imperfection.
        factor: factor on it.
        w_max: largest weight of the first layer, the unit of its output noise.
    """
    if name in NOISE:
        return factor
    if name in FAULTS:
        return 100 * min(1.0, factor * float(getattr(hardware.device.faults, name)))
    if name == "wires":
        assert hardware.wires is not None
        return factor * float(hardware.wires.row)
    io = next(iter(hardware.ios.values()))
    if name == "output_noise":
        return factor * float(np.max(io.noise.sd)) / w_max
    return float(np.log2(2 * float(getattr(io, name).codes) / factor + 2))


def without_periphery(io: IO) -> IO:
    """The same structure, with numbers that leave a product digital.

    Bounds are a thousand times wider, steps finer than float precision, noise 0.
    """

    def fine(converter: Any) -> Any:
        if not isinstance(converter, ContinuousBits):
            return converter
        return ContinuousBits(
            bound=1e3 * converter.bound, codes=jnp.full_like(_CODES, 1e15)
        )

    noise = io.noise
    if isinstance(noise, OutputNoise):
        noise = OutputNoise(sd=jnp.zeros_like(noise.sd))
    return replace(io, dac=fine(io.dac), adc=fine(io.adc), noise=noise)


def digital_but(ios: Mapping[str, IO], analog: Mapping[str, Array]) -> dict[str, IO]:
    """Periphery by site; products where the boolean is false are digital."""

    def one(name: str, io: IO) -> IO:
        take, digital = analog[name], without_periphery(io)
        return jax.tree.map(lambda a, b: jnp.where(take, a, b), io, digital)

    return {name: one(name, io) for name, io in ios.items()}


_CODES = np.zeros(())
