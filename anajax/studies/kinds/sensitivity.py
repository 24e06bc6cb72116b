"""Studies of sensitivity: which imperfection of the hardware costs the network most."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anajax._core.types import PRNGKey, PyTree
from anajax.analysis.designs import Design, evaluate_design, make_design
from anajax.analysis.elasticities import elasticities
from anajax.analysis.hardware import NON_IDEALITIES, impair, present
from anajax.analysis.layers import greedy_order
from anajax.analysis.network import System, one_chip
from anajax.analysis.points import chip_keys, over_chips
from anajax.analysis.steps import Arrays, Step
from anajax.analysis.workload import Workload
from anajax.studies.kinds.sensitivity_config import GlobalSection, SensitivityConfig
from anajax.studies.kinds.sensitivity_results import dataset
from anajax.studies.report import results
from anajax.studies.store.drafts import Draft
from anajax.studies.store.folder import Folder
from anajax.studies.store.parts import Notify, Parts
from anajax.studies.ways.deploy import Deployed, attributes, deploy
from anajax.studies.ways.judge import make_metric

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
    model: Callable[[Any, Any], Any]
    """Of `impaired_model`: one object, one trace."""

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

    @property
    def shared(self) -> tuple[Any, ...]:
        """What all points have in common: hardware, layers, and the time."""
        d = self.deployed
        return d.hardware, d.layers, jnp.asarray(self.config.times[-1:], float)

    def keys(self, chips: int) -> PRNGKey:
        """Keys of the first chips of the study."""
        return chip_keys(jax.random.key(self.config.seed), jnp.arange(chips))

    def measure(self, points: np.ndarray, chips: int, step: Step) -> Arrays:
        """Measures `[points chips]` at points of `numbers`; calls are steps."""
        keys = self.keys(chips)
        return over_chips(
            self.model, points, keys, self.shared, step=step, **self.sizes
        )

    @property
    def sizes(self) -> Any:
        """Chips at once and in a call: the same for all analyses, for one trace."""
        return {"chunk": self.config.chunk, "call": self.call}

    @property
    def call(self) -> int:
        """Chips of any points in one call of the compiled program."""
        return self.config.chunk * jax.local_device_count()

    def run(self, folder: Folder, *, notify: Notify) -> Any:
        """Do all parts that are not done, and write the results.

        Args:
            folder: where parts and results are.
            notify: told of every part that is begun and finished.

        Returns:
            The results as an xarray Dataset, as written to `results.nc`.
        """
        parts = Parts(folder, notify)
        found = {
            "one_at_a_time": {n: self._grown(n, parts) for n in self.names},
            "gradients": self._gradients(parts),
            "designs": {
                n: self._designed(n, d, parts) for n, d in self.designs.items()
            },
            "layers": self._layers(parts),
        }
        about = attributes(self.config, self.work, self.deployed)
        data = dataset(self, found, results.attributes(folder.identity, **about))
        folder.write(results.RESULTS, results.to_netcdf(data))
        return data

    def _grown(self, name: str, parts: Parts) -> dict[str, np.ndarray]:
        section = self.config.one_at_a_time
        assert section is not None
        sign = 1.0 if self.work.higher_is_better else -1.0
        layers = len(self.deployed.layers)

        def compute(draft: Draft) -> dict[str, Any]:
            step = draft.steps(self.call)

            def metrics(factor: float) -> np.ndarray:
                point = numbers(layers, {name: np.asarray([factor])})
                found = self.measure(point, self.config.chips, step)
                return found["metric"][0].astype(float)

            reference: Any = self.digital
            if section.against == "nominal":
                reference = metrics(1.0)
            factors, gaps = grow(
                lambda f: sign * (reference - metrics(f)), section.factors, section.gap
            )
            return {"factors": factors, "gaps": gaps}

        return parts.get(f"grown-{name}", compute)

    @property
    def digital(self) -> float:
        """The metric of the digital network."""
        return float(jax.jit(make_metric(self.work))(self.work.params))

    def _gradients(self, parts: Parts) -> dict[str, np.ndarray] | None:
        section = self.config.gradients
        if section is None:
            return None
        d = self.deployed

        def compute(_: Draft) -> dict[str, Any]:
            found = elasticities(
                d.system,
                d.hardware,
                d.layers,
                self.work.calibration[: section.inputs],
                self.config.times[-1],
                key=jax.random.key(self.config.seed),
                chips=section.chips,
            )
            return vars(found)

        return parts.get("gradients", compute)

    def _designed(
        self, name: str, design: Design, parts: Parts
    ) -> dict[str, np.ndarray]:
        section = getattr(self.config, name)
        layers = len(self.deployed.layers)

        def at(points: np.ndarray) -> np.ndarray:
            factors = dict(zip(design.names, 2.0**points.T, strict=True))
            return numbers(layers, factors)

        return evaluate_design(
            self.model,
            design,
            self.keys(section.chips),
            self.shared,
            numbers=at,
            block=BLOCK,
            save=parts.get,
            **self.sizes,
        )

    def _layers(self, parts: Parts) -> dict[str, np.ndarray] | None:
        section = self.config.layers
        if section is None:
            return None
        paths = list(self.deployed.layers)

        def measure(masks: np.ndarray, draft: Draft) -> dict[str, np.ndarray]:
            points = numbers(len(paths), {}, masks)
            found = self.measure(points, section.chips, draft.steps(self.call))
            return {n: found[n] for n in ("metric", "loss")}

        each = np.eye(len(paths), dtype=bool)
        alone = parts.get("layers", lambda draft: measure(each, draft))

        def at_step(masks: np.ndarray, step: int) -> dict[str, np.ndarray]:
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


MESH = False


def prepare(config: SensitivityConfig, work: Workload, mesh: None) -> Sensitivity:
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
        model=impaired_model(deployed.system),
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


def grow(
    gaps_at: Callable[[float], np.ndarray], factors: list[float], gap: float
) -> tuple[np.ndarray, np.ndarray]:
    """Losses `[factors chips]` at growing factors, as far as they matter.

    Stops after two factors whose mean loss is above `gap` by three standard errors.

    Returns:
        The factors that were tried, and the losses.
    """
    tried, found, beyond = [], [], 0
    for factor in factors:
        gaps = gaps_at(factor)
        tried.append(factor)
        found.append(gaps)
        error = gaps.std(ddof=1) / np.sqrt(gaps.size)
        beyond += gaps.mean() - 3 * error > gap
        if beyond >= 2:
            break
    return np.asarray(tried), np.stack(found)


def impaired_model(system: System) -> Callable[[Any, Any], Any]:
    """The function of `over_chips` for all points of a study: one trace.

    A point is [factors of all `NON_IDEALITIES`, 1 for each layer that is analog and 0
    for others]; what points share is (hardware, layers, times). It gives measures at
    the last time.
    """
    count = len(NON_IDEALITIES)

    def model(point: tuple, shared: PyTree) -> dict[str, Any]:
        numbers, key = point
        hardware, layers, times = shared
        factors = dict(zip(NON_IDEALITIES, numbers[:count], strict=True))
        analog = dict(zip(layers, numbers[count:] > 0.5, strict=True))
        changed = impair(hardware, factors)
        found = one_chip(system, changed, layers, times, key, analog=analog)
        return {name: v[-1] for name, v in vars(found).items()}

    return model


def numbers(
    layers: int, factors: Mapping[str, np.ndarray], analog: np.ndarray | None = None
) -> np.ndarray:
    """Points of `impaired_model`.

    Args:
        layers: how many the network has.
        factors: of some imperfections, `[points]` each; 1 for the others.
        analog: booleans `[points layers]`; all layers by default.
    """
    count = len(next(iter(factors.values()))) if factors else len(analog)  # pyright: ignore
    points = np.ones((count, len(NON_IDEALITIES) + layers))
    for name, values in factors.items():
        points[:, list(NON_IDEALITIES).index(name)] = values
    if analog is not None:
        points[:, len(NON_IDEALITIES) :] = analog
    return points
