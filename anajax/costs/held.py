"""The metric of chips whose drift was measured some time ago, for `upkeep`."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from anajax import chip
from anajax._core.types import PRNGKey, PyTree
from anajax.analysis.evaluate import Metric, evaluate
from anajax.devices.base import Device

BEFORE = 1e-4
"""Relative time by which chips are read before an age: a recalibration due at that age
comes after the read."""


def recalibrations(ages: np.ndarray, last: np.ndarray) -> np.ndarray:
    """For each age, the time (s) of the last drift measurement before it.

    Their number is the same for any `last`, so that all share a trace: unneeded ones
    come after the last age.

    Args:
        ages: seconds, increasing.
        last: time of the last drift measurement before each age; 0 for never.
    """
    there = np.unique(last[last > 0])
    later = ages[-1] * (2.0 + np.arange(ages.size - there.size))
    return np.concatenate([there, later])


def held_metric(
    metric: Metric,
    params: PyTree,
    device: Device,
    strategy: chip.Strategies | Mapping[str, chip.LayerProgram],
    *,
    chips: int,
    key: PRNGKey,
    **options: Any,
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The mean metric over chips, for `anajax.costs.upkeep`.

    Args:
        metric: function of the parameters, such as the accuracy of a network.
        params: trained parameters.
        device: the device model.
        strategy: one for all weights, one per path, or layers.
        chips: number of chips.
        key: key of the study.
        **options: options of `anajax.evaluate`.

    Returns:
        `measure(ages, last)`: metric just before each age, with the factors measured at
        `last`.
    """

    def measure(ages: np.ndarray, last: np.ndarray) -> np.ndarray:
        found = evaluate(
            metric, params, device, strategy, ages * (1 - BEFORE), chips=chips,
            key=key, recalibrate=recalibrations(ages, last), extrapolate=True,
            **options,
        )  # fmt: skip
        return np.asarray(found.metric).mean(0)

    return measure
