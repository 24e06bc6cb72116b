"""Maps over points and chips in one trace, on all devices of this process."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import rng
from anajax._core.types import PRNGKey, PyTree
from anajax.analysis.steps import Step


def chip_keys(key: PRNGKey, chips: JArray) -> PRNGKey:
    """The keys of the chips of a study, as `evaluate` names them."""
    return rng.streams(key, rng.Stage.CHIP, chips)


def over_points(
    function: Callable[[Any, Any], Any],
    points: PyTree,
    shared: PyTree = None,
    *,
    chunk: int = 1,
    call: int | None = None,
    step: Step | None = None,
) -> PyTree:
    """`function(point, shared)` along the leading axis of `points`: one trace.

    Points are shared out over all devices that this process has (a CPU counts as
    `JAX_NUM_CPU_DEVICES` of them, one by default).

    Args:
        function: of one point; keep one object for one trace.
        points: pytree of arrays `[points ...]`.
        shared: pytree of what all points have in common.
        chunk: points at once (vmapped) on each device, which bounds the memory.
        call: points in one call of the compiled program, all of them by default; the
            last call is filled up with its last point. Sets of points of any size then
            share a trace.
        step: what each call is a step of, where the function gives arrays by name.

    Returns:
        The results as NumPy arrays `[points ...]`.
    """
    count = len(jax.tree.leaves(points)[0])
    devices = jax.local_device_count()
    call = call or count
    chunk = min(chunk, -(-call // devices))
    call += -call % (chunk * devices)
    found = []
    for start in range(0, count, call):
        index = np.minimum(np.arange(start, start + call), count - 1)
        some = jax.tree.map(lambda v, i=index: v[i], points)
        compute = partial(_over_points, some, shared, function=function, chunk=chunk)
        got = compute() if step is None else step(compute)
        found.append(jax.tree.map(np.asarray, got))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:count], *found)


@partial(jax.jit, static_argnames=("function", "chunk"))
def _over_points(
    points: PyTree, shared: PyTree, *, function: Callable, chunk: int
) -> PyTree:
    batch = chunk if chunk > 1 else None

    def some(points: PyTree, shared: PyTree) -> PyTree:
        return jax.lax.map(lambda p: function(p, shared), points, batch_size=batch)

    if jax.local_device_count() == 1:
        return some(points, shared)
    mesh = jax.sharding.Mesh(np.asarray(jax.local_devices()), "points")
    each, all_of_them = jax.P("points"), jax.P()
    share = jax.shard_map(
        some,
        mesh=mesh,
        in_specs=(each, all_of_them),
        out_specs=each,
        check_vma=False,
    )
    return share(points, shared)


def over_chips(
    function: Callable[[Any, Any], Any],
    points: Float[JArray, "points numbers"] | np.ndarray,
    keys: PRNGKey,
    shared: PyTree = None,
    *,
    chunk: int = 1,
    call: int | None = None,
    step: Step | None = None,
) -> PyTree:
    """`function((point, key), shared)` for each point on each chip: `[points chips]`.

    Args:
        function: of a point and the key of a chip.
        points: numbers of each point.
        keys: of the chips, the same for all points.
        shared: what all points have in common.
        chunk: chips at once, of any points.
        call: chips in one call, of any points; all of a point by default.
        step: see `over_points`.
    """
    count, chips = len(points), len(keys)
    pairs = (jnp.repeat(jnp.asarray(points), chips, 0), jnp.tile(keys, count))
    how: Any = {"chunk": chunk, "call": call or chips, "step": step}
    found = over_points(function, pairs, shared, **how)
    return jax.tree.map(lambda v: v.reshape(count, chips, *v.shape[1:]), found)
