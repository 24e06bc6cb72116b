"""A network on hardware: how it is called, and its metric in batches.

With an ideal periphery, it gives the same results as `evaluate`. Networks with the same
structure share a trace: the numbers of their hardware are arguments.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array as JArray

from anajax import chip, rng
from anajax._core import checks
from anajax._core.tree import Arrays
from anajax._core.types import PRNGKey, PyTree
from anajax.analysis.cells import Cells, Wired
from anajax.analysis.hardware import Hardware, Periphery, bare, digital_but
from anajax.analysis.point import Items, Point, batched
from anajax.analysis.points import first_of
from anajax.analysis.workload import Workload, pure
from anajax.analysis.workload import outputs as digital_outputs
from anajax.crossbar.periphery import IO, stacked
from anajax.crossbar.wires import Wires
from anajax.devices.base import Device
from anajax.layer import with_columns
from anajax.mapping.strategy import Normalize
from anajax.nn.norm import batch_norms, batch_statistics, with_statistics
from anajax.programming.end_to_end.targets import Apply
from anajax.transformation import (
    AnalogFunction,
    OnChip,
    Report,
    Rule,
    analog,
    finished,
)
from anajax.transformation.calibrate import on_tiles
from anajax.transformation.on_chip import shifted
from anajax.transformation.sites import Site, as_io

NORM_INPUTS = 64
"""Number of calibration inputs for measuring batch-norm statistics."""
VECTORS = 4096
"""Most input vectors of a product for finding ranges."""
_DIVERGED = "Find the layer that diverged."
IDEAL = Periphery()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class AnalogNetwork:
    """A network that can be put on hardware.

    Raises:
        ValueError: if a word is unknown, or there is no batch norm to measure; at first
            use, if a layer cannot be converted.
    """

    work: Workload
    periphery: Periphery = IDEAL
    """Periphery of the products. If it is ideal and without wires, products are
    digital, and the network is not converted."""
    scope: chip.Scope = "layer"
    """The weights that share one drift compensation factor."""
    norms: bool = False
    """Whether batch-norm statistics are measured on the chip at every read-out."""
    normalize: Normalize = "layer"
    """Which weights share a full scale; columns with their own scale are scaled
    digitally after their ADCs."""
    raw: bool = False
    """Whether products use individual cells: read noise is drawn for each product, and
    drift compensation is measured through the converters, separately for each weight.
    Otherwise the weights of a chip are read once, compensated, and then used."""
    _known: list = dataclasses.field(default_factory=list, init=False, repr=False)
    """Parameters, and what was calibrated for them."""

    def __post_init__(self) -> None:
        checks.word("scope", self.scope, chip.Scope)
        checks.word("normalize", self.normalize, Normalize)
        if self.raw and self.scope == "network":
            got, remedy = '"network"', "Each weight is measured by itself."
            checks.fail("scope", "be of single weights for raw cells", got, remedy)
        model = self.work.model
        if self.norms and (model is None or not batch_norms(model)):
            rule = "be false for a network without batch norms"
            checks.fail("compensation.norms", rule, self.work.name, "Leave it out.")

    @property
    def _structure(self) -> tuple[Any, ...]:
        words = self.scope, self.norms, self.normalize, self.raw
        return id(self.work), self.periphery.structure, *words

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AnalogNetwork) and self._structure == other._structure

    def __hash__(self) -> int:
        return hash(self._structure)

    # --- the network ------------------------------------------------------------------

    @property
    def converted(self) -> bool:
        """Whether its products have a periphery."""
        return self.periphery.io() is not None or bool(self.periphery.wires)

    @functools.cached_property
    def report(self) -> Report:
        """Which parameters are weights, and their axes, as found in the products."""
        return self.function.report(self.work.params, self._one)

    @functools.cached_property
    def sites(self) -> dict[str, Site]:
        """Products of weights by name."""
        found = self.function.sites(self.work.params, self._one)
        return {site.name: site for site in found}

    @property
    def function(self) -> AnalogFunction:
        """The network as a function with its weights on tiles."""
        return self._analog(self.work.apply)

    @property
    def _one(self) -> jax.ShapeDtypeStruct:
        x = self.work.x
        return jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype)

    def _analog(self, apply: Callable[..., Any]) -> AnalogFunction:
        io, digital = self.periphery.io(), self.work.digital
        rules = [Rule(digital, digital=True)] if digital else []
        how: Any = {"tiles": self.periphery.tiles} | ({"io": io} if io else {})
        return analog(apply, [*rules, Rule(".*", **how)])

    @functools.cached_property
    def _normed(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        return with_statistics(self.work.model)

    def at(
        self, ios: Mapping[str, IO], params: PyTree, key: PRNGKey | None
    ) -> Callable[..., JArray]:
        """The network with this periphery and these weights.

        It is called with a batch of inputs and its number, which selects its noise.
        """
        ranges = {site: stacked(io) for site, io in ios.items()}

        def run(apply: Callable[..., Any], name: str, number: Any, *x: Any) -> Any:
            if self.periphery.io() is None and not isinstance(params, OnChip):
                return apply(params, *x)
            own = key
            if key is not None:
                own = jax.random.fold_in(rng.path_key(key, name), number)
            return self._analog(apply)(params, *x, key=own, ranges=ranges)

        if not self.norms:
            return lambda x, number=0: run(self.work.apply, "batch", number, x)
        statistics, apply = self._normed
        measured = run(statistics, "norms", 0, self.work.calibration[:NORM_INPUTS])
        return lambda x, number=0: run(apply, "batch", number, x, measured)

    def apply(
        self, ios: Mapping[str, IO], params: PyTree, x: JArray, key: PRNGKey | None
    ) -> JArray:
        """Outputs of the network for one batch of inputs."""
        return self.at(ios, params, key)(x)

    @functools.cached_property
    def _trained(self) -> Apply:
        """The digital network as it is trained: norms take what each batch gives."""
        if not self.norms:
            return self.work.apply
        return pure(batch_statistics(self.work.model))[1]

    @functools.cached_property
    def learned(self) -> Apply:
        """`apply(params, x)` of the network on a chip, for training.

        With its converters, ranges calibrated on the digital network, and without
        output noise or wires; batch norms measured on the chip use the statistics of
        each batch.
        """
        quiet = dataclasses.replace(self.periphery, output_noise=0.0, wires=0.0)
        if quiet.io() is None:
            return self._trained
        work = dataclasses.replace(self.work, apply=self._trained, x=self.work.x[:1])
        network = dataclasses.replace(self, work=work, periphery=quiet, norms=False)
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
            device: possibly with faults; its texts are dropped in the hardware.
            periphery: with the same structure; that of the network by default.
            params: trained parameters, those of the workload by default.
        """
        periphery = periphery or self.periphery
        ios = self.ios(self.work.params if params is None else params, periphery)
        return Hardware(device=bare(device), ios=ios, wires=periphery.resistance())

    def ios(self, params: PyTree, periphery: Periphery | None = None) -> dict[str, IO]:
        """Periphery by path of the kernel, with ranges calibrated for parameters.

        Args:
            params: ranges are found once per object, which takes a minute for large
                networks.
            periphery: with the same structure; that of the network by default.
        """
        known = [found for given, found in self._known if given is params]
        if not known:
            known = [self._calibrated(params)]
            self._known.append((params, known[0]))
        return (periphery or self.periphery).finish(*known[0])

    def _calibrated(self, params: PyTree) -> tuple[dict[str, IO], dict[str, JArray]]:
        """Periphery by site, and what a normalized weight of 1 is there.

        For all of a layer, or `[k c 1]` for each column of its tiles.
        """
        if self.periphery.io() is None:
            return {}, {}
        by_column = self.normalize != "layer"
        seen = self._analog(self._trained).observe(
            params,
            self.work.calibration[: self.work.batch],
            within=self.periphery.inputs,
            outputs=self.periphery.outputs,
            vectors=VECTORS,
            by_column=by_column,
        )
        ios, units = {}, {}
        for name, ranges in finished(seen).items():
            for kind, values in ranges.items():
                checks.finite(f"{kind} of {name}", values, _DIVERGED)
            unit = jnp.max(seen[name]["columns"], -1)
            if by_column:
                share = self._shares(seen[name]["columns"])
                unit = unit[..., None, None, None] * share
                if "adc" in ranges:
                    ranges["adc"] = ranges["adc"][..., None, None, None] * unit
            ios[name] = as_io(self.sites[name], ranges)
            units[name] = unit
        return ios, units

    def _shares(self, columns: JArray) -> JArray:
        """Largest weight of each column in that of the layer, as `[... k c 1]`."""
        largest = jnp.max(columns, -1, keepdims=True)
        share = columns / jnp.where(largest > 0, largest, 1)
        one = functools.partial(on_tiles, tiles=self.periphery.tiles)
        found = jax.vmap(one)(share.reshape(-1, share.shape[-1]))
        return found.reshape(*share.shape[:-1], *found.shape[1:])

    def through(self, wires: Wires | None) -> chip.Through | None:
        """Effect of wire resistance on the conductances of a layer."""
        return None if wires is None else Partial(Wired(self), wires)

    # --- what is measured on a chip ---------------------------------------------------

    @functools.cached_property
    def items(self) -> Items:
        """All test items."""
        return self.first_items(self.work.x.shape[0])

    def first_items(self, count: int) -> Items:
        """The first test items; any number of whole batches shares a trace."""
        every = self.work.x, self.work.y, self._reference
        return batched(*(v[:count] for v in every), size=self._size)

    def held_items(self, count: int) -> Items:
        """The first held-out inputs; they share the trace of `items`.

        Raises:
            ValueError: if there are none, see `set_aside`.
        """
        work = self.work
        if work.held_x is None:
            remedy = "Name the way in the `strategy` or `strategies` of the config."
            checks.fail("workload", "have inputs that were set aside", "none", remedy)
        x = jnp.asarray(work.held_x[:count])
        y = jnp.broadcast_to(work.y[:1], (len(x), *work.y.shape[1:]))
        y = y if work.held_y is None else jnp.asarray(work.held_y[:count])
        outputs = digital_outputs(dataclasses.replace(work, x=x))
        least = self.items.x.shape[0]
        return batched(x, y, outputs, size=self._size, least=least)

    @property
    def _size(self) -> int:
        return min(self.work.batch, self.work.x.shape[0])

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
        """What is put on a chip; gives `metric` and `loss` of each item.

        For a metric of all items it returns the `outputs` instead, see `of_outputs`.
        The loss is the divergence of the analog outputs from the digital ones.

        Args:
            hardware: hardware of the network.
            layers: targets by path.
            times: seconds, padded by `filled`.
            items: items to evaluate.
            params: trained parameters, those of the workload by default.
            recalibrate: seconds at which drift compensation is measured.
            analog: booleans by path, which layers are analog; all by default. The
                others are exact, and their draws are not used.
        """
        params = self.work.params if params is None else params
        ios = dict(hardware.ios)
        if analog is not None:
            of = {n: analog[next(iter(s.layouts))] for n, s in self.sites.items()}
            ios = digital_but(ios, {n: of[n] for n in ios})
        cells = Partial(Cells(self, shifted(layers.values())), ios)
        return Point(
            measure=Partial(_Measure(self), ios, items),
            params=Arrays(params),
            ideal=chip.weights(params, select=self.report),
            device=hardware.device,
            layers={path: with_columns(one) for path, one in layers.items()},
            times=times[0],
            count=times[1],
            recalibrate=recalibrate,
            through=self.through(hardware.wires),  # pyright: ignore
            analog=None if analog is None else dict(analog),
            cells=cells if self.raw else None,
            scope=self.scope,
        )

    def metric(self, params: PyTree) -> Partial:
        """`metric(params, key)` of each item on a chip, or of all, for `evaluate`.

        Args:
            params: trained parameters that the converter ranges are calibrated for.
        """
        return Partial(_Metric(self), self.ios(params), self.items)


@dataclasses.dataclass(frozen=True)
class _Measure:
    """Metric and loss of each item, in batches."""

    network: AnalogNetwork

    def __call__(
        self, ios: Mapping[str, IO], items: Items, params: PyTree, key: PRNGKey
    ) -> dict[str, JArray]:
        onto, work = self.network.at(ios, params, key), self.network.work

        def one(batch: tuple[JArray, ...]) -> dict[str, JArray]:
            x, y, reference, number = batch
            outputs = onto(x, number)
            loss = jax.vmap(work.divergence_fn)(outputs, reference)
            if work.whole:
                return {"outputs": outputs, "loss": loss}
            return {"metric": work.metric_fn(outputs, y), "loss": loss}

        every = items.x, items.y, items.reference, jnp.arange(items.x.shape[0])
        found = first_of(one, every, items.count)
        return {name: v.reshape(-1, *v.shape[2:]) for name, v in found.items()}


@dataclasses.dataclass(frozen=True)
class _Metric:
    """The metric of each item of the workload, or of all."""

    network: AnalogNetwork

    def __call__(self, *args: Any) -> JArray:
        found, work = _Measure(self.network)(*args), self.network.work
        n = work.x.shape[0]
        if work.whole:
            return work.metric_fn(found["outputs"][:n], work.y)
        return found["metric"][:n]
