"""The search for the maximum likelihood: Newton steps, and a test of convergence.

A step divides the gradient by the magnitude of the curvature in each of its directions,
so that it always goes up. The search has converged if a further step would gain less
than `TOLERANCE`. Clips of curves make kinks, where the gradient jumps and never
vanishes: there, the smallest mean of nearby gradients counts, which is zero on top of a
ridge. If many kinks lie close together, it stays slightly above zero.
"""

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from anajax.devices.fitting.likelihood import AbstractLikelihood, Measured
from anajax.devices.fitting.parameters import Layout, Vector

TOLERANCE = 1e-3
"""Log likelihood below the maximum at which the search ends, by its own estimate."""
ROUGH = 0.1
"""The same if kinks stop every step."""
CLOSE = 0.3
"""Standard errors within which gradients count as those of one point."""
LOOSE = 1e-9
"""Curvature, relative to that of single parameters, that counts as none."""
LONGEST = 2.0
"""Longest step in a logarithm or logit."""


@dataclass(frozen=True)
class Point:
    """The log likelihood around a point."""

    at: np.ndarray
    """Coordinates, `[parameters]`."""
    value: float
    gradient: np.ndarray
    curvature: np.ndarray
    """Minus the second derivatives, `[parameters parameters]`."""


@dataclass(frozen=True)
class Found:
    """Where a search ended."""

    point: Point
    converged: bool
    reason: str
    """Why it ended there."""


def search(
    likelihood: AbstractLikelihood,
    places: Layout,
    data: Measured,
    start: Vector,
    steps: int,
) -> Found:
    """Climb from `start`, at most `steps` steps."""
    here, damping = look(likelihood, places, start, data), 1e-3
    met, short, bounded = [here], math.inf, places.bounded()
    if not np.isfinite(here.value):
        return Found(
            here,
            False,
            "the form gives the data no likelihood at its start",
        )
    for _ in range(steps):
        gradient = _smallest(here, met)
        scale, sizes, axes = _axes(here.curvature)
        slope, before = axes.T @ (gradient / scale), short
        short = 0.5 * float(np.sum(slope**2 / np.maximum(np.abs(sizes), LOOSE)))
        if short < TOLERANCE:
            other = _over_a_saddle(likelihood, places, data, here)
            if other is None:
                return Found(here, True, "no step gains more than 0.001")
            here, met, damping = other, [other], 1e-3
            continue
        step = axes @ (slope / (np.abs(sizes) + damping + LOOSE)) / scale
        step *= min(1.0, LONGEST / max(np.max(np.abs(step[bounded]), initial=0), 1e-9))
        there = look(likelihood, places, here.at + step, data)
        if np.isfinite(there.value):
            met.append(there)
        if there.value > here.value:
            here, damping = there, damping / 5
        elif short > 0.9 * before:  # what was met last did not tell of a kink
            damping = max(damping, 1e-4) * 6
        if damping > 1e8:
            break
    if short < ROUGH:
        return Found(here, True, f"between kinks, no step gains more than {short:.2g}")
    return Found(here, False, _unfinished(places, here, short, steps))


def look(
    likelihood: AbstractLikelihood,
    places: Layout,
    at: Vector | np.ndarray,
    data: Measured,
) -> Point:
    """The log likelihood and its derivatives at these coordinates."""
    at = jnp.asarray(at)
    value, gradient, curvature = map(
        np.asarray, _derivatives(likelihood, places, at, data)
    )
    if not (np.isfinite(gradient).all() and np.isfinite(curvature).all()):
        value = -np.inf
    curvature = (curvature + curvature.T) / 2
    return Point(np.asarray(at), float(value), gradient, curvature)


@partial(jax.jit, static_argnums=0)
def _derivatives(
    likelihood: AbstractLikelihood, places: Layout, at: Vector, data: Measured
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Value, gradient, and minus the second derivatives, one column after another."""
    window = likelihood.windows(places.device(places.values(at)), data)

    def total(x: Vector) -> jax.Array:
        device = places.device(places.values(x))
        return jnp.sum(likelihood.log_likelihood(device, data, window))

    def column(tangent: Vector) -> Vector:
        return -jax.jvp(jax.grad(total), (at,), (tangent,))[1]

    value, gradient = jax.value_and_grad(total)(at)
    return value, gradient, jax.lax.map(column, jnp.eye(at.size, dtype=at.dtype))


def _axes(curvature: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scale of each parameter, and curvatures and directions of the scaled ones."""
    diagonal = np.abs(np.diag(curvature))
    scale = np.sqrt(np.where(diagonal > 1e-30, diagonal, 1.0))
    sizes, axes = np.linalg.eigh(curvature / np.outer(scale, scale))
    return scale, sizes, axes


def _smallest(here: Point, met: list[Point]) -> np.ndarray:
    """The shortest mean of the gradients close by, in units of standard errors."""
    scale, sizes, axes = _axes(here.curvature)

    def length(vector: np.ndarray) -> np.ndarray:
        return axes.T @ (vector / scale) / np.sqrt(np.maximum(np.abs(sizes), LOOSE))

    def distance(point: Point) -> float:
        apart = axes.T @ ((point.at - here.at) * scale)
        return float(np.sqrt(np.sum(apart**2 * np.maximum(np.abs(sizes), LOOSE))))

    close = [p.gradient for p in met if distance(p) < CLOSE]
    if len(close) < 2:
        return here.gradient
    lengths = np.stack([length(g) for g in close], -1)
    size = np.max(np.abs(lengths))
    if size == 0:
        return here.gradient
    from scipy.optimize import nnls  # slow to import

    rows = np.concatenate([lengths / size, np.full((1, len(close)), 1e3)])
    weight, _ = nnls(rows, np.append(np.zeros(len(lengths)), 1e3))
    return np.stack(close, -1) @ (weight / weight.sum())


def _over_a_saddle(
    likelihood: AbstractLikelihood, places: Layout, data: Measured, here: Point
) -> Point | None:
    """A higher point where the likelihood curves upwards; None at a maximum."""
    scale, sizes, axes = _axes(here.curvature)
    if sizes.size == 0 or sizes[0] > -1e-3:
        return None
    for side in (1.0, -1.0):
        step = side * axes[:, 0] / np.sqrt(-sizes[0]) / scale
        there = look(likelihood, places, here.at + step, data)
        if there.value > here.value + 10 * TOLERANCE:
            return there
    return None


def _unfinished(places: Layout, here: Point, short: float, steps: int) -> str:
    """Why a search did not arrive, with the parameter that it still moves most."""
    if not steps:
        return "no steps were requested"
    scale = _axes(here.curvature)[0]
    most = places.names[int(np.argmax(np.abs(here.gradient / scale)))]
    return (
        f"after {steps} steps the likelihood still grows, by about {short:.2g}, most "
        f"with {most}: the data may be too few, or not of this form"
    )
