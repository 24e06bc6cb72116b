"""Codes of a few levels: their enumeration, lower envelope, and best scale."""

import itertools
import math

import numpy as np

from anajax._core import checks

LIMIT = 1_000_000
"""Most codes that are enumerated."""


def envelope(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lower envelope of the lines a - 2 x b.

    Args:
        a: value of each line at x = 0.
        b: half its downward slope.

    Returns:
        The lines on the envelope in the order of increasing x, and where each except
        the last ends.
    """
    same = 1e-9 * float(np.ptp(b)) or 1.0
    order = np.lexsort((a, np.round(b / same)))
    rounded = np.round(b[order] / same)
    order = order[np.r_[True, np.diff(rounded) > 0]]
    while order.size > 2:  # drop all that lie above the chord of their neighbors
        left, here, right = order[:-2], order[1:-1], order[2:]
        share = (b[here] - b[left]) / (b[right] - b[left])
        below = a[here] < (1 - share) * a[left] + share * a[right]
        if below.all():
            break
        order = order[np.r_[True, below, True]]
    return order, np.diff(a[order]) / (2 * np.diff(b[order]))


def best_scale(
    a: np.ndarray, b: np.ndarray, ends: np.ndarray, u: np.ndarray, p: np.ndarray
) -> float:
    """The K with the lowest mean of (a - 2 x b) / K^2 at x = K u, over all K > 0.

    As K grows, weight u moves on to the next code at K = end / u. Between two such K,
    the sums S = sum p u b and Q = sum p a give the lowest value -S^2 / Q, at K = Q / S.
    """
    start = int(np.searchsorted(ends, 0.0, side="right"))
    ahead, back = ends[start:], ends[:start][::-1]
    up, down = u > 0, u < 0
    rises = [(ahead, u[up], p[up], 1), (back, u[down], p[down], -1)]
    at, change_s, change_q = [], [], []
    for limits, weights, share, way in rises:
        if not limits.size or not weights.size:
            continue
        code = start + way * np.arange(limits.size + 1)
        at.append((limits[:, None] / weights).ravel())
        change_s.append((np.diff(b[code])[:, None] * (share * weights)).ravel())
        change_q.append((np.diff(a[code])[:, None] * share).ravel())
    s, q = b[start] * (p @ u), a[start] * p.sum()
    if at:
        order = np.argsort(np.concatenate(at), kind="stable")
        s = np.r_[s, s + np.cumsum(np.concatenate(change_s)[order])]
        q = np.r_[q, q + np.cumsum(np.concatenate(change_q)[order])]
    s, q = np.atleast_1d(s), np.atleast_1d(q)
    gain = np.divide(s**2, q, out=np.full_like(s, -1.0), where=s > 0)
    best = int(np.argmax(gain))
    if s[best] <= 0:
        checks.fail(
            "weights", "be distinguishable by codes", "none", "Widen the levels."
        )
    return float(q[best] / s[best])


def codes(levels: int, coefficients: np.ndarray) -> np.ndarray:
    """Combinations of level numbers `[codes devices]`.

    Devices with equal coefficients are interchangeable: only one order is listed.
    """
    alike = [np.flatnonzero(coefficients == c) for c in np.unique(coefficients)]
    count = math.prod(math.comb(levels + d.size - 1, d.size) for d in alike)
    if count > LIMIT:
        checks.fail(
            "cell",
            f"have at most {LIMIT} codes",
            f"{count} for {coefficients.size} devices of {levels} levels",
            "Use fewer devices a weight, or fewer levels.",
        )
    table = np.zeros((1, coefficients.size), int)
    for where in alike:
        rows = np.array(
            list(itertools.combinations_with_replacement(range(levels), where.size))
        )
        table = np.repeat(table, len(rows), axis=0)
        table[:, where] = np.tile(rows, (len(table) // len(rows), 1))
    return table
