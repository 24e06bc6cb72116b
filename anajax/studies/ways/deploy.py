"""From a config of hardware to what is put on chips."""

import dataclasses
from typing import Any

import jax
import numpy as np

from anajax import chip, rng
from anajax._core.tree import replace
from anajax._core.types import Array
from anajax.analysis.hardware import Hardware
from anajax.analysis.network import System
from anajax.analysis.workload import Workload
from anajax.crossbar.periphery import IO
from anajax.devices.base import ANY_TIME, Device
from anajax.studies.config.hardware import PeripherySection
from anajax.studies.config.on_hardware import HardwareConfig
from anajax.studies.store.versions import git_state
from anajax.studies.ways.cases import make_device, uncovered
from anajax.studies.ways.judge import make_metric, system_behind
from anajax.studies.ways.tables import Programmer, targets


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deployed:
    """A network on its hardware, ready for chips."""

    system: System
    hardware: Hardware
    layers: dict[str, chip.LayerProgram]
    device: Device
    """With its texts."""
    extrapolated: np.ndarray
    """Which of the times the source of the device does not cover."""

    @property
    def w_max(self) -> dict[str, float]:
        """Largest weight by path of the layer."""
        return {path: float(np.max(layer.w_max)) for path, layer in self.layers.items()}


def deploy(config: HardwareConfig, work: Workload) -> Deployed:
    """Build devices, periphery and targets of a config.

    Raises:
        ValueError: if a value of the config is out of range, times are not covered, or
            a layer cannot be converted.
    """
    device = faulty_device(config)
    outside = uncovered(config, device, np.asarray(config.times))
    system, hardware = equip(config, work, device)
    return Deployed(
        system=system,
        hardware=hardware,
        layers=strategy_layers(config, work, hardware.device),
        device=device,
        extrapolated=outside,
    )


def faulty_device(config: HardwareConfig) -> Device:
    """The device of a config, with its faults."""
    device = make_device(config.device)
    return device if config.faults is None else config.faults.build(device)


def equip(
    config: HardwareConfig, work: Workload, device: Device
) -> tuple[System, Hardware]:
    """The system of a config and its hardware, without the device's texts."""
    system = system_of(config, work)
    return system, hardware_of(config, device, *calibrated(system))


def calibrated(system: System) -> tuple[dict[str, IO], dict[str, Array]]:
    """Peripheries of a system and the units of their noise, by path of the weight."""
    params = system.work.params
    return system.calibrate(params), system.units(params)


def system_of(config: HardwareConfig, work: Workload) -> System:
    """The system of a config."""
    section = config.periphery or PeripherySection()
    return system_behind(section, work, config.compensation, config.normalize)


def hardware_of(
    config: HardwareConfig, device: Device, ios: dict[str, IO], units: dict[str, Array]
) -> Hardware:
    """The hardware of a config with its numbers.

    Args:
        config: has the numbers of the periphery.
        device: with its faults.
        ios: of the `calibrated` system of a config of the same structure.
        units: of their noise.
    """
    section = config.periphery or PeripherySection()
    return Hardware(
        device=bare(device),
        ios=section.finish(ios, units),
        wires=section.resistance(),
    )


def bare(device: Device) -> Device:
    """The device without its texts, so that equal structures share a trace."""
    return replace(device, name="", source="", valid_times=ANY_TIME)


def strategy_layers(
    config: HardwareConfig, work: Workload, device: Device
) -> dict[str, chip.LayerProgram]:
    """Targets of all weights by the strategy of a config on a device.

    The search for a strategy knows faults by the moments of the device.
    """
    programmer = Programmer(
        config=config,
        device=device,
        weights=chip.weights(work.params),
        layouts=chip.layouts(work.params),
        times=np.asarray(config.times),
        key=rng.stream(jax.random.key(config.seed), rng.Stage.INIT),
    )
    strategy = programmer.build(config.strategy)
    return targets(work.params, strategy, device, config.normalize)


def attributes(config: HardwareConfig, work: Workload, deployed: Deployed) -> Any:
    """What results of hardware say of themselves, for `results.attributes`."""
    return {
        "metric": work.metric,
        "digital_metric": float(jax.jit(make_metric(work))(work.params)),
        "seed": config.seed,
        "workload": work.name,
        "items": int(work.x.shape[0]),
        "data_source": work.source["data"],
        "weights": work.source["weights"],
        "compensation": config.compensation.scope,
        "git": git_state(),
        "device": deployed.device.name,
        "device_source": deployed.device.source,
        "strategy": config.strategy.title,
        "study": config.study,
    }
