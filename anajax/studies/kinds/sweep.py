"""Sweeps: one network on many variants of hardware, with shared traces.

Points whose hardware has the same structure form a group; a group shares one trace,
whatever its numbers are. Every point uses the same chips (common keys).
"""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.sharding import Mesh

from anajax import rng
from anajax._core.tree import replace
from anajax._core.types import Array
from anajax.analysis.engine import MEASURES, Arrays, Engine, Kept
from anajax.analysis.evaluate import as_times
from anajax.analysis.impaired import VariantModel
from anajax.analysis.metrics import of_outputs
from anajax.analysis.network import AnalogNetwork
from anajax.analysis.points import chip_keys, filled
from anajax.analysis.sharding import place
from anajax.analysis.workload import Workload
from anajax.devices.base import Device
from anajax.studies.bill import ARRAYS, Bill, labelled
from anajax.studies.config.on_hardware import HardwareConfig
from anajax.studies.kinds import sweep_page as page
from anajax.studies.kinds.base import Kind
from anajax.studies.kinds.sweep_config import Point, SweepConfig, point_config, settings
from anajax.studies.plan import (
    Case,
    Placed,
    bill_of,
    case_of,
    check_ways,
    engine_of,
    network_of,
    periphery_of,
)
from anajax.studies.programs import Programs
from anajax.studies.report import results
from anajax.studies.store.clock import Ahead
from anajax.studies.store.drafts import Draft, drop_all
from anajax.studies.store.parts import Parts
from anajax.studies.ways.base import Table
from anajax.studies.ways.site import Program

PART = 16
"""Number of points that are saved at once."""
ITEMS, SUBSETS = "item_metric", "subset_metric"
PART_ARRAYS = (*MEASURES, ITEMS, SUBSETS)
"""Arrays saved for them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Planned:
    """One point of a sweep, before it is programmed."""

    config: HardwareConfig
    network: AnalogNetwork
    case: Case
    program: str
    """Points with the same key have the same program, that of the first of them."""
    bill: Bill | None = None
    """Its costs, if the config names a chip."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """One point of a sweep, ready for chips."""

    placed: Placed
    times: np.ndarray
    recalibrate: Array | None
    seed: int

    @property
    def structure(self) -> Any:
        """Structure shared with the points of its group."""
        placed = self.placed
        numbers = placed.hardware, placed.layers, placed.params, self.recalibrate
        leaves, tree = jax.tree.flatten(numbers)
        shapes = tuple((jnp.shape(v), jnp.result_type(v)) for v in leaves)
        return placed.network, tree, shapes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep with complete and valid inputs."""

    config: SweepConfig
    work: Workload
    base: Planned
    """The config without the changes."""
    points: list[Point]
    planned: list[Planned]
    engine: Engine

    @property
    def parts(self) -> int:
        """Number of parts."""
        return len(self.ahead)

    @property
    def ahead(self) -> list[Ahead]:
        """What is known of each part before it begins, in order."""
        programs = [Ahead("program", chips=0.0)] * len(self.programs)
        left = range(len(self.planned), 0, -PART)
        return [*programs, *(Ahead("points", min(PART, n) / PART, 0.3) for n in left)]

    @property
    def report_seconds(self) -> float:
        """About the seconds that its one figure and report take."""
        return 1.2

    @functools.cached_property
    def programs(self) -> dict[str, Planned]:
        """By key, the point that defines the program: the base if it has that key."""
        wanted = {point.program for point in self.planned}
        first = {p.program: p for p in (*self.planned[::-1], self.base)}
        return {k: p for k, p in reversed(first.items()) if k in wanted}

    def run(self, parts: Parts, digital: np.ndarray) -> xr.Dataset:
        """Compute all parts that are not done yet.

        Args:
            parts: saves parts, and returns saved ones.
            digital: metric of the digital network `[items]`.
        """
        variants = self.variants(parts)
        groups: dict[Any, list[int]] = {}
        for i, variant in enumerate(variants):
            groups.setdefault(variant.structure, []).append(i)
        blocks = []
        for start in range(0, len(variants), PART):
            some = range(start, min(start + PART, len(variants)))

            def compute(draft: Draft, some: range = some) -> dict[str, Any]:
                found: dict[str, Any] = {}
                for i, members in enumerate(groups.values()):
                    own = [m for m in members if m in some]
                    if own:
                        size = min(PART, len(members))
                        each = [variants[m] for m in own]
                        kept = draft.section(f"{i}", len(own) / len(some))
                        values = self._measure(each, size, kept)
                        _enter(found, values, [m - some.start for m in own], len(some))
                return found

            name = f"points-{start:05d}"
            priced = ARRAYS if self.planned[0].bill else ()
            needs = (*PART_ARRAYS, *priced)
            blocks.append(parts.get(name, compute, needs=needs))
        drop_all(parts.folder)
        found = {}
        for n in PART_ARRAYS:
            every = np.concatenate([b[n] for b in blocks], axis=int(n == SUBSETS))
            found[n] = every.astype(np.float32 if n == ITEMS else float)
        group = np.empty(len(variants), int)
        for i, members in enumerate(groups.values()):
            group[members] = i
        data, made = self._labelled(found, group), self.planned[0].bill
        if made is None:
            return data
        spent = {n: np.concatenate([b[n] for b in blocks]) for n in ARRAYS}
        basis = "point", [p.bill.chip.basis for p in self.planned if p.bill]
        return labelled(data, made, spent, "point").assign(costs_basis=basis)

    def variants(self, parts: Parts) -> list[Variant]:
        """All points with their programs, which are made if they do not exist yet."""
        made = {}
        for i, (key, point) in enumerate(self.programs.items()):
            case = dataclasses.replace(point.case, label=f"program-{i:03d}")
            programs = Programs(
                point.config, point.network, case, parts, bill=point.bill
            )
            made[key] = programs.part(point.config.strategy)
        return [_variant(point, made[point.program]) for point in self.planned]

    def _labelled(self, found: Arrays, group: np.ndarray) -> xr.Dataset:
        """Measures over (point, chip, time), and what each point sets."""
        of_subset = np.moveaxis(found["subset_metric"], 0, 1)
        outside = np.stack([p.case.extrapolated for p in self.planned])
        device, axes = self.base.case.device, self.config.sweep.axes
        gap = self.config.sweep.gap
        data = results.measures(
            self.work, found | {"subset_metric": of_subset}, ("point",)
        )
        data = data.merge(results.times(self.config.times, outside, "point"))
        data = data.merge(results.devices({device.name: device}))
        keys = list(self.points[0])
        return (
            data.assign(
                seconds=(
                    ("point", "time"),
                    np.stack([p.case.times for p in self.planned]),
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
                **({} if gap is None else {"gap": gap}),
            )
        )

    def _measure(self, variants: list[Variant], size: int, kept: Kept) -> Arrays:
        numbers, layer = _stacked(variants, size, self.engine.mesh)
        network = variants[0].placed.network
        items = network.items
        items = items if self.engine.mesh is None else items.on(self.engine.mesh)
        chips = np.arange(self.config.chips)
        keys = [chip_keys(rng.key(v.seed), chips) for v in variants]
        count = self.work.x.shape[0]
        found = self.engine.measure(
            VariantModel(network),
            (np.arange(len(variants)), np.asarray(layer)),
            jnp.stack(keys),
            (numbers, items),
            times=len(self.config.times),
            items=count,
            subsets=self.work.subsets,
            whole=of_outputs(self.work.metric_fn, network.items.y, count),
            kept=kept,
        )
        spent = [v.placed.costs(v.times) for v in variants]
        return {n: getattr(found, n) for n in PART_ARRAYS} | {
            n: np.stack([s[n] for s in spent]) for n in spent[0]
        }


def column(values: list[Any]) -> np.ndarray:
    """Values of a key as numbers, or as texts if one is not a number."""
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return np.asarray(values, float)
    return np.asarray([v if isinstance(v, str) else json.dumps(v) for v in values])


def _stacked(
    variants: list[Variant], size: int, mesh: Mesh | None
) -> tuple[Any, list[int]]:
    """Numbers of variants, stacked and filled up; and which layers each of them has."""
    distinct: list[Placed] = []
    layer = []
    for v in variants:
        program = v.placed.program
        known = [i for i, d in enumerate(distinct) if d.program is program]
        layer += known or [len(distinct)]
        distinct += [] if known else [v.placed]
    if len(distinct) > 1:
        distinct += distinct[-1:] * (size - len(distinct))
    full = variants + variants[-1:] * (size - len(variants))

    def stack(*leaves: Any) -> Array:
        return jnp.stack([jnp.asarray(leaf) for leaf in leaves])

    hardware = jax.tree.map(stack, *(v.placed.hardware for v in full))
    programs = jax.tree.map(stack, *((d.layers, d.params) for d in distinct))
    every = [filled(jnp.asarray(v.times, float)) for v in full]
    times = jnp.stack([t for t, _ in every]), every[0][1]
    held = jax.tree.map(stack, *(v.recalibrate for v in full))
    if mesh is not None:
        programs = place(programs, mesh, cut="weights")
        hardware, times, held = place((hardware, times, held), mesh)
    return (hardware, programs, times, held), layer


# --- preparation ----------------------------------------------------------------------


def prepare(config: SweepConfig, work: Workload, mesh: Mesh | None) -> Sweep:
    """Check all inputs of a sweep, including all points.

    Raises:
        ModuleNotFoundError: if a package is missing.
        ValueError: if a point is not valid, or inputs do not fit each other.
    """
    configs = [point_config(config, p) for p in settings(config)]
    points = settings(config.with_files(lambda file: Path(file).name))
    counts = {len(c.times) for c in configs}
    if counts != {len(config.times)}:
        raise ValueError(
            f"`times` must have one length at every point: got {sorted(counts)}, and "
            f"{len(config.times)} without the sweep. Give lists of one length."
        )
    known: tuple[dict, dict] = {}, {}
    base, *planned = (_planned(c, config, work, *known) for c in (config, *configs))
    return Sweep(
        config=config,
        work=work,
        base=base,
        points=points,
        planned=planned,
        engine=engine_of(config, mesh),
    )


def _planned(
    config: HardwareConfig,
    sweep: SweepConfig,
    work: Workload,
    networks: dict[AnalogNetwork, AnalogNetwork],
    bills: dict[Any, Bill | None],
) -> Planned:
    """A point that is valid; equal networks are one, which is calibrated once."""
    case = case_of(config, config.device)
    check_ways(config, work, case.device)
    network = network_of(config, work)
    network = networks.setdefault(network, network)
    periphery = periphery_of(config)
    network.hardware(case.device, periphery)
    priced = network, periphery, config.costs
    if priced not in bills:
        bills[priced] = bill_of(config, network, periphery)
    return Planned(
        config=config,
        network=network,
        case=case,
        program=_program_key(config, sweep, case.bare),
        bill=bills[priced],
    )


def _program_key(config: HardwareConfig, sweep: SweepConfig, device: Device) -> str:
    sections = ["strategy", "optimizer", "training", "compensation", "normalize"]
    if sweep.sweep.program == "each":
        sections += ["device", "faults", "times", "seed", "extrapolate"]
        sections += [] if isinstance(config.strategy, Table) else ["periphery"]
    asked = config.model_dump(mode="json", include=set(sections))
    levels = None if device.levels is None else np.asarray(device.levels).tolist()
    span = [float(device.g_min), float(device.g_max), levels]
    kind = str(jax.tree.structure(replace(device, faults=None)))
    return json.dumps([asked, span, kind], sort_keys=True)


def _variant(point: Planned, program: Program) -> Variant:
    config, network = point.config, point.network
    hardware = network.hardware(
        point.case.device, periphery_of(config), params=program.params
    )
    return Variant(
        placed=Placed(
            network=network, hardware=hardware, program=program, bill=point.bill
        ),
        times=point.case.times,
        recalibrate=as_times(config.compensation.recalibrate),
        seed=config.seed,
    )


def _enter(found: Arrays, values: Arrays, places: list[int], count: int) -> None:
    """Values of some of `count` points, in place; subsets stand before points."""
    for name, value in values.items():
        axis = int(name == SUBSETS)
        shape = (*value.shape[:axis], count, *value.shape[axis + 1 :])
        every = found.setdefault(name, np.empty(shape, value.dtype))
        every[(slice(None),) * axis + (places,)] = value


KIND = Kind(
    name="sweep",
    config=SweepConfig,
    prepare=prepare,
    title=page.title,
    blocks=page.blocks,
    assumptions=page.assumptions,
)
