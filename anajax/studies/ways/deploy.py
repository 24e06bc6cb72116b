"""From a config of hardware to what is put on chips."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from anajax import chip, rng
from anajax._core.types import PyTree
from anajax.analysis.engine import Engine, Kept, Tally
from anajax.analysis.evaluate import as_times, of_point
from anajax.analysis.hardware import Hardware
from anajax.analysis.network import AnalogNetwork
from anajax.analysis.periphery import Periphery
from anajax.analysis.points import chip_keys, filled
from anajax.analysis.workload import Workload
from anajax.devices.base import Device
from anajax.studies.config.on_hardware import HardwareConfig
from anajax.studies.config.study import StudyConfig
from anajax.studies.ways.cases import device_of, uncovered
from anajax.studies.ways.tables import Programmer, targets


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deployed:
    """A network on its hardware, ready for chips."""

    network: AnalogNetwork
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
    device = device_of(config, config.device)
    outside = uncovered(config, device, np.asarray(config.times))
    network = network_of(config, work)
    hardware = network.hardware(device)
    return Deployed(
        network=network,
        hardware=hardware,
        layers=strategy_layers(config, work, hardware.device),
        device=device,
        extrapolated=outside,
    )


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
    )


def periphery_of(config: StudyConfig) -> Periphery:
    """What stands around the arrays of a study."""
    return Periphery() if config.periphery is None else config.periphery.build()


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
    network: AnalogNetwork,
    hardware: Hardware,
    layers: Mapping[str, chip.LayerProgram],
    times: Sequence[float] | np.ndarray,
    *,
    params: PyTree = None,
    kept: Kept | None = None,
    notify: Callable[[Tally], None] = lambda tally: None,
) -> Tally:
    """What all chips of a study give on one kind of hardware, as point 0.

    Args:
        config: of the study.
        engine: how they are measured.
        network: the network behind its periphery.
        hardware: it is on.
        layers: targets by path.
        times: seconds since the first read.
        params: trained parameters, those of the network by default.
        kept: where it is saved.
        notify: told of every call.
    """
    point = network.point(
        hardware,
        dict(layers),
        filled(jnp.asarray(times, float)),
        network.items,
        params=params,
        recalibrate=as_times(config.compensation.recalibrate),
    )
    return engine.measure(
        of_point,
        np.zeros(1),
        chip_keys(jax.random.key(config.seed), np.arange(config.chips)),
        point if engine.mesh is None else point.on(engine.mesh, cut="items"),
        times=len(times),
        items=network.work.x.shape[0],
        subsets=network.work.subsets,
        kept=kept,
        notify=notify,
    )


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
