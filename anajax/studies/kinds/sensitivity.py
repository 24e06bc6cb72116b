"""Sensitivity studies: which imperfection of the hardware matters most."""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.sharding import Mesh

from anajax import rng
from anajax.analysis.designs import Design, make_design
from anajax.analysis.elasticities import elasticities
from anajax.analysis.engine import MEASURES, Arrays, Engine, Kept, Tally
from anajax.analysis.evaluate import as_times
from anajax.analysis.hardware import present
from anajax.analysis.impaired import ImpairedModel, greedy_order, grow, numbers
from anajax.analysis.metrics import of_outputs
from anajax.analysis.points import chip_keys, filled
from anajax.analysis.sharding import place
from anajax.analysis.workload import Workload
from anajax.studies.bill import labelled
from anajax.studies.kinds import sensitivity_page as page
from anajax.studies.kinds import sensitivity_results as arrays
from anajax.studies.kinds.base import Kind
from anajax.studies.kinds.sensitivity_config import (
    GlobalSection,
    GradientsSection,
    LayersSection,
    SensitivityConfig,
)
from anajax.studies.plan import Deployed, Placed, deploy, engine_of
from anajax.studies.programs import Programs
from anajax.studies.report import results
from anajax.studies.report.statistics import mean_and_error
from anajax.studies.store.clock import Ahead
from anajax.studies.store.drafts import Draft, drop_all
from anajax.studies.store.parts import Parts

BLOCK = 64
"""Number of points of a design that are saved at once."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """A sensitivity study with complete and valid inputs."""

    config: SensitivityConfig
    work: Workload
    deployed: Deployed
    designs: dict[str, Design]
    """Requested designs, by analysis."""
    engine: Engine

    @property
    def names(self) -> list[str]:
        """Imperfections that are scaled one at a time."""
        section = self.config.one_at_a_time
        return [] if section is None else chosen(section.imperfections, self.deployed)

    @property
    def parts(self) -> int:
        """Number of parts."""
        return len(self.ahead)

    @property
    def ahead(self) -> list[Ahead]:
        """What is known of each part before it begins, in order."""
        config, layers, found = self.config, len(self.paths), [Ahead("program", 0.0)]
        for name, design in self.designs.items():
            chips, left = getattr(config, name).chips, len(design.points)
            for n in range(left, 0, -BLOCK):
                found.append(Ahead("points", min(BLOCK, n) * chips, 0.3))
        if config.one_at_a_time is not None:
            most = config.chips * len(config.one_at_a_time.factors)
            found += [Ahead("grown", 0.6 * most)] * len(self.names)  # it ends early
        if config.gradients is not None:
            found.append(Ahead("gradients", 0.0, 1.0))
        if config.layers is not None:
            chips, greedy = config.layers.chips, config.layers.order == "greedy"
            found.append(Ahead("points", chips * layers, 0.3))
            for step in range(layers + 1):
                tried = layers - step + 1 if greedy and step else 1
                found.append(Ahead("points", chips * tried, 0.3))
        return found

    @property
    def paths(self) -> list[str]:
        """Paths of the layers."""
        return [p.path for p in self.deployed.network.report.analog]

    def run(self, parts: Parts, digital: np.ndarray) -> xr.Dataset:
        """Compute all parts that are not done yet.

        Args:
            parts: saves parts, and returns saved ones.
            digital: metric of the digital network `[items]`.
        """
        config, d = self.config, self.deployed
        programs = Programs(config, d.network, d.case, parts, bill=d.bill)
        placed = d.placed(programs.part(config.strategy))
        return Runner(self, placed, parts).run(digital)


class Runner:
    """Measures a program on degraded hardware, or with only some layers analog."""

    def __init__(self, study: Sensitivity, placed: Placed, parts: Parts):
        self.config, self.work, self.engine = study.config, study.work, study.engine
        self.study, self.placed, self.parts = study, placed, parts
        self.paths = study.paths

    @functools.cached_property
    def shared(self) -> tuple[Any, ...]:
        """Data common to all points, on the mesh if there is one."""
        placed, mesh = self.placed, self.engine.mesh
        times = filled(jnp.asarray(self.config.times[-1:], float))
        held = as_times(self.config.compensation.recalibrate)
        items, rest = placed.network.items, (placed.hardware, times, held)
        programmed = placed.layers, placed.params
        if mesh is not None:
            items, programmed = items.on(mesh), place(programmed, mesh, cut="weights")
            rest = place(rest, mesh)
        return *programmed, items, *rest

    def measure(
        self, points: np.ndarray, chips: int, kept: Kept, *, stop: bool = False
    ) -> Tally:
        """Results of chips at points of `numbers`.

        Args:
            points: numbers of each point.
            chips: number of chips per point.
            kept: storage for the results.
            stop: whether to stop measuring chips at a point once the mean is known well
                enough.
        """
        engine = self.engine
        engine = engine if stop else dataclasses.replace(engine, stop_at_se=None)
        network, items = self.placed.network, self.work.x.shape[0]
        return engine.measure(
            ImpairedModel(network),
            points,
            chip_keys(rng.key(self.config.seed), np.arange(chips)),
            self.shared,
            times=1,
            items=items,
            subsets=self.work.subsets,
            whole=of_outputs(self.work.metric_fn, network.items.y, items),
            kept=kept,
        )

    def run(self, digital: np.ndarray) -> xr.Dataset:
        """Compute all parts that are not done yet.

        Args:
            digital: metric of the digital network `[items]`.
        """
        config, case = self.config, self.study.deployed.case
        tables = [
            arrays.design(name, plan, self._designed(name, plan))
            for name, plan in self.study.designs.items()
        ]
        if config.one_at_a_time is not None:
            grown = {n: self._grown(n, digital) for n in self.study.names}
            tables.append(
                arrays.one_at_a_time(config.one_at_a_time, self.placed, grown)
            )
        if config.gradients is not None:
            tables.append(arrays.gradients(self._gradients(config.gradients)))
        if config.layers is not None:
            found = self._layers(config.layers)
            tables.append(
                arrays.layers(self.placed.network, found, config.layers.order)
            )
        tables.append(results.devices({case.device.name: case.device}))
        tables.append(results.times(config.times[-1:], case.extrapolated[-1:]))
        drop_all(self.parts.folder)
        data = xr.merge(
            tables, compat="no_conflicts", join="outer", combine_attrs="no_conflicts"
        )
        data = data.assign_attrs(strategy=config.strategy.title)
        spent = self.placed.costs(np.asarray(config.times[-1:]))
        return labelled(data, self.placed.bill, spent)

    def _grown(self, name: str, digital: np.ndarray) -> Arrays:
        section = self.config.one_at_a_time
        assert section is not None
        sign = 1.0 if self.work.higher_is_better else -1.0
        layers, subsets = len(self.paths), list(self.work.subsets.values())

        def compute(draft: Draft) -> dict[str, Any]:
            def at(factor: float) -> tuple[np.ndarray, ...]:
                """Metric of each chip, of each item, and of each subset and chip."""
                point = numbers(layers, {name: np.asarray([factor])})
                share = 1 / len(section.factors)
                kept = draft.section(f"{factor:.17g}", share)
                found = self.measure(point, self.config.chips, kept, stop=True)
                of_subset = found.subset_metric[:, 0, :, 0]
                several = found.metric[0, :, 0], found.item_metric[0, 0], of_subset
                return tuple(v.astype(float) for v in several)

            items = digital.astype(float)
            means = np.asarray([items[mask].mean() for mask in subsets])
            reference = items.mean(), items, means.reshape(-1, 1)
            if section.against == "nominal":
                reference = at(1.0)
            of_items, of_subsets = [], []

            def lost(factor: float) -> tuple[np.ndarray, float]:
                chips, each, subset = (
                    sign * (r - v) for r, v in zip(reference, at(factor), strict=True)
                )
                of_items.append(each)
                of_subsets.append(subset)
                return chips, float(mean_and_error(each)[1])

            factors, gaps, errors = grow(lost, section.factors, section.gap)
            return {
                "factors": factors,
                "gaps": gaps,
                "item_error": errors,
                "item_gap": np.asarray(of_items, np.float32),
                "subset_gap": np.asarray(of_subsets),
            }

        return self.parts.get(f"grown-{name}", compute, needs=("item_gap",))

    def _gradients(self, section: GradientsSection) -> Arrays:
        d = self.placed

        def compute(_: Draft) -> dict[str, Any]:
            found = elasticities(
                d.network,
                d.hardware,
                d.layers,
                self.work.calibration[: section.inputs],
                self.config.times[-1],
                key=rng.key(self.config.seed),
                chips=section.chips,
                params=d.params,
                recalibrate=self.config.compensation.recalibrate,
                mesh=self.engine.mesh,
            )
            return vars(found)

        return self.parts.get("gradients", compute)

    def _designed(self, name: str, design: Design) -> Arrays:
        section = getattr(self.config, name)
        layers = len(self.paths)

        def at(points: np.ndarray) -> np.ndarray:
            factors = dict(zip(design.names, 2.0**points.T, strict=True))
            return numbers(layers, factors)

        blocks = []
        for i, start in enumerate(range(0, len(design.points), BLOCK)):
            points = at(design.points[start : start + BLOCK])

            def compute(draft: Draft, points: np.ndarray = points) -> dict[str, Any]:
                found = self.measure(points, section.chips, draft)
                every = {n: getattr(found, n)[:, :, 0] for n in sorted(MEASURES)}
                return {n: np.mean(v, 1, dtype=float) for n, v in every.items()}

            blocks.append(self.parts.get(f"{design.method}-{i:04d}", compute))
        return {n: np.concatenate([b[n] for b in blocks]) for n in sorted(MEASURES)}

    def _layers(self, section: LayersSection) -> Arrays:
        paths, parts = self.paths, self.parts

        def measure(masks: np.ndarray, draft: Draft) -> Arrays:
            points = numbers(len(paths), {}, masks)
            found = self.measure(points, section.chips, draft)
            return {n: getattr(found, n)[:, :, 0] for n in ("metric", "loss")}

        each = np.eye(len(paths), dtype=bool)
        alone = parts.get("layers", lambda draft: measure(each, draft))

        def at_step(masks: np.ndarray, step: int) -> Arrays:
            return parts.get(f"order-{step:03d}", lambda draft: measure(masks, draft))

        if section.order == "greedy":
            order, found = greedy_order(at_step, len(paths))
        else:
            order = [int(i) for i in np.argsort(-alone["loss"].mean(1), kind="stable")]
            steps = []
            for step in range(len(paths) + 1):
                mask = np.ones((1, len(paths)), bool)
                mask[0, order[:step]] = False
                steps.append(at_step(mask, step))
            found = {n: np.stack([s[n][0] for s in steps]) for n in alone}
        return {
            **{f"alone_{n}": v for n, v in alone.items()},
            **{f"order_{n}": v for n, v in found.items()},
            "order": np.asarray([paths[i] for i in order]),
        }


def prepare(
    config: SensitivityConfig, work: Workload, mesh: Mesh | None
) -> Sensitivity:
    """Check all inputs of a sensitivity study.

    Raises:
        ModuleNotFoundError: if a package is missing.
        ValueError: if inputs do not fit each other.
    """
    deployed = deploy(config, work)
    designs = {}
    for name, method in (("screening", "morris"), ("variance", "sobol")):
        section = getattr(config, name)
        if section is not None:
            designs[name] = _design(method, section, deployed, config.seed)
    if config.one_at_a_time is not None:
        chosen(config.one_at_a_time.imperfections, deployed)
    return Sensitivity(
        config=config,
        work=work,
        deployed=deployed,
        designs=designs,
        engine=engine_of(config, mesh),
    )


def _design(
    method: str, section: GlobalSection, deployed: Deployed, seed: int
) -> Design:
    names = chosen(section.imperfections, deployed)
    bounds = np.log2([[section.low, section.high]] * len(names))
    return make_design(method, names, bounds, section.samples, seed=seed)


def chosen(names: list[str] | None, deployed: Deployed) -> list[str]:
    """The requested imperfections, by default all that the hardware has.

    Raises:
        ValueError: if a requested one is 0, so that no factor changes it.
    """
    there = present(deployed.hardware)
    missing = [n for n in names or [] if n not in there]
    if missing:
        raise ValueError(
            f"`imperfections` must be present in this hardware: got {missing}. "
            f"It has {', '.join(there) or 'none'}; others are 0 or left out in "
            "`device`, `faults` or `periphery`."
        )
    if not there:
        raise ValueError(
            "`device` must have an imperfection, or `faults` or `periphery` one: got "
            f"none ({deployed.device.name}). Choose another device."
        )
    return names or there


KIND = Kind(
    name="sensitivity",
    config=SensitivityConfig,
    prepare=prepare,
    title=page.title,
    blocks=page.blocks,
    assumptions=page.assumptions,
)
