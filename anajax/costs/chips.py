"""Measured chips: records that calibrate the models and state their assumptions.

A record holds the array, its timing, the models of its components, and published
operating points. `calibrated(record)` finds the factor k on all energies at which the
model matches the published efficiency; without it, every estimate is labeled bottom-up.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from anajax._core import checks
from anajax._core.tree import pytree, replace, static
from anajax.costs.array import Drive
from anajax.costs.converters import AbstractADC, Conversion
from anajax.crossbar.converters import Number


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """A published operating point of a chip."""

    label: str
    """Name of the operating point."""
    tops_per_watt: float
    """Operations per pJ: two per weight and product, with a weight counted once."""
    tops: float | None = None
    """Throughput of the whole chip, 10^12 operations/s."""
    phases: int = 1
    """Reads of the array for one product."""


@pytree
class ChipRecord:
    """A type of chip: time and energy of a product on one of its tiles.

    Time and energy of one product on a tile of R rows and C columns, per read:
    T = phases integration + mux conversion; E = k phases (V^2 t sum m G + C E_adc +
    R (E_dac + E_line) + additions E_add).

    Raises:
        ValueError: naming a number that is missing, or not positive.
    """

    name: str = static()
    source: str = static()
    """Paper, and what it measured."""
    assumed: tuple[str, ...] = static(default=())
    """Values that no source gives."""
    node: Number = None
    """nm."""
    rows: int = static()
    """Weights along the inputs of a tile."""
    columns: int = static()
    """Weights along the outputs of a tile."""
    tiles: int = static(default=1)
    """Tiles of the chip."""
    devices: int = static(default=2)
    """Devices per weight."""
    read_voltage: Number = None
    """V, of a full input."""
    integration: Number = None
    """Length of a full input, s."""
    conversion: Number = 0.0
    """Time of one conversion that does not overlap with the integration, s."""
    phases: int = static(default=1)
    """Reads of the array for one product (signs of inputs and of weights)."""
    mux: int = static(default=1)
    """Columns that share an ADC in sequence."""
    bits_in: Number = 8.0
    """Resolution of the inputs."""
    bits_out: Number = 8.0
    """Resolution of the outputs."""
    drive: Drive = static(default="width")
    """How inputs are applied."""
    adc: AbstractADC
    """Model of a converter."""
    dac: Any = None
    """A `DAC`; none if drivers are included in the lines."""
    lines: Any = None
    """A `Lines` record, or none."""
    adder: Any = None
    """An `Adder`, or none."""
    pulse_energy: Any = None
    """Energy of one programming pulse, pJ; no source gives it, so it must be provided.
    """
    verify_energy: Any = None
    """Energy of one verify read, pJ."""
    tile_area: Any = None
    """Area of one tile with all its components, mm^2."""
    reference_conductance: Number = 5.0
    """Total conductance of a weight's devices for the published efficiency, uS."""
    reference_load: Number = 1.0
    """Mean u^2 (or |u|) of the inputs for the published efficiency."""
    measured: tuple[Measured, ...] = static(default=())
    """Published operating points."""
    k: Number = 1.0
    """Factor on all energies."""
    calibrated_on: str = static(default="")
    """Operating points used to find k."""
    changed: tuple[str, ...] = static(default=())
    """What differs from the published chip, see `adapted`."""

    def __post_init__(self) -> None:
        units = {"node": "nm", "read_voltage": "V", "integration": "s"}
        for name, unit in units.items():
            if getattr(self, name) is None:
                rule = f"be given in {unit} for {self.name!r}"
                checks.fail(name, rule, "none", f"Give it in {unit}.")
        numbers = ("node", "read_voltage", "integration", "bits_in", "bits_out", "k")
        for name in numbers:
            checks.positive(name, getattr(self, name))
        checks.positive("conversion", self.conversion, strictly=False)
        checks.word("drive", self.drive, Drive)
        for name in ("rows", "columns", "tiles", "devices", "phases", "mux"):
            checks.whole(name, getattr(self, name), least=1)

    @property
    def basis(self) -> str:
        """What every estimate has to state: the model and its calibration."""
        found = f"calibrated on {self.calibrated_on}, k = {float(self.k):.3g}"
        found = found if self.calibrated_on else "bottom-up, not calibrated"
        return ", ".join([f"model {self.adc.name}", found, *self.changed])

    @property
    def area_basis(self) -> str:
        """Origin of the area."""
        if self.tile_area is None:
            return "bottom-up: devices of 4 F^2 and converters, no drivers or logic"
        if not self.changed:
            return "as measured"
        return "as measured, scaled as devices of 4 F^2 and converters"

    @property
    def read_time(self) -> Any:
        """Time of one product on a tile, s, for inputs in one slice."""
        return self.phases * self.integration + self.mux * self.conversion

    def parts(
        self,
        inputs: Number,
        outputs: Number,
        current: Number,
        *,
        line: Number,
        height: Number,
        bits: Number | None = None,
    ) -> dict[str, Any]:
        """Energy by component, pJ, including phases and k.

        Args:
            inputs: number of row conversions.
            outputs: number of column conversions.
            current: load times conductance, summed over devices, uS.
            line: number of devices on a row line.
            height: number of rows of a column.
            bits: bits of one input; those of the chip by default.
        """
        at = Conversion(
            bits=self.bits_out,
            rate=self.mux / self.integration,
            rows=height,
            column=current / outputs,
            read_voltage=self.read_voltage,
        )
        bits = self.bits_in if bits is None else bits
        found: dict[str, Any] = {part: jnp.zeros(()) for part in PARTS}
        if not self.adc.holds_array:
            found["array"] = self.read_voltage**2 * self.integration * current * 1e6
        found["adc"] = outputs * self.adc.energy(at)
        if self.dac is not None:
            found["dac"] = inputs * self.dac.energy(bits)
        if self.lines is not None:
            found["lines"] = inputs * self.lines.energy(line)
        if self.adder is not None:
            found["digital"] = outputs * self.adder.energy()
        return {part: self.k * self.phases * value for part, value in found.items()}

    def area(self) -> Any:
        """Area of a tile, mm^2, by `area_basis`; `None` without a model."""
        if self.tile_area is not None:
            return self.tile_area
        at = Conversion(
            bits=self.bits_out, rate=self.mux / self.integration, rows=self.rows,
            column=0.0, read_voltage=self.read_voltage,
        )  # fmt: skip
        converter = self.adc.area(at)
        if converter is None:
            return None
        cells = self.rows * self.columns * self.devices * 4 * (self.node * 1e-3) ** 2
        return (cells + math.ceil(self.columns / self.mux) * converter) * 1e-6

    @property
    def holds_array(self) -> bool:
        """Whether the energy of the array is included in another component."""
        return self.adc.holds_array


@pytree
class MeasuredChip:
    """A chip with measured energies, which include the array.

    It needs no calibration, and its energies do not depend on the strategy.
    """

    name: str = static()
    source: str = static()
    rows: int = static()
    columns: int = static()
    tiles: int = static()
    devices: int = static()
    row_energy: Number
    """Energy of one row of a product (lines and inputs), pJ."""
    column_energy: Number
    """Energy of one column of a product, pJ."""
    read_time: Number
    """Time of one product on a tile, s."""
    tile_area: Number
    """mm^2."""
    bits_in: Number
    """Resolution of the inputs."""
    drive: Drive = static(default="amplitude")
    pulse_energy: Any = None
    verify_energy: Any = None
    measured: tuple[Measured, ...] = static(default=())
    assumed: tuple[str, ...] = static(default=())
    holds_array = True
    area_basis = "as measured"

    def __post_init__(self) -> None:
        checks.word("drive", self.drive, Drive)

    @property
    def basis(self) -> str:
        """What every estimate has to state."""
        return f"measured on {self.name}, {self.source}; array included, not modeled"

    def parts(
        self, inputs: Number, outputs: Number, current: Number, **given: Any
    ) -> dict[str, Any]:
        """Energy by component, pJ, as for `ChipRecord`."""
        del current, given
        found: dict[str, Any] = {part: jnp.zeros(()) for part in PARTS}
        lines, adc = inputs * self.row_energy, outputs * self.column_energy
        return found | {"lines": lines, "adc": adc}

    def area(self) -> Any:
        """Area of a tile, mm^2."""
        return self.tile_area


PARTS = ("array", "adc", "dac", "lines", "digital")
"""Components of the energy."""
AnyChip = ChipRecord | MeasuredChip


def efficiency(chip: AnyChip, current: Number | None = None) -> Any:
    """TOPS/W of a full tile, with a weight counted once.

    Args:
        chip: the record.
        current: load times conductance over all devices of a tile, uS; the reference
            value of the record by default.
    """
    weights = chip.rows * chip.columns
    if current is None:
        full = isinstance(chip, ChipRecord)
        each = chip.reference_conductance * chip.reference_load if full else 0.0
        current = weights * each
    line = chip.columns * chip.devices
    found = chip.parts(chip.rows, chip.columns, current, line=line, height=chip.rows)
    return 2 * weights / sum(found.values())


def throughput(chip: AnyChip) -> Any:
    """TOPS of all tiles of a chip at once, with a weight counted once."""
    return 2e-12 * chip.rows * chip.columns * chip.tiles / chip.read_time


def calibrated(chip: ChipRecord, on: str | Sequence[str] | None = None) -> ChipRecord:
    """The chip with the k that matches its published efficiency.

    Args:
        chip: a record with published points.
        on: labels of operating points; all by default (the geometric mean of their k).

    Raises:
        ValueError: if there are none, or one is unknown.
    """
    known = {point.label: point for point in chip.measured}
    names = list(known) if on is None else [on] if isinstance(on, str) else list(on)
    if not names or set(names) - set(known):
        rule = f"name operating points of {chip.name!r}"
        checks.fail("on", rule, names, f"Known: {list(known)}.")
    logs = []
    for name in names:
        model = efficiency(replace(chip, k=1.0, phases=known[name].phases))
        logs.append(jnp.log(model / known[name].tops_per_watt))
    label = f"{chip.name} ({', '.join(names)})"
    k = jnp.exp(sum(logs) / len(logs))
    return replace(chip, k=k, calibrated_on=label)
