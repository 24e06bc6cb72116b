"""Hand-designed strategies, for any significance and scale.

Each is a function that returns a `Strategy`; `tuned` chooses the significance factor F
and the digital scale K of one of them by the exact expected weight error.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax._core import checks
from anajax.devices.base import Device, check_device, check_times
from anajax.devices.models.ideal import only_range
from anajax.devices.moments import MomentTable
from anajax.mapping.density import WeightDensity, as_density
from anajax.mapping.found import Found
from anajax.mapping.strategy import Strategy, UnitCell, pairs, singles
from anajax.mapping.weight_error import Compensation, moment_table, tabulated_error

Number = Float[JArray, ""] | float


def single_pair(device: Device, *, k: Number = 1.0) -> Strategy:
    """One differential pair: u > 0 in the positive device, u < 0 in the negative.

    Args:
        device: defines the range of targets.
        k: digital scale relative to the full range; large weights clip above 1.
    """
    return _fill("single_pair", device, pairs(1), jnp.ones(1), (0,), k)


def lsp_first(
    device: Device,
    *,
    f: Number | Sequence[float] | JArray = 2.0,
    k: Number = 1.0,
) -> Strategy:
    """Pairs filled from the least significant: small weights leave large F unused.

    Args:
        device: defines the range of targets.
        f: significance factor of the most significant pair, or of all pairs except the
            least, most significant first (its length sets the number of pairs).
        k: digital scale relative to the full range; large weights clip above 1.
    """
    factors = _significance(f)
    order = tuple(reversed(range(factors.shape[0])))
    return _fill("lsp_first", device, pairs(len(order)), factors, order, k)


def msp_first(
    device: Device,
    *,
    f: Number | Sequence[float] | JArray = 2.0,
    k: Number = 1.0,
) -> Strategy:
    """Pairs filled from the most significant; the least takes the remainder.

    Args:
        device: defines the range of targets.
        f: significance factors, see `lsp_first`.
        k: digital scale relative to the full range; large weights clip above 1.
    """
    factors = _significance(f)
    order = tuple(range(factors.shape[0]))
    return _fill("msp_first", device, pairs(len(order)), factors, order, k)


def equal_split(
    device: Device,
    *,
    f: Number | Sequence[float] | JArray = 1.0,
    k: Number = 1.0,
) -> Strategy:
    """All pairs carry the same conductance.

    Args:
        device: defines the range of targets.
        f: significance factors, see `lsp_first`.
        k: digital scale relative to the full range; large weights clip above 1.
    """
    check_device(device)
    checks.positive("k", k)
    factors = _significance(f)
    low, high = device.g_min, device.g_max
    row = jnp.stack([high, low] * factors.shape[0])
    return Strategy(
        name="equal_split",
        cell=pairs(factors.shape[0]),
        knots=jnp.stack([jnp.zeros(()), 1 / jnp.asarray(k, dtype=float)]),
        targets=jnp.stack([jnp.full_like(row, low), row]),
        significance=factors,
        scale=k * jnp.sum(factors) * (high - low),
    )


def offset_device(
    device: Device, *, low: float = -1.0, high: float = 1.0, k: Number = 1.0
) -> Strategy:
    """One device per weight, affine from `low` to `high`, with a digital offset.

    Args:
        device: defines the range of targets.
        low: normalized weight at g_min.
        high: normalized weight at g_max.
        k: digital scale relative to the full range; both ends clip above 1.
    """
    check_device(device)
    if not low < high:
        checks.fail("low", "be less than `high`", f"{low}, {high}", "Swap them.")
    middle, half = (low + high) / 2, (high - low) / (2 * jnp.asarray(k, dtype=float))
    scale = (device.g_max - device.g_min) / (2 * half)
    return Strategy(
        name="offset_device",
        cell=singles(),
        knots=jnp.stack([middle - half, middle + half]),
        targets=jnp.stack([device.g_min, device.g_max])[:, None],
        significance=jnp.ones(1),
        scale=scale,
        offset=device.g_min - scale * (middle - half),
        mirrored=False,
    )


def tune_strategy(
    device: Device,
    density: WeightDensity,
    times: Float[JArray, "times"] | np.ndarray,
    *,
    build: Callable[..., Strategy],
    f: tuple[float, float] = (1.0, 8.0),
    k: tuple[float, float] = (0.6, 3.0),
    points: int = 9,
    rounds: int = 4,
    time_weights: Float[JArray, "times"] | None = None,
    compensation: Compensation = "mean_abs",
    extrapolate: bool = False,
) -> Found:
    """Choose F and K of a hand-designed strategy by a grid that is refined.

    Args:
        device: the device model.
        density: the weights to be programmed, such as `anajax.weight_density(params)`.
        times: times (s) over which the expected squared error is averaged.
        build: a hand-designed strategy with arguments `f` and `k`, such as `lsp_first`.
        f: range of the significance factor, on a log grid.
        k: range of the digital scale relative to the full range, on a log grid.
        points: grid points per side.
        rounds: number of times that the grid shrinks around its best point.
        time_weights: weight of each time, equal by default.
        compensation: drift compensation, see `weight_error`.
        extrapolate: whether times may lie outside what the device's source covers.

    Returns:
        The strategy with the lowest time-averaged expected squared error; `info` has F
        and K (relative to the full range) as `f` and `k`.

    Raises:
        ValueError: if an argument is out of range; the message names it.

    Example:
        >>> found = anajax.tune_strategy(
        ...     device, density, times, build=strategies.lsp_first, points=3, rounds=1
        ... )
        >>> found.strategy.name
        'lsp_first'
    """
    density = as_density(density, "density")
    check_times(device, times, extrapolate=extrapolate)
    checks.word("compensation", compensation, Compensation)
    checks.function("build", build, "strategies.lsp_first, without calling it")
    times = jnp.asarray(times, dtype=float)
    weights = jnp.ones_like(times) if time_weights is None else time_weights
    table = moment_table(device, times, extrapolate=True)
    search = _grid_search(build, points, rounds, compensation)
    bounds = jnp.log(jnp.array([f, k]))
    return search(only_range(device), density, table, weights, bounds)


@functools.lru_cache(maxsize=64)  # one trace for all layers and devices
def _grid_search(
    build: Callable[..., Strategy],
    points: int,
    rounds: int,
    compensation: Compensation,
) -> Callable[..., Found]:
    @jax.jit
    def search(
        device: Device,
        density: WeightDensity,
        table: MomentTable,
        weights: JArray,
        box: JArray,
    ) -> Found:
        def objective(log_f: JArray, log_k: JArray) -> JArray:
            strategy = build(device, f=jnp.exp(log_f), k=jnp.exp(log_k))
            error = tabulated_error(strategy, table, density, compensation=compensation)
            return jnp.sum(weights * error.mse) / jnp.sum(weights)

        def shrink(view: JArray, _: None) -> tuple[JArray, JArray]:
            f, k = (jnp.linspace(low, high, points) for low, high in view)
            values = jax.lax.map(
                lambda a: jax.vmap(lambda b: objective(a, b))(k), f
            ).ravel()
            best = jnp.argmin(values)
            center = jnp.stack([f[best // points], k[best % points]])
            reach = (view[:, 1] - view[:, 0]) / (points - 1)
            around = jnp.stack([center - reach, center + reach], -1)
            result = jnp.stack([*center, values[best]])
            return jnp.clip(around, box[:, :1], box[:, 1:]), result

        _, found = jax.lax.scan(shrink, box, None, length=rounds)
        log_f, log_k, value = found[jnp.argmin(found[:, 2])]
        f, k = jnp.exp(log_f), jnp.exp(log_k)
        best = build(device, f=f, k=k)
        return Found(strategy=best, value=value, info={"f": f, "k": k})

    return search


def _significance(f: Number | Sequence[float] | JArray) -> JArray:
    checks.positive("f", f)
    upper = jnp.atleast_1d(jnp.asarray(f, dtype=float))
    return jnp.concatenate([upper, jnp.ones(1, upper.dtype)])


def _fill(
    name: str,
    device: Device,
    cell: UnitCell,
    factors: JArray,
    order: tuple[int, ...],
    k: Number,
) -> Strategy:
    """Pairs filled one after the other, a knot where each is full."""
    check_device(device)
    checks.positive("k", k)
    span = device.g_max - device.g_min
    scale = k * jnp.sum(factors) * span
    full = jnp.cumsum(factors[jnp.asarray(order)] * span) / scale
    rank = jnp.argsort(jnp.asarray(order))
    filled = jnp.arange(len(order) + 1)[:, None] > rank  # [knots, pairs]
    positive = device.g_min + span * filled
    negative = jnp.full_like(positive, device.g_min)
    return Strategy(
        name=name,
        cell=cell,
        knots=jnp.concatenate([jnp.zeros(1, full.dtype), full]),
        targets=jnp.stack([positive, negative], -1).reshape(len(order) + 1, -1),
        significance=factors,
        scale=scale,
    )
