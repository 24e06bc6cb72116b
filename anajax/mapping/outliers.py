"""Rare large weights kept digital, so that the others use the full range."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array as JArray
from jaxtyping import Bool, Float

from anajax._core import checks
from anajax.crossbar.split import even_parts
from anajax.mapping.layout import Layout

ROUNDS = 4
"""Most weights of one column that are removed, one per round."""


def outliers(
    w: Float[JArray, "*weights"] | np.ndarray,
    layout: Layout,
    *,
    share: float,
    importance: Float[JArray, "layers rows"] | np.ndarray | None = None,
) -> Bool[np.ndarray, "*weights"]:
    """The weights whose removal shrinks the scales of their columns most.

    The noise of a column grows with the square of its largest weight. In each round,
    the largest weights of the columns that gain most are removed, down to the next
    largest.

    Args:
        w: weights of one array.
        layout: meaning of its axes, and the number of rows per tile.
        share: fraction of the weights to remove, in [0, 1).
        importance: weight of the noise in each row, such as the mean square of its
            input; equal by default.

    Returns:
        True for weights to keep digital.

    Raises:
        ValueError: if columns are unknown, or the share is out of range.
    """
    if not 0 <= share < 1:
        checks.fail("share", "lie in [0, 1)", share, "0.005 is one in two hundred.")
    matrices = np.abs(np.asarray(layout.matrices(jnp.asarray(w))))
    layers, rows, columns = matrices.shape
    tiles = -(-rows // (layout.tile_rows or rows))
    ends = np.cumsum([0, *even_parts(rows, tiles)])
    counts = np.ones((layers, rows)) if importance is None else np.asarray(importance)
    weight = np.add.reduceat(counts, ends[:-1], axis=1)[..., None]
    parts = [
        _largest(matrices[:, start:end], start)
        for start, end in zip(ends, ends[1:], strict=False)
    ]
    top, place = (np.stack(v, 1) for v in zip(*parts, strict=True))
    gone = np.zeros(matrices.shape, bool)
    went = np.zeros((layers, tiles, columns), int)
    each = int(share * matrices.size) // ROUNDS
    for _ in range(ROUNDS if each else 0):
        now, then = (_at(top, went + i) for i in (0, 1))
        gain = (weight * (now**2 - then**2)).ravel()
        first = np.argpartition(gain, -each)[-each:] if each < gain.size else ...
        layer, tile, column = (v.ravel()[first] for v in np.indices(went.shape))
        gone[layer, _at(place, went)[layer, tile, column], column] = True
        went[layer, tile, column] += 1
    return np.asarray(layout.restored(jnp.asarray(gone), np.shape(w)))


def _at(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    return np.take_along_axis(values, index[..., None], -1)[..., 0]


def _largest(part: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest of each column of a tile, in order, and their rows.

    Args:
        part: magnitudes `[layers rows columns]`.
        start: its first row in the matrix.

    Returns:
        Two arrays `[layers columns ROUNDS+1]`; zeros where there are fewer rows.
    """
    turned = np.ascontiguousarray(np.swapaxes(part, 1, 2))
    rows = turned.shape[-1]
    count = min(ROUNDS + 1, rows)
    index = np.argpartition(turned, rows - count, -1)[..., rows - count :]
    values = np.take_along_axis(turned, index, -1)
    order = np.argsort(-values, -1, kind="stable")
    index, values = (np.take_along_axis(v, order, -1) for v in (index, values))
    missing = ((0, 0), (0, 0), (0, ROUNDS + 1 - count))
    return np.pad(values, missing), np.pad(index + start, missing, mode="edge")
