"""Your own chip as a YAML file, each number with its unit.

name: mine
source: measured in our laboratory
node: 28 nm
rows: 256
columns: 256
read_voltage: 0.2 V
integration: 100 ns
adc: {model: andrulis, node: 28 nm}
measured: [{label: 8 bit, tops_per_watt: 12.0}]
calibrate: 8 bit
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from anajax._core import checks
from anajax.costs.chips import ChipRecord, Measured, calibrated
from anajax.costs.converters import ADCS, DAC
from anajax.costs.digital import Adder, Lines

UNITS = {
    "nm": {"nm": 1.0, "um": 1e3},
    "V": {"V": 1.0, "mV": 1e-3},
    "s": {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9},
    "pJ": {"pJ": 1.0, "fJ": 1e-3, "nJ": 1e3},
    "mm2": {"mm2": 1.0, "um2": 1e-6},
    "uS": {"uS": 1.0, "nS": 1e-3, "mS": 1e3},
    "fF": {"fF": 1.0, "aF": 1e-3, "pF": 1e3},
}  # fmt: skip
"""By the unit used in anajax, other accepted units and their factors."""
NUMBERS = {
    "node": "nm", "read_voltage": "V", "integration": "s", "conversion": "s",
    "pulse_energy": "pJ", "verify_energy": "pJ", "tile_area": "mm2",
    "reference_conductance": "uS", "voltage": "V", "cell": "fF", "end": "fF",
    "capacitance": "fF",
}  # fmt: skip
"""Unit of each number, by key."""
NEEDED = ("name", "source", "node", "rows", "columns", "read_voltage", "integration")
"""Keys without a default, besides `adc`."""
MAKERS: dict[str, Callable[..., Any]] = {"dac": DAC, "lines": Lines, "adder": Adder}


def load_chip(path: str | Path) -> ChipRecord:
    """Read the record of a chip.

    Raises:
        ValueError: naming the key that is missing, unknown, or without its unit.
        FileNotFoundError: if there is no such file.
    """
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        detail = " ".join(str(error).split())[:200]
        checks.fail("chip", "be YAML", f"{path.name}, {detail}", "Correct that place.")
    return chip_of(data)


def chip_of(data: Any) -> ChipRecord:
    """The record for a mapping, as in a file; errors as for `load_chip`."""
    if not isinstance(data, Mapping):
        checks.fail("chip", "be a mapping of keys", repr(data)[:60], "Write name: ...")
    known = {f.name for f in dataclasses.fields(ChipRecord)}  # pyright: ignore
    known = known - {"k", "calibrated_on"} | {"calibrate"}
    for key in data:
        if key not in known:
            checks.word("chip", key, tuple(sorted(known)))
    for key in (*NEEDED, "adc"):
        if key not in data:
            unit = f" in {NUMBERS[key]}" if key in NUMBERS else ""
            checks.fail(f"chip.{key}", f"be given{unit}", "none", "Add it.")
    given = {k: _value(k, v) for k, v in data.items() if k != "calibrate"}
    chip = ChipRecord(**given)
    on = data.get("calibrate")
    return chip if on is None else calibrated(chip, None if on == "all" else on)


def _value(key: str, value: Any) -> Any:
    if key == "adc":
        return _adc(value)
    if key in MAKERS:
        return _made(key, MAKERS[key], value)
    if key == "measured":
        return tuple(_made("measured", Measured, point) for point in value)
    if key == "assumed":
        return tuple(map(str, value))
    return _number(key, value) if key in NUMBERS else value


def _adc(value: Any) -> Any:
    if not isinstance(value, Mapping) or "model" not in value:
        rule = f"name its model, one of {tuple(ADCS)}"
        checks.fail("chip.adc", rule, repr(value)[:60], "Write {model: andrulis}.")
    checks.word("chip.adc.model", value["model"], tuple(ADCS))
    rest = {k: v for k, v in value.items() if k != "model"}
    return _made("adc", ADCS[value["model"]], rest)


def _made(key: str, make: Callable[..., Any], value: Any) -> Any:
    if not isinstance(value, Mapping):
        checks.fail(f"chip.{key}", "be a mapping", repr(value)[:60], "Write {...}.")
    given = {k: _number(k, v) if k in NUMBERS else v for k, v in value.items()}
    if make is ADCS["neurosim_sar"] and "node" in given:
        given["node"] = int(given["node"])
    try:
        return make(**given)
    except TypeError as error:
        detail = str(error).split(")", 1)[-1].strip()
        checks.fail(f"chip.{key}", "have its keys", detail, "Correct them.")


def _number(key: str, value: Any) -> float:
    """A number with its unit, in the unit of the library."""
    unit = NUMBERS[key]
    found = re.fullmatch(r"\s*([-+.\deE]+)\s*([a-zA-Z]+2?)\s*", str(value))
    if found is None or found[2] not in UNITS[unit]:
        rule = f"have a unit, one of {', '.join(UNITS[unit])}"
        checks.fail(f"chip.{key}", rule, repr(value), f"Write {key}: 1 {unit}.")
    try:
        return float(found[1]) * UNITS[unit][found[2]]
    except ValueError:
        checks.fail(f"chip.{key}", "be a number", repr(value), f"Write 1 {unit}.")
