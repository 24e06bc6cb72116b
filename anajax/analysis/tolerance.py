"""Requirements on a device: the largest non-idealities that a network tolerates."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from anajax import chip
from anajax._core import checks
from anajax._core.tree import pytree, static
from anajax._core.types import PRNGKey, PyTree
from anajax.analysis.evaluate import Metric, evaluate
from anajax.analysis.steps import Step, at_once
from anajax.devices.base import Device, check_time
from anajax.devices.variation import scale_noise

Program = chip.Strategies | Mapping[str, chip.LayerProgram]

RAY = ("programming", "drift_spread", "read")
"""Imperfections of a device that `ray` scales together."""
PARAMETERS = (*RAY, "drift_mean", "ray")
"""What `required_device` scales."""
FACTORS = tuple(2.0 ** (i / 2) for i in range(-4, 7))
"""By how much, unless told otherwise."""


@pytree
class Requirement:
    """How far one imperfection may grow before the network loses `gap`."""

    parameter: str = static()
    """A factor of `anajax.devices.scale_noise`, "ray" (three of them together), or a
    name of `anajax.analysis.hardware.NON_IDEALITIES`."""
    factor: float
    """Largest factor on the device's own value at which the mean gap is `gap`; 0 if
    the smallest of `factors` is too much, infinite if the largest is not."""
    low: float
    """Lower end of its 90 % interval over chips (bootstrap)."""
    high: float
    """Upper end."""
    factors: Float[np.ndarray, "factors"]
    """Factors that were tried."""
    gaps: Float[np.ndarray, "factors chips"]
    """Loss of the metric against digital, positive where the chip is worse."""


def required_device(
    metric: Metric,
    params: PyTree,
    device: Device,
    program: Program | Callable[[Device], Program],
    *,
    gap: float,
    t: float,
    key: PRNGKey,
    parameters: Sequence[str] = (*RAY, "ray"),
    factors: Sequence[float] = FACTORS,
    chips: int = 25,
    higher_is_better: bool = True,
    digital: float | None = None,
    resamples: int = 1000,
    notify: Callable[[str], None] = lambda text: None,
    call: int | None = None,
    step: Step = at_once,
    extrapolate: bool = False,
    **options: Any,
) -> list[Requirement]:
    """The loosest device that keeps the metric within `gap` of digital at `t`.

    One imperfection at a time is multiplied by `factors`, all others stay, and all
    factors see the same chips (common keys); between factors the mean gap is linear in
    the logarithm of the factor, and the first crossing counts.

    Args:
        metric: of parameters, see `evaluate`.
        params: pytree of trained weights.
        device: where the factors start from.
        program: strategies or layers, the same for all factors, or a function of the
            device that chooses them anew.
        gap: largest accepted loss of the metric, such as 0.01 for a point of accuracy.
        t: seconds after the first read.
        key: draws the chips.
        parameters: some of `PARAMETERS`.
        factors: increasing.
        chips: how many.
        higher_is_better: whether a larger metric is a better network.
        digital: metric of the digital network; that of `params` by default.
        resamples: of the bootstrap over chips.
        notify: told what is begun.
        call: chips in one call of the compiled program, all by default.
        step: what each call is a step of.
        extrapolate: whether `t` may lie outside what the device's source covers.
        **options: of `evaluate`, such as `chunk` or `scope`.

    Raises:
        ValueError: if an argument is out of range; names it.
    """
    _check(gap, t, parameters, factors, chips)
    check_time(device, t, extrapolate=extrapolate)
    sign = 1.0 if higher_is_better else -1.0
    digital = float(jnp.mean(metric(params))) if digital is None else digital
    found = []
    for name in parameters:
        names = RAY if name == "ray" else (name,)
        gaps = []
        for factor in factors:
            notify(f"{name} x {factor:.3g}")
            scaled = scale_noise(device, **dict.fromkeys(names, factor))
            chosen = program(scaled) if callable(program) else program
            measure = partial(
                _metrics,
                metric,
                params,
                scaled,
                chosen,
                [t],
                key=key,
                extrapolate=True,
                **options,
            )
            calls = _calls(chips, call or chips)
            rows = [step(partial(measure, chips=some)) for some in calls]
            got = np.concatenate([r["metric"] for r in rows])[:chips]
            gaps.append(sign * (digital - got))
        found.append(
            requirement(name, np.asarray(factors), np.array(gaps), gap, resamples)
        )
    return found


def _calls(chips: int, size: int) -> list[np.ndarray]:
    """Indices of chips, as many in each call: the last chip fills it up."""
    starts = range(0, chips, size)
    return [np.minimum(np.arange(i, i + size), chips - 1) for i in starts]


def _metrics(*args: Any, **options: Any) -> dict[str, np.ndarray]:
    """The metric of each chip, mean over items, of `evaluate` at one time."""
    found = np.asarray(evaluate(*args, **options).metric, float)
    return {"metric": found.reshape(len(found), -1).mean(1)}


def requirement(
    name: str,
    factors: np.ndarray,
    gaps: np.ndarray,
    gap: float,
    resamples: int = 1000,
) -> Requirement:
    """How far an imperfection may grow, from what chips lost at each factor.

    Args:
        name: of the imperfection.
        factors: increasing `[factors]`.
        gaps: loss of the metric `[factors chips]`, the same chips for all factors.
        gap: largest accepted mean loss.
        resamples: of the bootstrap over chips.
    """
    count = gaps.shape[1]
    draws = np.random.default_rng(0).integers(0, count, (resamples, count))
    crossings = [crossing(factors, gaps[:, d].mean(1), gap) for d in draws]
    low, high = np.quantile(crossings, (0.05, 0.95), method="nearest")
    return Requirement(
        parameter=name,
        factor=crossing(factors, gaps.mean(1), gap),
        low=low,
        high=high,
        factors=factors,
        gaps=gaps,
    )


def crossing(factors: np.ndarray, gaps: np.ndarray, gap: float) -> float:
    """Where `gaps` first pass `gap`, linear in log factor; 0 or infinite beyond."""
    above = np.flatnonzero(gaps > gap)
    if not above.size:
        return float("inf")
    i = int(above[0])
    if i == 0:
        return 0.0
    share = (gap - gaps[i - 1]) / (gaps[i] - gaps[i - 1])
    return float(factors[i - 1] * (factors[i] / factors[i - 1]) ** share)


def _check(
    gap: float,
    t: float,
    parameters: Sequence[str],
    factors: Sequence[float],
    chips: int,
) -> None:
    checks.positive("gap", gap)
    checks.time("t", t)
    checks.positive("factors", np.asarray(factors))
    checks.increasing("factors", np.asarray(factors))
    unknown = sorted(set(parameters) - set(PARAMETERS))
    if unknown or not parameters:
        checks.fail("parameters", f"be some of {PARAMETERS}", unknown, "Choose some.")
    if chips < 2:
        checks.fail("chips", "be at least 2", chips, "Intervals need two chips.")
