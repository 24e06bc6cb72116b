"""A network on hardware: what one chip gives at every time, and maps over points.

Draws are named as those of `evaluate`: with an ideal periphery both give the same
numbers. A point of a study is a pytree of numbers; `over_points` maps any function over
points in one trace.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import chip, rng
from anajax._core import checks
from anajax._core.tree import pytree
from anajax._core.types import PRNGKey, PyTree
from anajax.analysis.evaluate import rms_error
from anajax.analysis.hardware import Hardware, choose, without_periphery
from anajax.analysis.workload import Workload, in_batches
from anajax.crossbar.periphery import IO
from anajax.crossbar.tiling import TileRule, through_wires
from anajax.crossbar.wires import Wires
from anajax.mapping.strategy import Normalize
from anajax.nn.calibration import behind_adc, calibrate_ranges
from anajax.nn.convert import set_key, to_analog
from anajax.nn.norm import batch_norms, batch_statistics, recalibrate_norms
from anajax.nn.programmed import analog_by_path
from anajax.programming.end_to_end.targets import distillation
from anajax.transformation import Rule

Network = Callable[[Mapping[str, IO], PyTree, PRNGKey | None], Any]
"""`network(ios, params, key)`: the network on this periphery, called with inputs."""

NORM_INPUTS = 64
"""Calibration inputs that batch norms are measured with."""


@pytree
class Measured:
    """What a chip gave, at each time or of each chip."""

    metric: Float[JArray, "..."]
    """The metric, mean over items."""
    loss: Float[JArray, "..."]
    """Divergence of the digital from the analog outputs, `distillation`."""
    weight_rms_error: Float[JArray, "..."]
    """Root mean square over all weights of (as they act - ideal) / w_max."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class System:
    """A network that can be put on hardware; one object, one trace."""

    work: Workload
    network: Network
    calibrate: Callable[[PyTree], dict[str, IO]]
    """Periphery by path of the kernel, its ranges set for these trained parameters."""
    units: Callable[[PyTree], dict[str, JArray]]
    """What a normalized weight of 1 is for these trained parameters, by path of the
    kernel: for all of a layer, or `[k c 1]` for each column of its tiles."""
    matrices: Mapping[str, Callable[[JArray], JArray]]
    """By path of the kernel, what makes it `[groups rows columns]`; empty where no
    layer was converted."""
    tiles: TileRule
    scope: chip.Scope
    reference: JArray
    """Digital outputs for all test items."""

    def __post_init__(self) -> None:
        checks.word("scope", self.scope, chip.Scope)

    def apply(
        self, ios: Mapping[str, IO], params: PyTree, x: JArray, key: PRNGKey | None
    ) -> JArray:
        """Outputs of the network for one batch of inputs."""
        return self.network(ios, params, key)(x)

    @property
    def ideal(self) -> dict[str, JArray]:
        """The trained weights by path."""
        return chip.weights(self.work.params)

    def through(self, wires: Wires | None) -> chip.Through | None:
        """What wires make of the conductances of a layer."""
        if wires is None:
            return None

        def behind(path: str, g: JArray) -> JArray:
            shape = self.matrices[path]
            planes = jax.vmap(shape, -1, -1)(g)  # [groups rows columns devices]
            one = partial(through_wires, rule=self.tiles, wires=wires)
            acting = jnp.stack([one(p) for p in planes])
            back = jax.linear_transpose(shape, g[..., 0])
            return jax.vmap(lambda m: back(m)[0], -1, -1)(acting)

        return behind


def make_system(
    work: Workload,
    *,
    scope: chip.Scope = "layer",
    io: IO | None = None,
    tiles: TileRule = TileRule(),  # noqa: B008
    wired: bool = False,
    inputs: float = 1.0,
    outputs: float = 1.0,
    norms: bool = False,
    normalize: Normalize = "layer",
) -> System:
    """The system of a workload.

    Args:
        work: the network.
        scope: the weights that share one drift compensation factor.
        io: periphery of every layer, or none: then products are digital and the
            network is not converted. Its ranges are calibrated on the workload's
            calibration inputs.
        tiles: largest tile.
        wired: whether there are wires, which need to know the tiles.
        inputs: share of calibration inputs of a layer that must fit into its range.
        outputs: share of their column sums that must fit into the range of its ADC.
        norms: whether batch norms are measured on the chip at every read-out.
        normalize: whose largest |weight| fills the range of conductances; columns that
            do are scaled digitally behind their ADCs.

    Raises:
        ValueError: if a layer of the network cannot be converted, or there is no batch
            norm to measure.
    """
    checks.word("scope", scope, chip.Scope)
    checks.word("normalize", normalize, Normalize)
    if norms:
        _require_norms(work)
    common: Any = {
        "work": work,
        "tiles": tiles,
        "scope": scope,
        "reference": _digital(work),
    }
    some = work.calibration[:NORM_INPUTS]
    digital = io is None and not wired
    model = work.model if digital else _converted(work, io or IO(), tiles)
    graph, _, rest = nnx.split(model, nnx.Param, ...)
    constants = nnx.to_pure_dict(rest)

    def network(ios: Mapping[str, IO], params: PyTree, key: PRNGKey | None) -> Any:
        merged = nnx.merge(graph, params, constants)
        if not digital:
            for path, layer in analog_by_path(merged).items():
                layer.analog.io.set_value(ios[_kernel(path)])
            set_key(merged, key)
        return recalibrate_norms(merged, [some]) if norms else merged

    if digital:
        none: Any = {"calibrate": lambda _: {}, "units": lambda _: {}, "matrices": {}}
        return System(network=network, **none, **common)

    layers = analog_by_path(model)

    def scales(params: PyTree) -> dict[str, JArray] | None:
        if normalize == "layer":
            return None
        ideal = chip.normalized_weights(params, normalize=normalize)
        return {p: ideal[_kernel(p)].column for p in layers}

    def units(params: PyTree) -> dict[str, JArray]:
        largest = {p: jnp.max(jnp.abs(w)) for p, w in chip.weights(params).items()}
        columns = {
            p: behind_adc(layers[p], s) for p, s in (scales(params) or {}).items()
        }
        return {_kernel(p): largest[_kernel(p)] * columns.get(p, 1.0) for p in layers}

    def calibrate(params: PyTree) -> dict[str, IO]:
        trained = nnx.merge(graph, params, constants)
        trained = batch_statistics(trained) if norms else trained
        batch = [work.calibration[: work.batch]]
        ready = calibrate_ranges(
            trained, batch, inputs=inputs, outputs=outputs, scales=scales(params)
        )
        found = analog_by_path(ready).items()
        return {_kernel(path): layer.analog.io.get_value() for path, layer in found}

    return System(
        network=network,
        calibrate=calibrate,
        units=units,
        matrices={_kernel(path): layer.matrices for path, layer in layers.items()},
        **common,
    )


def _require_norms(work: Workload) -> None:
    if not batch_norms(work.model):
        checks.fail(
            "compensation.norms",
            "be false for a network without batch norms",
            work.name,
            "Leave it out.",
        )


def _kernel(path: str) -> str:
    """Path of the kernel of a layer; the whole network may be one layer."""
    return f"{path}/kernel" if path else "kernel"


def _digital(work: Workload) -> JArray:
    """Outputs of the digital network, computed here: XLA would fold it, slowly."""
    step = jax.jit(work.apply)
    starts = range(0, work.x.shape[0], work.batch)
    outputs = [step(work.params, work.x[i : i + work.batch]) for i in starts]
    return jnp.concatenate(outputs)


def _converted(work: Workload, io: IO, tiles: TileRule) -> nnx.Module:
    try:
        model = to_analog(work.model, [Rule(".*", io=io, tiles=tiles)]).model
    except ValueError as error:
        checks.fail(
            "workload",
            "be a network whose layers can all be converted, for a periphery or wires",
            f"{work.name} ({error})",
            "Leave out `periphery`: imperfections of devices need no conversion.",
        )
    kernels = {_kernel(path) for path in analog_by_path(model)}
    missing = sorted(set(chip.weights(work.params)) ^ kernels)
    if missing:
        checks.fail(
            "workload",
            "have its analog weights in layers that can be converted",
            f"{work.name}, where {missing} are not both",
            "Leave out `periphery`: imperfections of devices need no conversion.",
        )
    return model


def one_chip(
    system: System,
    hardware: Hardware,
    layers: dict[str, chip.LayerProgram],
    times: Float[JArray, "times"],
    key: PRNGKey,
    *,
    analog: Mapping[str, JArray] | None = None,
) -> Measured:
    """Program one chip, read it at all times, and measure the network.

    Args:
        system: the network.
        hardware: what it is on.
        layers: targets by path.
        times: seconds since the first read.
        key: of this chip.
        analog: booleans by path, which layers are analog; all by default. The others
            are exact, their draws are not used.

    Returns:
        Measures `[times]`.
    """
    ideal, params = system.ideal, system.work.params
    through = system.through(hardware.wires)
    device = hardware.device
    part = chip.program(device, layers, key=key, through=through)
    ios = dict(hardware.ios)
    if analog is not None:
        ios = {p: choose(analog[p], io, without_periphery(io)) for p, io in ios.items()}

    def at(t_j: tuple[JArray, JArray]) -> Measured:
        t, j = t_j
        w = chip.read(device, part, t=t, index=j, scope=system.scope, through=through)
        if analog is not None:
            w = {p: jnp.where(analog[p], v, ideal[p]) for p, v in w.items()}
        noise = rng.stream(key, rng.Stage.PRODUCT, j)
        metric, loss = _judge(system, ios, chip.insert(params, w), noise)
        error = rms_error(w, ideal, layers)
        return Measured(metric=metric, loss=loss, weight_rms_error=error)

    return jax.lax.map(at, (times, jnp.arange(1, times.shape[0] + 1)))


def _judge(
    system: System, ios: Mapping[str, IO], params: PyTree, key: PRNGKey
) -> tuple[JArray, JArray]:
    """Metric and distillation loss, means over the test items in batches."""
    work = system.work
    n = work.x.shape[0]
    batch = min(work.batch, n)

    network = system.network(ios, params, key)

    def one(items: tuple[JArray, JArray, JArray]) -> tuple[JArray, JArray]:
        x, y, reference = items
        outputs = network(x)
        metric = work.metric_fn(outputs, y)
        return metric, jax.vmap(distillation)(outputs, reference)

    every = (work.x, work.y, system.reference)
    metric, loss = jax.lax.map(one, tuple(in_batches(v, batch) for v in every))
    return jnp.mean(metric.ravel()[:n]), jnp.mean(loss.ravel()[:n])
