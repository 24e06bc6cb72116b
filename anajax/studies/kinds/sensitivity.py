"""Studies of sensitivity: which imperfection of the hardware costs the network most."""

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
from anajax.studies.plan import Deployed, deploy, engine_of
from anajax.studies.report import results
from anajax.studies.report.statistics import mean_and_error
from anajax.studies.store.drafts import Draft
from anajax.studies.store.parts import Parts

BLOCK = 64
"""Points of a design that are saved at once."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """A study of sensitivity whose inputs are all there and valid."""

    config: SensitivityConfig
    work: Workload
    deployed: Deployed
    designs: dict[str, Design]
    """By analysis, those that are asked for."""
    engine: Engine

    @property
    def names(self) -> list[str]:
        """Imperfections that grow one at a time."""
        section = self.config.one_at_a_time
        return [] if section is None else chosen(section.imperfections, self.deployed)

    @property
    def parts(self) -> int:
        """How many parts there are to do."""
        blocks = sum(-(-len(d.points) // BLOCK) for d in self.designs.values())
        layers = 0
        if self.config.layers is not None:
            layers = len(self.deployed.layers) + 2
        gradients = self.config.gradients is not None
        return len(self.names) + gradients + blocks + layers

    @functools.cached_property
    def shared(self) -> tuple[Any, ...]:
        """What all points have in common, on the mesh if there is one."""
        d, mesh = self.deployed, self.engine.mesh
        times = filled(jnp.asarray(self.config.times[-1:], float))
        held = as_times(self.config.compensation.recalibrate)
        items, layers, rest = d.network.items, d.layers, (d.hardware, times, held)
        if mesh is not None:
            items, layers = items.on(mesh), place(layers, mesh, cut="weights")
            rest = place(rest, mesh)
        return layers, items, *rest

    def measure(
        self, points: np.ndarray, chips: int, kept: Kept, *, stop: bool = False
    ) -> Tally:
        """What chips give at points of `numbers`.

        Args:
            points: numbers of each.
            chips: of each.
            kept: where it is saved.
            stop: whether a point takes no more chips once it is known well enough.
        """
        engine = self.engine
        engine = engine if stop else dataclasses.replace(engine, stop_at_se=None)
        return engine.measure(
            ImpairedModel(self.deployed.network),
            points,
            chip_keys(rng.key(self.config.seed), np.arange(chips)),
            self.shared,
            times=1,
            items=self.work.x.shape[0],
            kept=kept,
        )

    def run(self, parts: Parts, digital: np.ndarray) -> xr.Dataset:
        """Do all parts that are not done.

        Args:
            parts: what is done; saves what is not.
            digital: metric of the digital network `[items]`.
        """
        config, d = self.config, self.deployed
        tables = [
            arrays.design(name, plan, self._designed(name, plan, parts))
            for name, plan in self.designs.items()
        ]
        if config.one_at_a_time is not None:
            grown = {n: self._grown(n, parts, digital) for n in self.names}
            tables.append(arrays.one_at_a_time(config.one_at_a_time, d, grown))
        if config.gradients is not None:
            found = self._gradients(config.gradients, parts)
            tables.append(arrays.gradients(found))
        if config.layers is not None:
            found = self._layers(config.layers, parts)
            tables.append(
                arrays.layers(self.deployed.network, found, config.layers.order)
            )
        tables.append(results.devices({d.device.name: d.device}))
        tables.append(results.times(config.times[-1:], d.extrapolated[-1:]))
        data = xr.merge(
            tables, compat="no_conflicts", join="outer", combine_attrs="no_conflicts"
        )
        data = data.assign_attrs(strategy=config.strategy.title)
        if d.bill is None:
            return data
        spent = d.bill(d.layers, d.hardware.device, np.asarray(config.times[-1:]))
        return labelled(data, d.bill, spent)

    def _grown(self, name: str, parts: Parts, digital: np.ndarray) -> Arrays:
        section = self.config.one_at_a_time
        assert section is not None
        sign = 1.0 if self.work.higher_is_better else -1.0
        layers = len(self.deployed.layers)

        def compute(draft: Draft) -> dict[str, Any]:
            def at(factor: float) -> tuple[np.ndarray, np.ndarray]:
                """Metric of each chip and of each item."""
                point = numbers(layers, {name: np.asarray([factor])})
                kept = draft.section(f"{factor:.17g}")
                found = self.measure(point, self.config.chips, kept, stop=True)
                chips, items = found.metric[0, :, 0], found.item_metric[0, 0]
                return chips.astype(float), items.astype(float)

            nominal = section.against == "nominal"
            of_items = digital.astype(float)
            reference, of_items = at(1.0) if nominal else (of_items.mean(), of_items)

            def lost(factor: float) -> tuple[np.ndarray, float]:
                chips, items = at(factor)
                _, error = mean_and_error(of_items - items)
                return sign * (reference - chips), float(error)

            factors, gaps, errors = grow(lost, section.factors, section.gap)
            return {"factors": factors, "gaps": gaps, "item_error": errors}

        return parts.get(f"grown-{name}", compute, needs=("item_error",))

    def _gradients(self, section: GradientsSection, parts: Parts) -> Arrays:
        d = self.deployed

        def compute(_: Draft) -> dict[str, Any]:
            found = elasticities(
                d.network,
                d.hardware,
                d.layers,
                self.work.calibration[: section.inputs],
                self.config.times[-1],
                key=rng.key(self.config.seed),
                chips=section.chips,
                recalibrate=self.config.compensation.recalibrate,
                mesh=self.engine.mesh,
            )
            return vars(found)

        return parts.get("gradients", compute)

    def _designed(self, name: str, design: Design, parts: Parts) -> Arrays:
        section = getattr(self.config, name)
        layers = len(self.deployed.layers)

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

            blocks.append(parts.get(f"{design.method}-{i:04d}", compute))
        return {n: np.concatenate([b[n] for b in blocks]) for n in sorted(MEASURES)}

    def _layers(self, section: LayersSection, parts: Parts) -> Arrays:
        paths = list(self.deployed.layers)

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
    """Check all inputs of a study of sensitivity.

    Raises:
        ModuleNotFoundError: if a package is missing.
        ValueError: for inputs that do not fit each other.
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
    """The imperfections that are asked for, by default all that the hardware has.

    Raises:
        ValueError: if one that is asked for is 0, so that no factor changes it.
    """
    there = present(deployed.hardware)
    missing = [n for n in names or [] if n not in there]
    if missing:
        raise ValueError(
            f"`imperfections` must be some that this hardware has: got {missing}. "
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
