"""The device: three stages, and the sequence program -> age -> read.

Signatures show the variability. `program` takes a key and draws the programming error
(cycle-to-cycle) and the state of the cells (device-to-device, fixed, such as the drift
exponent). `age` draws nothing: a chip has one trajectory. `read` takes a key and draws
anew at every call (cycle-to-cycle). Conductances are in uS, times in s since the first
read after programming.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import rng
from anajax._core import checks
from anajax._core.normal import normal
from anajax._core.tree import pytree, replace, static
from anajax._core.types import PRNGKey
from anajax._core.wide import narrow, wide
from anajax.devices.stages import G, Number, Time

ANY_TIME = (0.0, float("inf"))
"""Valid times (s) of a device without limits, or whose times are already checked."""
FIRST_READ = 20.0
"""Time from programming to the first read for devices that give none, s: the value of
the phase-change array that most models here are based on."""


@pytree
class Device:
    """An analog memory device: its range and its three stages.

    To remove a stage, use `replace(device, drift=NoDrift())`. A sweep changes one leaf.

    Raises:
        ValueError: if `g_min >= g_max`, `g_min` is negative, or `levels` do not
            increase or are not within the range; if `name` or `source` is not text, or
            `valid_times` is not an increasing pair.

    Example:
        >>> device = devices.pcm()
        >>> float(device.g_max)  # uS
        25.0
    """

    UNITS = {
        "g_min": "uS", "g_max": "uS", "levels": "uS", "read_low": "uS",
        "read_high": "uS",
    }  # fmt: skip
    name: str = static()
    g_min: Number
    """Lowest target conductance, uS."""
    g_max: Number
    """Highest target conductance, uS."""
    programming: Any
    """An `AbstractProgramming`."""
    drift: Any
    """An `AbstractDrift`."""
    read: Any
    """An `AbstractRead`."""
    levels: Any = None
    """The conductances that cells can be programmed to, uS, increasing `[levels]`;
    targets in between are programmed to the nearest. None for analog memories."""
    read_low: Any = None
    """Lower bound of reads, uS; 0 if none."""
    read_high: Any = None
    """Upper bound of reads, uS; unbounded if none."""
    faults: Any = None
    """A `Faults` record; none if all cells work."""
    source: str = static(default="user-defined")
    """Where the model comes from: paper, figure, and what is an assumption."""
    valid_times: tuple[float, float] = static(default=ANY_TIME)
    """Times (s) covered by the source; beyond them, the model extrapolates."""

    def __post_init__(self) -> None:
        checks.positive("g_min", self.g_min, strictly=False)
        checks.positive("g_max", self.g_max)
        _check_texts(self)
        if self.levels is not None:
            _check_levels(self)
        if checks.concrete(self.g_min, self.g_max) and np.any(
            np.asarray(self.g_min) >= np.asarray(self.g_max)
        ):
            checks.fail(
                "g_min",
                "be less than `g_max`",
                f"g_min={self.g_min}, g_max={self.g_max} uS",
                "Swap them, or widen the range.",
            )


@pytree
class Cells:
    """The programmed cells of one chip at one time.

    Example:
        >>> cells = anajax.program(device, jnp.array([5.0, 20.0]), key=key)
        >>> cells.programmed.shape
        (2,)
    """

    target: Float[JArray, "*cells"]
    """Target conductance, uS."""
    programmed: Float[JArray, "*cells"]
    """Conductance right after programming, uS."""
    g: Float[JArray, "*cells"]
    """Conductance at the time that the cells are aged to (0 s: as programmed), uS."""
    state: Any
    """Device-to-device parameters of each cell, drawn by the drift stage."""
    faults: Any = None
    """Fault of each cell, fixed, drawn by the faults record."""


def program(device: Device, targets: G, *, key: PRNGKey) -> Cells:
    """Program one chip: draw its programming errors and the state of its cells.

    Args:
        device: the device model.
        targets: target conductances, uS, any shape.
        key: consumed; one key is one chip.

    Returns:
        The cells, unaged.

    Raises:
        ValueError: if targets are outside the range of the device.

    Example:
        >>> cells = anajax.program(device, jnp.array([5.0, 20.0]), key=key)
        >>> cells.g.shape  # uS
        (2,)
    """
    check_device(device)
    check_targets(device, targets)
    targets = to_levels(targets, device.levels)
    faults = None
    if device.faults is not None:
        faults = device.faults.draw(targets, key=rng.stream(key, rng.Stage.FAULT))
    rows, codes = wide((targets, faults), targets.shape)
    programmed = device.programming.sample(rows, key=rng.stream(key, rng.Stage.PROGRAM))
    programmed = _with_faults(device, programmed, codes)
    freeze = rng.stream(key, rng.Stage.FREEZE)
    state = device.drift.init(rows, programmed, key=freeze)
    g = _with_faults(device, device.drift.start(rows, programmed, state), codes)
    cells = Cells(target=rows, programmed=programmed, g=g, state=state, faults=codes)
    return narrow(cells, targets.shape)


def to_levels(targets: G, levels: Float[JArray, "levels"] | None) -> G:
    """The nearest of the levels, uS; the targets themselves for analog memories."""
    targets = jnp.asarray(targets)
    if levels is None:
        return targets
    between = (levels[1:] + levels[:-1]) / 2
    return levels[jnp.searchsorted(between, targets)].astype(targets.dtype)


def age(device: Device, cells: Cells, *, t: Time, extrapolate: bool = False) -> Cells:
    """The same chip at absolute time `t`; aging is not cumulative.

    Args:
        device: the device model.
        cells: cells, as programmed or aged to any other time.
        t: seconds since the first read after programming.
        extrapolate: whether `t` may lie outside what the device's source covers.

    Returns:
        The cells with `g` at time `t`.

    Raises:
        ValueError: if `t` is not a single time covered by the source of the device.

    Example:
        >>> cells = anajax.program(device, jnp.array([5.0, 20.0]), key=key)
        >>> later = anajax.age(device, cells, t=86400.0)
        >>> bool(jnp.all(later.g < cells.g))
        True
    """
    check_time(device, t, extrapolate=extrapolate)
    shape = jnp.shape(cells.target)
    own = wide(cells, shape)
    g = device.drift.evolve(own.target, own.programmed, own.state, t=t)
    g = _with_faults(device, g, own.faults)
    return replace(cells, g=narrow(g, shape))


def read(
    device: Device,
    cells: Cells,
    *,
    t: Time,
    key: PRNGKey,
    extrapolate: bool = False,
) -> G:
    """One read-out at time `t` of cells aged to `t`, with fresh read noise.

    Args:
        device: the device model.
        cells: cells from `age(device, cells, t=t)`.
        t: seconds since the first read; determines the accumulated 1/f noise.
        key: consumed; one key is one read-out.
        extrapolate: whether `t` may lie outside what the device's source covers.

    Returns:
        Conductances in uS, at least `read_low`, with the shape of the cells.

    Raises:
        ValueError: if `t` is not a single time covered by the source of the device.

    Example:
        >>> cells = anajax.program(device, jnp.array([5.0, 20.0]), key=key)
        >>> later = anajax.age(device, cells, t=86400.0)
        >>> anajax.read(device, later, t=86400.0, key=key).shape  # uS
        (2,)
    """
    check_time(device, t, extrapolate=extrapolate)
    shape = jnp.shape(cells.target)
    cells = wide(cells, shape)
    sd = device.read.sd(cells.g, target=cells.target, programmed=cells.programmed, t=t)
    key = rng.stream(key, rng.Stage.READ)
    xi = normal(key, jnp.shape(cells.g), jnp.result_type(cells.g))
    low = 0 if device.read_low is None else device.read_low
    g = jnp.maximum(cells.g + sd * xi, low)
    if device.read_high is not None:
        g = jnp.minimum(g, device.read_high)
    if device.faults is not None:
        g = device.faults.silence(g, cells.faults)
    return narrow(g, shape)


def _with_faults(device: Device, g: G, codes: Any) -> G:
    return g if device.faults is None else device.faults.apply(g, codes, device)


def first_read(device: Device) -> Float[JArray, ""]:
    """Time from programming to the first read, s: `t0` of the drift or read stage.

    `FIRST_READ` if a device has none, as with tables over time.
    """
    stages = (device.drift, device.read)
    own = [stage.t0 for stage in stages if hasattr(stage, "t0")]
    return jnp.asarray(own[0] if own else FIRST_READ, dtype=float)


def check_times(
    device: Device,
    times: Float[JArray, "times"] | np.ndarray,
    *,
    extrapolate: bool = False,
) -> np.ndarray:
    """Which `times` (s) lie outside the range that the device's source covers.

    Args:
        device: the device model.
        times: seconds since the first read, increasing.
        extrapolate: whether times outside are allowed.

    Returns:
        Booleans `[times]`, true where the model extrapolates; used in reports.

    Raises:
        ValueError: if `times` are negative, not finite or not increasing; if any lies
            outside `device.valid_times` and `extrapolate` is false.
    """
    check_device(device)
    checks.times("times", times)
    return outside("times", device, times, extrapolate)


def check_time(device: Device, t: Time, *, extrapolate: bool = False) -> None:
    """Refuse anything but one time (s) covered by the device's source; tracers pass.

    Args:
        device: the device model.
        t: seconds since the first read.
        extrapolate: whether it may lie outside the times that the source covers.

    Raises:
        ValueError: if it is not a single time, negative, not finite, or outside.
    """
    check_device(device)
    checks.time("t", t)
    outside("t", device, t, extrapolate)


def outside(name: str, device: Device, times: Any, extrapolate: bool) -> np.ndarray:
    """The rule of `check_times`, for an argument of any name and shape."""
    if not checks.concrete(times):
        return np.zeros(np.shape(times), bool)
    seconds = np.asarray(times, float)
    low, high = device.valid_times
    beyond = (seconds < low * (1 - 1e-6)) | (seconds > high * (1 + 1e-6))
    if np.any(beyond) and not extrapolate:
        checks.fail(
            name,
            f"lie in {low:g} to {high:g} s, covered by the source of {device.name!r}",
            f"{seconds[beyond].tolist()} s",
            "Drop the times outside, or pass extrapolate=True.",
        )
    return np.asarray(beyond)


def check_device(device: Any) -> None:
    """Refuse anything but a `Device`, such as its name."""
    if isinstance(device, Device):
        return
    name = getattr(device, "__name__", device if isinstance(device, str) else "pcm")
    checks.fail(
        "device", "be a Device", f"{device!r:.60}", f"Pass anajax.devices.{name}()."
    )


def check_targets(
    device: Device, targets: Any, *, name: str = "targets", what: str = ""
) -> None:
    """Refuse target conductances (uS) outside the range of a device; tracers pass.

    Args:
        device: the device model.
        targets: uS, any shape.
        name: name of the argument, for the message.
        what: origin of the targets, for the message.
    """
    ends = device.g_min, device.g_max
    check_range(targets, *ends, of=repr(device.name), name=name, what=what)


def check_range(
    targets: Any, low: Any, high: Any, *, of: str, name: str, what: str = ""
) -> None:
    """Refuse targets (uS) outside `low` to `high` (up to rounding); tracers pass.

    Args:
        targets: uS, any shape.
        low: uS.
        high: uS.
        of: owner of that range, for the message.
        name: name of the argument, for the message.
        what: origin of the targets, for the message.
    """
    if not checks.concrete(targets, low, high) or not np.size(targets):
        return
    given = np.asarray(targets)
    least, most = float(given.min()), float(given.max())
    low, high = float(np.asarray(low).min()), float(np.asarray(high).max())
    floating = jnp.issubdtype(given.dtype, jnp.floating)
    epsilon = float(jnp.finfo(given.dtype).eps) if floating else 0.0
    near = high * max(1e-5, epsilon)
    if not (low - near <= least and most <= high + near):
        checks.fail(
            name,
            f"have targets in {low:g} to {high:g} uS, the range of {of}",
            f"{what}{least:.6g} to {most:.6g} uS",
            "Build the strategy for this device: strategies.lsp_first(device).",
        )


def _check_texts(device: Device) -> None:
    for name in ("name", "source"):
        if not isinstance(getattr(device, name), str):
            checks.fail(name, "be text", repr(getattr(device, name)), "Pass a text.")
    span = device.valid_times
    pair = isinstance(span, tuple | list) and len(span) == 2
    if not (pair and all(isinstance(t, int | float) for t in span)) or not (
        0 <= span[0] <= span[1]
    ):
        checks.fail(
            "valid_times", "be two times in s, the first not later", span, "Give both."
        )


def _check_levels(device: Device) -> None:
    checks.increasing("levels", device.levels)
    if not checks.concrete(device.levels, device.g_min, device.g_max):
        return
    levels = np.asarray(device.levels)
    low, high = (np.asarray(g) for g in (device.g_min, device.g_max))
    low, high = float(low.min()), float(high.max())
    if levels.size and (levels.min() < low or levels.max() > high * (1 + 1e-6)):
        checks.fail(
            "levels",
            f"lie in {low:g} to {high:g} uS, the range of the device",
            levels.tolist(),
            "Drop those outside, or widen the range.",
        )
