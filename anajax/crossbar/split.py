"""Cutting an axis into nearly equal parts, and joining them again, exactly."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from anajax._core.types import JArray


def even_parts(size: int, count: int) -> list[int]:
    """`size` in `count` parts that differ by at most one, larger ones first."""
    base, larger = divmod(size, count)
    return [base + 1] * larger + [base] * (count - larger)


def split_axis(x: JArray, parts: Sequence[int], *, axis: int) -> JArray:
    """Replace `axis` by two, [parts, largest part]; smaller parts end in a zero."""
    count, largest = len(parts), max(parts)
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    larger = sum(p == largest for p in parts)
    if larger == count:
        return x.reshape(*before, count, largest, *after)
    cut = larger * largest
    head, tail = jnp.split(x, [cut], axis)
    head = head.reshape(*before, larger, largest, *after)
    tail = tail.reshape(*before, count - larger, largest - 1, *after)
    pad = [(0, 0)] * tail.ndim
    pad[axis + 1] = (0, 1)
    return jnp.concatenate([head, jnp.pad(tail, pad)], axis)


def join(x: JArray, size: int, *, axis: int) -> JArray:
    """The inverse of `split_axis`: axes `axis` and `axis + 1` become one of `size`."""
    count, largest = x.shape[axis : axis + 2]
    before, after = x.shape[:axis], x.shape[axis + 2 :]
    flat = x.reshape(*before, count * largest, *after)
    if size == count * largest:
        return flat
    larger = size - count * (largest - 1)
    kept = np.concatenate(
        [
            np.arange(larger * largest),
            *(i * largest + np.arange(largest - 1) for i in range(larger, count)),
        ]
    )
    return jnp.take(flat, kept, axis=axis)
