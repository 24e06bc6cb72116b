"""Pairs where they matter: a hand-designed strategy for each layer."""

from collections.abc import Sequence
from typing import Annotated, Literal

import jax.numpy as jnp
import numpy as np
from pydantic import Field

from anajax._core.types import Array
from anajax.analysis.expected import ExpectedError, OutputError
from anajax.analysis.workload import Workload, training_inputs
from anajax.chip import Strategies
from anajax.devices.base import Device
from anajax.mapping import hand
from anajax.mapping.strategy import Strategy
from anajax.programming.end_to_end.fisher import fisher_information
from anajax.programming.search.budget import allocate
from anajax.studies.ways.base import Table
from anajax.studies.ways.site import Site

CHOICES = (
    (), (2,), (3,), (4, 2), (2, 2), (4, 2, 2), (2, 2, 2), (8, 4, 2), (4, 2, 2, 2),
    (8, 4, 2, 2), (4, 4, 2, 2), (4, 2, 2, 2, 2), (8, 4, 4, 2, 2),
)  # fmt: skip
"""Significance factors besides 1 that a layer may have, for one to six pairs."""


class PairsPerLayer(Table):
    """Least significant first, with as many pairs in each layer as pay off."""

    name: str = "pairs_per_layer"
    family = "hand"
    pairs: Annotated[float, Field(ge=1, le=6)] = Field(
        default=4.0, description="1 to 6 pairs per weight, averaged over all"
    )
    weigh: Literal["loss", "layers"] = Field(
        default="loss", description='"loss" or "layers"'
    )
    """Weight of the error of each layer: by the Fisher information of its weights,
    applied to its output error; or equal, for the error that the searches minimize."""
    items: Annotated[int, Field(ge=1)] = Field(
        default=4, description="1 input or more for evaluating the loss"
    )

    def check(self, work: Workload, device: Device) -> None:
        """Refuse a memory with few levels."""
        super().check(work, device)
        self.need_analog(device)

    def strategies(self, site: Site) -> Strategies:
        """The choice of each layer."""
        error = site.searched if self.weigh == "layers" else self._of_loss(site)
        return within_budget(error, site.device, site.time_weights, self.pairs)

    def _of_loss(self, site: Site) -> OutputError:
        inputs = training_inputs(site.work)[: self.items]
        fisher = fisher_information(
            site.work.apply, site.params, inputs, key=site.key, **site.which
        )
        return site.outputs.by_loss(fisher)


def within_budget(
    error: ExpectedError, device: Device, time_weights: Array | None, pairs: float
) -> dict[str, Strategy]:
    """A strategy for each layer, with `pairs` pairs on average over the weights.

    Args:
        error: error to minimize, see `OutputError.by_loss`.
        device: the device model.
        time_weights: weight of each of its times; equal by default.
        pairs: mean number of pairs per weight.
    """
    ways = [choice(device, factors) for factors in CHOICES]
    paths = list(error.layouts)
    errors = [[_mean(error, path, way, time_weights) for way in ways] for path in paths]
    sizes = [error.size(path) for path in paths]
    devices = [way.cell.devices for way in ways]
    chosen = allocate(np.array(errors), np.array(devices), sizes, budget=2 * pairs)
    return {path: ways[i] for path, i in zip(paths, chosen, strict=True)}


def choice(device: Device, factors: Sequence[float]) -> Strategy:
    """Least significant first, with the significance factors of a choice."""
    if not factors:
        return hand.single_pair(device)
    return hand.lsp_first(device, f=[float(f) for f in factors])


def _mean(
    error: ExpectedError, path: str, way: Strategy, weights: Array | None
) -> float:
    found = jnp.asarray(error.of_layer(path, way))
    return float(jnp.average(found, weights=weights))


WAYS = (PairsPerLayer,)
