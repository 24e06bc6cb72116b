"""Measured chips: records that calibrate the models, and say what they assume.

A record holds the array, its timing, the models of its parts, and published figures.
`calibrated(record)` finds the one factor k on all energies at which the model meets
the published efficiency; without it every figure says that it is bottom-up.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from anajax._core import checks
from anajax._core.tree import pytree, replace, static
from anajax.costs import measured as fits
from anajax.costs.array import Drive
from anajax.costs.converters import DAC, AbstractADC, Conversion, andrulis
from anajax.costs.digital import Adder
from anajax.crossbar.converters import Number


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """A published operating point of a chip."""

    label: str
    """What it is called."""
    tops_per_watt: float
    """Operations per pJ: two for each weight and product, a weight counted once."""
    tops: float | None = None
    """Throughput of the whole chip, 10^12 operations/s."""
    phases: int = 1
    """Reads of the array for one product."""


@pytree
class ChipRecord:
    """One kind of chip: what a product on one of its tiles takes.

    Time and energy of one product on a tile of R rows and C columns, per read:
    T = phases integration + mux conversion; E = k phases (V^2 t sum m G + C E_adc +
    R (E_dac + E_line) + additions E_add).

    Raises:
        ValueError: naming a number that is missing, or not positive.
    """

    name: str = static()
    source: str = static()
    """Paper; what is measured there."""
    assumed: tuple[str, ...] = static(default=())
    """What no source says."""
    node: Number = None
    """nm."""
    rows: int = static()
    """Weights along the inputs of a tile."""
    columns: int = static()
    """Weights along the outputs of a tile."""
    tiles: int = static(default=1)
    """Tiles of the chip."""
    devices: int = static(default=2)
    """Devices of one weight."""
    read_voltage: Number = None
    """V, of a full input."""
    integration: Number = None
    """Length of a full input, s."""
    conversion: Number = 0.0
    """Time of one conversion that is not hidden behind the integration, s."""
    phases: int = static(default=1)
    """Reads of the array for one product (signs of inputs and of weights)."""
    mux: int = static(default=1)
    """Columns that share an ADC, one after another."""
    bits_in: Number = 8.0
    """Resolution of the inputs."""
    bits_out: Number = 8.0
    """Resolution of the outputs."""
    drive: Drive = static(default="width")
    """How inputs are applied."""
    adc: AbstractADC
    """Model of a converter."""
    dac: Any = None
    """A `DAC`; none where drivers are in the lines."""
    lines: Any = None
    """A `Lines` record, or none."""
    adder: Any = None
    """An `Adder`, or none."""
    pulse_energy: Any = None
    """Energy of one programming pulse, pJ; no source has one, so it must be given."""
    verify_energy: Any = None
    """Energy of one verify read, pJ."""
    tile_area: Any = None
    """Area of one tile with all its parts, mm^2."""
    reference_conductance: Number = 5.0
    """Of a weight's devices together, at which figures were measured, uS."""
    reference_load: Number = 1.0
    """Mean u^2 (or |u|) of the inputs then."""
    measured: tuple[Measured, ...] = static(default=())
    """Published operating points."""
    k: Number = 1.0
    """Factor on all energies."""
    calibrated_on: str = static(default="")
    """What k was found on."""

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
        """What every figure has to say: the model and its calibration."""
        model = f"model {self.adc.name}"
        if not self.calibrated_on:
            return f"{model}, bottom-up, not calibrated"
        return f"{model}, calibrated on {self.calibrated_on}, k = {float(self.k):.3g}"

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
        """Energy by part, pJ, with phases and k in it.

        Args:
            inputs: conversions of rows.
            outputs: conversions of columns.
            current: load times conductance, summed over devices, uS.
            line: devices on a row line.
            height: rows of a column.
            bits: of one input; those of the chip by default.
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
        """Area of a tile, mm^2, as measured or from models; `None` without any.

        Bottom-up: devices of 4 F^2 and converters; drivers and logic are not in it.
        """
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
        """Whether the energy of the array is part of another."""
        return self.adc.holds_array


@pytree
class MeasuredChip:
    """A chip whose energies are those measured, the array among them.

    There is nothing to calibrate, and strategies do not change them.
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
    holds_array = True

    def __post_init__(self) -> None:
        checks.word("drive", self.drive, Drive)

    @property
    def basis(self) -> str:
        """What every figure has to say."""
        return f"measured on {self.name}, {self.source}; array included, not modeled"

    def parts(
        self, inputs: Number, outputs: Number, current: Number, **given: Any
    ) -> dict[str, Any]:
        """Energy by part, pJ, as that of `ChipRecord`."""
        del current, given
        found: dict[str, Any] = {part: jnp.zeros(()) for part in PARTS}
        lines, adc = inputs * self.row_energy, outputs * self.column_energy
        return found | {"lines": lines, "adc": adc}

    def area(self) -> Any:
        """Area of a tile, mm^2."""
        return self.tile_area


PARTS = ("array", "adc", "dac", "lines", "digital")
"""Parts of the energy."""
AnyChip = ChipRecord | MeasuredChip


def efficiency(chip: AnyChip, current: Number | None = None) -> Any:
    """TOPS/W of a full tile, a weight counted once.

    Args:
        chip: the record.
        current: load times conductance over all devices of a tile, uS; at the
            reference of the record by default.
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
    """TOPS of all tiles of a chip at once, a weight counted once."""
    return 2e-12 * chip.rows * chip.columns * chip.tiles / chip.read_time


def calibrated(chip: ChipRecord, on: str | Sequence[str] | None = None) -> ChipRecord:
    """The chip with the k that meets its published efficiency.

    Args:
        chip: a record with published points.
        on: labels of the points; all by default (the geometric mean of their k).

    Raises:
        ValueError: if there are none, or one is not known.
    """
    known = {point.label: point for point in chip.measured}
    names = list(known) if on is None else [on] if isinstance(on, str) else list(on)
    if not names or set(names) - set(known):
        rule = f"name published figures of {chip.name!r}"
        checks.fail("on", rule, names, f"Known: {list(known)}.")
    logs = []
    for name in names:
        model = efficiency(replace(chip, k=1.0, phases=known[name].phases))
        logs.append(jnp.log(model / known[name].tops_per_watt))
    label = f"{chip.name} ({', '.join(names)})"
    k = jnp.exp(sum(logs) / len(logs))
    return replace(chip, k=k, calibrated_on=label)


def hermes() -> ChipRecord:
    """The 64-core chip of IBM: 14 nm PCM, four devices a weight (Le Gallo 2023)."""
    return ChipRecord(
        name="HERMES",
        source="M. Le Gallo et al., Nat. Electron. 6, 680 (2023): TOPS and TOPS/W of "
        "both modes; 8-bit pulses at 1 GHz",
        assumed=(
            "read voltage 0.2 V",
            "5 uS a weight and full inputs at the published figures",
            "5 ns beside the 128 ns of the pulses",
            "ADC of the survey in place of the CCOs",
        ),
        node=14.0,
        rows=256,
        columns=256,
        tiles=64,
        devices=4,
        read_voltage=0.2,
        integration=128e-9,
        conversion=5e-9,
        adc=andrulis(14),
        dac=DAC(voltage=0.8),
        adder=Adder(node=14.0, voltage=0.8),
        tile_area=0.634,
        measured=(
            Measured(label="1 phase", tops_per_watt=9.76, tops=63.1),
            Measured(label="4 phases", tops_per_watt=2.48, tops=16.1, phases=4),
        ),
    )


def almaden() -> ChipRecord:
    """The 34-tile chip of IBM Almaden: 14 nm PCM (Ambrogio 2023)."""
    return ChipRecord(
        name="Almaden",
        source="S. Ambrogio et al., Nature 620, 768 (2023): up to 12.4 TOPS/W, 34 "
        "tiles of 512 x 2048 devices, 300 ns a frame",
        assumed=(
            "four devices a weight, so 512 x 512 weights a tile",
            "read voltage 0.2 V; the whole frame is the pulse",
            "5 uS a weight and full inputs at the published figure",
            "ADC of the survey in place of the pulse-width outputs",
        ),
        node=14.0,
        rows=512,
        columns=512,
        tiles=34,
        devices=4,
        read_voltage=0.2,
        integration=300e-9,
        adc=andrulis(14),
        dac=DAC(voltage=0.8),
        adder=Adder(node=14.0, voltage=0.8),
        measured=(Measured(label="sustained", tops_per_watt=12.4),),
    )


def neurram(bits_in: int = 4, bits_out: int = 6) -> MeasuredChip:
    """NeuRRAM at a precision that was measured: 130 nm ReRAM, two cells a weight.

    From the closed form `measured.neurram`: word lines and inputs to rows, neurons to
    columns. Its array is sensed by voltage, so its energy is not that of a current.
    """
    found = fits.neurram(bits_in, bits_out)
    return MeasuredChip(
        name="NeuRRAM",
        source=f"Wan et al., Nature 608, 504 (2022), {bits_in} b in, {bits_out} b out",
        rows=128,
        columns=256,
        tiles=fits.CORES,
        devices=2,
        bits_in=float(bits_in),
        row_energy=(found.word_lines + found.inputs) * fits.OPS / 128 * 1e-3,
        column_energy=found.neurons * fits.OPS / 256 * 1e-3,
        read_time=found.time * 1e-6,
        tile_area=1270 * 256 / 0.28 * 1e-6,
    )


CHIPS = {make.__name__: make for make in (hermes, almaden, neurram)}
"""Records of chips by name."""
