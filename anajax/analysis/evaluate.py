"""A network on R chips at T times: one trace, memory bounded by chips in a chunk.

On a mesh every device runs the same scan over chips of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.tree_util import Partial
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import chip, rng
from anajax._core import checks
from anajax._core.tree import Arrays, pytree
from anajax._core.types import PRNGKey, PyTree
from anajax.analysis.sharding import CHIPS, padded, place
from anajax.devices.base import Device, check_times
from anajax.mapping.strategy import Normalize, check_layers, check_strategy

Metric = Callable[..., JArray]
"""`metric(params)`: one number, or one per item, for a network with these weights. A
`jax.tree_util.Partial` hands over its data as arguments, which `place` can cut. One
with noise of its own, such as that of products, is `metric(params, key)`."""

Small = tuple[Device, JArray, PRNGKey, JArray | None]
"""Device, times, key, and times of recalibrations: whole on every device."""
Large = tuple[Arrays, dict[str, chip.LayerProgram], dict[str, JArray]]
"""Parameters, what is programmed, and the trained weights."""


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
    layers = _layers(params, device, strategy, select, normalize, layout)
    chip.check_columns(layers, scope)
    ideal = chip.weights(params, select=select)
    metric = metric if isinstance(metric, Partial) else Partial(metric)
    small = device, jnp.asarray(times, dtype=float), key, recalibrate
    large = Arrays(params), layers, ideal
    count = index.size
    if mesh is not None:
        index = place(padded(index, mesh), mesh)
        metric, small = place(metric, mesh), place(small, mesh)
        large = place(large, mesh, cut="weights")
    how = _How(chunk=chunk, scope=scope, keyed=keyed, through=through)
    found = _evaluate(index, metric, small, large, how=how, mesh=mesh)
    return found if mesh is None else jax.tree.map(lambda v: v[:count], found)


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
    select: chip.Select,
    normalize: Normalize,
    layout: chip.Layouts,
) -> dict[str, chip.LayerProgram]:
    if isinstance(strategy, Mapping) and all(
        isinstance(v, chip.LayerProgram) for v in strategy.values()
    ):
        check_layers(strategy, device)
        return dict(strategy)  # pyright: ignore
    check_strategy(strategy, device)
    how = {"select": select, "normalize": normalize, "layout": layout}
    return chip.encode_weights(params, strategy, **how)  # pyright: ignore


class _How(NamedTuple):
    """What decides the trace, see `evaluate`."""

    chunk: int
    scope: chip.Scope
    keyed: bool
    through: chip.Through | None


@partial(jax.jit, static_argnames=("how", "mesh"))
def _evaluate(
    index: JArray,
    metric: Partial,
    small: Small,
    large: Large,
    *,
    how: _How,
    mesh: Mesh | None,
) -> Evaluation:
    scan = partial(_scan, how=how)
    if mesh is None:
        return scan(index, metric, small, large)
    whole, own = PartitionSpec(), PartitionSpec(CHIPS)
    shared = jax.shard_map(
        scan,
        mesh=mesh,
        in_specs=(own, whole, whole, whole),
        out_specs=own,
        axis_names={CHIPS},
        check_vma=how.through is None,  # the solver of wires starts at plain zeros
    )
    found = shared(index, metric, small, large)
    return jax.lax.with_sharding_constraint(found, NamedSharding(mesh, whole))


def _scan(
    index: JArray,
    metric: Partial,
    small: Small,
    large: Large,
    *,
    how: _How,
) -> Evaluation:
    """The chips of one device, one after the other or in chunks."""
    device, times, key, recalibrate = small
    params, layers, ideal = large
    hardware: Any = {"scope": how.scope, "through": how.through}

    def one_chip(i: JArray) -> Evaluation:
        own = rng.stream(key, rng.Stage.CHIP, i)
        part = chip.program(device, layers, key=own, through=how.through)
        held = None
        if recalibrate is not None:
            held = chip.recalibrate(device, part, recalibrate, **hardware)

        def one_time(t_j: tuple[JArray, JArray]) -> Evaluation:
            t, j = t_j
            weights = chip.read(device, part, t=t, index=j, held=held, **hardware)
            noise = (rng.stream(own, rng.Stage.PRODUCT, j),) if how.keyed else ()
            return Evaluation(
                metric=_measured(metric, chip.insert(params.tree, weights), *noise),
                weight_rms_error=rms_error(weights, ideal, layers),
            )

        return jax.lax.map(one_time, (times, jnp.arange(1, times.shape[0] + 1)))

    batch = how.chunk if how.chunk > 1 else None
    return jax.lax.map(one_chip, index, batch_size=batch)


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
