"""Removes the clips of curves that the measurements do not support.

The likelihood has a kink where a clip starts to touch cells. An estimate just inside
the data rests on a few of them, so its curvature overstates what they tell. A clip
therefore stays only if the data are explained worse without it.
"""

from operator import attrgetter

import jax.numpy as jnp
import numpy as np

from anajax._core.tree import replace
from anajax.devices.fitting.likelihood import Measured
from anajax.devices.fitting.parameters import Layout, Vector
from anajax.devices.fitting.search import TOLERANCE

SIDES = {"low": -1.0, "high": 1.0, "cap": 1.0}
"""Names of clips, and the side to which their curve goes on without them."""
LIKELIHOOD_RATIO = 3.841459
"""95 % quantile of chi-squared with one degree of freedom."""
FAR = 6.0
"""Standard errors from the edge beyond which a clip needs no test."""


def same(places: Layout) -> float:
    """Log likelihoods that close do not tell two branches of a form apart."""
    clips = any(name.rsplit(".", 1)[-1] in SIDES for name in places.names)
    return LIKELIHOOD_RATIO / 2 if clips else TOLERANCE


def unsupported_clips(
    places: Layout, vector: Vector, se: np.ndarray, data: Measured
) -> list[tuple[int, float]]:
    """Clips near the edge of the data: number, and a value that no cell reaches.

    A curve that would fall to zero or below without its clip keeps it.
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
    """A value of clip `i` beyond its curve at all cells; None if it touches no cell."""
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
    """The layout whose form has these values, and clip `i` at `value`."""
    return replace(places, form=places.device(vector.at[i].set(value)))
