"""Strategies for memories with few levels, found by enumeration.

Every device of a cell sits at one of the levels, so a weight is one of finitely many
codes. With the exact moments of the codes, compensation factors alpha(t) and scale K,
the expected squared error of a weight u under a code, averaged over the times, is

    (a - 2 x b) / K^2 + u^2,   x = K u + offset,
    a = mean_t alpha^2 (m^2 + v),   b = mean_t alpha m,

m and v the mean and variance of c.g: a line in x for each code. The best codes are the
lower envelope of these lines, so thresholds are exact. For given alpha the best K is
exact as well: as K grows, codes change at finitely many values of it, and between two
of them the best K has a closed form.

Not guaranteed to be optimal are: alpha(t), which depends on the codes, and is found by
a fixed-point iteration from alpha = 1; and a digital offset and a significance factor,
if requested, found by grids that refine around the best point. The reported error is
the exact error of the codes with their own alpha.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax._core import checks
from anajax.devices.base import Device, check_times
from anajax.devices.moments import Moments, conductance_moments
from anajax.mapping.density import WeightDensity, as_density
from anajax.mapping.found import Found
from anajax.mapping.strategy import Strategy, UnitCell, full_scale
from anajax.mapping.weight_error import Compensation, error_of_moments
from anajax.programming.search.codes import best_scale, codes, envelope
from anajax.programming.search.objective import Aggregate, combine

ROUNDS = 12
"""Most steps of the fixed-point iteration for alpha."""


def enumerate_levels(
    device: Device,
    weights: WeightDensity | JArray | np.ndarray,
    times: Float[JArray, "times"] | Sequence[float] | np.ndarray,
    *,
    cell: UnitCell,
    significance: JArray | np.ndarray | Sequence[float] | None = None,
    time_weights: JArray | np.ndarray | None = None,
    aggregate: Aggregate = "mean",
    ceiling: JArray | np.ndarray | None = None,
    compensation: Compensation = "mean_abs",
    extrapolate: bool = False,
) -> Found:
    """The codes with the minimum expected squared weight error, weight by weight.

    Args:
        device: a device with levels.
        cell: devices of a weight, such as `pairs(2)`; without pairs (`singles(4)`), a
            digital offset is found as well.
        weights: their density, such as `anajax.weight_density(params)`, or the weights
            of one layer.
        times: seconds after the first read over which the error is averaged.
        significance: significance of the groups of the cell, such as `slices(3)` or
            `copies(4)`; by default powers of one factor F, which is searched for.
        time_weights: weight of each time, equal by default.
        aggregate: "mean" over the times; "minimax" chooses by the worst time among the
            tables with the best mean for some alpha, offset and F.
        ceiling: upper bound of the squared error (w_max^2) at each time, as far as one
            of these tables meets it; none by default.
        compensation: how alpha(t) is chosen, see `weight_error`.
        extrapolate: whether times may lie outside what the device's source covers.

    Returns:
        A stepped strategy and its value. `info` has its F as `f [factors]`, K relative
        to the full range as `k`, the number of `codes` compared for every weight, the
        factors `tried [tries factors]`, the lowest value with each as `per_start
        [tries]`, and the lowest value so far as `history [tries]`.

    Raises:
        ValueError: if the device has no levels, there are too many codes, or the
            significance does not fit the cell.
    """
    check_times(device, times, extrapolate=extrapolate)
    checks.word("aggregate", aggregate, Aggregate)
    checks.word("compensation", compensation, Compensation)
    density = as_density(weights)
    density.need_single_weights("a device with levels")
    moments = _level_moments(device, times)
    search = _Search.of(device, cell, density, moments, time_weights)
    search = dataclasses.replace(
        search, aggregate=aggregate, ceiling=ceiling, compensation=compensation
    )
    if significance is not None or cell.factors == 1:
        given = np.ones(1) if significance is None else np.asarray(significance, float)
        _check_significance(given, cell)
        return _finish(search, [search.best(given)])
    powers = np.arange(cell.factors - 1, -1, -1.0)
    most = 2.0 * search.levels.size  # beyond, the weights of codes have gaps
    tried = _close_in(lambda f: search.best(f**powers), 1.0, most)
    return _finish(search, tried)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Found:
    """A table of codes in the units of conductance, with its exact value."""

    value: float
    significance: np.ndarray
    codes: np.ndarray
    """Levels `[steps devices]`, uS."""
    thresholds: np.ndarray
    """Where each code ends, in x `[steps - 1]`, uS."""
    scale: float
    offset: float
    compared: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Search:
    """The problem as arrays, in double precision."""

    levels: np.ndarray
    """uS `[levels]`."""
    mean: np.ndarray
    """uS, of each level at 0 s and at the times `[1 + times, levels]`."""
    var: np.ndarray
    """uS^2, as `mean`."""
    cell: UnitCell
    u: np.ndarray
    """Normalized weights `[points]`, not negative for pairs."""
    p: np.ndarray
    unit: float
    """Their shares."""
    time_weights: np.ndarray
    span: float
    """Range of a device, uS."""
    aggregate: Aggregate = "mean"
    ceiling: JArray | np.ndarray | None = None
    compensation: Compensation = "mean_abs"

    @classmethod
    def of(
        cls,
        device: Device,
        cell: UnitCell,
        density: WeightDensity,
        moments: Moments,
        time_weights: JArray | np.ndarray | None,
    ) -> "_Search":
        u, p = np.asarray(density.u, float), np.asarray(density.probability, float)
        used = p > 0
        late = np.asarray(moments.mean).shape[0] - 1
        weights = np.ones(late) if time_weights is None else np.asarray(time_weights)
        return cls(
            levels=np.asarray(device.levels, float),
            mean=np.asarray(moments.mean, float),
            var=np.asarray(moments.var, float),
            cell=cell,
            u=np.abs(u[used]) if cell.paired else u[used],
            p=p[used] / p[used].sum(),
            unit=float(density.unit),
            time_weights=weights / weights.sum(),
            span=float(device.g_max - device.g_min),
        )

    def best(self, significance: np.ndarray) -> _Found:
        """The best table for these factors."""
        c = np.asarray(self.cell.signs) * significance[np.asarray(self.cell.groups)]
        index = codes(self.levels.size, c)
        mean = sum(c[d] * self.mean[:, index[:, d]] for d in range(c.size))
        var = sum(c[d] ** 2 * self.var[:, index[:, d]] for d in range(c.size))

        def at(shift: float) -> _Found:
            return self._fixed_point(mean, var, index, significance, shift)

        if self.cell.paired:
            return at(0.0)
        low, high = significance.sum() * self.levels[[0, -1]]
        slope = np.ptp(self.u) / (high - low)  # middle weight at the middle, for k = 1
        center, middle = (self.u.max() + self.u.min()) / 2, (high + low) / 2
        return _least(
            _close_in(lambda k: at(middle * slope / k - center), 1 / 3, 3.0, points=13)
        )

    def _fixed_point(
        self,
        mean: np.ndarray,
        var: np.ndarray,
        index: np.ndarray,
        significance: np.ndarray,
        shift: float,
    ) -> _Found:
        """Codes for alpha, alpha for codes, and again; the best of all of them.

        `shift` is the offset over K.
        """
        alpha, found = np.ones(mean.shape[0] - 1), []
        for _ in range(ROUNDS):
            a = self.time_weights @ (alpha[:, None] ** 2 * (mean[1:] ** 2 + var[1:]))
            b = self.time_weights @ (alpha[:, None] * mean[1:])
            chosen, ends = envelope(a, b)
            scale = best_scale(a[chosen], b[chosen], ends, self.u + shift, self.p)
            step = np.searchsorted(ends, scale * (self.u + shift), side="right")
            at = chosen[step]
            own, value = _evaluate(
                Moments(mean=mean[:, at] / scale, var=var[:, at] / scale**2),
                self.u,
                self.p,
                self.unit,
                shift,
                self.time_weights,
                self.compensation,
                self.aggregate,
                self.ceiling,
            )
            found.append(
                _Found(
                    value=float(value),
                    significance=significance,
                    codes=self.levels[index[chosen]],
                    thresholds=ends,
                    scale=scale,
                    offset=scale * shift,
                    compared=index.shape[0],
                )
            )
            if np.allclose(own, alpha, rtol=1e-6):
                break
            alpha = np.asarray(own, float)
        return _least(found)


@partial(jax.jit, static_argnames=("compensation", "aggregate"))
def _evaluate(
    w: Moments,
    u: JArray,
    p: JArray,
    unit: JArray,
    offset: JArray,
    time_weights: JArray,
    compensation: Compensation,
    aggregate: Aggregate,
    ceiling: JArray | None,
) -> tuple[JArray, JArray]:
    error = error_of_moments(w, u, p, offset, compensation)
    return error.alpha, combine(unit**2 * error.mse, time_weights, aggregate, ceiling)


def _level_moments(
    device: Device, times: JArray | Sequence[float] | np.ndarray
) -> Moments:
    """Exact moments `[1 + times, levels]` at 0 s and at the times."""
    if device.levels is None:
        checks.fail(
            "device",
            "have levels",
            f"{device.name}, an analog memory",
            "Use optimize_strategy, or replace(device, levels=...).",
        )
    every = jnp.concatenate([jnp.zeros(1), jnp.asarray(times, dtype=float)])
    return _moments(device, every)


@jax.jit
def _moments(device: Device, times: JArray) -> Moments:
    return jax.lax.map(lambda t: conductance_moments(device, device.levels, t=t), times)


def _close_in(
    find: Callable[[float], _Found],
    low: float,
    high: float,
    points: int = 25,
    rounds: int = 3,
) -> list[_Found]:
    """What `find` gives on a log grid that closes in on its least value."""
    found, bounds = [], (low, high)
    for _ in range(rounds):
        grid = np.geomspace(*bounds, points)
        found.append([find(float(x)) for x in grid])
        best = int(np.argmin([f.value for f in found[-1]]))
        bounds = (grid[max(best - 1, 0)], grid[min(best + 1, points - 1)])
    return [f for some in found for f in some]


def _least(found: list[_Found]) -> _Found:
    return min(found, key=lambda f: f.value)


def _finish(search: _Search, tried: list[_Found]) -> Found:
    best, cell = _least(tried), search.cell
    first = 0.0 if cell.paired else -1.0
    ends = ((best.thresholds - best.offset) / best.scale).astype(np.float32)
    start = int(np.searchsorted(ends, first, side="right"))
    knots = np.r_[np.float32(first), ends[start:]]
    lasts = np.r_[np.diff(knots) > 0, True] & (knots <= 1)
    strategy = Strategy(
        name="enumerated",
        cell=cell,
        knots=knots[lasts],
        targets=best.codes[start:][lasts],
        significance=best.significance,
        scale=best.scale,
        offset=best.offset,
        mirrored=cell.paired,
        stepped=True,
    )
    values = jnp.asarray([f.value for f in tried])
    info = {
        "f": strategy.significance,
        "k": strategy.scale / full_scale(strategy, search.span),
        "codes": jnp.asarray(float(best.compared)),
        "tried": jnp.asarray(np.stack([f.significance for f in tried])),
        "per_start": values,
        "history": jax.lax.cummin(values),
    }
    return Found(strategy=strategy, value=jnp.asarray(best.value), info=info)


def _check_significance(significance: np.ndarray, cell: UnitCell) -> None:
    checks.positive("significance", significance)
    if significance.shape != (cell.factors,):
        checks.fail(
            "significance",
            f"have one entry for each of the {cell.factors} groups of the cell",
            significance.shape,
            "Use pairs(n) with slices(n) or copies(n).",
        )
