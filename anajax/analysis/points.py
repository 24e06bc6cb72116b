"""Functions over points and chips: one trace for any number, with or without a mesh."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import rng
from anajax._core.types import PRNGKey, PyTree
from anajax.analysis.sharding import CHIPS, place

FILL = 4
"""Times and batches of items are padded to a multiple of this."""


def chip_keys(key: PRNGKey, chips: JArray) -> PRNGKey:
    """The keys of the chips of a study, as `evaluate` names them."""
    return rng.streams(key, rng.Stage.CHIP, chips)


def calls_of(count: int, chunk: int, mesh: Mesh | None) -> tuple[int, int]:
    """Points at once on each accelerator, and points per call of the compiled function.

    A call has the same size for any number of points that fills all accelerators.

    Args:
        count: number of points.
        chunk: most points at once on each accelerator.
        mesh: the accelerators; one without.
    """
    devices = 1 if mesh is None else mesh.shape[CHIPS]
    chunk = min(chunk, -(-count // devices))
    return chunk, chunk * devices


def over_points(
    function: Callable[[Any, Any], Any],
    points: PyTree,
    shared: PyTree = None,
    *,
    chunk: int = 1,
    mesh: Mesh | None = None,
) -> PyTree:
    """`function(point, shared)` along the leading axis of `points`: one trace.

    Calls have one size; the last is padded with its last point. So different numbers of
    points share a trace.

    Args:
        function: function of one point; equal functions share a trace.
        points: pytree of arrays `[points ...]`.
        shared: pytree of data common to all points; on the mesh, if there is one.
        chunk: points at once (vmapped) on each accelerator, which limits the memory.
        mesh: accelerators that share the points.

    Returns:
        The results as NumPy arrays `[points ...]`.
    """
    count = len(jax.tree.leaves(points)[0])
    chunk, call = calls_of(count, chunk, mesh)
    found = []
    for start in range(0, count, call):
        index = np.minimum(np.arange(start, start + call), count - 1)
        some = jax.tree.map(lambda v, i=index: v[i], points)
        found.append(in_one_call(function, some, shared, chunk=chunk, mesh=mesh))
    return jax.tree.map(
        lambda *parts: np.concatenate([np.asarray(p) for p in parts])[:count], *found
    )


def in_one_call(
    function: Callable[[Any, Any], Any],
    points: PyTree,
    shared: PyTree,
    *,
    chunk: int,
    mesh: Mesh | None,
) -> PyTree:
    """`function(point, shared)` for as many points as all accelerators hold at once."""
    if mesh is not None:
        points = place(points, mesh)
    return _mapped(points, shared, function=function, chunk=chunk, mesh=mesh)


@partial(jax.jit, static_argnames=("function", "chunk", "mesh"))
def _mapped(
    points: PyTree, shared: PyTree, *, function: Callable, chunk: int, mesh: Mesh | None
) -> PyTree:
    batch = chunk if chunk > 1 else None

    def some(points: PyTree, shared: PyTree) -> PyTree:
        return jax.lax.map(lambda p: function(p, shared), points, batch_size=batch)

    if mesh is None:
        return some(points, shared)
    whole, own = PartitionSpec(), PartitionSpec(CHIPS)
    share = jax.shard_map(
        some,
        mesh=mesh,
        in_specs=(own, whole),
        out_specs=own,
        axis_names={CHIPS},
        check_vma=False,
    )
    found = share(points, shared)
    return jax.lax.with_sharding_constraint(found, NamedSharding(mesh, whole))


def filled(values: Float[JArray, "n ..."]) -> tuple[JArray, JArray]:
    """Values padded with the first to a multiple of `FILL`, and their number."""
    count, missing = len(values), -len(values) % FILL
    more = jnp.broadcast_to(values[:1], (missing, *values.shape[1:]))
    return jnp.concatenate([values, more]), jnp.asarray(count)


def first_of(function: Callable[[Any], Any], arrays: PyTree, count: JArray) -> PyTree:
    """`function` on the first `count` entries of `arrays`; `count` may be traced.

    Returns:
        Arrays as long as the given ones; the other entries are 0.
    """
    compute = jax.jit(function)  # traced once, for its shapes and in the loop

    def at(i: Any) -> PyTree:
        return jax.tree.map(lambda v: v[i], arrays)

    size = len(jax.tree.leaves(arrays)[0])
    begin = jax.tree.map(
        lambda v: jnp.zeros((size, *v.shape), v.dtype), jax.eval_shape(compute, at(0))
    )

    def step(i: JArray, found: PyTree) -> PyTree:
        return jax.tree.map(lambda f, v: f.at[i].set(v), found, compute(at(i)))

    return jax.lax.fori_loop(0, count, step, begin)
