"""From a config to devices, networks and sites, with all checks before any work."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from anajax import chip, devices, rng
from anajax._core import checks
from anajax._core.tree import replace
from anajax._core.types import PyTree
from anajax.analysis.engine import Engine, Kept, Tally
from anajax.analysis.evaluate import HELD, as_times
from anajax.analysis.hardware import Hardware, Periphery, bare
from anajax.analysis.metrics import of_outputs
from anajax.analysis.network import AnalogNetwork
from anajax.analysis.point import drawn_of, of_point, unwritten
from anajax.analysis.points import filled
from anajax.analysis.workload import Workload
from anajax.devices.base import Device, check_device
from anajax.devices.records import find_preset
from anajax.studies.bill import Bill, bill
from anajax.studies.config.on_hardware import HardwareConfig
from anajax.studies.config.study import (
    DevicesConfig,
    DeviceSection,
    ProgrammedConfig,
    StudyConfig,
    devices_of,
)
from anajax.studies.sample import Sample, of_study
from anajax.studies.ways import site
from anajax.studies.ways.base import Table
from anajax.studies.ways.digital import need_labels
from anajax.studies.ways.site import Program, Site

FLOAT = 4
"""Bytes of one number."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One device of a study, with its times."""

    label: str
    device: Device
    times: np.ndarray
    extrapolated: np.ndarray

    @property
    def bare(self) -> Device:
        """The device without its texts, so that equal structures share a trace."""
        return bare(self.device)


def cases_of(config: ProgrammedConfig, work: Workload) -> list[Case]:
    """The devices of a study with their times, all of them valid.

    Raises:
        ValueError: if a device is not valid, its source does not cover the times, two
            have the same name, or a strategy does not fit one.
    """
    cases = [case_of(config, section) for section in devices_of(config)]
    labels = [c.label for c in cases]
    twice = sorted({c for c in labels if labels.count(c) > 1})
    if twice:
        raise ValueError(
            f"`devices` must have distinct names: got {twice} twice. Drop one."
        )
    for case in cases:
        check_ways(config, work, case.device)
    return cases


def case_of(config: StudyConfig, section: DeviceSection) -> Case:
    """A device of a study with its times.

    Raises:
        ValueError: if it is not valid, or its source does not cover the times.
    """
    device = device_of(config, section)
    times = np.asarray(config.times)
    if isinstance(config, DevicesConfig) and not config.extrapolate:
        low, high = device.valid_times
        times = times[(times >= low * (1 - 1e-6)) & (times <= high * (1 + 1e-6))]
        if not times.size:
            raise ValueError(
                f"`times` must have one in {low:g} to {high:g} s, covered by the "
                f"source of {device.name!r}: got {config.times} s. Add one, drop the "
                "device, or set `extrapolate: true`."
            )
    label = Path(section.file).stem if section.file else device.name
    outside = uncovered(config, device, times)
    return Case(label=label, device=device, times=times, extrapolated=outside)


def uncovered(config: StudyConfig, device: Device, times: np.ndarray) -> np.ndarray:
    """Which of the times the source of a device does not cover.

    Raises:
        ValueError: if there are some, and the config does not allow extrapolation.
    """
    try:
        return devices.check_times(device, times, extrapolate=config.extrapolate)
    except ValueError as error:
        raise ValueError(f"{error} In a config: `extrapolate: true`.") from None


def device_of(config: StudyConfig, section: DeviceSection) -> Device:
    """The device of a section, with the faults of its study.

    Raises:
        ValueError: if it is not valid, or has few levels although energy is weighted.
    """
    device = make_device(section)
    faults = config.faults
    if device.levels is not None and config.optimizer.record.energy() is not None:
        rule, remedy = "have no energy for a device with few levels", "Drop it."
        checks.fail("optimizer", rule, device.name, remedy)
    return device if faults is None else replace(device, faults=faults.record)


def make_device(section: DeviceSection) -> Device:
    """The device of a config's section.

    Raises:
        ValueError: if an option is not valid, a file is not a valid device, or a level
            lies outside the range.
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


# --- one network on one kind of hardware ----------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deployed:
    """A network on its hardware, before it is programmed."""

    network: AnalogNetwork
    hardware: Hardware
    """Hardware with converter ranges calibrated for the original network."""
    case: Case
    bill: Bill | None = None
    """Its costs, if the config names a chip."""

    @property
    def device(self) -> Device:
        """The device with its texts."""
        return self.case.device

    def placed(self, program: Program) -> "Placed":
        """The network with a program, and converter ranges for its parameters."""
        hardware = self.network.hardware(self.device, params=program.params)
        return Placed(
            network=self.network, hardware=hardware, program=program, bill=self.bill
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Placed:
    """A program on hardware, ready for chips."""

    network: AnalogNetwork
    hardware: Hardware
    program: Program
    bill: Bill | None = None

    @property
    def layers(self) -> dict[str, chip.LayerProgram]:
        """Targets by path."""
        return self.program.layers

    @property
    def params(self) -> PyTree | None:
        """Trained parameters; None for those of the original network."""
        same = self.program.params is self.network.work.params
        return None if same else self.program.params

    def costs(self, times: np.ndarray) -> dict[str, np.ndarray]:
        """Arrays of costs; empty if the config names no chip."""
        if self.bill is None:
            return {}
        program, device = self.program, self.hardware.device
        loop = program.expected_error is None
        return self.bill(
            program.layers, device, times, params=program.params, loop=loop
        )


def deploy(config: HardwareConfig, work: Workload) -> Deployed:
    """Build device and periphery of a config, and check the ways to program.

    Raises:
        ValueError: if a value of the config is out of range, times are not covered, or
            a layer cannot be converted.
    """
    case = case_of(config, config.device)
    check_ways(config, work, case.device)
    network = network_of(config, work)
    hardware = network.hardware(case.device)
    made = bill_of(config, network)
    return Deployed(network=network, hardware=hardware, case=case, bill=made)


def check_ways(config: StudyConfig, work: Workload, device: Device) -> None:
    """Refuse a way to program that does not fit the network or the device.

    Raises:
        ValueError: with the reason.
    """
    for way in config.programs:
        way.check(work, device)
    if config.training is not None:
        need_labels(config.training.record.goal, work)


def network_of(config: StudyConfig, work: Workload) -> AnalogNetwork:
    """The network of a study behind its periphery.

    Raises:
        ValueError: if there is no batch norm to measure.
    """
    return AnalogNetwork(
        work=work,
        periphery=periphery_of(config),
        scope=config.compensation.scope,
        norms=config.compensation.norms,
        normalize=config.normalize,
        raw=config.compensation.through == "periphery",
    )


def bill_of(
    config: StudyConfig, network: AnalogNetwork, periphery: Periphery | None = None
) -> Bill | None:
    """The costs of the programs of a study, if its config has `costs`.

    Raises:
        ValueError: if the chip does not cover the bits of the periphery.
    """
    options = None if config.costs is None else config.costs.record
    return bill(options, network, periphery)


def periphery_of(config: StudyConfig) -> Periphery:
    """The periphery of the arrays of a study."""
    return Periphery() if config.periphery is None else config.periphery.record


def engine_of(config: StudyConfig, mesh: Mesh | None) -> Engine:
    """How the chips of a study are measured."""
    return Engine(
        chunk=config.chunk,
        mesh=mesh,
        stop_at_se=config.stop_at_se,
        every=config.look_every,
    )


def measure(
    config: StudyConfig,
    engine: Engine,
    placed: Placed,
    times: Sequence[float] | np.ndarray,
    *,
    sample: Sample | None = None,
    kept: Kept | None = None,
    notify: Callable[[Tally], None] = lambda tally: None,
) -> Tally:
    """Results of all chips of a study on one kind of hardware, as point 0.

    Args:
        config: config of the study.
        engine: how they are measured.
        placed: what is on the chips.
        times: seconds since the first read.
        sample: chips and items; those of the study by default.
        kept: storage for the results.
        notify: called at every call.
    """
    network = placed.network
    sample = sample or of_study(config.seed, config.chips, network)
    point = network.point(
        placed.hardware,
        dict(placed.layers),
        filled(jnp.asarray(times, float)),
        sample.items,
        params=placed.program.params,
        recalibrate=as_times(config.compensation.recalibrate),
    )
    if unwritten(point):
        _check_redrawn(config, engine)
        engine = dataclasses.replace(engine, chunk=1, host=drawn_of)
    return engine.measure(
        of_point,
        np.zeros(1),
        sample.keys,
        point if engine.mesh is None else point.on(engine.mesh, cut="items"),
        times=len(times),
        items=sample.count,
        subsets=sample.subsets,
        whole=of_outputs(network.work.metric_fn, sample.items.y, sample.count),
        kept=kept,
        notify=notify,
    )


def devices_per_weight(way: Any, config: StudyConfig) -> float:
    """Mean number of devices per weight that a way to program needs."""
    if way.name in ("single_pair", "offset_device"):
        return 2 if way.name == "single_pair" else 1
    if getattr(way, "f", None):
        return 2 * (len(way.f) + 1)
    return 2 * getattr(way, "pairs", config.optimizer.record.pairs)


def check_large(config: StudyConfig, network: AnalogNetwork, engine: Engine) -> None:
    """Refuse, before any work, options that need all cells of a chip that is too large.

    Raises:
        ValueError: naming the part of the config.
    """
    weights = sum(math.prod(p.shape) for p in network.report.analog)
    tables = [way for way in config.ways if isinstance(way, Table)]
    many = max((devices_per_weight(way, config) for way in tables), default=0)
    if weights * many * FLOAT * (1 + HELD) > site.BUDGET:
        _check_redrawn(config, engine)


def _check_redrawn(config: StudyConfig, engine: Engine) -> None:
    """Refuse what needs all cells of a large chip at once."""
    rule = "keep the cells of a chip for"
    remedy = "Leave it out: a chip of this size is drawn again at each time."
    for name, asked in (
        ("compensation.recalibrate", config.compensation.recalibrate),
        ("compensation.through", config.compensation.through == "periphery"),
        ("mesh", engine.mesh),
    ):
        if asked:
            checks.fail(name, rule, f"{asked!r:.60}", remedy)


def site_of(
    config: StudyConfig,
    network: AnalogNetwork,
    device: Device,
    times: np.ndarray,
    made: Bill | None = None,
) -> Site:
    """The site at which the ways of a study are programmed.

    Args:
        config: config of the study.
        network: network with its periphery.
        device: without its texts.
        times: times of the config for the device.
        made: costs of programs, if the study requests them.
    """
    options, each = config.optimizer.record, None
    if options.time_weights is not None:
        of = dict(zip(config.times, options.time_weights, strict=True))
        each = jnp.asarray([of[float(t)] for t in times])
    return Site(
        network=network,
        params=network.work.params,
        device=device,
        times=times,
        key=rng.stream(rng.key(config.seed), rng.Stage.INIT),
        recalibrate=as_times(config.compensation.recalibrate),
        optimizer=options,
        time_weights=each,
        met=None if made is None else made.loads,
    )
