"""A network on hardware: how it is called there, and its metric in batches.

With an ideal periphery it gives what `evaluate` gives. Networks that are equal in
structure share a trace: the numbers of their hardware are arguments.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.tree_util import Partial
from jaxtyping import Array as JArray

from anajax import chip
from anajax._core import checks
from anajax._core.tree import Arrays, pytree
from anajax._core.types import PRNGKey, PyTree
from anajax.analysis.evaluate import Point
from anajax.analysis.hardware import Hardware, bare, choose, without_periphery
from anajax.analysis.periphery import Periphery
from anajax.analysis.points import filled, first_of
from anajax.analysis.sharding import place
from anajax.analysis.workload import Workload, in_batches, pure
from anajax.analysis.workload import outputs as digital_outputs
from anajax.crossbar.periphery import IO
from anajax.crossbar.tiling import through_wires
from anajax.crossbar.wires import Wires
from anajax.devices.base import Device
from anajax.mapping.strategy import Normalize
from anajax.nn.calibration import behind_adc, calibrate_ranges
from anajax.nn.convert import set_key, to_analog
from anajax.nn.norm import batch_norms, batch_statistics, recalibrate_norms
from anajax.nn.programmed import analog_by_path
from anajax.programming.end_to_end.targets import Apply, distillation
from anajax.transformation import Rule

NORM_INPUTS = 64
"""Calibration inputs that batch norms are measured with."""
IDEAL = Periphery()


@pytree
class Items:
    """Test items in batches `[batches items ...]`, `filled` up."""

    x: JArray
    y: JArray
    reference: JArray
    """Outputs of the digital network."""
    count: JArray
    """How many batches count."""

    def on(self, mesh: Any) -> "Items":
        """The same on a mesh, the items of a batch cut among its parts."""
        return place(self, mesh, cut="items")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class AnalogNetwork:
    """A network that can be put on hardware.

    Raises:
        ValueError: if a word is not known, or there is no batch norm to measure; when
            it is first used, if a layer cannot be converted.
    """

    work: Workload
    periphery: Periphery = IDEAL
    """What products go through; they are digital where it is ideal and without wires,
    and the network is not converted then."""
    scope: chip.Scope = "layer"
    """The weights that share one drift compensation factor."""
    norms: bool = False
    """Whether batch norms are measured on the chip at every read-out."""
    normalize: Normalize = "layer"
    """Whose largest |weight| fills the range of conductances; columns that do are
    scaled digitally behind their ADCs."""
    _known: list = dataclasses.field(default_factory=list, init=False, repr=False)
    """Parameters, and what was calibrated for them."""

    def __post_init__(self) -> None:
        checks.word("scope", self.scope, chip.Scope)
        checks.word("normalize", self.normalize, Normalize)
        if self.norms and not batch_norms(self.work.model):
            checks.fail(
                "compensation.norms",
                "be false for a network without batch norms",
                self.work.name,
                "Leave it out.",
            )

    @property
    def _structure(self) -> tuple[Any, ...]:
        words = self.scope, self.norms, self.normalize
        return id(self.work), self.periphery.structure, *words

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AnalogNetwork) and self._structure == other._structure

    def __hash__(self) -> int:
        return hash(self._structure)

    # --- the network ------------------------------------------------------------------

    @property
    def converted(self) -> bool:
        """Whether its products go through a periphery."""
        return self.periphery.io() is not None or bool(self.periphery.wires)

    @functools.cached_property
    def layers(self) -> dict[str, Any]:
        """Analog layers by path of their kernel; none where it is not converted."""
        found = analog_by_path(self._model) if self.converted else {}
        return {_kernel(path): layer for path, layer in found.items()}

    @functools.cached_property
    def _model(self) -> nnx.Module:
        if not self.converted:
            return self.work.model
        return _converted(self.work, self.periphery)

    @functools.cached_property
    def _split(self) -> tuple[Any, Any]:
        graph, _, rest = nnx.split(self._model, nnx.Param, ...)
        return graph, nnx.to_pure_dict(rest)

    def at(
        self, ios: Mapping[str, IO], params: PyTree, key: PRNGKey | None
    ) -> Callable[[JArray], JArray]:
        """The network on this periphery with these weights, called with inputs."""
        graph, constants = self._split
        merged = nnx.merge(graph, params, constants)
        if self.converted:
            for path, layer in analog_by_path(merged).items():
                layer.analog.io.set_value(ios[_kernel(path)])
            set_key(merged, key)
        some = self.work.calibration[:NORM_INPUTS]
        return recalibrate_norms(merged, [some]) if self.norms else merged

    def apply(
        self, ios: Mapping[str, IO], params: PyTree, x: JArray, key: PRNGKey | None
    ) -> JArray:
        """Outputs of the network for one batch of inputs."""
        return self.at(ios, params, key)(x)

    @functools.cached_property
    def learned(self) -> Apply:
        """`apply(params, x)` of the network on a chip, as training sees it.

        Behind its converters, with ranges that suit the digital network, without output
        noise or wires; norms that are measured on the chip take what each batch gives.
        """
        work, norms = self.work, self.norms
        model = batch_statistics(work.model) if norms else work.model
        quiet = dataclasses.replace(self.periphery, output_noise=0.0, wires=0.0)
        if quiet.io() is None:
            return pure(model)[1] if norms else work.apply
        some = dataclasses.replace(work, model=model, x=work.x[:1], y=work.y[:1])
        network = dataclasses.replace(self, work=some, periphery=quiet, norms=False)
        ios = network.ios(work.params)
        return lambda params, x: network.apply(ios, params, x, None)

    # --- its hardware -----------------------------------------------------------------

    def hardware(
        self,
        device: Device,
        periphery: Periphery | None = None,
        *,
        params: PyTree | None = None,
    ) -> Hardware:
        """Hardware for the trained network.

        Args:
            device: perhaps with faults; without its texts in the hardware.
            periphery: of the same structure; that of the network by default.
            params: trained parameters, those of the workload by default.
        """
        periphery = periphery or self.periphery
        ios = self.ios(self.work.params if params is None else params, periphery)
        return Hardware(device=bare(device), ios=ios, wires=periphery.resistance())

    def ios(self, params: PyTree, periphery: Periphery | None = None) -> dict[str, IO]:
        """Periphery by path of the kernel, its ranges set for trained parameters.

        Args:
            params: ranges are found once for one object: it takes a minute in large
                networks.
            periphery: of the same structure; that of the network by default.
        """
        known = [found for given, found in self._known if given is params]
        if not known:
            known = [(self._calibrated(params), self._units(params))]
            self._known.append((params, known[0]))
        return (periphery or self.periphery).finish(*known[0])

    def _calibrated(self, params: PyTree) -> dict[str, IO]:
        if not self.converted:
            return {}
        graph, constants = self._split
        trained = nnx.merge(graph, params, constants)
        trained = batch_statistics(trained) if self.norms else trained
        ready = calibrate_ranges(
            trained,
            [self.work.calibration[: self.work.batch]],
            inputs=self.periphery.inputs,
            outputs=self.periphery.outputs,
            scales=self._scales(params),
        )
        found = analog_by_path(ready).items()
        return {_kernel(path): layer.analog.io.get_value() for path, layer in found}

    def _scales(self, params: PyTree) -> dict[str, JArray] | None:
        """Digital scales of columns, by path of the layer."""
        if self.normalize == "layer":
            return None
        ideal = chip.normalized_weights(params, normalize=self.normalize)
        paths = analog_by_path(self._model)
        return {path: ideal[_kernel(path)].column for path in paths}

    def _units(self, params: PyTree) -> dict[str, JArray]:
        """What a normalized weight of 1 is, by path of the kernel.

        For all of a layer, or `[k c 1]` for each column of its tiles.
        """
        if not self.converted:
            return {}
        scales, weights = self._scales(params) or {}, chip.weights(params)
        found = {}
        for path, layer in analog_by_path(self._model).items():
            column = behind_adc(layer, scales[path]) if path in scales else 1.0
            found[_kernel(path)] = jnp.max(jnp.abs(weights[_kernel(path)])) * column
        return found

    def through(self, wires: Wires | None) -> chip.Through | None:
        """What wires make of the conductances of a layer."""
        return None if wires is None else Partial(_Wired(self), wires)

    # --- what is measured on a chip ---------------------------------------------------

    @functools.cached_property
    def items(self) -> Items:
        """All test items."""
        return self.first_items(self.work.x.shape[0])

    def first_items(self, count: int) -> Items:
        """The first test items; any number of whole batches shares a trace."""
        work, size = self.work, min(self.work.batch, self.work.x.shape[0])
        every = work.x, work.y, self._reference
        x, y, reference = (in_batches(v[:count], size) for v in every)
        (x, batches), (y, _), (reference, _) = filled(x), filled(y), filled(reference)
        return Items(x=x, y=y, reference=reference, count=batches)

    @functools.cached_property
    def _reference(self) -> JArray:
        return digital_outputs(self.work)

    def point(
        self,
        hardware: Hardware,
        layers: dict[str, chip.LayerProgram],
        times: tuple[JArray, JArray],
        items: Items,
        *,
        params: PyTree | None = None,
        recalibrate: JArray | None = None,
        analog: Mapping[str, JArray] | None = None,
    ) -> Point:
        """What is put on a chip; it gives `metric` and `loss` of each item.

        The loss is the divergence of the digital from the analog outputs,
        `distillation`.

        Args:
            hardware: what the network is on.
            layers: targets by path.
            times: `filled` seconds.
            items: that are judged.
            params: trained parameters, those of the workload by default.
            recalibrate: seconds at which drift compensation is measured.
            analog: booleans by path, which layers are analog; all by default. The
                others are exact, their draws are not used.
        """
        params = self.work.params if params is None else params
        ios = dict(hardware.ios)
        if analog is not None:
            ios = {
                p: choose(analog[p], io, without_periphery(io)) for p, io in ios.items()
            }
        return Point(
            measure=Partial(_Measure(self), ios, items),
            params=Arrays(params),
            ideal=chip.weights(params),
            device=hardware.device,
            layers=layers,
            times=times[0],
            count=times[1],
            recalibrate=recalibrate,
            through=self.through(hardware.wires),  # pyright: ignore
            analog=None if analog is None else dict(analog),
            scope=self.scope,
        )

    def metric(self, params: PyTree) -> Partial:
        """`metric(params, key)` of each item on a chip, for `evaluate`.

        Args:
            params: trained parameters that the ranges of converters are to suit.
        """
        return Partial(_Metric(self), self.ios(params), self.items)


@dataclasses.dataclass(frozen=True)
class _Measure:
    """Metric and loss of each item, in batches."""

    network: AnalogNetwork

    def __call__(
        self, ios: Mapping[str, IO], items: Items, params: PyTree, key: PRNGKey
    ) -> dict[str, JArray]:
        onto, metric = self.network.at(ios, params, key), self.network.work.metric_fn

        def one(batch: tuple[JArray, JArray, JArray]) -> dict[str, JArray]:
            x, y, reference = batch
            outputs = onto(x)
            loss = jax.vmap(distillation)(outputs, reference)
            return {"metric": metric(outputs, y), "loss": loss}

        every = items.x, items.y, items.reference
        found = first_of(one, every, items.count)
        return {name: v.ravel() for name, v in found.items()}


@dataclasses.dataclass(frozen=True)
class _Metric:
    """The metric of each item of the workload."""

    network: AnalogNetwork

    def __call__(self, *args: Any) -> JArray:
        found = _Measure(self.network)(*args)
        return found["metric"][: self.network.work.x.shape[0]]


@dataclasses.dataclass(frozen=True)
class _Wired:
    """Conductances of a layer as they act behind wires."""

    network: AnalogNetwork

    def __call__(self, wires: Wires, path: str, g: JArray) -> JArray:
        shape = self.network.layers[path].matrices
        planes = jax.vmap(shape, -1, -1)(g)  # [groups rows columns devices]
        tiles = self.network.periphery.tiles
        one = functools.partial(through_wires, rule=tiles, wires=wires)
        acting = jnp.stack([one(p) for p in planes])
        back = jax.linear_transpose(shape, g[..., 0])
        return jax.vmap(lambda m: back(m)[0], -1, -1)(acting)


def _kernel(path: str) -> str:
    """Path of the kernel of a layer; the whole network may be one layer."""
    return f"{path}/kernel" if path else "kernel"


def _converted(work: Workload, periphery: Periphery) -> nnx.Module:
    rule = Rule(".*", io=periphery.io() or IO(), tiles=periphery.tiles)
    try:
        model = to_analog(work.model, [rule]).model
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
