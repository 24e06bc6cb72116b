"""Reprogramming and recalibrating: how often, for the lowest energy in a year.

Between two programmings conductances drift: the error grows, and the array needs less
and less energy. A recalibration measures the drift compensation, which is held until
the next. Doing either more often costs energy; doing it less often costs accuracy.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from anajax._core import checks
from anajax._core.units import DAY, YEAR
from anajax.costs.estimate import Costs
from anajax.costs.ranges import given
from anajax.devices.base import Device, check_times
from anajax.mapping.density import WeightDensity, as_density
from anajax.mapping.strategy import Strategy, interpolation
from anajax.mapping.weight_error import (
    WeightError,
    moment_table,
    tabulated_error,
    with_factors,
)

AGES = 12
"""Ages in a year at which the error is evaluated, on a log scale."""
FIRST = 1.0
"""First age, s."""


Metric = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""`metric(ages, last)`: metric of the network just before each age (s), higher is
better, if drift was last measured at `last` (s; 0: never)."""


class Plan(NamedTuple):
    """One schedule of reprogramming and recalibration for a year."""

    reprogram: float
    """Seconds from one programming to the next."""
    recalibrate: float
    """Seconds from one recalibration to the next; infinite: never."""
    rms: float
    """Largest error in the year: root mean square, as a fraction of w_max."""
    programming: float
    """Energy of programming in the year, uJ."""
    recalibration: float
    """Energy of recalibrations in the year, uJ."""
    inference: float
    """Energy of all inferences in the year, uJ."""
    metric: float | None = None
    """Lowest metric of the network in the year, if it was measured."""

    def keeps(self, required: float) -> bool:
        """Whether the error or the metric meets the requirement."""
        return self.rms <= required if self.metric is None else self.metric >= required

    @property
    def total(self) -> float:
        """Energy of the year, uJ."""
        return self.programming + self.recalibration + self.inference


class Upkeep(NamedTuple):
    """The plan with the lowest energy, and all that were compared."""

    best: Plan | None
    """Best plan that meets the requirement; `None` if none does."""
    plans: tuple[Plan, ...]
    """All plans."""
    required: float
    """Largest allowed rms error, or lowest allowed metric if that was measured."""
    basis: str
    """The model behind the energies."""

    def table(self) -> str:
        """All plans that meet the requirement, best first, and their cost model."""
        kept = sorted((p for p in self.plans if p.keeps(self.required)), key=_total)
        lines = [
            f"programmed every {p.reprogram / DAY:.3g} d, {_recalibrated(p)}: "
            f"{p.total:.4g} uJ per year, rms {p.rms:.3g}"
            + ("" if p.metric is None else f", metric at least {p.metric:.4g}")
            for p in kept
        ]
        lines = lines or ["no plan meets the requirement"]
        return "\n".join([*lines, f"({self.basis})"])


def _recalibrated(plan: Plan) -> str:
    if np.isinf(plan.recalibrate):
        return "never recalibrated"
    return f"recalibrated every {plan.recalibrate / DAY:.3g} d"


def upkeep(
    costs: Costs,
    device: Device,
    strategy: Strategy,
    density: WeightDensity,
    *,
    required: float,
    inferences: float,
    reprogram: Sequence[float] = (DAY, 7 * DAY, 30 * DAY, 91 * DAY, YEAR),
    recalibrate: Sequence[float] = (3600.0, DAY, 30 * DAY, np.inf),
    metric: Metric | None = None,
    ages: Sequence[float] | np.ndarray | None = None,
    extrapolate: bool = False,
) -> Upkeep:
    """How often to reprogram and to recalibrate for the lowest energy in a year.

    The error is the exact expected error of the weights, at 12 ages on a log scale and
    just before each programming; the compensation factor is that of the last
    recalibration. With a metric, such as `anajax.costs.held.held_metric` measured on
    chips, the requirement applies to the network's accuracy at the same ages.

    Args:
        costs: costs of one inference at 0 s; the record needs a `pulse_energy`.
        device: the device model.
        strategy: strategy of the weights.
        density: how often each weight occurs.
        required: largest rms error of weights, as a fraction of w_max; or the lowest
            value of `metric`.
        inferences: number per day.
        reprogram: intervals to choose from, s; up to a year.
        recalibrate: intervals to choose from, s; infinite: never.
        metric: metric of the network, used instead of the error of weights.
        ages: seconds at which either is evaluated, besides each programming.
        extrapolate: whether ages may lie outside what the device's source covers.

    Raises:
        ValueError: if a number is not positive, an interval longer than a year, or the
            record has no `pulse_energy`.
    """
    if metric is None:
        checks.positive("required", required)
    checks.finite("required", required)
    checks.positive("inferences", inferences, strictly=False)
    _check("reprogram", reprogram, YEAR)
    _check("recalibrate", recalibrate, np.inf)
    given("pulse_energy", costs.chip.pulse_energy, of="upkeep", unit="pJ")
    density = as_density(density, "density")
    if metric is not None:
        checks.function("metric", metric, "lambda ages, last: accuracy")
    ages = np.geomspace(FIRST, max(reprogram), AGES) if ages is None else ages
    ages = np.unique(np.concatenate([ages, reprogram]))
    check_times(device, ages, extrapolate=extrapolate)
    past = {held: _last(ages, held) for held in recalibrate}
    course = _course(device, strategy, density, np.concatenate([ages, *past.values()]))
    each = {held: course.rms(ages, last) for held, last in past.items()}
    power = _inference(costs, course.share(ages))
    found = {}
    if metric is not None:
        found = {held: np.asarray(metric(ages, last)) for held, last in past.items()}
    plans = tuple(
        _plan(costs, ages, each[held], power, again, held, inferences, found.get(held))
        for again in reprogram
        for held in recalibrate
    )
    kept = [p for p in plans if p.keeps(required)]
    best = min(kept, key=_total) if kept else None
    return Upkeep(best, plans, required, costs.basis)


def _total(plan: Plan) -> tuple[float, float]:
    """Of plans that take the same, the one with fewer recalibrations comes first."""
    return plan.total, -plan.recalibrate


class _Course(NamedTuple):
    """Error, factor and conductance over the ages of a network."""

    ages: np.ndarray
    error: WeightError
    shares: np.ndarray
    strategy: Strategy
    density: WeightDensity

    def rms(self, ages: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Error at some ages, under the factors measured at `last` (0: none)."""
        alpha = np.where(self.ages > 0, np.asarray(self.error.alpha), 1.0)
        now, before = (np.searchsorted(self.ages, v) for v in (ages, last))
        factors = np.array(self.error.alpha)
        factors[now] = alpha[before]
        held = with_factors(
            self.error, jnp.asarray(factors), self.strategy, self.density
        )
        return np.asarray(held.rms)[now]

    def share(self, ages: np.ndarray) -> np.ndarray:
        """Conductance at some ages over that at the first of all."""
        return self.shares[np.searchsorted(self.ages, ages)] / self.shares[0]


def _last(ages: np.ndarray, held: float) -> np.ndarray:
    """When drift was measured last before each age; 0 for never."""
    turns = np.ceil(ages / held - 1e-9) - 1
    return np.zeros_like(ages) if np.isinf(held) else np.maximum(turns, 0) * held


def _course(
    device: Device, strategy: Strategy, density: WeightDensity, ages: np.ndarray
) -> _Course:
    ages = np.unique(np.concatenate([[0.0], ages]))
    table = moment_table(device, jnp.asarray(ages), extrapolate=True)
    u = jnp.abs(density.u) if strategy.mirrored else density.u
    targets = interpolation(strategy, u) @ strategy.targets
    total = jnp.sum(table(targets).mean[1:], -1) @ density.probability
    error = tabulated_error(strategy, table, density)
    return _Course(ages, error, np.asarray(total), strategy, density)


def _inference(costs: Costs, share: np.ndarray) -> np.ndarray:
    """Energy of an inference at each age, uJ: the array goes with its conductances."""
    array = float(costs.energy["array"][:, 0].sum())
    return float(costs.per_inference[0]) - array * (1 - share)


def _plan(
    costs: Costs,
    ages: np.ndarray,
    errors: np.ndarray,
    power: np.ndarray,
    again: float,
    held: float,
    inferences: float,
    metric: np.ndarray | None,
) -> Plan:
    within = ages <= again * (1 + 1e-9)
    t, e = ages[within], power[within]
    mean = (e[0] * t[0] + np.sum((e[1:] + e[:-1]) / 2 * np.diff(t))) / t[-1]
    times = 0 if np.isinf(held) else np.floor(again / held)
    return Plan(
        reprogram=float(again),
        recalibrate=float(held),
        rms=float(errors[within].max()),
        programming=costs.programming * YEAR / again,
        recalibration=float(costs.recalibration[0]) * times * YEAR / again,
        inference=float(mean) * inferences * YEAR / DAY,
        metric=None if metric is None else float(metric[within].min()),
    )


def _check(name: str, intervals: Sequence[float], most: float) -> None:
    for value in intervals:
        if not 0 < value <= most * (1 + 1e-9):
            rule = "be intervals in s, of up to a year" if most < np.inf else "be in s"
            checks.fail(name, rule, value, "Give some such as 30 * 86400.0.")
    if not len(intervals):
        checks.fail(name, "have an interval", "none", "Give some.")
