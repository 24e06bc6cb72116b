"""Sweeps: one network on many variants of hardware, numbers in one trace.

Points whose hardware has the same structure form a group; a group is one trace,
whatever its numbers are. Every point sees the same chips (common keys).
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anajax import chip
from anajax._core.tree import replace
from anajax._core.types import Array, PRNGKey, PyTree
from anajax.analysis.hardware import Hardware
from anajax.analysis.network import System, one_chip
from anajax.analysis.points import chip_keys, over_points
from anajax.analysis.steps import Arrays, Step
from anajax.analysis.workload import Workload
from anajax.studies.config.hardware import PeripherySection
from anajax.studies.config.on_hardware import HardwareConfig
from anajax.studies.kinds.sweep_config import Point, SweepConfig, point_config, settings
from anajax.studies.kinds.sweep_results import dataset
from anajax.studies.report import results
from anajax.studies.store.drafts import Draft
from anajax.studies.store.folder import Folder
from anajax.studies.store.parts import Notify, Parts
from anajax.studies.ways.cases import uncovered
from anajax.studies.ways.deploy import (
    Deployed,
    attributes,
    calibrated,
    deploy,
    faulty_device,
    hardware_of,
    strategy_layers,
    system_of,
)

PART = 16
"""Points that are saved at once."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """One point of a sweep, ready for chips."""

    hardware: Hardware
    layers: dict[str, chip.LayerProgram]
    times: np.ndarray
    seed: int
    extrapolated: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """Points of one structure: one trace."""

    model: Callable[[Any, Any], Any]
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

    @property
    def parts(self) -> int:
        """How many parts there are to do."""
        return sum(-(-len(g.members) // PART) for g in self.groups)

    def run(self, folder: Folder, *, notify: Notify) -> Any:
        """Do all parts that are not done, and write the results.

        Args:
            folder: where parts and results are.
            notify: told of every part that is begun and finished.

        Returns:
            The results as an xarray Dataset, as written to `results.nc`.
        """
        parts = Parts(folder, notify)
        shape = (len(self.points), self.config.chips, len(self.config.times))
        found = {n: np.full(shape, np.nan) for n in _MEASURES}
        for i, group in enumerate(self.groups):
            for start in range(0, len(group.members), PART):
                some = group.members[start : start + PART]
                arrays = parts.get(
                    f"points-{i:02d}-{start:05d}",
                    lambda draft, some=some, group=group: self._measure(
                        group, some, draft
                    ),
                )
                for name in _MEASURES:
                    found[name][some] = arrays[name]
        about = attributes(self.config, self.work, self.base)
        data = dataset(self, found, results.attributes(folder.identity, **about))
        folder.write(results.RESULTS, results.to_netcdf(data))
        return data

    @property
    def call(self) -> int:
        """Chips of any points in one call of the compiled program."""
        return self.config.chunk * jax.local_device_count()

    def _measure(self, group: Group, members: list[int], draft: Draft) -> Arrays:
        options = self.config.sweep
        return measure(
            group.model,
            [self.variants[i] for i in members],
            size=min(PART, len(group.members)),
            chips=self.config.chips,
            chunk=self.config.chunk,
            stop_at_se=options.stop_at_se,
            batch=options.batch,
            step=draft.steps(self.call),
            call=self.call,
        )


_MEASURES = ("metric", "loss", "weight_rms_error")


def variant_model(system: System) -> Callable[[Any, Any], Any]:
    """The function of `over_points` for (index of a variant, of its layers, key).

    What points share is stacked (hardware, layers, times).
    """

    def model(point: tuple[Array, Array, PRNGKey], shared: PyTree) -> Any:
        i, j, key = point
        hardware, layers, times = shared
        alone = len(jax.tree.leaves(layers)[0]) == 1  # then nothing is copied
        own = _pick(layers, 0 if alone else j)
        return vars(one_chip(system, _pick(hardware, i), own, times[i], key))

    return model


def _pick(tree: PyTree, index: Any) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def measure(
    model: Callable[[Any, Any], Any],
    variants: list[Variant],
    *,
    size: int,
    chips: int,
    chunk: int = 1,
    stop_at_se: float | None = None,
    batch: int = 5,
    call: int | None = None,
    step: Step | None = None,
) -> Arrays:
    """Measures `[variants chips times]` by name, NaN for chips that were not needed.

    Args:
        model: from `variant_model`.
        variants: of one structure.
        size: variants to fill up to, so that all calls of a group share a trace.
        chips: most chips of each.
        chunk: chips at once (vmapped), which bounds the memory.
        stop_at_se: standard error of the metric at which a variant takes no more chips.
        batch: chips between two looks at it.
        call: see `over_points`.
        step: see `over_points`.
    """
    shared, layer = _stacked(variants, size)
    keys = [chip_keys(jax.random.key(v.seed), jnp.arange(chips)) for v in variants]
    shape = (len(variants), chips, variants[0].times.size)
    found = {n: np.full(shape, np.nan) for n in _MEASURES}
    every = batch if stop_at_se is not None else chips
    active = list(range(len(variants)))
    how: Any = {"chunk": chunk, "call": call, "step": step}
    for first in range(0, chips, every):
        if not active:
            break
        here = range(first, min(first + every, chips))
        pairs = np.array([(i, layer[i], c) for i in active for c in here])
        own = jnp.stack([keys[i][c] for i, _, c in pairs])
        point = jnp.asarray(pairs[:, 0]), jnp.asarray(pairs[:, 1]), own
        got = over_points(model, point, shared, **how)
        for name in _MEASURES:
            found[name][pairs[:, 0], pairs[:, 2]] = got[name]
        if stop_at_se is not None:
            active = [i for i in active if _error(found["metric"][i]) > stop_at_se]
    return found


def _error(metric: np.ndarray) -> float:
    """Largest standard error over times of the chips that are there `[chips times]`."""
    there = metric[~np.isnan(metric[:, 0])]
    return float(np.max(there.std(0, ddof=1)) / np.sqrt(len(there)))


def _stacked(variants: list[Variant], size: int) -> tuple[Any, list[int]]:
    """What variants share, stacked; and the index of each one's layers."""
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
    times = jnp.stack([jnp.asarray(v.times, float) for v in full])
    return (hardware, layers, times), layer


# --- preparation ----------------------------------------------------------------------


MESH = False


def prepare(config: SweepConfig, work: Workload, mesh: None) -> Sweep:
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
    )


class Builder:
    """Builds the variants of a sweep; what they have in common is built once."""

    def __init__(self, config: SweepConfig, work: Workload, base: Deployed):
        self.config, self.work = config, work
        self.systems: dict[str, Any] = {}
        self.models: dict[str, Callable] = {}
        programmed = self._program_key(config, base.hardware.device)
        self.programs = {programmed: base.layers}

    def build(self, config: HardwareConfig) -> tuple[Variant, tuple[Any, Callable]]:
        """A point, and its structure: what it shares with its group, and the model."""
        device = faulty_device(config)
        times = np.asarray(config.times)
        outside = uncovered(config, device, times)
        system_key, hardware = self._hardware(config, device)
        program = self._program_key(config, hardware.device)
        if program not in self.programs:
            self.programs[program] = strategy_layers(config, self.work, hardware.device)
        variant = Variant(
            hardware=hardware,
            layers=self.programs[program],
            times=times,
            seed=config.seed,
            extrapolated=outside,
        )
        leaves, tree = jax.tree.flatten((variant.hardware, variant.layers))
        shapes = tuple((jnp.shape(v), jnp.result_type(v)) for v in leaves)
        return variant, ((system_key, tree, shapes), self.models[system_key])

    def _hardware(self, config: HardwareConfig, device: Any) -> tuple[str, Hardware]:
        """The hardware, on a system that points of the same structure share."""
        section = config.periphery or PeripherySection()
        kinds = [section.dac_bits is None, section.adc_bits is None]
        kinds += [not section.output_noise, not section.wires]
        key = json.dumps(
            [kinds, section.rows, section.columns, section.inputs, section.outputs]
            + [config.compensation.scope, config.compensation.norms, config.normalize]
        )
        if key not in self.systems:
            system = system_of(config, self.work)
            self.systems[key] = calibrated(system)
            self.models[key] = variant_model(system)
        return key, hardware_of(config, device, *self.systems[key])

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


def _groups(structures: list[tuple[Any, Callable]]) -> list[Group]:
    groups: dict[Any, Group] = {}
    for i, (structure, model) in enumerate(structures):
        known = groups.setdefault(structure, Group(model=model, members=[]))
        known.members.append(i)
    return list(groups.values())
