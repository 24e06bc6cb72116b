"""Densities in which the error is that of a layer's outputs, not of its weights.

A product y = x W of weights with errors dW has the expected squared error

    E |x dW|^2 = sum over columns j of  b_j' M b_j + sum_i M_ii v_ij,

with M = E x x' the second moments of the inputs, and bias b and variance v of each
weight: independent noise of single weights contributes through the diagonal of M, but a
bias that many weights share (clipping) through all of it. Both are functions of the
normalized weight, so a layer is described by a vector and a matrix over bins of |u|,
whatever its size.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax._core import checks
from anajax.mapping.density import WeightDensity
from anajax.mapping.strategy import Normalized

BINS = 32
"""Bins of |u|: the bias in a bin is that of its mean weight."""
FLOOR = 1e-6
"""Probability spread over all bins, so that a strategy is determined everywhere."""


def output_density(
    weights: Normalized,
    moments: Float[JArray, "layers rows rows"] | np.ndarray,
    *,
    bins: int = BINS,
    columns: int | None = None,
    path: str = "",
) -> WeightDensity:
    """The density of |u| for one array, with the error of its outputs.

    Errors are relative to the mean squared output: `tabulated_error(...).rms` is the
    relative error of the layer's outputs. For mirrored strategies.

    Args:
        weights: normalized weights with the layout of the array.
        moments: mean of x x' for the inputs of each of its matrices, in any unit.
        bins: number of bins of |u| from 0 to 1.
        columns: most columns to use, evenly spaced; all by default.
        path: name of the array in messages.

    Raises:
        ValueError: if rows and columns are unknown, moments do not fit them, or all
            outputs are zero.
    """
    layout = weights.layout
    u = np.asarray(layout.matrices(weights.u, path), np.float32)
    unit = jnp.broadcast_to(weights.unit, weights.u.shape)
    unit = np.asarray(layout.matrices(unit, path), np.float32)
    moments = np.asarray(moments, np.float32)
    want = (*u.shape[:2], u.shape[1])
    if moments.shape != want:
        rule = f"have shape {want} for {path or 'the weights'}"
        checks.fail("moments", rule, moments.shape, "Pass those of these inputs.")
    checks.finite("moments", moments)
    take = np.unique(np.linspace(0, u.shape[2] - 1, columns or u.shape[2]).astype(int))
    parts = [
        _of_matrix(*matrix, bins)
        for matrix in zip(u[..., take], unit[..., take], moments, strict=True)
    ]
    count, total, spread, gram, power = (np.sum(v, 0) for v in zip(*parts, strict=True))
    if not power > 0:
        checks.fail("moments", "give some output", "none", "Look at other inputs.")
    middle = (np.arange(bins) + 0.5) / bins
    even = FLOOR / bins
    return WeightDensity(
        u=np.where(count > 0, total / np.maximum(count, 1), middle),
        probability=count / count.sum(),
        spread=(spread + even * spread.sum()) / power,
        gram=(gram + even * spread.sum() * np.eye(bins)) / power,
    )


def _of_matrix(
    u: np.ndarray, unit: np.ndarray, moments: np.ndarray, bins: int
) -> tuple[np.ndarray, ...]:
    """Counts, sums of |u|, spreads and Gram matrix of bins, and the squared output."""
    size = np.abs(u)
    index = np.minimum((size * bins).astype(np.int32), bins - 1)
    flat = index.ravel()

    def binned(values: np.ndarray) -> np.ndarray:
        return np.bincount(flat, values.ravel(), bins)

    signed = np.sign(u) * unit
    diagonal = np.diagonal(moments)[:, None]
    gram = np.zeros((bins, bins))
    for k in np.flatnonzero(np.bincount(flat, minlength=bins)):
        own = moments @ np.where(index == k, signed, np.float32(0))
        gram[k] = binned(own * signed)
    count = np.bincount(flat, minlength=bins).astype(float)
    power = np.sum((moments @ (u * unit)) * (u * unit), dtype=float)
    return count, binned(size), binned(diagonal * unit**2), gram, np.asarray(power)


def together(
    densities: Sequence[WeightDensity], share: Sequence[float]
) -> WeightDensity:
    """One density for several layers: the mean of the relative output errors.

    Args:
        densities: from `output_density`, with the same bins.
        share: weight of the error of each layer.
    """
    part = np.asarray(share, float) / np.sum(share)

    def mean(values: Sequence[np.ndarray]) -> np.ndarray:
        return np.tensordot(part, np.stack(values), 1)

    p = np.stack([np.asarray(d.probability) for d in densities])
    u = np.stack([np.asarray(d.u) for d in densities])
    met = p.sum(0)
    return WeightDensity(
        u=np.where(met > 0, (u * p).sum(0) / np.where(met > 0, met, 1), u[0]),
        probability=met / met.sum(),
        spread=mean([np.asarray(d.spread) for d in densities]),
        gram=mean([np.asarray(d.gram) for d in densities]),
    )
