"""Rare large weights kept digital, so that others fill the range of their columns."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array as JArray
from jaxtyping import Bool, Float

from anajax._core import checks
from anajax.crossbar.split import even_parts
from anajax.mapping.layout import Layout

ROUNDS = 4
"""Weights of one column that may go, one a round."""


def outliers(
    w: Float[JArray, "*weights"] | np.ndarray,
    layout: Layout,
    *,
    share: float,
    importance: Float[JArray, "layers rows"] | np.ndarray | None = None,
) -> Bool[np.ndarray, "*weights"]:
    """The weights whose absence shrinks the scales of their columns most.

    The noise of a column counts in the square of its largest weight. In each round the
    largest weights go whose columns gain most by it, down to the next largest.

    Args:
        w: weights of one array.
        layout: what its axes are, and how many rows a tile has.
        share: of the weights that may go, in [0, 1).
        importance: what the noise of each row counts, such as the mean square of its
            input; all alike by default.

    Returns:
        True for weights to be kept digital.

    Raises:
        ValueError: if columns are not known, or the share is out of range.
    """
    if not 0 <= share < 1:
        checks.fail("share", "lie in [0, 1)", share, "0.005 is one in two hundred.")
    matrices = np.abs(np.asarray(layout.matrices(jnp.asarray(w))))
    layers, rows, columns = matrices.shape
    tiles = -(-rows // (layout.tile_rows or rows))
    ends = np.cumsum([0, *even_parts(rows, tiles)])
    counts = np.ones((layers, rows)) if importance is None else np.asarray(importance)
    gone = np.zeros(matrices.shape, bool)
    each = int(share * matrices.size) // ROUNDS
    for _ in range(ROUNDS if each else 0):
        left = np.where(gone, 0, matrices)
        gain, place = [], []
        for start, end in zip(ends, ends[1:], strict=False):
            part = left[:, start:end]
            two = np.partition(part, -2, axis=1)[:, -2:] if end - start > 1 else part
            weight = counts[:, start:end].sum(1)[:, None]
            gain.append(weight * (two[:, -1] ** 2 - two[:, 0] ** 2))
            place.append(start + np.argmax(part, 1))
        flat = np.concatenate(gain, 1).ravel()
        first = np.argpartition(flat, -each)[-each:] if each < flat.size else ...
        index = np.concatenate(place, 1).ravel()[first]
        layer, column = np.divmod(np.arange(flat.size)[first], tiles * columns)
        gone[layer, index, column % columns] = True
    return np.asarray(layout.restored(jnp.asarray(gone), np.shape(w)))
