"""Sweeps: one network on many variants of hardware, numbers in one trace.

Points whose hardware has the same structure form a group; a group is one trace,
whatever its numbers are. Every point sees the same chips (common keys).
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.sharding import Mesh

from anajax import chip, rng
from anajax._core.tree import replace
from anajax._core.types import Array
from anajax.analysis.engine import MEASURES, Arrays, Engine
from anajax.analysis.evaluate import as_times
from anajax.analysis.hardware import Hardware
from anajax.analysis.impaired import VariantModel
from anajax.analysis.points import chip_keys, filled
from anajax.analysis.sharding import place
from anajax.analysis.workload import Workload
from anajax.studies.bill import Bill, labelled
from anajax.studies.config.on_hardware import HardwareConfig
from anajax.studies.kinds import sweep_page as page
from anajax.studies.kinds.base import Kind
from anajax.studies.kinds.sweep_config import Point, SweepConfig, point_config, settings
from anajax.studies.plan import (
    Deployed,
    bill_of,
    deploy,
    device_of,
    engine_of,
    network_of,
    periphery_of,
    strategy_layers,
    uncovered,
)
from anajax.studies.report import results
from anajax.studies.store.drafts import Draft
from anajax.studies.store.parts import Parts

PART = 16
"""Points that are saved at once."""
PART_ARRAYS = (*MEASURES, "item_metric", "subset_metric")
"""What is saved of them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """One point of a sweep, ready for chips."""

    hardware: Hardware
    layers: dict[str, chip.LayerProgram]
    times: np.ndarray
    recalibrate: Array | None
    seed: int
    extrapolated: np.ndarray
    bill: Bill | None = None
    """What it costs, where the config says on which chip."""

    def costs(self) -> Arrays:
        """Arrays of what it costs."""
        if self.bill is None:
            return {}
        return self.bill(self.layers, self.hardware.device, self.times)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """Points of one structure: one trace."""

    model: "VariantModel"
    members: list[int]
    """Indices of the points."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep whose inputs are all there and valid."""

    config: SweepConfig
    work: Workload
    base: Deployed
    """The config without the changes."""
    points: list[Point]
    variants: list[Variant]
    groups: list[Group]
    engine: Engine

    @property
    def parts(self) -> int:
        """How many parts there are to do."""
        return sum(-(-len(g.members) // PART) for g in self.groups)

    def run(self, parts: Parts, digital: np.ndarray) -> xr.Dataset:
        """Do all parts that are not done.

        Args:
            parts: what is done; saves what is not.
            digital: metric of the digital network `[items]`.
        """
        points, times = len(self.points), len(self.config.times)
        shape, subsets = (points, self.config.chips, times), len(self.work.subsets)
        found = {n: np.full(shape, np.nan) for n in MEASURES}
        found["item_metric"] = np.empty((points, times, digital.size), np.float32)
        found["subset_metric"] = np.empty((subsets, *shape))
        spent = self._unspent()
        for i, group in enumerate(self.groups):
            for start in range(0, len(group.members), PART):
                some = group.members[start : start + PART]
                arrays = parts.get(
                    f"points-{i:02d}-{start:05d}",
                    lambda draft, some=some, group=group: self._measure(
                        group, some, draft
                    ),
                    needs=(*PART_ARRAYS, *spent),
                )
                for name, values in found.items():
                    values[..., some, :, :] = arrays[name]
                for name, values in spent.items():
                    values[some] = arrays[name]
        return self._with_costs(self._labelled(found), spent)

    def _unspent(self) -> Arrays:
        """Arrays of costs `[points ...]` to fill, where there are any."""
        made = self.variants[0].bill
        one = {} if made is None else made.none(len(self.config.times))
        return {n: np.stack([v] * len(self.points)) for n, v in one.items()}

    def _with_costs(self, data: xr.Dataset, spent: Arrays) -> xr.Dataset:
        """The results with what each point costs, and what that rests on."""
        if not spent:
            return data
        bills = [v.bill for v in self.variants if v.bill is not None]
        basis = "point", [b.chip.basis for b in bills]
        return labelled(data, bills[0], spent, "point").assign(costs_basis=basis)

    def _labelled(self, found: Arrays) -> xr.Dataset:
        """Measures over (point, chip, time), and what each point sets."""
        of_subset = np.moveaxis(found["subset_metric"], 0, 1)
        outside = np.stack([v.extrapolated for v in self.variants])
        device, axes = self.base.device, self.config.sweep.axes
        data = results.measures(
            self.work, found | {"subset_metric": of_subset}, ("point",)
        )
        data = data.merge(results.times(self.config.times, outside, "point"))
        data = data.merge(results.devices({device.name: device}))
        group = np.empty(len(self.points), int)
        for i, g in enumerate(self.groups):
            group[g.members] = i
        keys = list(self.points[0])
        return (
            data.assign(
                seconds=(
                    ("point", "time"),
                    np.stack([v.times for v in self.variants]),
                    {"units": "s"},
                ),
                group=("point", group, {"comment": "one trace each"}),
                **{
                    f"set:{k}": ("point", column([p[k] for p in self.points]))
                    for k in keys
                },
            )
            .assign_coords(point=np.arange(len(self.points)))
            .assign_attrs(
                keys=json.dumps(keys),
                axes=json.dumps([[a.keys, len(a.values)] for a in axes or []]),
                strategy=self.config.strategy.title,
            )
        )

    def _measure(self, group: Group, members: list[int], draft: Draft) -> Arrays:
        variants = [self.variants[i] for i in members]
        size = min(PART, len(group.members))
        numbers, layer = _stacked(variants, size, self.engine.mesh)
        items = group.model.network.items
        items = items if self.engine.mesh is None else items.on(self.engine.mesh)
        chips = np.arange(self.config.chips)
        keys = [chip_keys(rng.key(v.seed), chips) for v in variants]
        found = self.engine.measure(
            group.model,
            (np.arange(len(members)), np.asarray(layer)),
            jnp.stack(keys),
            (numbers, items),
            times=len(self.config.times),
            items=self.work.x.shape[0],
            subsets=self.work.subsets,
            kept=draft,
        )
        spent = [v.costs() for v in variants]
        return {n: getattr(found, n) for n in PART_ARRAYS} | {
            n: np.stack([s[n] for s in spent]) for n in spent[0]
        }


def column(values: list[Any]) -> np.ndarray:
    """Values of a key as numbers, or as texts where one is no number."""
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return np.asarray(values, float)
    return np.asarray([v if isinstance(v, str) else json.dumps(v) for v in values])


def _stacked(
    variants: list[Variant], size: int, mesh: Mesh | None
) -> tuple[Any, list[int]]:
    """Numbers of variants, stacked and filled up; and which layers each of them has."""
    distinct: list[dict] = []
    layer = []
    for v in variants:
        known = [i for i, d in enumerate(distinct) if d is v.layers]
        layer += known or [len(distinct)]
        distinct += [] if known else [v.layers]
    if len(distinct) > 1:
        distinct += distinct[-1:] * (size - len(distinct))
    full = variants + variants[-1:] * (size - len(variants))

    def stack(*leaves: Any) -> Array:
        return jnp.stack([jnp.asarray(leaf) for leaf in leaves])

    hardware = jax.tree.map(stack, *(v.hardware for v in full))
    layers = jax.tree.map(stack, *distinct)
    every = [filled(jnp.asarray(v.times, float)) for v in full]
    times = jnp.stack([t for t, _ in every]), every[0][1]
    held = jax.tree.map(stack, *(v.recalibrate for v in full))
    if mesh is not None:
        layers = place(layers, mesh, cut="weights")
        hardware, times, held = place((hardware, times, held), mesh)
    return (hardware, layers, times, held), layer


# --- preparation ----------------------------------------------------------------------


def prepare(config: SweepConfig, work: Workload, mesh: Mesh | None) -> Sweep:
    """Check all inputs of a sweep, all points included.

    Raises:
        ModuleNotFoundError: if a package is missing.
        ValueError: for a point that is not valid, or inputs that do not fit each other.
    """
    configs = [point_config(config, p) for p in settings(config)]
    points = settings(config.with_files(lambda file: Path(file).name))
    counts = {len(c.times) for c in configs}
    if counts != {len(config.times)}:
        raise ValueError(
            f"`times` must be as many at every point: got {sorted(counts)}, and "
            f"{len(config.times)} without the sweep. Give lists of one length."
        )
    base = deploy(config, work)
    builder = Builder(config, work, base)
    variants, structures = zip(*(builder.build(c) for c in configs), strict=True)
    return Sweep(
        config=config,
        work=work,
        base=base,
        points=points,
        variants=list(variants),
        groups=_groups(list(structures)),
        engine=engine_of(config, mesh),
    )


class Builder:
    """Builds the variants of a sweep; what they have in common is built once."""

    def __init__(self, config: SweepConfig, work: Workload, base: Deployed):
        self.config, self.work = config, work
        self.networks = {base.network: base.network}
        self.bills: dict[Any, Bill | None] = {}
        programmed = self._program_key(config, base.hardware.device)
        self.programs = {programmed: base.layers}

    def build(self, config: HardwareConfig) -> tuple[Variant, tuple[Any, VariantModel]]:
        """A point, and its structure: what it shares with its group, and the model."""
        device = device_of(config, config.device)
        times = np.asarray(config.times)
        outside = uncovered(config, device, times)
        network = network_of(config, self.work)
        network = self.networks.setdefault(network, network)
        periphery = periphery_of(config)
        hardware = network.hardware(device, periphery)
        priced = network, periphery, config.costs
        if priced not in self.bills:
            self.bills[priced] = bill_of(config, network, periphery)
        program = self._program_key(config, hardware.device)
        if program not in self.programs:
            self.programs[program] = strategy_layers(config, network, hardware.device)
        variant = Variant(
            hardware=hardware,
            layers=self.programs[program],
            times=times,
            recalibrate=as_times(config.compensation.recalibrate),
            seed=config.seed,
            extrapolated=outside,
            bill=self.bills[priced],
        )
        numbers = variant.hardware, variant.layers, variant.recalibrate
        leaves, tree = jax.tree.flatten(numbers)
        shapes = tuple((jnp.shape(v), jnp.result_type(v)) for v in leaves)
        return variant, ((network, tree, shapes), VariantModel(network))

    def _program_key(self, config: HardwareConfig, device: Any) -> str:
        """Points of the same key have the same targets."""
        sections = ["strategy", "optimizer", "compensation", "normalize"]
        if self.config.sweep.program == "each":
            sections += ["device", "faults", "times", "seed", "extrapolate"]
        asked = config.model_dump(mode="json", include=set(sections))
        levels = None if device.levels is None else np.asarray(device.levels).tolist()
        span = [float(device.g_min), float(device.g_max), levels]
        kind = str(jax.tree.structure(replace(device, faults=None)))
        return json.dumps([asked, span, kind], sort_keys=True)


def _groups(structures: list[tuple[Any, VariantModel]]) -> list[Group]:
    groups: dict[Any, Group] = {}
    for i, (structure, model) in enumerate(structures):
        known = groups.setdefault(structure, Group(model=model, members=[]))
        known.members.append(i)
    return list(groups.values())


KIND = Kind(
    name="sweep",
    config=SweepConfig,
    prepare=prepare,
    title=page.title,
    blocks=page.blocks,
    assumptions=page.assumptions,
)
