"""A network on R chips at T times: one trace, memory bounded by chips in a chunk.

What one chip gives stands in `one_chip`, for every study. Numbers of chips and of
times share a trace; on a mesh every device has chips of its own.
"""

from collections.abc import Callable, Mapping, Sequence
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
from anajax._core.types import PRNGKey, PyTree
from anajax.analysis.hardware import bare
from anajax.analysis.points import filled, first_of, over_points
from anajax.analysis.sharding import Cut, place
from anajax.devices.base import Device, check_times
from anajax.mapping.strategy import Normalize, check_layers, check_strategy

Metric = Callable[..., JArray]
"""`metric(params)`: one number, or one per item, for a network with these weights. A
`jax.tree_util.Partial` hands over its data as arguments, which `place` can cut. One
with noise of its own, such as that of products, is `metric(params, key)`."""
BUDGET = 2.0**30
"""Bytes for the cells of the chips at once, beyond which they are drawn again."""
HELD = 3
"""Numbers that a cell is taken to hold beside its target."""


@pytree
class Evaluation:
    """What was measured on every chip at every time.

    Example:
        >>> def metric(params):
        ...     return jnp.mean(apply(params, x))
        >>> found = anajax.evaluate(
        ...     metric, params, device, strategy, times, chips=2, key=key
        ... )
        >>> found.metric.shape, found.weight_rms_error.shape
        ((2, 2), (2, 2))
    """

    metric: Float[JArray, "chips times *items"]
    """The metric of the network with the weights of this chip at this time."""
    weight_rms_error: Float[JArray, "chips times"]
    """Root mean square over all weights of (read - ideal) / w_max of their layer."""


@pytree
class Point:
    """What is put on chips, and what is measured there: numbers, but for `scope`."""

    measure: Partial
    """`measure(params, key)` gives arrays by name."""
    params: Arrays
    """The trained parameters."""
    ideal: dict[str, JArray]
    """The weights among them, by path."""
    device: Device
    layers: dict[str, chip.LayerProgram]
    """Targets by path."""
    times: Float[JArray, "times"]
    """Seconds since the first read, `filled` up."""
    count: JArray
    """How many of the times count."""
    recalibrate: Float[JArray, "recalibrations"] | None = None
    """Times at which drift compensation is measured; at every read-out without."""
    through: Partial | None = None
    """What wires make of the conductances."""
    analog: dict[str, JArray] | None = None
    """By path, which layers are analog; all without. The others are exact."""
    cells: Partial | None = None
    """`cells(device, chip, params)` puts raw cells in products: an `AnalogChip`."""
    scope: chip.Scope = static(default="layer")

    def __post_init__(self) -> None:
        checks.word("scope", self.scope, chip.Scope)

    def on(self, mesh: Mesh, *, cut: Cut = "none") -> "Point":
        """The same on all devices of a mesh: weights and targets are cut.

        Args:
            mesh: from `sharding.make_mesh`.
            cut: how the data of the measure are.
        """
        large = {n: getattr(self, n) for n in ("params", "ideal", "layers")}
        rest = replace(self, measure=None, **dict.fromkeys(large))
        measure = place(self.measure, mesh, cut=cut)
        large = place(large, mesh, cut="weights")
        return replace(place(rest, mesh), measure=measure, **large)


def evaluate(
    metric: Metric,
    params: PyTree,
    device: Device,
    strategy: chip.Strategies | Mapping[str, chip.LayerProgram],
    times: Float[JArray, "times"] | np.ndarray | Sequence[float],
    *,
    chips: int | JArray | np.ndarray,
    key: PRNGKey,
    chunk: int = 1,
    select: chip.Select = chip.default_select,
    scope: chip.Scope = "layer",
    recalibrate: Float[JArray, "recalibrations"] | Sequence[float] | None = None,
    keyed: bool = False,
    through: chip.Through | None = None,
    mesh: Mesh | None = None,
    normalize: Normalize = "layer",
    layout: chip.Layouts = None,
    extrapolate: bool = False,
    budget: float = BUDGET,
) -> Evaluation:
    """Program every chip once, read it at all times, and measure the network.

    On a mesh a chip has the same draws; the metric and drift compensation may differ
    by rounding where `parts` of the mesh share sums.

    Args:
        metric: function of the parameters, jittable; closes over data and model.
        params: pytree of trained weights; what is no array in it (functions, words)
            reaches the metric as it is.
        device: the device model.
        strategy: one for all weights, one per path, or targets already chosen: the
            layers of `chip.encode_weights` or `optimize_targets`.
        times: seconds since the first read, increasing.
        chips: how many chips, or the indices of chips; chip 7 of 8 is chip 7 of 64.
        key: key of the study.
        chunk: chips at once (vmapped) on each device; 1 is fastest on a CPU.
        select: which leaves are weights.
        scope: the weights that share one drift compensation factor.
        recalibrate: seconds at which the factors are measured, held until the next;
            None for measuring them in each read-out.
        keyed: whether the metric takes a key, a fresh one for each chip and time.
        through: what wires make of the conductances; keep one object for one trace.
        mesh: from `sharding.make_mesh`: its devices share chips, weights and items.
            In several processes all call this, and all have the result.
        normalize: whose largest |weight| fills the range, see `mapping.normalized`;
            layers already chosen have their own.
        layout: what axes are, where names and shapes do not tell, see `chip.table`.
        extrapolate: whether times may lie outside what the device's source covers.
        budget: bytes for cells. Those of larger chips are not kept: at each time they
            are drawn again, layer by layer, from their key (equal to rounding), one
            chip after the other. They are kept where `recalibrate` or `mesh` is given.

    Raises:
        ValueError: if times, chips or weights are out of range, an axis that counts is
            not known, the targets are not for this device, or the metric is no function
            of jax arrays.

    Example:
        >>> def metric(params):
        ...     return jnp.mean((apply(params, x) - y) ** 2)
        >>> found = anajax.evaluate(
        ...     metric, params, device, strategy, times, chips=2, key=key
        ... )
        >>> found.metric.shape  # chips, times
        (2, 2)
    """
    check_times(device, times, extrapolate=extrapolate)
    checks.word("scope", scope, chip.Scope)
    checks.function("metric", metric, "lambda params: accuracy(apply(params, x), y)")
    if recalibrate is not None:
        checks.times("recalibrate", recalibrate)
        check_times(device, recalibrate, extrapolate=extrapolate)
        recalibrate = jnp.asarray(recalibrate, dtype=float)
    checks.whole("chunk", chunk, least=1)
    index = _indices(chips)
    checks.positive("budget", budget, strictly=False)
    ideal = chip.weights(params, select=select)
    how: Any = {"select": select, "normalize": normalize, "layout": layout}
    kept = recalibrate is not None or mesh is not None
    redrawn = not kept and _bytes(ideal, strategy) * chunk > budget
    layers = _layers(params, device, strategy, how, redrawn)
    chip.check_columns(layers, scope)
    measure = Partial(
        _with_key if keyed else _without_key,
        metric if isinstance(metric, Partial) else Partial(metric),
    )
    times = np.asarray(times, float)
    filled_times, count = filled(jnp.asarray(times, dtype=float))
    point = Point(
        measure=measure,
        params=Arrays(params),
        ideal=ideal,
        device=bare(device),
        layers=layers,
        times=filled_times,
        count=count,
        recalibrate=recalibrate,
        through=None if through is None else Partial(through),
        scope=scope,
    )
    shared = point, key
    if redrawn:
        found = _redrawn(index, *shared)
        return Evaluation(**jax.tree.map(jnp.asarray, found))
    if mesh is not None:
        shared = point.on(mesh), place(key, mesh)
    found = over_points(_numbered, index, shared, chunk=chunk, mesh=mesh)
    return Evaluation(**{n: jnp.asarray(v[:, : times.size]) for n, v in found.items()})


def _indices(chips: int | JArray | np.ndarray) -> JArray:
    if isinstance(chips, jax.Array | np.ndarray) and chips.ndim == 1 and chips.size:
        if not jnp.issubdtype(chips.dtype, jnp.integer):
            checks.fail("chips", "be indices", chips.dtype, "Give whole numbers.")
        return jnp.asarray(chips)
    checks.whole("chips", chips, least=1)
    return jnp.arange(chips)


def _layers(
    params: PyTree,
    device: Device,
    strategy: chip.Strategies | Mapping[str, chip.LayerProgram],
    how: dict[str, Any],
    redrawn: bool,
) -> Mapping[str, Any]:
    if isinstance(strategy, Mapping) and all(
        isinstance(v, chip.LayerProgram) for v in strategy.values()
    ):
        check_layers(strategy, device)
        return dict(strategy)  # pyright: ignore
    check_strategy(strategy, device)
    make = chip.unwritten if redrawn else chip.encode_weights
    return make(params, strategy, **how)  # pyright: ignore


def _bytes(
    ideal: Mapping[str, JArray],
    strategy: chip.Strategies | Mapping[str, chip.LayerProgram],
) -> float:
    """What the cells of a chip take: their targets and `HELD` numbers each."""

    def devices(path: str) -> int:
        own = strategy.get(path) if isinstance(strategy, Mapping) else strategy
        return 1 if own is None else own.targets.shape[-1]

    return sum(
        (1 + HELD) * devices(path) * jnp.result_type(w, jnp.float32).itemsize * w.size
        for path, w in ideal.items()
    )


def one_chip(point: Point, key: PRNGKey) -> dict[str, JArray]:
    """Program one chip, read it at all times, and measure the network.

    Args:
        point: what is put on the chip.
        key: of this chip.

    Returns:
        Arrays `[times ...]` by name: what `point.measure` gives, and
        `weight_rms_error`; 0 where times only fill up.
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


_measured_alone = jax.jit(_measure)


def _redrawn(index: JArray, point: Point, key: PRNGKey) -> dict[str, np.ndarray]:
    """Chips whose cells are drawn again at each time, layer by layer: `[chips times]`.

    The loops run on the host, so that memory holds one network and one layer's cells.
    """
    what = point.device, point.layers, point.ideal
    how: Any = {"scope": point.scope, "through": point.through}

    def at(own: PRNGKey, j: int) -> dict[str, np.ndarray]:
        t = point.times[j - 1]
        weights = chip.drawn(*what, t=t, index=j, key=own, **how)
        noise = rng.stream(own, rng.Stage.PRODUCT, j)
        return jax.device_get(_measured_alone(point, weights, noise))

    def chip_of(i: JArray) -> dict[str, np.ndarray]:
        own = rng.stream(key, rng.Stage.CHIP, i)
        found = [at(own, j) for j in range(1, int(point.count) + 1)]
        return jax.tree.map(lambda *v: np.stack(v), *found)

    return jax.tree.map(lambda *v: np.stack(v), *map(chip_of, index))


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
    """What a chip gives where all have the same on them, for `Engine.measure`."""
    return one_chip(shared, point[1])


def as_times(times: Sequence[float] | None) -> JArray | None:
    """Seconds as an array, where there are any."""
    return None if times is None else jnp.asarray(times, float)


def _numbered(index: JArray, shared: tuple[Point, PRNGKey]) -> dict[str, JArray]:
    """The chip of a number."""
    point, key = shared
    return one_chip(point, rng.stream(key, rng.Stage.CHIP, index))


def _with_key(metric: Metric, params: PyTree, key: PRNGKey) -> dict[str, JArray]:
    return {"metric": _measured(metric, params, key)}


def _without_key(metric: Metric, params: PyTree, key: PRNGKey) -> dict[str, JArray]:
    del key
    return {"metric": _measured(metric, params)}


def _measured(metric: Metric, *args: Any) -> JArray:
    """The metric, or what is wrong with it in the words of the argument."""
    try:
        value = metric(*args)
    except Exception as error:
        named = f"{type(error).__name__} {error}"
        if "Tracer" not in named and "Concretization" not in named:
            raise
        first = str(error).strip().partition("\n")[0]
        checks.fail(
            "metric",
            "compute with jax alone",
            f"{type(error).__name__}: {first:.80}",
            "Use jax.numpy in place of NumPy, torch, float() and if: it is traced.",
        )
    if not isinstance(value, jax.Array | np.ndarray | np.generic | float | int):
        checks.fail(
            "metric",
            "return one number, or one per item, as a jax array",
            f"{type(value).__name__}",
            "Return jnp.mean(...), without float() and item().",
        )
    return jnp.asarray(value)


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
