"""Limits of the measurements, which are the limits of what is fitted to them."""

import jax
import jax.numpy as jnp
import numpy as np

from anajax._core import checks
from anajax._core.tree import replace
from anajax.devices.base import Device
from anajax.devices.curves import AbstractCurve, Table
from anajax.devices.fitting.likelihood import Measured
from anajax.devices.fitting.parameters import domain
from anajax.devices.variation import dotted


def ended(form: Device, data: Measured) -> tuple[Device, dict[str, list[int]]]:
    """The form with tables that end where the targets end, and the remaining knots.

    A table then goes from the lowest to the highest target; knots without a target
    between them are dropped. Within the data its values are unchanged. The knots are
    indices into the table of the form, by dotted name of its values.
    """
    kept: dict[str, list[int]] = {}
    targets = np.asarray(data.target)

    def cut(path: tuple, value: object) -> object:
        g_max = getattr(getattr(form, path[0].name), "g_max", None)
        if not isinstance(value, Table) or g_max is None:
            return value
        x, numbers = _knots(np.asarray(value.x), targets / float(g_max))
        kept[f"{dotted(path)}.value"] = numbers
        return Table(x=x, value=np.asarray(value(jnp.asarray(x))))

    new = jax.tree_util.tree_map_with_path(
        cut, form, is_leaf=lambda v: isinstance(v, Table)
    )
    return new, kept


def _knots(x: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, list[int]]:
    low, high = seen.min(), seen.max()
    inside = np.clip(x, low, high)
    first = max(int(np.sum(x <= low)) - 1, 0)
    last = min(len(x) - int(np.sum(x >= high)), len(x) - 1)
    kept = [first]
    for i in range(first + 1, last + 1):
        if inside[i] <= inside[kept[-1]]:
            continue
        ahead = inside[min(i + 1, len(x) - 1)]
        if i == last or np.any((seen > inside[kept[-1]]) & (seen < ahead)):
            kept.append(i)
    return inside[kept], kept


def measured_range(form: Device, device: Device, data: Measured) -> Device:
    """The device with the measured range and times."""
    last = float(np.max(np.where(data.valid > 0, data.time, 0.0)))
    if form.levels is not None:
        return replace(device, valid_times=(0.0, last))
    low, high = float(np.min(data.target)), float(np.max(data.target))
    return replace(device, g_min=low, g_max=high, valid_times=(0.0, last))


def check_range(form: Device, data: Measured) -> None:
    """Refuse data that do not determine a range of conductance."""
    if form.levels is None and np.ptp(np.asarray(data.target)) == 0:
        checks.fail(
            "measurements['target']",
            "have at least two values, the range of the device",
            f"{float(data.target[0]):g} uS alone",
            "Program cells to several targets.",
        )


def beyond(device: Device, data: Measured) -> str:
    """Which statistic leaves its domain between the cells; "" if none does."""
    targets = np.asarray(data.target)
    grid = np.linspace(targets.min(), targets.max(), 257)
    curves = jax.tree_util.tree_leaves_with_path(
        device, is_leaf=lambda v: isinstance(v, AbstractCurve)
    )
    for path, curve in curves:
        g_max = getattr(getattr(device, path[0].name), "g_max", None)
        if not isinstance(curve, AbstractCurve) or g_max is None:
            continue
        value = np.asarray(curve(grid / g_max))
        low, high = domain(device, dotted(path))
        wrong = grid[(value < low) | (value > high)]
        if wrong.size:
            return f"{dotted(path)} is {value.min():.3g} at {wrong[0]:.4g} uS"
    return ""
