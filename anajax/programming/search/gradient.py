"""Optimize a strategy by projected Adam from many vmapped starts, then polish.

The polish is a second round of the same code: the best start continues at as many rates
as there were starts, and the best of these is the result.

Memories with few levels have no gradient: their codes are enumerated instead.

Targets are projected onto the range after every step: a clip inside the model would
make the gradient zero there.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import rng
from anajax._core import checks
from anajax._core.options import option
from anajax._core.types import PRNGKey
from anajax.costs.objective import Energy
from anajax.devices.base import Device, check_times
from anajax.devices.models.ideal import only_range
from anajax.mapping.density import WeightDensity, as_density, merged
from anajax.mapping.found import Found
from anajax.mapping.strategy import Strategy, UnitCell, as_strategy, canonical, pairs
from anajax.mapping.weight_error import Compensation
from anajax.programming.search.levels import enumerate_levels
from anajax.programming.search.objective import (
    AbstractObjective,
    Aggregate,
    make_objective,
)
from anajax.programming.search.parameters import (
    Bounds,
    StrategyParameters,
    from_strategy,
    project,
    random_start,
    tie,
    to_strategy,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How `optimize_strategy` searches."""

    knots: int = option(11, "3 to 101 knots", least=3, most=101)
    starts: int = option(8, "0 to 256 random starts", least=0, most=256)
    steps: int = option(600, "1 to 100000 steps per round", least=1, most=100_000)
    learning_rate: float = option(0.03, "a number above 0", above=0)
    aggregate: Aggregate = option("mean", '"mean" or "minimax"')

    def __post_init__(self) -> None:
        checks.words(self)


def optimize_strategy(
    device: Device,
    weights: WeightDensity | JArray | np.ndarray,
    times: Float[JArray, "times"] | Sequence[float] | np.ndarray,
    *,
    cell: UnitCell | None = None,
    key: PRNGKey,
    knots: int = SearchOptions.knots,
    move_knots: bool = True,
    starts: int = SearchOptions.starts,
    warm: Sequence[Strategy] = (),
    steps: int = SearchOptions.steps,
    learning_rate: float = SearchOptions.learning_rate,
    box: Bounds | None = None,
    time_weights: JArray | None = None,
    aggregate: Aggregate = SearchOptions.aggregate,
    ceiling: JArray | np.ndarray | None = None,
    compensation: Compensation = "mean_abs",
    samples: int | None = None,
    energy: Energy | None = None,
    extrapolate: bool = False,
) -> Found:
    """Find the targets, F and K with the minimum expected squared weight error.

    A device with levels has no gradient: its codes are enumerated, see
    `enumerate_levels`, and the options of the descent (key, knots, starts, warm, steps,
    learning rate, box) are ignored.

    Args:
        device: the device model.
        weights: their density, such as `anajax.weight_density(params)`, or the weights
            of one layer.
        times: seconds after the first read over which the error is averaged.
        cell: devices of a weight, in pairs (any cell with levels); two pairs if `None`.
        key: draws the random starts (and the chips, with `samples`).
        knots: number of knots on |u|.
        move_knots: whether their spacing is optimized as well.
        starts: number of random starts.
        warm: additional strategies to start from, on the same cell.
        steps: Adam steps of each of the two rounds.
        learning_rate: step of the fractions of the range and of the logs of F and K.
        box: bounds of F and K.
        time_weights: weight of each time, equal by default.
        aggregate: "mean" over the times, or "minimax".
        ceiling: upper bound of the squared error (w_max^2) at each time, such as the
            lowest of hand-designed strategies; none by default.
        compensation: how alpha(t) is chosen, see `weight_error`.
        samples: draws per density point for the sampled objective; exact if `None`.
        energy: a weight on the energy of the array, or its budget, see
            `anajax.costs.Energy`; values and history then include it.
        extrapolate: whether times may lie outside what the device's source covers.

    Returns:
        The best strategy and its value. `info` has F as `f [factors]` (most significant
        first), K relative to the full range as `k`, `per_start [starts]` (value after
        the first round, warm starts first) and `history [steps]` (lowest value over the
        starts). For a device with levels see `enumerate_levels`.

    Raises:
        ValueError: if an argument is out of range; see also `make_objective`.

    Example:
        >>> found = anajax.optimize_strategy(
        ...     device, density, times, key=key, steps=20, starts=1, knots=3
        ... )
        >>> found.strategy.targets.shape  # knots, devices
        (3, 4)
    """
    check_times(device, times, extrapolate=extrapolate)
    checks.word("aggregate", aggregate, Aggregate)
    checks.word("compensation", compensation, Compensation)
    cell = pairs(2) if cell is None else cell
    density = as_density(weights)
    if device.levels is not None:
        _check_exact(samples, energy)
        return enumerate_levels(
            device,
            density,
            times,
            cell=cell,
            time_weights=time_weights,
            aggregate=aggregate,
            ceiling=ceiling,
            compensation=compensation,
            extrapolate=True,
        )
    check_search(cell, knots, starts, steps, warm)
    box = Bounds() if box is None else box
    objective = make_objective(
        device,
        merged(density),
        jnp.asarray(times, dtype=float),
        time_weights=time_weights,
        aggregate=aggregate,
        ceiling=ceiling,
        compensation=compensation,
        samples=samples,
        key=rng.stream(key, rng.Stage.PROGRAM),
        energy=energy,
        extrapolate=True,
    )
    bounds = only_range(device)
    begin = _starts(bounds, cell, knots, starts, tuple(warm), box, key)
    return _search(
        objective,
        bounds,
        begin,
        cell=cell,
        box=box,
        steps=steps,
        rate=learning_rate,
        move_knots=move_knots,
    )


def _starts(
    device: Device,
    cell: UnitCell,
    knots: int,
    count: int,
    warm: tuple[Strategy, ...],
    box: Bounds,
    key: PRNGKey,
) -> StrategyParameters:
    given = [from_strategy(s, device, knots) for s in warm]
    drawn = _draw(device, key, cell=cell, knots=knots, count=count, box=box)
    return jax.tree.map(
        lambda d, *g: jnp.concatenate([*(v[None] for v in g), d]), drawn, *given
    )


@partial(jax.jit, static_argnames=("cell", "knots", "count", "box"))
def _draw(
    device: Device, key: PRNGKey, *, cell: UnitCell, knots: int, count: int, box: Bounds
) -> StrategyParameters:
    keys = rng.streams(key, rng.Stage.INIT, jnp.arange(count))
    return jax.vmap(lambda k: random_start(device, cell, knots, box, key=k))(keys)


@partial(jax.jit, static_argnames=("cell", "box", "steps", "rate", "move_knots"))
def _search(
    objective: AbstractObjective,
    device: Device,
    begin: StrategyParameters,
    *,
    cell: UnitCell,
    box: Bounds,
    steps: int,
    rate: float,
    move_knots: bool,
) -> Found:
    """Two rounds of the same program: all starts, then the winner at many rates."""

    def value(
        x: StrategyParameters,
    ) -> JArray:  # in (% of w_max)^2: of order one, for Adam
        return 1e4 * objective(to_strategy(x, device, cell))

    def descend(
        x: StrategyParameters, rate: JArray
    ) -> tuple[StrategyParameters, JArray, JArray]:
        end, path = _descend(value, x, rate, cell, box, steps, move_knots)
        reached = value(end)
        return end, jnp.where(jnp.isnan(reached), jnp.inf, reached), path

    count = begin.log_k.shape[0]
    rates = rate * jnp.stack([jnp.ones(count), jnp.geomspace(1.0, 1e-3, count)])

    def go(x: StrategyParameters, rates: JArray) -> tuple[StrategyParameters, tuple]:
        ends, reached, paths = jax.vmap(descend)(x, rates)
        best = jnp.argmin(reached)
        again = jax.tree.map(lambda v: jnp.broadcast_to(v[best], v.shape), ends)
        return again, (reached, jnp.nanmin(paths, 0))

    ends, (reached, paths) = jax.lax.scan(go, begin, rates)
    winner = jax.tree.map(lambda v: v[0], ends)
    strategy = canonical(to_strategy(winner, device, cell))
    info = {
        "f": strategy.significance,
        "k": jnp.exp(winner.log_k),
        "per_start": reached[0] / 1e4,
        "history": paths.ravel() / 1e4,
    }
    return Found(strategy=strategy, value=jnp.min(reached[-1]) / 1e4, info=info)


def _descend(
    value: Callable[[StrategyParameters], JArray],
    x: StrategyParameters,
    rate: JArray,
    cell: UnitCell,
    box: Bounds,
    steps: int,
    move_knots: bool,
) -> tuple[StrategyParameters, JArray]:
    adam = optax.scale_by_adam()

    def step(carry: tuple, i: JArray) -> tuple[tuple, JArray]:
        x, state = carry
        loss, grads = jax.value_and_grad(value)(x)
        grads = _admissible(grads, cell, move_knots)
        updates, state = adam.update(grads, state)
        size = rate * (1 + jnp.cos(jnp.pi * i / steps)) / 2
        x = jax.tree.map(lambda v, u: v - size * u, x, updates)
        return (project(x, cell, box), state), loss

    (x, _), losses = jax.lax.scan(step, (x, adam.init(x)), jnp.arange(steps))
    return x, losses


def _admissible(
    grads: StrategyParameters, cell: UnitCell, move_knots: bool
) -> StrategyParameters:
    """Slopes along the ties: Adam would take the two of a tied pair apart."""
    return StrategyParameters(
        y=tie(grads.y, cell),
        log_f=grads.log_f,
        log_k=grads.log_k,
        log_width=grads.log_width * move_knots,
    )


def _check_exact(samples: int | None, energy: Energy | None) -> None:
    for name, value in (("samples", samples), ("energy", energy)):
        if value is not None:
            rule = "be None for a device with levels"
            checks.fail(name, rule, f"{value!r:.40}", "Leave it out.")


def check_search(
    cell: UnitCell, knots: int, starts: int, steps: int, warm: Sequence[Strategy]
) -> None:
    """Refuse options of a descent that are out of range, or do not fit its cell."""
    if not cell.paired:
        checks.fail("cell", "be made of pairs", cell.signs, "Use pairs(1), pairs(2).")
    for name, number, least in (("knots", knots, 3), ("steps", steps, 1)):
        checks.whole(name, number, least=least)
    if starts < 0 or starts + len(warm) < 1:
        checks.fail(
            "starts", "leave at least one start", starts, "Use 8, or give `warm`."
        )
    for strategy in map(as_strategy, warm):
        if (strategy.cell.signs, strategy.cell.groups) != (cell.signs, cell.groups):
            checks.fail(
                "warm",
                f"be strategies of the cell with signs {cell.signs}",
                f"{strategy.name} with {strategy.cell.signs}",
                "Build them on the same number of pairs.",
            )
