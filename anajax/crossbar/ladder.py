"""Sums along a resistive wire: the inverse of its Laplacian, applied fast.

A wire of n nodes is joined to its source by one segment and has one segment between
neighbors. Currents d_j drawn at the nodes lower the voltage of node k by the segment
resistance times sum_j K_jk d_j, where K_jk = min(j, k) for nodes numbered from the
source (1, 2, ...), and min(j, k) - j k / (n + 1) if both ends are joined to it.
"""

import jax
import jax.numpy as jnp
import numpy as np

from anajax._core.types import Float, JArray

BLOCK = 16
"""Nodes per block: a small matrix within a block, running sums between blocks."""


def padded(n: int) -> int:
    """Length that `wire_sum` needs for a wire of `n` nodes; padded with zeros."""
    return n if n <= 2 * BLOCK else -(-n // BLOCK) * BLOCK


def wire_sum(
    d: Float[JArray, "rows columns"], *, axis: int, n: int, both: bool
) -> Float[JArray, "rows columns"]:
    """K @ d along `axis`: the drop at each node, in units of current x segment.

    Within a block, the small matrix min(j', k') is applied, with j', k' counted from
    the block's start o; its first and last row are the sums of d and of j' d. A node
    sees sum j d of the blocks before its own, k sum d of the blocks after, o sum d of
    its own.

    Args:
        d: current drawn at each node; `padded(n)` long along `axis`, zero beyond `n`.
        axis: 0 or 1, the direction of the wires; node 0 is next to the source.
        n: number of nodes of the real wire.
        both: whether the far end is also connected to the source.
    """
    size = d.shape[axis]
    block = size if size <= 2 * BLOCK else BLOCK
    count, place = size // block, np.arange(1, block + 1)
    local = jnp.asarray(np.minimum.outer(place, place), d.dtype)
    before = jnp.asarray(np.tril(np.ones((count, count)), -1), d.dtype)
    start = jnp.asarray(np.arange(count) * block, d.dtype)
    node = jnp.asarray(np.arange(1, size + 1).reshape(count, block), d.dtype)
    if axis == 0:
        cells = d.reshape(count, block, -1)
        inside = _dot(jnp.broadcast_to(local, (count, block, block)), cells)
        total, start = inside[:, 0], start[:, None]
        first = inside[:, -1] + start * total  # sum of j d over each block
        below = start * total + _dot(before, first)
        above = _dot(before.T, total)
        if both:
            above = above - jnp.sum(first, axis=0) / (n + 1)
        out = inside + below[:, None] + node[..., None] * above[:, None]
    else:
        cells = d.reshape(-1, block)
        inside = _dot(cells, local).reshape(-1, count, block)
        total = inside[..., 0]
        first = inside[..., -1] + start * total
        below = start * total + _dot(first, before.T)
        above = _dot(total, before)
        if both:
            above = above - jnp.sum(first, axis=1, keepdims=True) / (n + 1)
        out = inside + below[..., None] + node * above[..., None]
    return out.reshape(d.shape)


def _dot(a: JArray, b: JArray) -> JArray:
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)  # never TF32
