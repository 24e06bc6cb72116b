"""Conductances reported by a chip, compared with what a device model predicts."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from anajax import rng
from anajax._core import checks
from anajax._core.tree import replace
from anajax._core.types import PRNGKey
from anajax.devices.base import Device, age, program, read
from anajax.devices.moments import Moments, conductance_moments

Stage = Literal["programming", "drift", "read"]
STAGES = get_args(Stage)
CELLS = 4096
"""Most cells that a model is compared on."""
CHIPS = 24
"""Simulated chips that they are compared with."""
FAR = 6.0
"""Standard errors beyond which a stage counts as not fitting."""
LEAST = 8
"""Smallest number of cells in a band."""
BANDS = ("least", "low", "high")
"""Bands of targets: cells at the lowest conductance, and two halves of the others."""


@dataclasses.dataclass(frozen=True)
class Judgement:
    """How far one statistic of one stage is from the prediction of the model."""

    stage: Stage
    what: str
    measured: float
    expected: float
    error: float
    """Standard deviation of the statistic over chips of the model."""

    def __post_init__(self) -> None:
        checks.word("stage", self.stage, Stage)

    @property
    def z(self) -> float:
        """Difference of measured and expected, in standard errors."""
        wide = self.error * np.sqrt(1 + 1 / CHIPS)
        return float((self.measured - self.expected) / max(wide, 1e-9))

    @property
    def fits(self) -> bool:
        """Whether the statistic is compatible with the model."""
        return abs(self.z) <= FAR


def z_scores(
    device: Device, targets: np.ndarray, g: np.ndarray, t: float
) -> np.ndarray:
    """(measured - expected) / expected spread of each cell; NaN for missing cells.

    Args:
        device: the model.
        targets: uS.
        g: measured, uS, of the same shape.
        t: seconds since the first read.
    """
    mean, var = expected(device, targets, t)
    return (g - mean) / np.maximum(np.sqrt(var), 1e-9)


def expected(
    device: Device, targets: np.ndarray, t: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the conductances that the model predicts, uS and uS^2."""
    found = _moments(_bare(device), jnp.asarray(targets), jnp.asarray(t, float))
    return np.asarray(found.mean), np.asarray(found.var)


@jax.jit
def _moments(device: Device, targets: jax.Array, t: jax.Array) -> Moments:
    return conductance_moments(device, targets, t=t, extrapolate=True)


def judge(
    device: Device,
    targets: np.ndarray,
    reads: Sequence[np.ndarray],
    times: Sequence[float],
    *,
    key: PRNGKey,
) -> list[Judgement]:
    """Statistics of each stage, as measured and as simulated with the model.

    Args:
        device: the model.
        targets: `[cells]` uS.
        reads: `[reads cells]` uS at each time; NaN for missing cells.
        times: seconds since the first read, increasing.
        key: draws the chips of the model.
    """
    if targets.size > CELLS:
        keep = np.random.default_rng(0).choice(targets.size, CELLS, replace=False)
        targets, reads = targets[keep], [r[:, keep] for r in reads]
    there = [~np.isnan(r) for r in reads]
    counts = [len(r) for r in reads]
    found = _numbers(targets, reads)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(CHIPS))
    drawn = _chips(
        _bare(device), jnp.asarray(targets), jnp.asarray(times, float), keys,
        tuple(counts),
    )  # fmt: skip
    model = []
    for i in range(CHIPS):
        one = [np.asarray(g[i]) for g in drawn]
        one = [np.where(t, g, np.nan) for t, g in zip(there, one, strict=True)]
        model.append(_numbers(targets, one))
    return [
        Judgement(stage, what, value, *_over([m[stage, what] for m in model]))
        for (stage, what), value in found.items()
        if all((stage, what) in m for m in model)
    ]


def _over(values: list[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1))


@functools.partial(jax.jit, static_argnames="counts")
def _chips(
    device: Device,
    targets: jax.Array,
    times: jax.Array,
    keys: PRNGKey,
    counts: tuple[int, ...],
) -> list[jax.Array]:
    return jax.lax.map(lambda key: _chip(device, targets, times, counts, key), keys)


def _chip(
    device: Device,
    targets: jax.Array,
    times: jax.Array,
    counts: tuple[int, ...],
    key: PRNGKey,
) -> list[jax.Array]:
    """Reads `[reads cells]` of a chip of the model at each time."""
    cells = program(device, targets, key=rng.stream(key, rng.Stage.PROGRAM))
    found = []
    for i, count in enumerate(counts):
        t = times[i]
        aged = age(device, cells, t=t, extrapolate=True)
        each = [
            read(device, aged, t=t, extrapolate=True, key=_key(key, i, r))
            for r in range(count)
        ]
        found.append(jnp.stack(each))
    return found


def _key(key: PRNGKey, time: int, number: int) -> PRNGKey:
    of_time = rng.stream(key, rng.Stage.TIME, time)
    return rng.stream(of_time, rng.Stage.READ, number)


def _numbers(
    targets: np.ndarray, reads: Sequence[np.ndarray]
) -> dict[tuple[Stage, str], float]:
    """What stages are told by: errors at first, changes since, and between reads.

    With several reads, what the first and the last of a time share is the error of
    programming, or what drift left; with one, read noise is part of both.
    """
    first = reads[0][0]
    more = targets > np.min(targets)
    middle = np.median(targets[more]) if np.any(more) else 0.0
    band = np.where(more, np.where(targets < middle, 1, 2), 0)
    found: dict[tuple[Stage, str], float] = {}

    def add(stage: Stage, name: str, one: np.ndarray, two: np.ndarray) -> None:
        """Mean and sd by band, of what `one` and `two` share."""
        for i, where in enumerate(BANDS):
            if i == 0 and stage != "programming":
                continue  # what is left there is the error of programming
            some = (band == i) & np.isfinite(one) & np.isfinite(two)
            if some.sum() >= LEAST:
                a, b = one[some], two[some]
                shared = np.mean((a - a.mean()) * (b - b.mean()))
                place = f"of {where} targets"
                found[stage, f"mean {name} {place}"] = float(np.mean(a + b) / 2)
                found[stage, f"sd of {name} {place}"] = float(np.sqrt(max(shared, 0)))

    add("programming", "error (uS)", first - targets, reads[0][-1] - targets)
    if len(reads) > 1:
        kept = [_kept(reads[0][i], reads[-1][i], targets) for i in (0, -1)]
        add("drift", "share kept", *kept)
    between = [r[1] - r[0] for r in reads if len(r) > 1]
    if between:
        add("read", "difference of two reads (uS)", between[0], between[0])
    return found


def _kept(first: np.ndarray, last: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The share of each conductance that is left; NaN where it is small."""
    large = first > 0.1 * np.nanmax(targets)
    return np.where(large, last / np.where(large, first, 1), np.nan)


def verdict(found: Sequence[Judgement]) -> str:
    """One sentence: whether the model fits, and if not, which stages do not."""
    asked = [s for s in STAGES if any(j.stage == s for j in found)]
    wrong = [s for s in asked if any(j.stage == s and not j.fits for j in found)]
    if not wrong:
        return f"The device model fits: {', '.join(asked)}."
    worst = [
        max((j for j in found if j.stage == s), key=lambda j: abs(j.z)) for s in wrong
    ]
    said = "; ".join(
        f"{j.stage}: {j.what} is {j.measured:.3g}, the model predicts {j.expected:.3g} "
        f"± {j.error:.2g}"
        for j in worst
    )
    return f"The device model does not fit in {', '.join(wrong)}: {said}."


def _bare(device: Device) -> Device:
    """The device without its texts, so that equal structures share a trace."""
    return replace(device, name="", source="")
