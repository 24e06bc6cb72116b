"""Chips on many accelerators: a mesh of `chips` x `parts`, and the placement of arrays.

Along `chips`, every accelerator has its own chips; along `parts`, the accelerators of
one chip share its cells and the test items: weight arrays are split, so that a network
too large for one accelerator can still be programmed, aged and read. Keys are by name,
so a chip draws the same numbers on any mesh.
"""

from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from anajax._core import checks
from anajax._core.types import Array

CHIPS = "chips"
PARTS = "parts"
T = TypeVar("T")
Cut = Literal["items", "weights", "none"]


def make_mesh(devices: int | Literal["all"] = "all", *, parts: int = 1) -> Mesh:
    """A mesh for `evaluate`.

    Args:
        devices: number of accelerators, or "all" of all processes.
        parts: accelerators that share one chip; 1 unless weights are too large.

    Raises:
        ValueError: if there are too few accelerators, or `parts` does not divide them.

    Example:
        >>> anajax.make_mesh(1).size
        1
    """
    if isinstance(devices, str):
        checks.word("devices", devices, ("all",))
    known = jax.devices()
    count = len(known) if devices == "all" else devices
    if not 1 <= count <= len(known):
        checks.fail(
            "devices",
            f"be in 1..{len(known)}, the devices of this machine",
            count,
            "On a CPU, XLA_FLAGS=--xla_force_host_platform_device_count=N makes N.",
        )
    if jax.process_count() > 1 and count < len(known):
        checks.fail(
            "devices", "be all in several processes", count, "Write `--devices all`."
        )
    if parts < 1 or count % parts:
        checks.fail(
            "parts", f"divide the number of devices, {count}", parts, "Choose another."
        )
    grid = np.asarray(known[:count]).reshape(count // parts, parts)
    return Mesh(grid, (CHIPS, PARTS), axis_types=(AxisType.Auto,) * 2)


def place(tree: T, mesh: Mesh, *, cut: Cut = "none") -> T:
    """Arrays on all accelerators of a mesh, whole or split along its `parts`.

    With several processes, the values of process 0 are used.

    Args:
        tree: pytree of arrays; those already on the mesh stay unchanged.
        mesh: from `make_mesh`.
        cut: "weights": along the longest axis that `parts` divides; "items": along
            axis 1 of `[batches items ...]`, if `parts` divides it; "none": whole.
    """
    checks.word("cut", cut, Cut)
    there = [_lies_on(leaf, mesh) for leaf in jax.tree.leaves(tree)]
    if there and all(there):
        return tree
    leaves, structure = jax.tree.flatten(tree)
    kinds = [jax.random.key_impl(v) if _is_key(v) else None for v in leaves]
    plain = [jax.random.key_data(v) if _is_key(v) else v for v in leaves]
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        plain = multihost_utils.broadcast_one_to_all(plain)

    def put(value: Any, kind: Any) -> Array:
        value = np.asarray(value)
        spec = _spec(value.shape, mesh.shape[PARTS], "none" if kind else cut)
        made = jax.make_array_from_callback(
            value.shape, NamedSharding(mesh, spec), lambda index: value[index]
        )
        return jax.random.wrap_key_data(made, impl=kind) if kind else made

    return structure.unflatten(map(put, plain, kinds))


def padded(index: Array, mesh: Mesh) -> Array:
    """Indices of chips, the last one repeated until all accelerators have as many."""
    missing = -index.size % mesh.shape[CHIPS]
    return jnp.concatenate([index, jnp.repeat(index[-1:], missing)])


def _spec(shape: tuple[int, ...], parts: int, cut: Cut) -> PartitionSpec:
    axes = {"none": [], "weights": range(len(shape)), "items": [1]}[cut]
    fit = [a for a in axes if a < len(shape) and shape[a] and shape[a] % parts == 0]
    if not fit or parts == 1:
        return PartitionSpec()
    chosen = max(fit, key=lambda a: shape[a])
    return PartitionSpec(*(PARTS if a == chosen else None for a in range(len(shape))))


def _is_key(value: Any) -> bool:
    return hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def _lies_on(value: Any, mesh: Mesh) -> bool:
    where = getattr(value, "sharding", None)
    return isinstance(where, NamedSharding) and where.mesh == mesh
