"""What a study measures on a chip: the metric of the network, behind its periphery."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from anajax._core import checks
from anajax._core.types import Array, PRNGKey, PyTree
from anajax.analysis.network import System, make_system
from anajax.analysis.workload import Workload, in_batches, pure
from anajax.mapping.strategy import Normalize
from anajax.nn.norm import batch_statistics
from anajax.programming.end_to_end.targets import Apply
from anajax.studies.config.hardware import PeripherySection
from anajax.studies.config.study import CompensationSection


def make_metric(work: Workload, *, per_item: bool = False) -> Partial:
    """The metric of a network with given parameters, the mean over all test items.

    The items are its arguments, so that `sharding.place` can cut them.

    Args:
        work: the network and its test items.
        per_item: the metric of each item in place of the mean.
    """
    batch = min(work.batch, work.x.shape[0])

    def metric(x: Array, y: Array, params: PyTree) -> Array:
        items = _items(work, lambda some: work.apply(params, some), x, y)
        return items if per_item else jnp.mean(items)

    return Partial(metric, in_batches(work.x, batch), in_batches(work.y, batch))


def _items(
    work: Workload, outputs: Callable[[Array], Array], x: Array, y: Array
) -> Array:
    """The metric of each item `[items]`, from batches `[batches items ...]`."""
    every = jax.lax.map(lambda x_y: work.metric_fn(outputs(x_y[0]), x_y[1]), (x, y))
    return every.ravel()[: work.x.shape[0]]


def system_behind(
    section: PeripherySection,
    work: Workload,
    compensation: CompensationSection,
    normalize: Normalize = "layer",
) -> System:
    """The system of a network behind a periphery.

    Raises:
        ValueError: if a layer of the network cannot be converted, or there is no batch
            norm to measure.
    """
    checks.word("normalize", normalize, Normalize)
    return make_system(
        work,
        scope=compensation.scope,
        norms=compensation.norms,
        normalize=normalize,
        io=section.io(),
        tiles=section.tiles,
        wired=section.resistance() is not None,
        inputs=section.inputs,
        outputs=section.outputs,
    )


class Judge:
    """The metric of a network behind its periphery, for any parameters.

    Args:
        work: the network.
        periphery: what its products go through; they are digital without.
        compensation: of drift, and of batch norms.
        normalize: whose largest |weight| fills the range of conductances.

    Raises:
        ValueError: if there is a periphery, and a layer that cannot be converted, or
            norms to measure, and none in the network.
    """

    def __init__(
        self,
        work: Workload,
        periphery: PeripherySection | None,
        compensation: CompensationSection,
        normalize: Normalize = "layer",
    ):
        checks.word("normalize", normalize, Normalize)
        self.items = make_metric(work, per_item=True)
        """Metric of the digital network, item by item."""
        self._section = periphery or PeripherySection()
        self._system = system_behind(self._section, work, compensation, normalize)
        self._analog = _behind(self._system)
        self.through = self._system.through(self._section.resistance())
        """What wires make of the conductances, for `evaluate`."""
        self._work, self._compensation, self._normalize = work, compensation, normalize
        self._metrics: list[tuple[PyTree, Partial]] = []

    @functools.cached_property
    def learned(self) -> Apply:
        """`apply(params, x)` of the network on a chip, as training sees it.

        Behind its converters, with ranges that suit the digital network, without output
        noise or wires; norms that are measured on the chip take what each batch gives.
        """
        work, norms = self._work, self._compensation.norms
        model = batch_statistics(work.model) if norms else work.model
        section = self._section.model_copy(update={"output_noise": 0.0, "wires": 0.0})
        if section.io() is None:
            return pure(model)[1] if norms else work.apply
        some = dataclasses.replace(work, model=model, x=work.x[:1], y=work.y[:1])
        without = self._compensation.model_copy(update={"norms": False})
        system = system_behind(section, some, without, self._normalize)
        params = work.params
        ios = section.finish(system.calibrate(params), system.units(params))
        return lambda params, x: system.apply(ios, params, x, None)

    def metric(self, trained: PyTree) -> Partial:
        """`metric(params, key)` of each item on a chip; one trace for all ranges.

        Args:
            trained: parameters that the ranges of converters are to suit. These are
                found once for one object: it takes a minute in large networks.
        """
        for params, metric in self._metrics:
            if params is trained:
                return metric
        found = self._system.calibrate(trained)
        ios = self._section.finish(found, self._system.units(trained))
        self._metrics.append((trained, Partial(self._analog, ios, *self.items.args)))
        return self._metrics[-1][1]


def _behind(system: System) -> Callable[..., Array]:
    """`metric(ios, x, y, params, key)` of each item; keep one object for one trace."""

    def metric(ios: Any, x: Array, y: Array, params: PyTree, key: PRNGKey) -> Array:
        return _items(system.work, system.network(ios, params, key), x, y)

    return metric
