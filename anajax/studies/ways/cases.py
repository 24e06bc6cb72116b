"""Devices of a study with the times that they are asked for."""

import dataclasses
from pathlib import Path

import numpy as np

from anajax import devices
from anajax._core.tree import replace
from anajax.analysis.hardware import bare
from anajax.devices.base import Device, check_device
from anajax.devices.records import find_preset
from anajax.studies.config.strategy import DIGITAL, LEARNED
from anajax.studies.config.study import (
    DevicesConfig,
    DeviceSection,
    ProgrammedConfig,
    StudyConfig,
    devices_of,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One device of a study, with the times that it is asked for."""

    label: str
    device: Device
    times: np.ndarray
    extrapolated: np.ndarray

    @property
    def bare(self) -> Device:
        """The device without its texts, so that equal structures share a trace."""
        return bare(self.device)


def cases_of(config: ProgrammedConfig) -> list[Case]:
    """The cases of a study, all of them valid.

    Raises:
        ValueError: if a device is not valid, its source does not cover the times, two
            have the same name, or a strategy does not suit one.
    """
    cases = [_case(config, section) for section in devices_of(config)]
    labels = [c.label for c in cases]
    twice = sorted({c for c in labels if labels.count(c) > 1})
    if twice:
        raise ValueError(
            f"`devices` must have distinct names: got {twice} twice. Drop one."
        )
    for case in cases:
        _check_strategies(config, case)
    return cases


def _case(config: StudyConfig, section: DeviceSection) -> Case:
    device = device_of(config, section)
    times = np.asarray(config.times)
    if isinstance(config, DevicesConfig) and not config.extrapolate:
        low, high = device.valid_times
        times = times[(times >= low * (1 - 1e-6)) & (times <= high * (1 + 1e-6))]
        if not times.size:
            raise ValueError(
                f"`times` must have one in {low:g} to {high:g} s, what the source of "
                f"{device.name!r} covers: got {config.times} s. Add one, drop the "
                "device, or set `extrapolate: true`."
            )
    label = Path(section.file).stem if section.file else device.name
    outside = uncovered(config, device, times)
    return Case(label=label, device=device, times=times, extrapolated=outside)


def uncovered(config: StudyConfig, device: Device, times: np.ndarray) -> np.ndarray:
    """Which of the times the source of a device does not cover.

    Raises:
        ValueError: if there are some, and the config does not extrapolate.
    """
    try:
        return devices.check_times(device, times, extrapolate=config.extrapolate)
    except ValueError as error:
        raise ValueError(f"{error} In a config: `extrapolate: true`.") from None


def device_of(config: StudyConfig, section: DeviceSection) -> Device:
    """The device of a section, with the faults of its study."""
    device = make_device(section)
    return device if config.faults is None else config.faults.build(device)


def make_device(section: DeviceSection) -> Device:
    """The device of a config's section.

    Raises:
        ValueError: if an option has no valid value, a file no valid device, or a
            level lies outside the range.
    """
    if section.file is not None:
        from anajax.devices.files import load_device

        device = load_device(section.file)
    else:
        name = section.python or section.name or ""
        make = find_preset(name)
        try:
            device = make(**section.options)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"`device.options` must make a valid {name}: got "
                f"{section.options} ({error}). Correct them."
            ) from None
        check_device(device)
    if section.levels is not None:
        device = replace(device, levels=section.levels)
    noise = section.noise.model_dump()
    if all(v == 1 for v in noise.values()):
        return device
    return devices.scale_noise(device, **noise)


def _check_strategies(config: ProgrammedConfig, case: Case) -> None:
    few = case.device.levels is not None
    learned = [
        e.name
        for e in config.strategies
        if e.name != DIGITAL and (e.name in LEARNED or e.trained)
    ]
    if few and learned:
        raise ValueError(
            f"`strategies` must leave out {learned} for a device of few levels: got "
            f"{case.label}. Use `optimized`: it enumerates codes."
        )
