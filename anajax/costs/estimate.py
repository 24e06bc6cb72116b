"""The costs of a network on a chip: energy, latency, throughput, area, layer by layer.

found = costs(apply, params, x, chip=calibrated(hermes()), device=device,
strategy=strategy, times=[0.0, 86400.0])
print(found.table())
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from anajax import chip as _chip
from anajax._core import checks
from anajax._core.types import JArray, PRNGKey, PyTree
from anajax._core.units import counted, human
from anajax.costs.array import Loads, loads
from anajax.costs.chips import PARTS, AnyChip
from anajax.costs.counts import Counts, LayerCounts, _items, aligned, count_report
from anajax.costs.effort import Effort, effort
from anajax.costs.ranges import given
from anajax.crossbar.periphery import bits
from anajax.crossbar.tiling import TileRule
from anajax.devices.base import Device, age, check_times
from anajax.mapping.strategy import Normalize, check_strategy
from anajax.mapping.weight_error import moment_table
from anajax.transformation import AnalogFunction, Rule, analog

Layers = Mapping[str, _chip.LayerProgram]
PJ = 1e-6
"""One pJ in uJ."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Costs:
    """The costs of one inference by layer, component and time, and of programming."""

    chip: AnyChip
    """The chip record."""
    counts: Counts
    """Counts by layer."""
    times: np.ndarray
    """Seconds since the first read `[times]`."""
    energy: dict[str, JArray]
    """Energy of one inference by component `[layers times]`, uJ, including the factor
    k."""
    seconds: np.ndarray
    """Time that each layer takes in one inference `[layers]`, s."""
    busy: np.ndarray
    """Time that each tile of a layer is busy in one inference `[layers]`, s."""
    recalibration: JArray
    """Energy of one drift measurement `[times]`, uJ: one row at a time."""
    loads: Loads
    """Load of each weight, see `array.loads`."""
    efforts: dict[str, Effort]
    """By path, pulses and verify reads of programming."""

    @property
    def basis(self) -> str:
        """The model behind all estimates, and what it is calibrated on."""
        return self.chip.basis

    @property
    def per_inference(self) -> JArray:
        """Energy of one inference `[times]`, uJ."""
        return jnp.sum(sum(self.energy.values(), jnp.zeros(())), axis=0)

    @property
    def latency(self) -> float:
        """Time from input to output, s: layers, and products of one, in sequence."""
        return float(self.seconds.sum())

    @property
    def throughput(self) -> float:
        """Inferences per second with all layers in parallel: set by the slowest."""
        return 1 / float(self.busy.max())

    @property
    def tops_per_watt(self) -> JArray:
        """Operations per pJ `[times]`: two per weight and product."""
        return 2e-6 * self.counts.total("macs") / self.per_inference

    @property
    def chips(self) -> int:
        """Number of chips that hold all tiles."""
        return math.ceil(self.counts.total("tiles") / self.chip.tiles)

    @property
    def area(self) -> float | None:
        """Area of all tiles, mm^2; `None` without a model."""
        tile = self.chip.area()
        return None if tile is None else float(tile) * self.counts.total("tiles")

    @property
    def pulses(self) -> float:
        """Expected number of programming pulses of all devices."""
        return float(sum(e.pulses for e in self.efforts.values()))

    @property
    def verify_reads(self) -> float:
        """Expected number of verify reads of all devices."""
        return float(sum(e.reads for e in self.efforts.values()))

    @property
    def programming(self) -> float:
        """Energy of programming all devices once, uJ.

        Raises:
            ValueError: if the record has no `pulse_energy`, which no source gives.
        """
        name = f"programming {self.chip.name!r}"
        pulse = given("pulse_energy", self.chip.pulse_energy, of=name, unit="pJ")
        verify = self.chip.verify_energy
        reads = 0.0 if verify is None else self.verify_reads * float(verify)
        return PJ * (self.pulses * float(pulse) + reads)

    def table(self) -> str:
        """All estimates as text: layers at the first time, then the total over time."""
        first = {part: np.asarray(e)[:, 0] for part, e in self.energy.items()}
        shown = [part for part in PARTS if np.any(first[part])]
        head = ("layer", "tiles", "products", *(f"{p} uJ" for p in shown), "us")
        rows = [
            (layer.path, layer.tiles, layer.products,
             *(f"{first[p][i]:.3g}" for p in shown), f"{1e6 * self.seconds[i]:.3g}")
            for i, layer in enumerate(self.counts.layers)
        ]  # fmt: skip
        sums = (f"{first[p].sum():.3g}" for p in shown)
        rows.append(("all", self.counts.total("tiles"), self.counts.total("products"),
                     *sums, f"{1e6 * self.latency:.3g}"))  # fmt: skip
        lines = [f"{self.chip.name}: {self.basis}", aligned(head, rows)]
        for t, e, o in zip(
            self.times, self.per_inference, self.tops_per_watt, strict=True
        ):
            lines.append(f"at {human(t)}: {e:.4g} uJ per inference, {o:.3g} TOPS/W")
        speed = f"{self.throughput:.4g} inferences/s"
        lines.append(f"{speed}, {counted(self.chips, 'chip')}, {self._area}")
        return "\n".join([*lines, *self.grounds])

    @property
    def _area(self) -> str:
        if self.area is None:
            return "no model of area"
        return f"{self.area:.3g} mm^2 ({self.chip.area_basis})"

    @property
    def grounds(self) -> list[str]:
        """The basis of all estimates: the model, its source, and its assumptions."""
        said = [f"Energy: {self.basis}.", f"Source: {self.chip.source}."]
        if self.chip.assumed:
            said.append(
                f"Assumed for {self.chip.name}: {'; '.join(self.chip.assumed)}."
            )
        return said


def costs(
    apply: Callable[..., Any] | AnalogFunction,
    params: PyTree,
    *inputs: Any,
    chip: AnyChip,
    device: Device,
    strategy: _chip.Strategies | None = None,
    layers: Layers | None = None,
    times: Sequence[float] | np.ndarray = (0.0,),
    items: int | None = None,
    repeats: Mapping[str, int] | None = None,
    ranges: Mapping[str, Any] | None = None,
    normalize: Normalize = "layer",
    met: Loads | None = None,
    key: PRNGKey | None = None,
    extrapolate: bool = False,
    **options: Any,
) -> Costs:
    """The costs of one inference of a network on a chip, with its weights programmed.

    Args:
        apply: `apply(params, *inputs)`, or an analog function with its own rules; a
            plain function gets the tiles and converters of the chip.
        params: trained parameters.
        *inputs: some real inputs; their moments weight the conductances.
        chip: a record, such as `calibrated(hermes())`.
        device: the device model; conductances at each time are its exact means.
        strategy: how weights become conductances; or
        layers: targets by path, such as those from `optimize_targets`.
        times: seconds since the first read, increasing.
        items: number of inferences in the inputs; the length of the first axis by
            default.
        repeats: needed if shapes do not tell, see `counts.count`.
        ranges: from `calibrate`.
        normalize: as in `encode_weights`, for `strategy`.
        met: loads for these inputs, if already known.
        key: draws one chip instead of using the means, for layers that measure as they
            program and have no expectation.
        extrapolate: whether times may lie outside what the device's source covers.
        **options: keyword arguments of the function.

    Raises:
        ValueError: if tiles of the rules are larger than those of the chip, or an
            argument is out of range; the message names it.

    Example:
        >>> from anajax.costs import calibrated, costs, hermes
        >>> found = costs(apply, params, x, chip=calibrated(hermes()), device=device,
        ...     strategy=strategy)
        >>> found.counts.total("tiles")
        1
    """
    check_times(device, times, extrapolate=extrapolate)
    checks.word("normalize", normalize, Normalize)
    function = on_chip(apply, chip)
    items = _items(inputs) if items is None else items
    report = function.report(params, *inputs, **options)
    layers = _layers(params, device, strategy, layers, report, normalize)
    cells = {path: v.targets.shape[-1] for path, v in layers.items()}
    counts = count_report(report, items=items, repeats=repeats)
    counts = _with_devices(counts, cells)
    _check_tiles(counts, chip)
    if met is None:
        met = loads(
            function, params, *inputs, drive=chip.drive, items=items, ranges=ranges,
            **options,
        )  # fmt: skip
    mean = _conductances(device, layers, jnp.asarray(times, float), key)
    driven = _sums(counts, {p: met[p] * g for p, g in mean.items()})
    whole = _sums(counts, mean)
    energy = [_energy(chip, v, driven[i]) for i, v in enumerate(counts.layers)]
    return Costs(
        chip=chip,
        counts=counts,
        times=np.asarray(times, float),
        energy={part: jnp.stack([e[part] for e in energy]) for part in PARTS},
        seconds=np.array([_time(chip, v, v.turns) for v in counts.layers]),
        busy=np.array([_time(chip, v, v.products / v.matrices) for v in counts.layers]),
        recalibration=sum(
            (_recalibration(chip, v, whole[i]) for i, v in enumerate(counts.layers)),
            jnp.zeros(len(times)),
        ),
        loads=met,
        efforts={path: effort(device, v.targets) for path, v in layers.items()},
    )


def _conductances(
    device: Device, layers: Layers, times: JArray, key: PRNGKey | None
) -> dict[str, JArray]:
    """Conductance of each weight's devices together `[times *weights]`, uS."""
    if key is None:
        table = moment_table(device, times, extrapolate=True)
        return {p: jnp.sum(table(v.targets).mean[1:], -1) for p, v in layers.items()}
    part = _chip.program(device, dict(layers), key=key)
    return {
        path: jnp.stack([jnp.sum(age(device, cells, t=t).g, -1) for t in times])
        for path, cells in part.cells.items()
    }


def on_chip(
    apply: Callable[..., Any] | AnalogFunction, chip: AnyChip
) -> AnalogFunction:
    """An analog function; a plain one gets the tiles of the chip and its input bits."""
    if isinstance(apply, AnalogFunction):
        return apply
    io = bits(dac=max(2, round(float(chip.bits_in))))
    tiles = TileRule(rows=chip.rows, columns=chip.columns)
    return analog(apply, Rule(".*", io=io, tiles=tiles))


def _layers(
    params: PyTree,
    device: Device,
    strategy: _chip.Strategies | None,
    layers: Layers | None,
    report: Any,
    normalize: Normalize,
) -> Layers:
    if (strategy is None) == (layers is None):
        got = "both" if layers is not None else "neither"
        checks.fail("strategy", "be given, or `layers`", got, "Pass one of them.")
    if layers is None:
        check_strategy(strategy, device)
        layers = _chip.encode_weights(
            params, strategy, select=report, normalize=normalize
        )
    missing = sorted({p.path for p in report.analog} - set(layers))
    if missing:
        checks.fail("layers", "have all weights", f"none for {missing}", "Add them.")
    return {p.path: layers[p.path] for p in report.analog}


def _with_devices(counts: Counts, cells: Mapping[str, int]) -> Counts:
    return Counts(
        tuple(
            dataclasses.replace(v, devices_per_weight=cells[v.path.split("+")[0]])
            for v in counts.layers
        )
    )


def _check_tiles(counts: Counts, chip: AnyChip) -> None:
    for v in counts.layers:
        size = math.ceil(v.rows / v.grid[0]), math.ceil(v.columns / v.grid[1])
        if size[0] > chip.rows or size[1] > chip.columns:
            rule = f"have tiles of at most {chip.rows} x {chip.columns}, those of "
            got = f"{size[0]} x {size[1]} for {v.path!r}"
            remedy = f"Pass tiles=TileRule(rows={chip.rows}, columns={chip.columns})."
            checks.fail("rules", f"{rule}{chip.name}", got, remedy)


def _sums(counts: Counts, values: Mapping[str, JArray]) -> list[JArray]:
    """Sums `[times]` of all weights of each layer."""
    each = {p: jnp.sum(v.reshape(v.shape[0], -1), 1) for p, v in values.items()}
    return [
        sum((each[p] for p in layer.path.split("+")), jnp.zeros(()))
        for layer in counts.layers
    ]


def _energy(chip: AnyChip, layer: LayerCounts, current: JArray) -> dict[str, JArray]:
    found = chip.parts(
        layer.conversions_in,
        layer.conversions_out,
        current,
        line=layer.columns / layer.grid[1] * layer.devices_per_weight,
        height=layer.rows / layer.grid[0],
        bits=_input_bits(chip, layer),
    )
    return {part: PJ * jnp.broadcast_to(e, current.shape) for part, e in found.items()}


def _recalibration(chip: AnyChip, layer: LayerCounts, current: JArray) -> JArray:
    """Each row of each matrix at full input once, through all converters."""
    products = layer.matrices * layer.rows
    each = dataclasses.replace(layer, products=products)
    found = chip.parts(
        products * layer.grid[1] * layer.slices,
        each.conversions_out,
        current * layer.slices,
        line=layer.columns / layer.grid[1] * layer.devices_per_weight,
        height=layer.rows / layer.grid[0],
        bits=_input_bits(chip, layer),
    )
    return PJ * sum(found.values(), jnp.zeros(()))


def _input_bits(chip: AnyChip, layer: LayerCounts) -> Any:
    return jnp.maximum(chip.bits_in / layer.slices, 1.0)


def _time(chip: AnyChip, layer: LayerCounts, products: float) -> float:
    return float(products * layer.slices * chip.read_time)
