"""Costs of programs on the chip that a config names, as arrays for results.

Every array is based on the model in the attribute `costs` of the results.
"""

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from anajax import rng
from anajax._core.tree import replace
from anajax._core.types import JArray, PyTree
from anajax.analysis.hardware import Periphery
from anajax.analysis.network import AnalogNetwork
from anajax.chip import LayerProgram
from anajax.costs.array import Loads, loads
from anajax.costs.chips import PARTS, AnyChip, ChipRecord, efficiency
from anajax.costs.counts import count_report
from anajax.costs.estimate import Costs, costs
from anajax.costs.known import CostOptions, adapted, find_chip
from anajax.crossbar.periphery import bits, stacked
from anajax.crossbar.tiling import TileRule
from anajax.devices.base import Device
from anajax.transformation import AnalogFunction, Rule, analog

ARRAYS = {
    "energy": (("time",), "uJ", "of one inference"),
    "part_energy": (("part", "time"), "uJ", "of one inference, by part of the chip"),
    "layer_energy": (("cost_layer", "time"), "uJ", "of one inference, by weight"),
    "tops_per_watt": (("time",), "1/pJ", "operations, two a weight and product"),
    "latency": ((), "s", "from input to output"),
    "layer_latency": (("cost_layer",), "s", "of one inference"),
    "throughput": ((), "1/s", "inferences with all layers at work"),
    "area": ((), "mm2", "of all tiles"),
}  # fmt: skip
"""Dimensions, unit and meaning of each array."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Bill:
    """The costs of a network, under any program, on the chip that a config names."""

    chip: AnyChip
    network: AnalogNetwork
    periphery: Periphery
    """With the structure of the network's periphery."""
    inputs: int
    """Calibration inputs from which loads are computed."""
    _known: list = dataclasses.field(default_factory=list, init=False, repr=False)

    def __call__(
        self,
        layers: Mapping[str, LayerProgram],
        device: Device,
        times: np.ndarray,
        *,
        params: PyTree = None,
        loop: bool = False,
    ) -> dict[str, np.ndarray]:
        """The cost arrays of a program; arguments as for `costs`."""
        return _arrays(self.costs(layers, device, times, params=params, loop=loop))

    def costs(
        self,
        layers: Mapping[str, LayerProgram],
        device: Device,
        times: np.ndarray,
        *,
        params: PyTree = None,
        loop: bool = False,
    ) -> Costs:
        """The costs of a program.

        Args:
            layers: targets by path.
            device: device of the program.
            times: seconds since the first read.
            params: trained parameters, those of the network by default.
            loop: whether it measures as it programs, so that conductances are taken
                from one drawn chip.
        """
        params = self.network.work.params if params is None else params
        layers = layers if loop else {p: _used(v) for p, v in layers.items()}
        return costs(
            self._function, params, self._x, chip=self.chip, device=device,
            layers=layers, times=times, met=self.loads(params), extrapolate=True,
            key=rng.key(0) if loop else None,
        )  # fmt: skip

    def loads(self, params: PyTree) -> Loads:
        """The loads of the weights; computed once per object."""
        known = [found for given, found in self._known if given is params]
        if not known:
            ios = self.network.ios(params, self.periphery)
            known = [
                loads(
                    self._function, params, self._x, drive=self.chip.drive,
                    ranges={site: stacked(io) for site, io in ios.items()} or None,
                )
            ]  # fmt: skip
            self._known.append((params, known[0]))
        return known[0]

    def none(self, times: int) -> dict[str, np.ndarray]:
        """Cost arrays of a network that is on no chip, all NaN."""
        sizes = {"time": times, "part": len(PARTS), "cost_layer": len(self.paths)}
        return {
            name: np.full([sizes[d] for d in dims], np.nan)
            for name, (dims, *_) in ARRAYS.items()
        }

    @functools.cached_property
    def paths(self) -> list[str]:
        """Weights by path; joined ones count as one."""
        return [v.path for v in count_report(self._report, items=1).layers]

    @property
    def text(self) -> str:
        """The description for the results, as JSON."""
        about = self.chip
        return json.dumps(
            {
                "chip": about.name, "basis": about.basis, "source": about.source,
                "assumed": list(about.assumed), "area": about.area_basis,
                "bits": [float(about.bits_in), _bits_out(about)],
                "tiles": [about.rows, about.columns],
            }
        )  # fmt: skip

    @property
    def _x(self) -> JArray:
        return self.network.work.calibration[: self.inputs]

    @property
    def _report(self) -> Any:
        return self._function.report(self.network.work.params, self._x)

    @functools.cached_property
    def _function(self) -> AnalogFunction:
        io = self.network.periphery.io() or bits(dac=round(float(self.chip.bits_in)))
        tiles = TileRule(rows=self.chip.rows, columns=self.chip.columns)
        return analog(self.network.work.apply, Rule(".*", io=io, tiles=tiles))


def bill(
    options: CostOptions | None,
    network: AnalogNetwork,
    periphery: Periphery | None = None,
) -> Bill | None:
    """The costs that a study requests for its programs, if any.

    Converters have the bits of the periphery if it has any, otherwise those of the
    chip; tiles are those of the chip, or smaller ones if the periphery requests them.

    Args:
        options: options of the config.
        network: network that is programmed.
        periphery: with the structure of the network's periphery; that one by default.

    Raises:
        ValueError: if the record of the chip does not cover them.
    """
    if options is None:
        return None
    periphery = periphery or network.periphery
    made = find_chip(
        options.chip, bits_in=periphery.dac_bits, bits_out=periphery.adc_bits
    )
    if isinstance(made, ChipRecord):
        made = adapted(made, **_smaller(made, periphery))
    efficiency(made)  # refuses what its models do not cover
    made = options.finish(made)
    return Bill(chip=made, network=network, periphery=periphery, inputs=options.inputs)


def _smaller(made: ChipRecord, periphery: Periphery) -> dict[str, int]:
    asked = {"rows": periphery.rows, "columns": periphery.columns}
    return {k: v for k, v in asked.items() if v is not None and v < getattr(made, k)}


def labelled(
    data: xr.Dataset, made: Bill | None, arrays: Mapping[str, Any], *dims: str
) -> xr.Dataset:
    """Results with the arrays of costs added, with some leading dimensions.

    Args:
        data: results.
        made: basis of the costs; None adds nothing.
        arrays: by name `[*dims ...]`.
        dims: names of the leading dimensions.
    """
    if made is None:
        return data
    added = {
        name: ((*dims, *of), arrays[name], {"units": unit, "comment": what})
        for name, (of, unit, what) in ARRAYS.items()
    }
    coords = {"part": list(PARTS), "cost_layer": made.paths}
    found = data.assign(added).assign_coords(coords)
    return found.assign_attrs(costs=made.text)


def _used(layer: LayerProgram) -> LayerProgram:
    """The layer without devices that count 0, which studies add to share a trace."""
    coefficients = np.asarray(layer.coefficients)
    if coefficients.ndim != 1 or np.all(coefficients):
        return layer
    kept = np.flatnonzero(coefficients)
    return replace(
        layer,
        targets=layer.targets[..., kept],
        coefficients=layer.coefficients[kept],
    )


def _arrays(found: Costs) -> dict[str, np.ndarray]:
    parts = np.stack([np.asarray(found.energy[p]) for p in PARTS])
    area = np.nan if found.area is None else found.area
    return {
        "energy": np.asarray(found.per_inference),
        "part_energy": parts.sum(1),
        "layer_energy": parts.sum(0),
        "tops_per_watt": np.asarray(found.tops_per_watt),
        "latency": np.asarray(found.latency),
        "layer_latency": np.asarray(found.seconds),
        "throughput": np.asarray(found.throughput),
        "area": np.asarray(area),
    }


def _bits_out(about: AnyChip) -> float | None:
    return float(about.bits_out) if isinstance(about, ChipRecord) else None
