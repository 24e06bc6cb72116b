"""Chips and items that programs are measured on: those of a study, and those apart."""

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
"""Names the chips that programs are chosen on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """Chips and items."""

    keys: PRNGKey
    """Of the chips `[chips]`."""
    items: Items
    count: int
    """How many items count."""
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
    """Chips that no test has, and inputs that were set aside from the training split.

    Args:
        seed: of the study.
        chips: how many.
        network: its workload has inputs that were set aside.
        items: how many at most.

    Raises:
        ValueError: if no inputs were set aside.
    """
    held = network.held_items(items)
    key = rng.path_key(rng.key(seed), VALIDATION)
    count = min(items, len(network.work.held_x))
    return Sample(keys=chip_keys(key, np.arange(chips)), items=held, count=count)
