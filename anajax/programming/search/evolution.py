"""Differential evolution on the same objective: the search of the reference paper.

SciPy's implementation, with the whole population evaluated as one vmapped call. The
unknowns are those of lines of equal weight: F, K, and at each knot how the weight is
split between the pairs and the common mode of each pair; this method fails in a box of
independent targets.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array as JArray

from anajax._core import checks
from anajax._core.types import Any, PRNGKey
from anajax.devices.base import Device
from anajax.mapping.found import Found
from anajax.mapping.strategy import Strategy, pairs
from anajax.programming.search.objective import AbstractObjective
from anajax.programming.search.parameters import Bounds, StrategyParameters, to_strategy


def evolve_strategy(
    objective: AbstractObjective,
    device: Device,
    *,
    key: PRNGKey,
    knots: int = 11,
    population: int = 15,
    generations: int = 1000,
    box: Bounds | None = None,
    **options: Any,
) -> Found:
    """Search a dual-pair strategy by SciPy's differential evolution.

    Args:
        objective: from `make_objective`.
        device: defines the range of targets.
        key: key of the evolution.
        knots: uniform knots on |u|; 3 knots - 1 + 2 unknowns.
        population: individuals per unknown.
        generations: largest number of generations.
        box: bounds of F and K.
        **options: further arguments of `scipy.optimize.differential_evolution`.

    Returns:
        The best of the population; `info` has the number of `evaluations`.

    Raises:
        ValueError: if `population` or `generations` is less than one.
    """
    for name, number in (("population", population), ("generations", generations)):
        if number < 1:
            checks.fail(name, "be at least 1", number, "Use the default.")
    from scipy.optimize import differential_evolution  # slow to import

    box = Bounds() if box is None else box
    cell = pairs(2)

    def build(z: JArray) -> Strategy:
        return to_strategy(_on_lines(z, knots), device, cell)

    batch = jax.jit(jax.vmap(lambda z: objective(build(z))))
    shared = [(0.0, 1.0)] * (knots - 1) + [(0.0, 1.0)] * (2 * (knots - 1))
    count = 0

    def evaluate(z: np.ndarray) -> np.ndarray:
        nonlocal count
        count += z.shape[1]
        return np.asarray(batch(jnp.asarray(z.T, dtype=float)))

    result = differential_evolution(
        evaluate,
        bounds=[tuple(np.log(box.f)), tuple(np.log(box.k)), *shared],
        popsize=population,
        maxiter=generations,
        rng=np.random.default_rng(np.asarray(jax.random.key_data(key))),
        vectorized=True,
        updating="deferred",
        **{"polish": False, "tol": 0.0, **options},
    )
    strategy = build(jnp.asarray(result.x, dtype=float))
    info = {"evaluations": jnp.asarray(count)}
    return Found(strategy=strategy, value=jnp.asarray(result.fun), info=info)


def _on_lines(z: JArray, knots: int) -> StrategyParameters:
    """Parameters on lines of equal weight: share of the first pair, common modes."""
    log_f, log_k, rest = z[0], z[1], z[2:].reshape(3, knots - 1)
    f, u = jnp.exp(log_f), jnp.linspace(0, 1, knots)[1:]
    need = jnp.minimum(u * jnp.exp(log_k), 1.0) * (f + 1)  # in ranges of one device
    low, high = jnp.maximum(need - 1, 0), jnp.minimum(need, f)
    first = (low + rest[0] * (high - low)) / f
    second = need - f * first
    diff = jnp.clip(jnp.stack([first, second]), 0, 1)  # [pairs, knots - 1]
    common = rest[1:] * (1 - diff)
    y = jnp.stack([diff + common, common], -1)  # [pairs, knots - 1, two]
    y = jnp.moveaxis(y, 0, 1).reshape(knots - 1, 4)
    return StrategyParameters(
        y=jnp.concatenate([jnp.zeros((1, 4), y.dtype), y]),
        log_f=log_f[None],
        log_k=log_k,
        log_width=jnp.zeros(knots - 1),
    )
