"""The task of target learning: network, inputs, and the noise of chips."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import chip
from anajax._core import checks
from anajax._core.normal import normal16
from anajax._core.tree import Arrays, pytree, replace
from anajax._core.types import PRNGKey, PyTree
from anajax.devices.base import FIRST_READ, Device, first_read
from anajax.devices.models.ideal import only_range
from anajax.devices.moments import Moments, MomentTable
from anajax.mapping.strategy import Normalized, Strategy
from anajax.mapping.weight_error import mean_abs, moment_table
from anajax.programming.end_to_end.learnable import LEARNABLE, learned


@pytree
class Task:
    """The task of target learning."""

    params: Arrays
    ideal: dict[str, Normalized]
    """Trained weights to program, by path."""
    inputs: JArray
    labels: Any
    """Labels instead of digital outputs, or none."""
    times: JArray
    table: MomentTable
    """Moments at 0 s and at `times`."""
    device: Device
    """Only its range is used."""
    key: PRNGKey
    parts: Any = None
    """Which parts are learned, from `learnable.learned`."""
    fixed: Any = None
    """Layers by path that are already fixed, or none."""
    t0: JArray = FIRST_READ  # pyright: ignore[reportAssignmentType]
    """Time constant of a scheduled drift correction, s: that of the device."""
    energy: Any = None
    """Weight of the energy of the array, an `Energy` record, or none."""


def make_task(
    params: PyTree,
    ideal: dict[str, Normalized],
    device: Device,
    inputs: JArray | np.ndarray,
    labels: JArray | np.ndarray | None,
    times: Any,
    learn: Sequence[str],
    key: PRNGKey,
) -> Task:
    """The task, with tabulated moments of the device."""
    times = jnp.asarray(times, dtype=float)
    return Task(
        params=Arrays(params),
        ideal=ideal,
        inputs=jnp.asarray(inputs),
        labels=None if labels is None else jnp.asarray(labels),
        times=times,
        table=moment_table(device, times, extrapolate=True),
        device=only_range(device),
        key=key,
        parts=learned(learn),
        t0=first_read(device),
    )


def layer_moments(
    layer: chip.LayerProgram, table: MomentTable, times: Float[JArray, "times"]
) -> tuple[Moments, Float[JArray, "times *ones"]]:
    """Moments of a layer's analog part c.g / K, and its drift compensation.

    Args:
        layer: targets and read-back.
        table: moments at 0 s and at `times`.
        times: seconds, for the scheduled part of the compensation.

    Returns:
        Mean and variance at `times`, and the factor at these times (per layer of a
        stack), in the limit of many weights.
    """
    mean, var = _analog_moments(layer, table)
    stack = layer.layout.on(mean.ndim - 1).stack
    axes = tuple(a + 1 for a in range(mean.ndim - 1) if a not in stack)
    size = jnp.mean(mean_abs(mean, var), axes, keepdims=True)
    late = jax.vmap(lambda t: chip.schedule(layer, t))(times)
    if late.ndim == 1:
        late = late.reshape(-1, *[1] * (mean.ndim - 1))
    alpha = late * size[0] / size[1:]
    return Moments(mean=mean[1:], var=var[1:]), alpha


def _analog_moments(
    layer: chip.LayerProgram, table: MomentTable
) -> tuple[JArray, JArray]:
    """Mean and variance `[times *weights]` of c.g / K.

    Large layers go part by part, so that never all moments of cells are there at once.
    """

    def of(targets: JArray) -> tuple[JArray, JArray]:
        g = table(targets)
        return g.mean @ layer.coefficients, g.var @ layer.coefficients**2

    *shape, devices = layer.targets.shape
    size = math.prod(shape)
    if size <= _PART:
        return of(layer.targets)
    flat = jnp.pad(layer.targets.reshape(size, devices), ((0, -size % _PART), (0, 0)))
    parts = jax.lax.map(jax.checkpoint(of), flat.reshape(-1, _PART, devices))

    def whole(v: Float[JArray, "parts times weights"]) -> JArray:
        joined = jnp.moveaxis(v, 1, 0).reshape(v.shape[1], -1)
        return joined[:, :size].reshape(-1, *shape)

    return whole(parts[0]), whole(parts[1])


_PART = 2**15
"""Weights of a layer whose moments are computed at once."""


def noisy_weights(
    layer: chip.LayerProgram,
    table: MomentTable,
    index: JArray,
    *,
    key: PRNGKey,
    t: JArray | float = 0.0,
) -> JArray:
    """One moment-matched draw of a layer's weights at time `index` of the table.

    Mean and variance of each weight are exact; the compensation factor is that of the
    layer in the limit of many weights.

    Args:
        layer: targets and read-back.
        table: moments at 0 s and at the times, from `moment_table`.
        index: index of the time, from 1.
        key: consumed.
        t: that time in s, for the scheduled drift correction of the layer.
    """
    two = replace(
        table, cubic=table.cubic[..., jnp.stack([jnp.zeros_like(index), index])]
    )
    w, alpha = layer_moments(layer, two, jnp.reshape(jnp.asarray(t, float), 1))
    sd = jnp.sqrt(jnp.maximum(w.var[0], 1e-16))
    analog = w.mean[0] + sd * normal16(key, sd.shape, sd.dtype)
    return chip.finish(layer, alpha[0] * analog)


def first_of(
    strategy: Strategy | dict[str, Strategy], device: Device, learn: Sequence[str]
) -> Strategy:
    """One of the strategies, after checking that all can be a starting point."""
    every = list(strategy.values()) if isinstance(strategy, dict) else [strategy]
    for one in every:
        if not one.mirrored or one.stepped or one.cell != every[0].cell:
            checks.fail(
                "strategy",
                "be mirrored, linear between knots, on one cell of pairs",
                one.name,
                "Start from strategies.lsp_first.",
            )
    if device.levels is not None and {"strategy", "weights"} & set(learn):
        checks.fail(
            "learn",
            "leave out strategy and weights for a device with few levels",
            tuple(learn),
            "Use enumerate_levels; columns and digital parameters can be learned.",
        )
    return every[0]


def check(
    times: Any,
    learn: Sequence[str],
    inputs: JArray | np.ndarray,
    labels: JArray | np.ndarray | None,
    **counts: int,
) -> None:
    """Refuse arguments that are out of range."""
    checks.times("times", times)
    checks.finite("inputs", inputs)
    if not learn or isinstance(learn, str) or set(learn) - set(LEARNABLE):
        checks.fail("learn", f"be some of {LEARNABLE}", learn, "Choose from these.")
    if labels is not None and len(labels) != len(inputs):
        checks.fail(
            "labels", "have one entry per input", len(labels), f"Give {len(inputs)}."
        )
    for name, number in counts.items():
        if number < 1:
            checks.fail(name, "be at least 1", number, "Use the default.")


def check_columns(ideal: dict[str, Normalized], learn: Sequence[str]) -> None:
    """Refuse weights with unknown columns if column scales are learned.

    Raises:
        ValueError: naming the first such weight.
    """
    if "columns" in learn:
        for path, w in ideal.items():
            w.layout.need_columns(path, w.u.shape)
