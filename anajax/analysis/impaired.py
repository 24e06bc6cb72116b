"""Results of one chip at points of varying hardware, for `engine.Engine`.

Equal networks share a trace, whatever the numbers of a point are.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from anajax._core.types import Array, PyTree
from anajax.analysis.hardware import NON_IDEALITIES, impair
from anajax.analysis.network import AnalogNetwork
from anajax.analysis.point import one_chip


@dataclasses.dataclass(frozen=True)
class ImpairedModel:
    """One chip of all points of a study; points are made by `numbers`.

    A point is [factors of all `NON_IDEALITIES`, then 1 for each analog layer and 0 for
    each digital one]. Shared by all points are (layers, parameters, items, hardware,
    times, recalibrations), with None for the unchanged parameters of the network.
    """

    network: AnalogNetwork

    def __call__(self, point: tuple, shared: PyTree) -> dict[str, Array]:
        numbers, key = point
        layers, params, items, hardware, times, recalibrate = shared
        count = len(NON_IDEALITIES)
        factors = dict(zip(NON_IDEALITIES, numbers[:count], strict=True))
        analog = dict(zip(layers, numbers[count:] > 0.5, strict=True))
        own = self.network.point(
            impair(hardware, factors),
            layers,
            times,
            items,
            params=params,
            recalibrate=recalibrate,
            analog=analog,
        )
        return one_chip(own, key)


def numbers(
    layers: int, factors: Mapping[str, np.ndarray], analog: np.ndarray | None = None
) -> np.ndarray:
    """Points of `ImpairedModel`.

    Args:
        layers: number of layers of the network.
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


@dataclasses.dataclass(frozen=True)
class VariantModel:
    """One chip of a variant: of (index of the variant, index of its layers), and a key.

    Shared by all points are (stacked hardware, layers with parameters, times and
    recalibrations; items); None stands for the unchanged parameters of the network.
    Equal networks share a trace.
    """

    network: AnalogNetwork

    def __call__(self, point: tuple, shared: PyTree) -> dict[str, Array]:
        (i, j), key = point
        (hardware, programs, (times, count), recalibrate), items = shared
        alone = len(jax.tree.leaves(programs)[0]) == 1  # then nothing is copied
        layers, params = _pick(programs, 0 if alone else j)
        own = self.network.point(
            _pick(hardware, i),
            layers,
            (times[i], count),
            items,
            params=params,
            recalibrate=_pick(recalibrate, i),
        )
        return one_chip(own, key)


def _pick(tree: PyTree, index: Any) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def grow(
    lost: Callable[[float], tuple[np.ndarray, float]],
    factors: Sequence[float],
    gap: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Losses `[factors chips]` at increasing factors, as far as needed.

    Stops after two factors with a mean loss above `gap` by three standard errors.

    Args:
        lost: for a factor, the loss of each chip, NaN for those not needed, and its
            standard error over items.
        factors: increasing.
        gap: largest accepted mean loss.

    Returns:
        The factors that were tried, the losses, and their errors over items.
    """
    tried, found, errors, beyond = [], [], [], 0
    for factor in factors:
        gaps, of_items = lost(factor)
        tried.append(factor)
        found.append(gaps)
        errors.append(of_items)
        taken = gaps[~np.isnan(gaps)]
        error = taken.std(ddof=1) / np.sqrt(taken.size)
        beyond += taken.mean() - 3 * error > gap
        if beyond >= 2:
            break
    return np.asarray(tried), np.stack(found), np.asarray(errors)


def greedy_order(
    measure: Callable[[np.ndarray, int], dict[str, np.ndarray]], count: int
) -> tuple[list[int], dict[str, np.ndarray]]:
    """The order in which layers are made digital, greedily by the mean loss.

    Starting with all layers analog, the next layer is the one that, if made digital,
    leaves the lowest mean loss, given those that are digital already.

    Args:
        measure: `measure(masks, step)` gives `metric` and `loss` `[masks chips]`.
        count: number of layers.

    Returns:
        Indices of layers in order; `metric` and `loss` `[count + 1, chips]` with the
        first 0, 1, ... of them digital.
    """
    digital: list[int] = []
    found = measure(np.ones((1, count), bool), 0)
    rows = [{n: v[0] for n, v in found.items()}]
    for step in range(1, count + 1):
        left = [i for i in range(count) if i not in digital]
        masks = np.ones((len(left), count), bool)
        masks[:, digital] = False
        masks[np.arange(len(left)), left] = False
        found = measure(masks, step)
        best = int(np.argmin(found["loss"].mean(1)))
        digital.append(left[best])
        rows.append({n: v[best] for n, v in found.items()})
    return digital, {n: np.stack([r[n] for r in rows]) for n in rows[0]}
