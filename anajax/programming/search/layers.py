"""Strategies for all layers of a network in one search.

Hand-designed strategies tuned for each layer are close to the optima, which are many
and nearly equal: there is a kink wherever a weight meets a knot. From the best point so
far, a random hop leads elsewhere, and quasi-Newton steps descend to the next minimum,
in about a hundred evaluations.

On a CPU, each core processes one layer at a time; on other devices all layers are
processed at once.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import rng
from anajax._core import checks
from anajax._core.threads import each
from anajax._core.tree import pytree, replace
from anajax._core.types import PRNGKey
from anajax.costs.objective import Energy
from anajax.devices.base import Device, check_times
from anajax.devices.models.ideal import only_range
from anajax.mapping.density import WeightDensity, as_density, merged
from anajax.mapping.found import Found
from anajax.mapping.strategy import Strategy, UnitCell, canonical, pairs
from anajax.mapping.weight_error import Compensation
from anajax.programming.search.descent import descend
from anajax.programming.search.gradient import SearchOptions, check_search
from anajax.programming.search.objective import (
    AbstractObjective,
    Aggregate,
    WithEnergy,
    make_objective,
)
from anajax.programming.search.parameters import (
    Bounds,
    StrategyParameters,
    from_strategy,
    tie,
    to_strategy,
)

HOP = 0.1
"""Standard deviation of a hop, in fractions of the range and logs of F and K."""
WIDTH_HOP = 0.4
"""The same for the logs of the spacings of knots."""
WIDTHS = 5.0
"""Largest magnitude of those logs."""
TOGETHER = 32
"""Number of layers processed together on devices with many cores."""


@pytree
class _Layer:
    """What differs between layers."""

    density: WeightDensity
    ceiling: Float[JArray, "times"] | None
    starts: StrategyParameters
    """`[starts ...]`."""
    key: PRNGKey


def optimize_layers(
    device: Device,
    densities: Mapping[str, WeightDensity],
    times: Float[JArray, "times"] | Sequence[float] | np.ndarray,
    *,
    warm: Mapping[str, Sequence[Strategy]],
    cell: UnitCell | None = None,
    key: PRNGKey,
    knots: int = SearchOptions.knots,
    hops: int = 2 * SearchOptions.starts,
    steps: int = SearchOptions.steps,
    box: Bounds | None = None,
    time_weights: JArray | None = None,
    aggregate: Aggregate = SearchOptions.aggregate,
    ceilings: Mapping[str, JArray | np.ndarray] | None = None,
    compensation: Compensation = "mean_abs",
    energy: Energy | None = None,
    extrapolate: bool = False,
) -> dict[str, Found]:
    """A strategy for each layer with the minimum expected squared weight error.

    The result of `optimize_strategy` for each layer from the same starts, in a
    twentieth of the evaluations. The result for a layer does not depend on the others.

    Args:
        device: the device model, without levels.
        densities: density of the weights of each layer, by path.
        times: seconds after the first read over which the error is averaged.
        warm: by path, one or more strategies on the cell to start from, such as tuned
            hand-designed strategies.
        cell: devices of a weight, in pairs; two pairs if `None`.
        key: key of the hops.
        knots: number of knots on |u|; their spacing is optimized as well.
        hops: number of hops away from the best so far, each with its own descent.
        steps: largest number of evaluations per descent.
        box: bounds of F and K.
        time_weights: weight of each time, equal by default.
        aggregate: "mean" over the times, or "minimax".
        ceilings: by path, upper bound of the squared error (w_max^2) at each time; none
            by default.
        compensation: how alpha(t) is chosen, see `weight_error`.
        energy: a weight on the energy of the array, or its budget.
        extrapolate: whether times may lie outside what the device's source covers.

    Returns:
        By path, the best strategy and its value. `info` has F as `f [factors]`, K
        relative to the full range as `k`, `per_start [warm + hops]` (value reached from
        each) and the number of `evaluations`.

    Raises:
        ValueError: if an argument is out of range; see also `make_objective`.

    Example:
        >>> start = strategies.lsp_first(device)
        >>> found = anajax.programming.optimize_layers(
        ...     device, {"a": density}, times, warm={"a": [start]}, key=key, hops=1
        ... )
        >>> found["a"].strategy.targets.shape  # knots, devices
        (11, 4)
    """
    check_times(device, times, extrapolate=extrapolate)
    checks.word("aggregate", aggregate, Aggregate)
    checks.word("compensation", compensation, Compensation)
    cell = pairs(2) if cell is None else cell
    _check_layers(device, densities, warm, ceilings)
    for given in warm.values():
        check_search(cell, knots, 0, steps, given)
    checks.whole("hops", hops, least=0)
    if not densities:
        return {}
    density = {p: merged(as_density(d)) for p, d in densities.items()}
    shared = make_objective(
        device,
        next(iter(density.values())),
        jnp.asarray(times, dtype=float),
        time_weights=time_weights,
        aggregate=aggregate,
        compensation=compensation,
        energy=energy,
        extrapolate=True,
    )
    bounds = only_range(device)
    layers = [
        _Layer(
            density=d,
            ceiling=None if ceilings is None else jnp.asarray(ceilings[p], float),
            starts=_stacked([from_strategy(s, bounds, knots) for s in warm[p]]),
            key=rng.stream(rng.path_key(key, p), rng.Stage.INIT),
        )
        for p, d in density.items()
    ]
    how: Any = {"cell": cell, "box": box or Bounds(), "hops": hops, "steps": steps}
    return dict(zip(density, _all(shared, bounds, layers, how), strict=True))


def _all(
    objective: AbstractObjective, device: Device, layers: list[_Layer], how: dict
) -> list[Found]:
    alike = {jax.tree.structure(v) for v in layers}
    if jax.default_backend() == "cpu" or len(alike) > 1:
        return each(lambda layer: _search(objective, device, layer, **how), layers)
    found, filled = [], layers + layers[:1] * (-len(layers) % TOGETHER)
    for i in range(0, len(filled), TOGETHER):
        some = _stacked(filled[i : i + TOGETHER])
        done = _together(objective, device, some, **how)
        found += [jax.tree.map(lambda v, j=j: v[j], done) for j in range(TOGETHER)]
    return found[: len(layers)]


@partial(jax.jit, static_argnames=("cell", "box", "hops", "steps"))
def _together(
    objective: AbstractObjective, device: Device, layers: _Layer, **how: Any
) -> Found:
    """All layers at once."""
    return jax.vmap(lambda layer: _search(objective, device, layer, **how))(layers)


@partial(jax.jit, static_argnames=("cell", "box", "hops", "steps"))
def _search(
    objective: AbstractObjective,
    device: Device,
    layer: _Layer,
    *,
    cell: UnitCell,
    box: Bounds,
    hops: int,
    steps: int,
) -> Found:
    """From each start, and then from hops about the best so far, down."""
    own = _of_layer(objective, layer)
    begin = jax.vmap(lambda x: ravel_pytree(x)[0])(_centered(layer.starts))
    parameters = ravel_pytree(jax.tree.map(lambda v: v[0], layer.starts))[1]
    limits = _limits(jax.tree.map(lambda v: v[0], layer.starts), box)

    def strategy(x: JArray) -> Strategy:
        given = parameters(x)
        return to_strategy(replace(given, y=tie(given.y, cell)), device, cell)

    def value(x: JArray) -> JArray:  # in (% of w_max)^2: of order one
        return 1e4 * own(strategy(x))

    reach = ravel_pytree(_reach(parameters(begin[0])))[0]

    def go(best: tuple, start: tuple[JArray, JArray]) -> tuple[tuple, JArray]:
        given, noise = start
        x = jnp.where(jnp.isnan(given), best[0] + reach * noise, given)
        x, reached, count = descend(
            value, jnp.clip(x, *limits), limits, evaluations=steps
        )
        better = reached < best[1]
        chosen = jnp.where(better, x, best[0]), jnp.where(better, reached, best[1])
        return (*chosen, best[2] + count), reached

    nothing = jnp.full((hops, begin.shape[1]), jnp.nan, begin.dtype)
    noise = jr.normal(layer.key, (begin.shape[0] + hops, begin.shape[1]))
    first = begin[0], jnp.asarray(jnp.inf, begin.dtype), jnp.asarray(0)
    each_start = jnp.concatenate([begin, nothing]), noise
    (x, best, count), reached = jax.lax.scan(go, first, each_start)
    found = canonical(strategy(x))
    info = {
        "f": found.significance,
        "k": jnp.exp(parameters(x).log_k),
        "per_start": reached / 1e4,
        "evaluations": count,
    }
    return Found(strategy=found, value=best / 1e4, info=info)


def _of_layer(objective: AbstractObjective, layer: _Layer) -> AbstractObjective:
    """The objective with the density and the ceiling of a layer."""
    if isinstance(objective, WithEnergy):
        error = _of_layer(objective.error, layer)
        return replace(objective, error=error, density=layer.density)
    return replace(objective, density=layer.density, ceiling=layer.ceiling)


def _centered(x: StrategyParameters) -> StrategyParameters:
    return replace(x, log_width=x.log_width - jnp.mean(x.log_width, -1, keepdims=True))


def _reach(x: StrategyParameters) -> StrategyParameters:
    """How far hops go in each of the unknowns."""
    far = jax.tree.map(lambda v: jnp.full_like(v, HOP), x)
    return replace(far, log_width=jnp.full_like(x.log_width, WIDTH_HOP))


def _limits(x: StrategyParameters, box: Bounds) -> tuple[JArray, JArray]:
    """Least and largest of each of the unknowns."""

    def at(i: int) -> JArray:
        limits = StrategyParameters(
            y=jnp.full_like(x.y, i),
            log_f=jnp.full_like(x.log_f, np.log(box.f[i])),
            log_k=jnp.full_like(x.log_k, np.log(box.k[i])),
            log_width=jnp.full_like(x.log_width, (-WIDTHS, WIDTHS)[i]),
        )
        return ravel_pytree(limits)[0]

    return at(0), at(1)


def _stacked(records: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *v: jnp.stack(v), *records)


def _check_layers(
    device: Device,
    densities: Mapping[str, Any],
    warm: Mapping[str, Any],
    ceilings: Mapping[str, Any] | None,
) -> None:
    if device.levels is not None:
        checks.fail("device", "have no levels", device.name, "Use `enumerate_levels`.")
    for name, given in (("warm", warm), ("ceilings", ceilings)):
        if given is not None and set(given) != set(densities):
            got = f"{sorted(set(given) ^ set(densities))} not in both"
            checks.fail(name, "have one entry per density", got, "Add it.")
