"""Chips and items for measurements: those of a study, and those for validation."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from anajax import rng
from anajax._core.types import PRNGKey
from anajax.analysis.network import AnalogNetwork
from anajax.analysis.point import Items
from anajax.analysis.points import chip_keys

VALIDATION = "validation"
"""Name of the stream of chips that choices are made on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """Chips and items."""

    keys: PRNGKey
    """Keys of the chips `[chips]`."""
    items: Items
    count: int
    """Number of valid items."""
    subsets: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def of_study(seed: int, chips: int, network: AnalogNetwork) -> Sample:
    """The chips of a study, and all test items."""
    work = network.work
    return Sample(
        keys=chip_keys(rng.key(seed), np.arange(chips)),
        items=network.items,
        count=work.x.shape[0],
        subsets=work.subsets,
    )


def to_choose(seed: int, chips: int, network: AnalogNetwork, items: int) -> Sample:
    """Chips not used in any test, and held-out training inputs.

    Args:
        seed: seed of the study.
        chips: number of chips.
        network: its workload has held-out inputs.
        items: largest number of items.

    Raises:
        ValueError: if there are no held-out inputs.
    """
    held = network.held_items(items)
    key = rng.path_key(rng.key(seed), VALIDATION)
    count = min(items, len(network.work.held_x))
    return Sample(keys=chip_keys(key, np.arange(chips)), items=held, count=count)
