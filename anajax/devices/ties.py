"""Constants that a device holds in two places."""

from typing import Any

from anajax._core.tree import replace
from anajax.devices.base import Device
from anajax.devices.curves import Polynomial, Saturating
from anajax.devices.models.mram import BinaryProgramming
from anajax.devices.programming import GaussianProgramming
from anajax.devices.relaxation import (
    Growth,
    PolynomialsInTime,
    RelaxationDrift,
    SaturatingInTime,
)


def tied(device: Device) -> Device:
    """The device with constants that stand in two places made equal.

    The first time of a relaxation's whole deviation is the programming error; the
    levels of a binary memory are those of its junction.
    """
    programming, drift = device.programming, device.drift
    if isinstance(programming, BinaryProgramming):
        low = drift.g_on / (1 + drift.tmr)
        return replace(
            device,
            programming=replace(programming, low=low, high=drift.g_on),
        )
    total = whole_deviation(device)
    if total is None:
        return device
    if isinstance(total, PolynomialsInTime):
        rows = total.coefficients.at[0].set(programming.sd.coefficients)
        total = replace(total, coefficients=rows)
    else:
        total = replace(
            total,
            amplitude=total.amplitude.at[0].set(programming.sd.amplitude),
            width=total.width.at[0].set(programming.sd.width),
        )
    return replace(
        device, drift=replace(drift, spread=replace(drift.spread, total=total))
    )


def whole_deviation(device: Device) -> Any:
    """The whole deviation of a relaxation whose first time is the programming error."""
    if not (
        isinstance(device.drift, RelaxationDrift)
        and isinstance(device.drift.spread, Growth)
        and isinstance(device.programming, GaussianProgramming)
    ):
        return None
    total, sd = device.drift.spread.total, device.programming.sd
    pairs = ((PolynomialsInTime, Polynomial), (SaturatingInTime, Saturating))
    return (
        total
        if any(isinstance(total, t) and isinstance(sd, s) for t, s in pairs)
        else None
    )
