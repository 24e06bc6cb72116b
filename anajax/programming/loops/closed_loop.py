"""Closed-loop programming: each pair corrects the error left by the pairs before it.

The most significant pair is programmed from a table over the weight, then measured; the
next pair is programmed from a table over the residual, and so on. The tables, F and K
are optimized by gradients through simulated programming errors and verify reads (a loop
has no closed-form moments), with new draws at every step.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import chip, rng
from anajax._core import checks
from anajax._core.tree import pytree, replace, static
from anajax._core.types import PRNGKey, PyTree
from anajax.devices.base import Cells, Device, check_targets, check_times, program, read
from anajax.mapping.density import WeightDensity, as_density, merged
from anajax.mapping.found import Found
from anajax.mapping.strategy import (
    Normalize,
    Strategy,
    UnitCell,
    canonical,
    check_strategy,
)
from anajax.programming.search.objective import cells_error
from anajax.programming.search.parameters import (
    Bounds,
    StrategyParameters,
    from_strategy,
    project,
    to_strategy,
)


@pytree
class Policy:
    """Targets of the first pair over the weight, and of later pairs over the residual.

    Its cost per weight: two pulses (single-shot programming events) per pair, and `2
    reads` verify reads for every pair except the last.
    """

    strategy: Strategy
    """Table of the first pair, significance factors and K; mirrored pairs. The entries
    for later pairs are their open-loop targets."""
    residual: Float[JArray, "knots"]
    """Knots of |residual|, in units of the range of a pair, from 0."""
    follow: Float[JArray, "later knots 2"]
    """Targets of the later pairs for residuals >= 0, uS; for residuals < 0, the two
    devices of a pair are exchanged."""
    reads: int = static(default=1)
    """Number of verify reads of each device, averaged."""

    def __post_init__(self) -> None:
        pairs = self.strategy.cell.factors
        if pairs < 2 or not self.strategy.mirrored:
            checks.fail(
                "strategy", "be mirrored, on two pairs or more", pairs, "Use pairs(2)."
            )
        if self.reads < 1:
            checks.fail("reads", "be at least 1", self.reads, "Measure once.")

    @property
    def verify_reads(self) -> int:
        """Number of single-device reads per weight."""
        return 2 * self.reads * (self.strategy.cell.factors - 1)


def follow_open(strategy: Strategy, device: Device, *, reads: int = 1) -> Policy:
    """The simple policy: the first pair as in `strategy`, later pairs add the residual.

    Each later pair puts the residual, up to its range, into one of its devices.
    """
    check_strategy(strategy, device)
    strategy = canonical(strategy)
    later, span = strategy.cell.factors - 1, device.g_max - device.g_min
    knots = jnp.linspace(0.0, 1.0, 6)
    pair = jnp.stack([device.g_min + span * knots, jnp.full(6, device.g_min)], -1)
    follow = jnp.broadcast_to(pair, (later, *pair.shape))
    return Policy(strategy=strategy, residual=knots, follow=follow, reads=reads)


def program_closed_loop(
    policy: Policy, device: Device, u: Float[JArray, "*weights"], *, key: PRNGKey
) -> Cells:
    """Program normalized weights pair by pair; one more axis for the devices.

    Args:
        policy: tables, F, K and number of verify reads.
        device: the device model.
        u: normalized weights, usually in -1..1.
        key: consumed; one key is one chip.
    """
    check_strategy(policy.strategy, device)
    check_targets(device, policy.follow, name="policy")
    strategy, span = policy.strategy, device.g_max - device.g_min
    table = strategy.targets[:, :2]
    residual = strategy.scale * u
    written = []
    for pair in range(strategy.cell.factors):
        factor = strategy.significance[pair]
        if pair == 0:
            target = _mirrored(u, strategy.knots, table)
        else:
            knots = span * policy.residual
            target = _mirrored(residual / factor, knots, policy.follow[pair - 1])
        pair_key = rng.path_key(key, f"pair{pair}")
        cells = program(device, target, key=pair_key)
        written.append(cells)
        if pair + 1 < strategy.cell.factors:
            g = _verify(device, cells, policy.reads, rng.path_key(pair_key, "verify"))
            residual = residual - factor * (g[..., 0] - g[..., 1])
    return jax.tree.map(lambda *parts: jnp.concatenate(parts, u.ndim), *written)


def _mirrored(x: JArray, knots: JArray, table: JArray) -> JArray:
    """Targets `[*x, 2]` by a table over |x|; its columns exchange where x < 0."""
    size = jnp.abs(x)
    plus, minus = (jnp.interp(size, knots, table[:, i]) for i in (0, 1))
    swap = x < 0
    return jnp.stack([jnp.where(swap, minus, plus), jnp.where(swap, plus, minus)], -1)


def _verify(device: Device, cells: Cells, reads: int, key: PRNGKey) -> JArray:
    def one(key: PRNGKey) -> JArray:
        return read(device, cells, t=0.0, key=key, extrapolate=True)

    keys = rng.streams(key, rng.Stage.READ, jnp.arange(reads))
    return jnp.mean(jax.vmap(one)(keys), 0)


@pytree
class ClosedLoopLayer(chip.LayerProgram):
    """A layer of a chip that is programmed by a policy instead of by targets alone."""

    policy: Policy
    u: Float[JArray, "*weights"]
    """Normalized weights."""

    def write(self, device: Device, *, key: PRNGKey) -> Cells:
        return program_closed_loop(self.policy, device, self.u, key=key)


def closed_loop_layers(
    params: PyTree,
    policy: Policy,
    *,
    select: chip.Select = chip.default_select,
    normalize: Normalize = "layer",
    layout: chip.Layouts = None,
) -> dict[str, chip.LayerProgram]:
    """The layers of a network for `chip.program` and `evaluate`, by path."""
    ideal = chip.normalized_weights(
        params, select=select, normalize=normalize, layout=layout
    )
    return {
        path: ClosedLoopLayer(
            **vars(chip.as_layer(w, policy.strategy)), policy=policy, u=w.u
        )
        for path, w in ideal.items()
    }


@pytree
class _PolicyParameters:
    first: StrategyParameters
    y: Float[JArray, "later knots 2"]
    """Targets over residuals as fractions of the range."""


def optimize_closed_loop(
    device: Device,
    weights: WeightDensity | JArray | np.ndarray,
    times: Float[JArray, "times"] | Sequence[float] | np.ndarray,
    *,
    start: Strategy,
    key: PRNGKey,
    reads: int = 1,
    knots: int = 11,
    samples: int = 64,
    steps: int = 600,
    learning_rate: float = 0.02,
    box: Bounds | None = None,
    extrapolate: bool = False,
) -> Found:
    """Optimize a policy by gradients through the drawn loop.

    Args:
        device: the device model.
        weights: their density, such as `anajax.weight_density(params)`, or the weights
            of one layer.
        times: seconds after the first read over which the error is averaged.
        start: starting point of the search, such as the open-loop optimum; mirrored
            pairs.
        key: key of the draws.
        reads: verify reads of each measured device.
        knots: number of knots of the table over residuals.
        samples: draws per point of the density at each step.
        steps: Adam steps, with cosine decay.
        learning_rate: rate of fractions of the range and logs of F and K.
        box: bounds of F and K.
        extrapolate: whether times may lie outside what the device's source covers.

    Returns:
        The `Policy` and its last mean squared error; `info` has the error at each step
        as `history [steps]`, in units of w_max^2.

    Raises:
        ValueError: if an argument is out of range; the message names it.

    Example:
        >>> found = anajax.optimize_closed_loop(
        ...     device, density, times, start=strategy, key=key, steps=2, samples=2
        ... )
        >>> found.info["history"].shape
        (2,)
    """
    check_times(device, times, extrapolate=extrapolate)
    for name, number, least in (
        ("steps", steps, 1), ("samples", samples, 1), ("knots", knots, 3),
    ):  # fmt: skip
        if number < least:
            checks.fail(name, f"be at least {least}", number, "Use the default.")
    if device.levels is not None:
        checks.fail(
            "device", "be analog", f"{device.name} with levels", "Use enumerate_levels."
        )
    check_strategy(start, device)
    begin = follow_open(start, device, reads=reads)
    density = as_density(weights)
    points = merged(density)
    unknown = _PolicyParameters(
        first=from_strategy(begin.strategy, device, max(11, begin.strategy.knots.size)),
        y=jnp.broadcast_to(
            jnp.stack([jnp.linspace(0.0, 1.0, knots), jnp.zeros(knots)], -1),
            (begin.follow.shape[0], knots, 2),
        ),
    )
    policy, history = _search(
        device, begin, unknown, points, jnp.asarray(times, dtype=float), key,
        box=Bounds() if box is None else box, samples=samples, steps=steps,
        rate=learning_rate,
    )  # fmt: skip
    return Found(strategy=policy, value=history[-1], info={"history": history})


@partial(jax.jit, static_argnames=("box", "samples", "steps", "rate"))
def _search(
    device: Device,
    begin: Policy,
    start: _PolicyParameters,
    points: WeightDensity,
    times: JArray,
    key: PRNGKey,
    *,
    box: Bounds,
    samples: int,
    steps: int,
    rate: float,
) -> tuple[Policy, JArray]:
    cell = begin.strategy.cell
    u = jnp.broadcast_to(points.u, (samples, *points.u.shape))

    def policy(x: _PolicyParameters) -> Policy:
        span = device.g_max - device.g_min
        knots = jnp.linspace(0.0, 1.0, x.y.shape[1])
        first = replace(to_strategy(x.first, device, cell), name="closed_loop")
        return replace(
            begin, strategy=first, residual=knots, follow=device.g_min + span * x.y
        )

    def loss(x: _PolicyParameters, key: PRNGKey) -> JArray:
        plan = policy(x)
        cells = program_closed_loop(plan, device, u, key=key)
        mse = cells_error(
            plan.strategy, device, cells, u, points.probability, times, key
        )
        return 1e4 * points.unit**2 * jnp.mean(mse)

    adam = optax.adam(optax.cosine_decay_schedule(rate, steps))

    def step(carry: tuple, i: JArray) -> tuple[tuple, JArray]:
        x, state = carry
        value, grads = jax.value_and_grad(loss)(x, rng.stream(key, rng.Stage.TRAIN, i))
        updates, state = adam.update(grads, state, x)
        return (_inside(optax.apply_updates(x, updates), cell, box), state), value

    (x, _), history = jax.lax.scan(step, (start, adam.init(start)), jnp.arange(steps))
    return policy(x), history / 1e4


def _inside(x: _PolicyParameters, cell: UnitCell, box: Bounds) -> _PolicyParameters:
    """The nearest unknowns inside the bounds, antisymmetric where the tables meet."""
    y = jnp.clip(x.y, 0, 1)
    zero = jnp.mean(y[:, :1], -1, keepdims=True)
    return _PolicyParameters(first=project(x.first, cell, box), y=y.at[:, :1].set(zero))
