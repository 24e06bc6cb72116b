"""One chip at one point of a study: its network at all times."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.tree_util import Partial
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import chip, rng
from anajax._core import checks
from anajax._core.tree import Arrays, pytree, replace, static
from anajax._core.types import PRNGKey
from anajax.analysis.points import filled, first_of
from anajax.analysis.sharding import Cut, place
from anajax.analysis.workload import in_batches
from anajax.devices.base import Device


@pytree
class Items:
    """Items in batches `[batches items ...]`, padded."""

    x: JArray
    y: JArray
    reference: JArray
    """Outputs of the digital network."""
    count: JArray
    """Number of valid batches."""

    def on(self, mesh: Mesh) -> "Items":
        """The same on a mesh, with the items of a batch split over its parts."""
        return place(self, mesh, cut="items")


def batched(
    x: JArray, y: JArray, reference: JArray, *, size: int, least: int = 0
) -> Items:
    """Items in batches.

    Args:
        x: inputs `[n ...]`.
        y: labels `[n ...]`.
        reference: outputs of the digital network `[n ...]`.
        size: size of a batch.
        least: smallest number of batches, padded if needed.
    """
    found = []
    for v in (in_batches(v, size) for v in (x, y, reference)):
        full, count = filled(v)
        more = max(0, least - len(full))
        full = jnp.concatenate([full, jnp.repeat(full[:1], more, axis=0)])
        found.append((full, count))
    (x, batches), (y, _), (reference, _) = found
    return Items(x=x, y=y, reference=reference, count=batches)


@pytree
class Point:
    """What is put on chips, and what is measured there: numbers, except for `scope`."""

    measure: Partial
    """`measure(params, key)` gives arrays by name."""
    params: Arrays
    """The trained parameters."""
    ideal: dict[str, JArray]
    """The trained weights among them, by path."""
    device: Device
    layers: dict[str, chip.LayerProgram] | dict[str, chip.Unwritten]
    """Targets by path, or the strategy for them."""
    times: Float[JArray, "times"]
    """Seconds since the first read, padded by `filled`."""
    count: JArray
    """Number of valid times."""
    recalibrate: Float[JArray, "recalibrations"] | None = None
    """Times at which drift compensation is measured; None for every read-out."""
    through: Partial | None = None
    """Effect of wire resistance on the conductances."""
    analog: dict[str, JArray] | None = None
    """Which layers are analog, by path; None for all. The others are exact."""
    cells: Partial | None = None
    """`cells(device, chip, params)` for products with individual cells: an
    `AnalogChip`."""
    scope: chip.Scope = static(default="layer")

    def __post_init__(self) -> None:
        checks.word("scope", self.scope, chip.Scope)

    def on(self, mesh: Mesh, *, cut: Cut = "none") -> "Point":
        """The same on all accelerators of a mesh: weights and targets are split.

        Args:
            mesh: from `sharding.make_mesh`.
            cut: how the data of the measure are split.
        """
        large = {n: getattr(self, n) for n in ("params", "ideal", "layers")}
        rest = replace(self, measure=None, **dict.fromkeys(large))
        measure = place(self.measure, mesh, cut=cut)
        large = place(large, mesh, cut="weights")
        return replace(place(rest, mesh), measure=measure, **large)


def one_chip(point: Point, key: PRNGKey) -> dict[str, JArray]:
    """Program one chip, read it at all times, and measure the network.

    Args:
        point: what is put on the chip.
        key: key of this chip.

    Returns:
        Arrays `[times ...]` by name: the results of `point.measure`, and
        `weight_rms_error`; 0 for padded times.
    """
    if point.cells is not None:
        return _raw_chip(point, key)
    how: Any = {"scope": point.scope, "through": point.through}
    part = chip.program(point.device, point.layers, key=key, through=point.through)
    held = None
    if point.recalibrate is not None:
        held = chip.recalibrate(point.device, part, point.recalibrate, **how)

    def at(t_j: tuple[JArray, JArray]) -> dict[str, JArray]:
        t, j = t_j
        weights = chip.read(point.device, part, t=t, index=j, held=held, **how)
        return _measure(point, weights, rng.stream(key, rng.Stage.PRODUCT, j))

    index = jnp.arange(1, point.times.shape[0] + 1)
    return first_of(at, (point.times, index), point.count)


def _measure(
    point: Point, weights: dict[str, JArray], noise: PRNGKey
) -> dict[str, JArray]:
    """What the network with these weights gives, and how far they are from ideal."""
    if point.analog is not None:
        weights = {
            p: jnp.where(point.analog[p], w, point.ideal[p]) for p, w in weights.items()
        }
    return {
        **point.measure(chip.insert(point.params.tree, weights), noise),
        "weight_rms_error": rms_error(weights, point.ideal, point.layers),
    }


_alone = jax.jit(_measure)


def drawn_again(index: JArray, point: Point, key: PRNGKey) -> dict[str, np.ndarray]:
    """Chips whose cells are drawn again at each time, layer by layer: `[chips times]`.

    The loops run on the host, so that memory holds one network and one layer's cells.
    """
    return drawn_of([rng.stream(key, rng.Stage.CHIP, i) for i in index], point)


def drawn_chip(point: Point, key: PRNGKey) -> dict[str, np.ndarray]:
    """The result of `one_chip`, `[times ...]`, with cells that are drawn again."""
    what = point.device, point.layers, point.ideal
    how: Any = {"scope": point.scope, "through": point.through}

    def at(j: int) -> dict[str, np.ndarray]:
        t = point.times[j - 1]
        weights = chip.drawn(*what, t=t, index=j, key=key, **how)
        noise = rng.stream(key, rng.Stage.PRODUCT, j)
        return jax.device_get(_alone(point, weights, noise))

    found = [at(j) for j in range(1, int(point.count) + 1)]
    return jax.tree.map(lambda *v: np.stack(v), *found)


def unwritten(point: Point) -> bool:
    """Whether its targets are computed on demand, so that cells are drawn again."""
    return any(isinstance(v, chip.Unwritten) for v in point.layers.values())


def _raw_chip(point: Point, key: PRNGKey) -> dict[str, JArray]:
    """The same with raw cells in the products, and fresh read noise at each."""
    part = chip.program(point.device, point.layers, key=key, through=point.through)
    assert point.cells is not None
    onto = point.cells(point.device, part, point.params.tree, point.through)
    held = None if point.recalibrate is None else onto.recalibrate(point.recalibrate)

    def at(t_j: tuple[JArray, JArray]) -> dict[str, JArray]:
        t, j = t_j
        found = onto.at(t, index=j, held=held)
        if point.analog is not None:
            found = onto.exact_but(found, point.analog)
        weights = onto.weights(found)
        noise = rng.stream(key, rng.Stage.PRODUCT, j)
        return {
            **point.measure(found, noise),
            "weight_rms_error": rms_error(weights, point.ideal, point.layers),
        }

    index = jnp.arange(1, point.times.shape[0] + 1)
    return first_of(at, (point.times, index), point.count)


def of_point(point: tuple[Any, PRNGKey], shared: Point) -> dict[str, JArray]:
    """The result of a chip if all chips hold the same, for `Engine.measure`."""
    return one_chip(shared, point[1])


def drawn_of(keys: Iterable[PRNGKey], shared: Point) -> dict[str, np.ndarray]:
    """The results of chips with these keys, `[chips times ...]`, as from `of_point`."""
    found = [drawn_chip(shared, key) for key in keys]
    return jax.tree.map(lambda *v: np.stack(v), *found)


def rms_error(
    weights: dict[str, JArray],
    ideal: dict[str, JArray],
    layers: dict[str, chip.LayerProgram],
) -> JArray:
    """Root mean square over all weights of (read - ideal) / w_max of their layer."""

    def square(path: str) -> JArray:
        w_max = layers[path].w_max
        safe = jnp.where(w_max > 0, w_max, 1)
        return jnp.sum(((weights[path] - ideal[path]) / safe) ** 2)

    total = jnp.asarray(sum(square(path) for path in layers))
    mean = total / sum(w.size for w in ideal.values())
    none = mean == 0  # where a root has no slope
    return jnp.where(none, 0, jnp.sqrt(jnp.where(none, 1, mean)))
