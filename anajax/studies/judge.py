"""What a study measures on a chip: the metric of the network, behind its periphery."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from anajax import chip
from anajax._types import Array, PRNGKey, PyTree
from anajax.studies.periphery_config import PeripherySection
from anajax.studies.system import System, make_system
from anajax.workloads.base import Workload, in_batches


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
    section: PeripherySection, work: Workload, scope: chip.Scope
) -> System:
    """The system of a network behind a periphery.

    Raises:
        ValueError: if a layer of the network cannot be converted.
    """
    return make_system(
        work,
        scope=scope,
        io=section.io(),
        tiles=section.tiles,
        wired=section.resistance() is not None,
        inputs=section.inputs,
        outputs=section.outputs,
    )


class Judge:
    """The metric of a network for any weights that it was trained to.

    Args:
        work: the network.
        periphery: what its products go through; they are digital without.
        scope: the weights that share one drift compensation factor.

    Raises:
        ValueError: if there is a periphery, and a layer that cannot be converted.
    """

    def __init__(
        self,
        work: Workload,
        periphery: PeripherySection | None = None,
        scope: chip.Scope = "layer",
    ):
        self.items = make_metric(work, per_item=True)
        """Metric of the network without a periphery, item by item."""
        self.keyed = periphery is not None
        """Whether `metric` is one of parameters and a key, see `evaluate`."""
        self._section = periphery
        self._system: System | None = None
        self.through: chip.Through | None = None
        """What wires make of the conductances, for `evaluate`."""
        if periphery is not None:
            self._system = system_behind(periphery, work, scope)
            self.through = self._system.through(periphery.resistance())
            self._analog = _behind(self._system)

    def metric(self, trained: PyTree) -> Partial:
        """Metric of each item, with ranges for trained parameters; one trace."""
        if self._system is None or self._section is None:
            return self.items
        ios = self._section.finish(
            self._system.calibrate(trained), chip.weights(trained)
        )
        return Partial(self._analog, ios, *self.items.args)


def _behind(system: System) -> Callable[..., Array]:
    """`metric(ios, x, y, params, key)` of each item; keep one object for one trace."""

    def metric(ios: Any, x: Array, y: Array, params: PyTree, key: PRNGKey) -> Array:
        return _items(
            system.work, lambda some: system.apply(ios, params, some, key), x, y
        )

    return metric
