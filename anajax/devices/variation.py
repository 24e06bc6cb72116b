"""Changes of a whole device: noise scaled, parameters varied from chip to chip."""

from typing import Any

from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax._tree import replace
from anajax.devices.base import Device

Factor = Float[JArray, "*sweep"] | float


def scale_noise(
    device: Device,
    *,
    programming: Factor = 1.0,
    drift_mean: Factor = 1.0,
    drift_spread: Factor = 1.0,
    read: Factor = 1.0,
) -> Device:
    """The same device with its imperfections multiplied, differentiable in the factors.

    Each slot carries its own scale leaves, which are multiplied here; a slot without
    error has none and stays as it is. "Three times the device noise" is
    `programming=3, drift_spread=3, read=3`.

    Args:
        device: any device.
        programming: factor on the programming error (cycle-to-cycle).
        drift_mean: factor on what drift does to all cells alike.
        drift_spread: factor on how cells differ in their drift (device-to-device).
        read: factor on the read noise (cycle-to-cycle).
    """
    return replace(
        device,
        programming=_scaled(device.programming, scale=programming),
        drift=_scaled(device.drift, mean_scale=drift_mean, spread_scale=drift_spread),
        read=_scaled(device.read, scale=read),
    )


def _scaled(slot: Any, **factors: Factor) -> Any:
    present = {n: getattr(slot, n) * f for n, f in factors.items() if hasattr(slot, n)}
    return replace(slot, **present)
