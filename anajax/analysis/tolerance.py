"""Requirements on a device: the largest non-idealities that a network tolerates."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from anajax import chip
from anajax._core import checks
from anajax._core.tree import pytree, static
from anajax._core.types import PRNGKey, PyTree
from anajax.analysis.evaluate import Metric, evaluate
from anajax.devices.base import Device, check_time
from anajax.devices.variation import scale_noise

Program = chip.Strategies | Mapping[str, chip.LayerProgram]

RAY = ("programming", "drift_spread", "read")
"""Imperfections of a device that are scaled together by `ray`."""
PARAMETERS = (*RAY, "drift_mean", "ray")
"""Parameters that `required_device` can scale."""
FACTORS = tuple(2.0 ** (i / 2) for i in range(-4, 7))
"""Default factors."""


@pytree
class Requirement:
    """How large one imperfection may get before the network loses `gap`."""

    parameter: str = static()
    """A factor of `anajax.devices.scale_noise`, "ray" (three of them together), or a
    name of `anajax.analysis.hardware.NON_IDEALITIES`."""
    factor: float
    """Largest factor on the nominal value at which the mean gap is `gap`; 0 if the
    smallest of `factors` is too large, infinite if the largest is acceptable."""
    low: float
    """Lower end of its 90 % interval over chips (bootstrap)."""
    high: float
    """Upper end."""
    factors: Float[np.ndarray, "factors"]
    """Factors that were tested."""
    gaps: Float[np.ndarray, "factors chips"]
    """Loss of the metric relative to digital, positive if the chip is worse."""


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
    extrapolate: bool = False,
    **options: Any,
) -> list[Requirement]:
    """The largest imperfections that keep the metric within `gap` of digital at `t`.

    One imperfection at a time is multiplied by `factors`, with all others fixed, and
    all factors are tested on the same chips (common keys). Between factors, the mean
    gap is interpolated linearly in the logarithm of the factor; the first crossing is
    used.

    Args:
        metric: metric of parameters, see `evaluate`.
        params: pytree of trained weights.
        device: the nominal device.
        program: strategies or layers, the same for all factors, or a function of the
            device that chooses them anew.
        gap: largest accepted loss of the metric, such as 0.01 for a point of accuracy.
        t: seconds after the first read.
        key: draws the chips.
        parameters: some of `PARAMETERS`.
        factors: increasing.
        chips: number of chips.
        higher_is_better: whether a larger metric is a better network.
        digital: metric of the digital network; that of `params` by default.
        resamples: number of resamples of the bootstrap over chips.
        notify: called with each parameter before it is tested.
        extrapolate: whether `t` may lie outside what the device's source covers.
        **options: options of `evaluate`, such as `chunk` or `scope`.

    Raises:
        ValueError: if an argument is out of range; the message names it.
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
            got = evaluate(
                metric,
                params,
                scaled,
                chosen,
                [t],
                chips=chips,
                key=key,
                extrapolate=True,
                **options,
            )
            values = np.asarray(got.metric, float).reshape(chips, -1).mean(1)
            gaps.append(sign * (digital - values))
        found.append(
            requirement(name, np.asarray(factors), np.array(gaps), gap, resamples)
        )
    return found


def requirement(
    name: str,
    factors: np.ndarray,
    gaps: np.ndarray,
    gap: float,
    resamples: int = 1000,
) -> Requirement:
    """How large an imperfection may get, from the losses of chips at each factor.

    Args:
        name: name of the imperfection.
        factors: increasing `[factors]`.
        gaps: loss of the metric `[factors chips]`, the same chips for all factors; NaN
            for chips that were not needed.
        gap: largest accepted mean loss.
        resamples: number of resamples of the bootstrap over chips.
    """
    taken = [row[~np.isnan(row)] for row in gaps]
    means = np.array([_resampled(row, resamples) for row in taken])  # [factors draws]
    crossings = [crossing(factors, mean, gap) for mean in means.T]
    low, high = np.quantile(crossings, (0.05, 0.95), method="nearest")
    return Requirement(
        parameter=name,
        factor=crossing(factors, np.array([row.mean() for row in taken]), gap),
        low=low,
        high=high,
        factors=factors,
        gaps=gaps,
    )


def _resampled(values: np.ndarray, resamples: int) -> np.ndarray:
    """Means of bootstrap samples of chips; the same draws for as many chips."""
    count = values.size
    draws = np.random.default_rng(0).integers(0, count, (resamples, count))
    return values[draws].mean(1)


def crossing(factors: np.ndarray, gaps: np.ndarray, gap: float) -> float:
    """Where `gaps` first cross `gap`, linear in log factor; 0 or infinite outside."""
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
