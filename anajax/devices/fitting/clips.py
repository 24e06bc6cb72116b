"""Removes clipping bounds of curves that the measurements do not support.

The likelihood has a kink where a clip starts to affect cells. An estimate just inside
the data rests on few of them, so its curvature overstates the information in the data.
A clip therefore stays only if the data are explained worse without it.
"""

from operator import attrgetter

import jax.numpy as jnp
import numpy as np

from anajax._core.tree import replace
from anajax.devices.fitting.likelihood import Measured
from anajax.devices.fitting.parameters import Layout, Vector
from anajax.devices.fitting.search import TOLERANCE

SIDES = {"low": -1.0, "high": 1.0, "cap": 1.0}
"""Names of clips, and the side on which their curve continues without them."""
LIKELIHOOD_RATIO = 3.841459
"""95 % quantile of chi-squared with one degree of freedom."""
FAR = 6.0
"""Distance from the edge, in standard errors, beyond which a clip needs no test."""


def same(places: Layout) -> float:
    """Difference of log likelihood below which two branches of a form are the same."""
    clips = any(name.rsplit(".", 1)[-1] in SIDES for name in places.names)
    return LIKELIHOOD_RATIO / 2 if clips else TOLERANCE


def unsupported_clips(
    places: Layout, vector: Vector, se: np.ndarray, data: Measured
) -> list[tuple[int, float]]:
    """Clips near the edge of the data: number, and a value that affects no cell.

    A clip stays if its curve would otherwise fall to zero or below.
    """
    found = []
    for i, name in enumerate(places.names):
        side = SIDES.get(name.rsplit(".", 1)[-1])
        if side is None or not np.isfinite(se[i]):
            continue
        edge = out_of_reach(places, vector, i, side, data)
        value = float(vector[i])
        if edge is not None and edge > 0 and side * (edge - value) < FAR * se[i]:
            found.append((i, edge))
    return found


def out_of_reach(
    places: Layout, vector: Vector, i: int, side: float, data: Measured
) -> float | None:
    """A value of clip `i` beyond its curve at all cells; None if it affects no cell."""
    slot, curve = places.names[i].split(".")[:2]

    def at(clip: float) -> np.ndarray:
        device = places.device(vector.at[i].set(clip))
        stage = attrgetter(slot)(device)
        g = jnp.concatenate([data.target, data.programmed])
        return np.asarray(getattr(stage, curve)(g / stage.g_max))

    free, held = at(side * 1e30), at(-side * 1e30)
    line = free[free != held]
    if not line.size:
        return None
    edge = np.max(side * line)
    return float(side * (edge + 0.02 * abs(edge)))


def with_clip(places: Layout, vector: Vector, i: int, value: float) -> Layout:
    """The layout of the form with these values, and clip `i` at `value`."""
    return replace(places, form=places.device(vector.at[i].set(value)))
