"""A network on many chips at many times: one trace, memory limited by the chunk.

The simulation of one chip is in `one_chip`, for every study. Different numbers of chips
and times share a trace; on a mesh, every accelerator has its own chips.
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
from anajax._core.tree import Arrays, pytree
from anajax._core.types import PRNGKey, PyTree
from anajax.analysis.hardware import bare
from anajax.analysis.point import Point, drawn_again, one_chip
from anajax.analysis.points import filled, over_points
from anajax.analysis.sharding import place
from anajax.devices.base import Device, check_times
from anajax.mapping.strategy import Normalize, check_layers, check_strategy

Metric = Callable[..., JArray]
"""`metric(params)`: one number, or one per item, for a network with these weights. A
`jax.tree_util.Partial` passes its data as arguments, which `place` can split. A metric
with its own noise, such as that of products, is `metric(params, key)`."""
BUDGET = 2.0**30
"""Bytes for the cells of simultaneous chips, above which cells are drawn again."""
HELD = 3
"""Estimated numbers per cell in addition to its target."""


@pytree
class Evaluation:
    """Measurements on every chip at every time.

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

    On a mesh, a chip has the same draws; the metric and drift compensation may differ
    by rounding if sums are split over `parts` of the mesh.

    Args:
        metric: jittable function of the parameters; contains the data and the model.
        params: pytree of trained weights; other leaves (functions, strings) are passed
            to the metric unchanged.
        device: the device model.
        strategy: one for all weights, one per path, or chosen targets: the layers from
            `chip.encode_weights` or `optimize_targets`.
        times: seconds since the first read, increasing.
        chips: number of chips, or indices of chips; chip 7 of 8 is the same as chip 7
            of 64.
        key: key of the study.
        chunk: chips at once (vmapped) on each accelerator; 1 is fastest on a CPU.
        select: which leaves are weights.
        scope: the weights that share one drift compensation factor.
        recalibrate: seconds at which the factors are measured, held until the next;
            None to measure them in each read-out.
        keyed: whether the metric takes a key, a new one for each chip and time.
        through: effect of wire resistance; pass the same object to share a trace.
        mesh: from `sharding.make_mesh`: its accelerators share chips, weights and
            items. With several processes, all call this, and all get the result.
        normalize: which weights share a full scale, see `mapping.normalized`; chosen
            layers have their own.
        layout: meaning of axes that names and shapes leave open, see `chip.table`.
        extrapolate: whether times may lie outside what the device's source covers.
        budget: bytes for cells. If chips need more, their cells are not kept: they are
            drawn again at each time, layer by layer, from their key (equal up to
            rounding), one chip after the other. With `recalibrate` or `mesh`, cells are
            always kept.

    Raises:
        ValueError: if times, chips or weights are out of range, the meaning of an axis
            that matters is unknown, the targets are not for this device, or the metric
            is not a function of jax arrays.

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
    _check_program(strategy, device)
    redrawn = not kept and bytes_of_cells(ideal, strategy) * chunk > budget
    layers = _layers(params, strategy, how, redrawn)
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
        found = drawn_again(index, *shared)
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


def _programmed(strategy: Any) -> bool:
    """Whether targets are given, and no table."""
    return isinstance(strategy, Mapping) and all(
        isinstance(v, chip.LayerProgram) for v in strategy.values()
    )


def _check_program(strategy: Any, device: Device) -> None:
    check = check_layers if _programmed(strategy) else check_strategy
    check(strategy, device)


def _layers(
    params: PyTree,
    strategy: chip.Strategies | Mapping[str, chip.LayerProgram],
    how: dict[str, Any],
    redrawn: bool,
) -> Mapping[str, Any]:
    if _programmed(strategy):
        return dict(strategy)  # pyright: ignore
    make = chip.unwritten if redrawn else chip.encode_weights
    return make(params, strategy, **how)  # pyright: ignore


def bytes_of_cells(
    ideal: Mapping[str, JArray],
    strategy: chip.Strategies | Mapping[str, chip.LayerProgram],
) -> float:
    """Memory of the cells of a chip: their targets and `HELD` numbers each."""

    def devices(path: str) -> int:
        own = strategy.get(path) if isinstance(strategy, Mapping) else strategy
        return 1 if own is None else own.targets.shape[-1]

    return sum(
        (1 + HELD) * devices(path) * jnp.result_type(w, jnp.float32).itemsize * w.size
        for path, w in ideal.items()
    )


def as_times(times: Sequence[float] | None) -> JArray | None:
    """Seconds as an array, or None."""
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
