"""Chips by name, from papers, and a chip for the config of a study."""

import dataclasses
from pathlib import Path
from typing import Any

from anajax._core import checks
from anajax._core.options import option
from anajax._core.tree import replace
from anajax.costs import measured as fits
from anajax.costs.chips import AnyChip, ChipRecord, Measured, MeasuredChip, calibrated
from anajax.costs.converters import DAC, andrulis
from anajax.costs.digital import Adder
from anajax.costs.files import load_chip


@dataclasses.dataclass(frozen=True, kw_only=True)
class CostOptions:
    """Options for the costs of a study."""

    chip: str = option("hermes", "hermes, almaden, neurram, or a .yaml file")
    inputs: int = option(8, "1 calibration input or more", least=1)
    """Inputs whose moments weight the conductances."""
    pulse_energy: float | None = option(None, "pJ above 0, or null", above=0)
    """Energy of one programming pulse, pJ; no source gives it."""
    verify_energy: float | None = option(None, "pJ above 0, or null", above=0)
    """Energy of one verify read, pJ."""

    def finish(self, chip: AnyChip) -> AnyChip:
        """The chip with these energies, which it then lists as assumed."""
        asked = {n: getattr(self, n) for n in ("pulse_energy", "verify_energy")}
        asked = {n: v for n, v in asked.items() if v is not None}
        words = (f"{n.replace('_', ' ')} {v:g} pJ" for n, v in asked.items())
        return replace(chip, **asked, assumed=(*chip.assumed, *words))

    @property
    def file(self) -> bool:
        """Whether the chip is defined in a file."""
        return self.chip.endswith((".yaml", ".yml"))


def hermes() -> ChipRecord:
    """The 64-core chip of IBM: 14 nm PCM, four devices per weight (Le Gallo 2023)."""
    return ChipRecord(
        name="HERMES",
        source="M. Le Gallo et al., Nat. Electron. 6, 680 (2023): TOPS and TOPS/W of "
        "both modes; 8-bit pulses at 1 GHz",
        assumed=(
            "read voltage 0.2 V",
            "5 uS per weight and full inputs at the published efficiencies",
            "5 ns in addition to the 128 ns of the pulses",
            "ADC of the survey instead of the CCOs",
            "area of a core as of its first version (Khaddam-Aljameh, VLSI 2021)",
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
            "four devices per weight, so 512 x 512 weights per tile",
            "read voltage 0.2 V; the whole frame is the pulse",
            "5 uS per weight and full inputs at the published efficiency",
            "ADC of the survey instead of the pulse-width outputs",
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
    """NeuRRAM at a precision that was measured: 130 nm ReRAM, two cells per weight.

    From the closed form `measured.neurram`: word lines and inputs per row, neurons per
    column. Its array is sensed by voltage, so its energy is not that of a current.
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
"""Chip records by name."""


def find_chip(
    name: str, *, bits_in: float | None = None, bits_out: float | None = None
) -> AnyChip:
    """A record by name or file, calibrated if it has published efficiencies.

    Args:
        name: one of `CHIPS`, or the path of a .yaml file.
        bits_in: resolution of inputs; that of the chip by default.
        bits_out: resolution of outputs; that of the chip by default.

    Raises:
        ValueError: for an unknown name, an invalid file, or a resolution that the
            record does not cover.
    """
    bits = {"bits_in": bits_in, "bits_out": bits_out}
    asked = {k: v for k, v in bits.items() if v is not None}
    if name == "neurram":
        return neurram(**{k: _whole(k, v) for k, v in asked.items()})
    if name.endswith((".yaml", ".yml")):
        return adapted(load_chip(Path(name)), **asked)
    checks.word("chip", name, tuple(CHIPS))
    chip = CHIPS[name]()
    assert isinstance(chip, ChipRecord)
    return adapted(calibrated(chip), **asked)


def _whole(name: str, bits: float) -> int:
    if bits != int(bits):
        checks.fail(name, "be a whole number for neurram", bits, "Round it.")
    return int(bits)


_WORDS = {"bits_in": "{:g}-bit inputs", "bits_out": "{:g}-bit outputs"}


def adapted(chip: ChipRecord, **changes: Any) -> ChipRecord:
    """A hypothetical variant of a chip; its `basis` says what was changed.

    k and the length of a full input stay unchanged: bits only change converters. A
    measured area is scaled as if it were made of devices of 4 F^2 and converters.

    Args:
        chip: a record.
        **changes: any of `bits_in`, `bits_out`, `rows` and `columns`.

    Raises:
        ValueError: for a number out of range.
    """
    new = {k: v for k, v in changes.items() if float(getattr(chip, k)) != float(v)}
    if not new:
        return chip
    said = [
        _WORDS.get(name, f"{{:g}} {name}").format(value)
        + f" in place of {float(getattr(chip, name)):g}"
        for name, value in new.items()
    ]
    made = replace(chip, **new, changed=(*chip.changed, *said), tile_area=None)
    before, after = replace(chip, tile_area=None).area(), made.area()
    if chip.tile_area is None or after is None:
        return made
    return replace(made, tile_area=chip.tile_area * after / before)
