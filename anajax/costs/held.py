"""The metric of chips whose drift was measured some time before, for `upkeep`."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from anajax import chip
from anajax._core.types import PRNGKey, PyTree
from anajax.analysis.evaluate import Metric, evaluate
from anajax.devices.base import Device

BEFORE = 1e-4
"""How much sooner than an age, relative to it, its chips are read: a recalibration that
is due then comes after."""


def recalibrations(ages: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Times (s) at which drift is measured, for each age the one before it.

    As many for any `last`, so that all share a trace: those that are not needed come
    after the last age.

    Args:
        ages: seconds, increasing.
        last: when drift was measured last before each; 0 for never.
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
        chips: how many.
        key: of the study.
        **options: of `anajax.evaluate`.

    Returns:
        `measure(ages, last)`: just before each age, the factors those of `last`.
    """

    def measure(ages: np.ndarray, last: np.ndarray) -> np.ndarray:
        found = evaluate(
            metric, params, device, strategy, ages * (1 - BEFORE), chips=chips,
            key=key, recalibrate=recalibrations(ages, last), extrapolate=True,
            **options,
        )  # fmt: skip
        return np.asarray(found.metric).mean(0)

    return measure
