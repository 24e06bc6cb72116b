"""Parameter files of CrossSim as device and periphery, where they correspond."""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from anajax.analysis.hardware import Periphery
from anajax.devices.base import Device
from anajax.devices.curves import Constant, Polynomial
from anajax.devices.drift import NoDrift
from anajax.devices.programming import GaussianProgramming, NoProgrammingError
from anajax.devices.read_noise import GaussianRead, NoReadNoise
from anajax.interop.buffers import damaged, mapped

_KNOWN = {
    "NormalIndependentDevice": lambda m: [m],
    "NormalProportionalDevice": lambda m: [0.0, m],
}
"""Standard deviations over g / g_max, in parts of g_max: what the models mean."""
_DEEPEST = 20
_DEFAULTS = (None, False, "", {}, [])


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossSim:
    """The contents of a parameter file in terms of anajax."""

    device: Device
    periphery: Periphery
    unread: dict[str, Any]
    """Values without a counterpart, by dotted key; those that request nothing (null,
    false) are left out."""


def crosssim(path: str | Path) -> CrossSim:
    """A parameter file of CrossSim 3 (JSON), with a list of what has no counterpart.

    Supported are `core.rows_max` and `cols_max`, bits of `xbar.dac.mvm` and
    `xbar.adc.mvm` (0: none), the range of resistances, and programming and read errors
    of the models NormalIndependentDevice and NormalProportionalDevice.

    Raises:
        ValueError: if it is not such a file, or a value is not usable.
    """
    path = Path(path)
    tree = _parse(path)
    flat = dict(_leaves(tree, ""))
    used: set[str] = set()

    def take(key: str, default: Any) -> Any:
        value = flat.get(key, default)
        used.add(key)
        if isinstance(value, bool) or not isinstance(
            value, type(default) | int | float
        ):
            damaged(path, f"{value!r:.40} for {key}")
        return value

    bits = {}
    for kind in ("dac", "adc"):
        count = take(f"xbar.{kind}.mvm.bits", 0)
        bits[f"{kind}_bits"] = float(count) or None
    periphery = Periphery(
        rows=int(take("core.rows_max", 1024)) or None,
        columns=int(take("core.cols_max", 1024)) or None,
        **bits,
    )
    device = _device(path, flat, used, take)
    unread = {
        key: value
        for key, value in flat.items()
        if key not in used and value not in _DEFAULTS
    }
    return CrossSim(device=device, periphery=periphery, unread=unread)


def _device(path: Path, flat: Mapping[str, Any], used: set[str], take: Any) -> Device:
    low, high = (float(take(f"xbar.device.{k}", d)) for k, d in _RANGE.items())
    if not 0 < low < high:
        damaged(path, f"resistances from {low} to {high} Ohm")
    infinite = flat.get("xbar.device.infinite_on_off_ratio", False) is True
    used.add("xbar.device.infinite_on_off_ratio")
    g_max = 1e6 / low
    stages = {
        name: _error(path, flat, used, f"xbar.device.{name}", g_max)
        for name in ("programming_error", "read_noise")
    }
    written, read = stages["programming_error"], stages["read_noise"]
    return Device(
        name=re.sub(r"[^\w.+-]", "_", path.stem),
        g_min=0.0 if infinite else 1e6 / high,
        g_max=g_max,
        programming=NoProgrammingError()
        if written is None
        else GaussianProgramming(sd=written, g_max=g_max),
        drift=NoDrift(),
        read=NoReadNoise()
        if read is None
        else GaussianRead(sd_curve=read, g_max=g_max),
        source=f"parameters of CrossSim, {path.name}",
        valid_times=(0.0, float("inf")),
    )


_RANGE = {"Rmin": 1e3, "Rmax": 1e4}
"""Ohm, where a file has none."""


def _error(
    path: Path, flat: Mapping[str, Any], used: set[str], place: str, g_max: float
) -> Constant | Polynomial | None:
    """The standard deviation of a stage in uS, where its model is a known one."""
    if flat.get(f"{place}.enable") is not True:
        used.update(f"{place}.{key}" for key in ("enable", "model", "magnitude"))
        return None
    model, size = flat.get(f"{place}.model"), flat.get(f"{place}.magnitude")
    if model not in _KNOWN:
        return None  # it stays among what was not read
    used.update(f"{place}.{key}" for key in ("enable", "model", "magnitude"))
    if (
        isinstance(size, bool)
        or not isinstance(size, int | float)
        or not 0 <= size < 10
    ):
        damaged(path, f"a magnitude of {size!r:.40} for {place}")
    return Polynomial(coefficients=[g_max * c for c in _KNOWN[model](float(size))])


def _parse(path: Path) -> dict[str, Any]:
    """The tree of a file; a comma before a closing bracket is passed over."""
    try:
        text = bytes(mapped(path)).decode()
        text = re.sub(r",(\s*[}\]])", r"\1", text)
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        damaged(path, f"JSON that cannot be read ({error})")
    if not isinstance(tree, dict) or not isinstance(tree.get("xbar"), dict):
        damaged(path, "no parameters of CrossSim: `xbar` is not there,")
    return tree


def _leaves(tree: Any, place: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict) and tree and depth < _DEEPEST:
        for key, value in tree.items():
            inner = f"{place}.{key}" if place else str(key)
            yield from _leaves(value, inner, depth + 1)
    else:
        yield place, tree
