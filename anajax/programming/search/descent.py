"""Local minima in a box by quasi-Newton steps, for functions of a few dozen unknowns.

A BFGS matrix for the free unknowns; those at a bound stay there if the slope points
outward. One loop with one evaluation of value and slope per iteration: it compiles
fast, and ends when no gain is left.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array as JArray
from jaxtyping import Bool, Float, Int

from anajax._core.tree import pytree, replace

Vector = Float[JArray, "n"]
Matrix = Float[JArray, "n n"]
ENOUGH = 1e-4
"""Fraction of the decrease predicted by the slope at which a step is accepted."""
SHORTEST = 1e-3
"""Fraction of a step below which no shorter step is tried."""
FIRST = 0.02
"""Largest change of an unknown in the first step, without a matrix."""
PATIENCE = 2
"""Number of consecutive steps that may gain next to nothing."""


@pytree
class _State:
    """Where a descent is, and the step that it tries next."""

    x: Vector
    value: Float[JArray, ""]
    slope: Vector
    inverse: Matrix
    """Approximates the inverse of the Hessian, among the free unknowns."""
    size: Float[JArray, ""]
    """Of that inverse where nothing is known."""
    fresh: Bool[JArray, ""]
    """Whether the matrix knows nothing yet."""
    step: Vector
    share: Float[JArray, ""]
    """Of the step that is tried."""
    idle: Int[JArray, ""]
    """Steps in a row that gained next to nothing."""
    count: Int[JArray, ""]
    """Evaluations so far."""


def descend(
    function: Callable[[Vector], Float[JArray, ""]],
    start: Vector,
    box: tuple[Vector, Vector],
    *,
    evaluations: int,
    tolerance: float = 1e-6,
) -> tuple[Vector, Float[JArray, ""], Int[JArray, ""]]:
    """The local minimum reached from `start`.

    Args:
        function: smooth almost everywhere; NaN marks points that are not allowed.
        start: inside the box.
        box: lower and upper bound of each unknown.
        evaluations: largest number of evaluations.
        tolerance: relative gain below which a step counts as none.

    Returns:
        The minimum, its value, and the number of evaluations.
    """
    both = jax.value_and_grad(function)
    one = jnp.ones((), start.dtype)

    def turn(s: _State) -> _State:
        x = jnp.clip(s.x + s.share * s.step, *box)
        value, slope = both(x)
        promised = jnp.vdot(s.slope, x - s.x)
        taken = value <= s.value + ENOUGH * promised
        ended = ~taken & (s.share < SHORTEST)
        gained = taken & (s.value - value > tolerance * jnp.abs(s.value))
        learned = _learned(s, x - s.x, slope - s.slope, taken, ended)
        moved = replace(
            learned,
            x=jnp.where(taken, x, s.x),
            value=jnp.where(taken, value, s.value),
            slope=jnp.where(taken, slope, s.slope),
            idle=jnp.where(gained, 0, s.idle + (taken | ended)),
            count=s.count + 1,
        )
        shorter = replace(moved, share=s.share * _shorter(s.value, value, promised))
        return _where(taken | ended, _directed(moved, box), shorter)

    value, slope = both(start)
    begin = _State(
        x=start,
        value=jnp.where(jnp.isnan(value), jnp.inf, value),
        slope=slope,
        inverse=jnp.eye(start.size, dtype=start.dtype),
        size=one,
        fresh=jnp.asarray(True),
        step=slope,
        share=one,
        idle=jnp.asarray(0),
        count=jnp.asarray(1),
    )
    end = jax.lax.while_loop(
        lambda s: (s.count < evaluations) & (s.idle < PATIENCE),
        turn,
        _directed(begin, box),
    )
    return end.x, end.value, end.count


def _directed(s: _State, box: tuple[Vector, Vector]) -> _State:
    """With the step that the matrix of the free unknowns gives."""
    low, high = box
    held = ((s.x <= low) & (s.slope > 0)) | ((s.x >= high) & (s.slope < 0))
    free = jnp.where(held, 0.0, 1.0).astype(s.x.dtype)
    inverse = s.inverse * free[:, None] * free + s.size * jnp.diag(1 - free)
    down = -free * s.slope
    short = down * (FIRST / jnp.maximum(jnp.max(jnp.abs(down)), 1e-30))
    step = inverse @ down
    fresh = s.fresh | ~(jnp.vdot(step, s.slope) < 0)
    return replace(
        s,
        inverse=jnp.where(fresh, s.size * jnp.eye(down.size), inverse),
        fresh=fresh,
        step=jnp.where(fresh, short, step),
        share=jnp.ones_like(s.share),
    )


def _learned(
    s: _State, move: Vector, change: Vector, taken: JArray, ended: JArray
) -> _State:
    """With the matrix after a move that changed the slope; a new one at an end."""
    along = jnp.vdot(move, change)
    curved = taken & (along > 0)
    safe = jnp.where(curved, along, 1.0)
    size = safe / jnp.maximum(jnp.vdot(change, change), 1e-30)
    size = jnp.where(curved, size, s.size)
    before = jnp.where(s.fresh, size * jnp.eye(move.size), s.inverse)
    turned = before @ change
    outer = jnp.outer(turned, move)
    grown = (1 + jnp.vdot(change, turned) / safe) / safe
    after = before - (outer + outer.T) / safe + grown * jnp.outer(move, move)
    return replace(
        s,
        inverse=jnp.where(curved, after, s.inverse),
        size=size,
        fresh=jnp.where(curved, False, s.fresh | ended),
    )


def _shorter(before: JArray, after: JArray, promised: JArray) -> JArray:
    """How much shorter to try: to where a parabola through both is least."""
    best = -promised / (2 * (after - before - promised))
    return jnp.where(jnp.isfinite(best), jnp.clip(best, 0.1, 0.5), 0.1)


def _where(which: JArray, yes: _State, no: _State) -> _State:
    return jax.tree.map(lambda a, b: jnp.where(which, a, b), yes, no)
