"""The best of several searches, and whether it is the maximum.

A likelihood of many parameters has local maxima: a standard deviation near zero is a
logarithm far down, on which nothing depends any more, whether or not a larger value
would be better. So there are several starting points, each search runs to its end, and
parameters that ended near a bound are restarted away from it.
"""

from collections.abc import Iterator
from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from anajax._core import checks
from anajax.devices.fitting import clips, guesses
from anajax.devices.fitting.continuous import ContinuousLikelihood
from anajax.devices.fitting.likelihood import AbstractLikelihood
from anajax.devices.fitting.measurements import Measured
from anajax.devices.fitting.parameters import Layout
from anajax.devices.fitting.search import TOLERANCE, Found, look, search
from anajax.devices.fitting.uncertainty import FLAT

HEATS = 15
"""Steps from every starting point before any search continues."""
ROUNDS = 3
"""Number of times that parameters near a bound are restarted away from it."""
FURTHEST = 12
"""Distance from the bound at such a restart, in a logarithm or logit."""
FELT = 1.0
"""Loss of log likelihood at which a parameter counts as off its bound again."""


def highest(
    likelihood: AbstractLikelihood, places: Layout, data: Measured, steps: int
) -> Found:
    """The best result of searches from the form and from moments of the data.

    A maximum is accepted only if no other search ends above it or still climbs toward
    it. If a form has clips, the result of its own starting point is used if the data
    cannot tell it from the best.
    """
    starts = [places.coordinates()]
    if steps and likelihood == ContinuousLikelihood():
        starts = guesses.starts(places, data)
    part = steps if len(starts) == 1 else min(steps, HEATS)
    ends = [search(likelihood, places, data, start, part) for start in starts]
    if part < steps:
        ends = [_finished(likelihood, places, data, end, steps) for end in ends]
    best = max(ends, key=lambda end: end.point.value)
    if not np.isfinite(best.point.value):
        remedy = "Start from other values, or give it errors where the data have them."
        checks.fail("form", "give the data a likelihood", best.point.value, remedy)
    same = clips.same(places) if steps else TOLERANCE
    if ends[0].point.value > best.point.value - same:
        best = ends[0]
    for _ in range(ROUNDS if steps else 0):
        found = list(_off_bounds(likelihood, places, data, best, steps))
        ends += found
        top = max([best, *found], key=lambda end: end.point.value)
        if top.point.value < best.point.value + same:
            break
        best = top
    return _doubted(best, ends)


def _finished(
    likelihood: AbstractLikelihood,
    places: Layout,
    data: Measured,
    end: Found,
    steps: int,
) -> Found:
    """The end of a search that went a part of the way."""
    if end.converged or not np.isfinite(end.point.value):
        return end
    return search(likelihood, places, data, jnp.asarray(end.point.at), steps)


def _doubted(best: Found, ends: list[Found]) -> Found:
    """The best end; not a maximum if a search that is still climbing is as high."""
    for end in ends:
        high = end.point.value > best.point.value - TOLERANCE
        if best.converged and high and not end.converged:
            return replace(
                best,
                converged=False,
                reason=f"another start is equally good: {end.reason}",
            )
    return best


def _off_bounds(
    likelihood: AbstractLikelihood,
    places: Layout,
    data: Measured,
    best: Found,
    steps: int,
) -> Iterator[Found]:
    """Ends of searches from the best, with what is near a bound away from it.

    Those of one array go together, as far as the data do not mind.
    """
    flat = places.bounded() & ~(np.diag(best.point.curvature) > FLAT)
    for of in places.arrays():
        near = [i for i in of if flat[i]]
        start = best.point.at
        for _ in range(FURTHEST if near else 0):
            further = start.copy()
            further[near] += 1.0
            value = look(likelihood, places, further, data).value
            if not value > best.point.value - FELT:
                break
            start = further
        if np.any(start != best.point.at):
            yield search(likelihood, places, data, jnp.asarray(start), steps)
