"""Changes of a whole device: scaled noise, parameters varied from chip to chip."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import rng
from anajax._core import checks
from anajax._core.tree import replace
from anajax._core.types import PRNGKey
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
    """The same device with scaled imperfections, differentiable in the factors.

    Each stage has its own scale leaves, which are multiplied here; a stage without
    error has none and stays unchanged. "Three times the device noise" is
    `programming=3, drift_spread=3, read=3`.

    Args:
        device: any device.
        programming: factor on the programming error (cycle-to-cycle).
        drift_mean: factor on the drift common to all cells.
        drift_spread: factor on differences in drift between cells (device-to-device).
        read: factor on the read noise (cycle-to-cycle).

    Raises:
        ValueError: if a factor is negative or not finite.
    """
    factors = (programming, drift_mean, drift_spread, read)
    for name, factor in zip(_FACTORS, factors, strict=True):
        checks.positive(name, factor, strictly=False)
    return replace(
        device,
        programming=_scaled(device.programming, scale=programming),
        drift=_scaled(device.drift, mean_scale=drift_mean, spread_scale=drift_spread),
        read=_scaled(device.read, scale=read),
    )


_FACTORS = ("programming", "drift_mean", "drift_spread", "read")


def _scaled(slot: Any, **factors: Factor) -> Any:
    present = {n: getattr(slot, n) * f for n, f in factors.items() if hasattr(slot, n)}
    return replace(slot, **present)


RANGE = ("g_min", "g_max", "levels", "read_low", "read_high", "x")
"""Names of leaves that define the range of a device."""
SETTINGS = ("t0", "t_read", "unit", "swing", "scale", "mean_scale", "spread_scale")
"""Names of leaves that belong to the experiment or to a sweep, not to the device."""


def vary(
    device: Device, spread: float | Mapping[str, float], *, key: PRNGKey
) -> Device:
    """The device of one chip: every parameter times exp(s z), z ~ N(0, 1).

    Device-to-device between chips: drawn once for each chip, by this function. The
    factor is log-normal with a median of 1, so that no parameter changes its sign.
    Ranges (`g_min`, `g_max`, levels, read bounds, table points), times of the
    experiment, the thermal voltage and the scales for sweeps do not vary; constants
    that a device holds twice stay equal.

    Args:
        device: the average device.
        spread: relative spread s of every parameter; or a mapping from dotted names
            such as "drift" or "drift.nu_mean" to the spread of the parameters below
            them (the longest name applies; parameters without a name do not vary).
        key: consumed; one key is one chip. Parameters are drawn by name.

    Raises:
        ValueError: if a spread is negative, or a name matches no parameter.
    """
    spreads = _spreads(spread)
    checks.positive("spread", jnp.asarray([*spreads.values()]), strictly=False)
    leaves, tree = jax.tree_util.tree_flatten_with_path(device)
    names = [dotted(path) for path, _ in leaves]
    for name in spreads:
        if not any(covers(name, n) for n in names):
            checks.fail("spread", "name parameters", repr(name), f"Known: {names}.")
    key = rng.stream(key, rng.Stage.SPREAD)
    new = [
        _varied(leaf, _spread_of(name, spreads), rng.path_key(key, name))
        for name, (_, leaf) in zip(names, leaves, strict=True)
    ]
    return share_constants(jax.tree.unflatten(tree, new))


def share_constants(device: Device) -> Device:
    """The device with constants that occur in two of its stages made equal."""
    if not device.drift.shared(device.programming):
        return device
    programming, drift = device.drift.share_constants(device.programming)
    return replace(device, programming=programming, drift=drift)


def _varied(leaf: JArray, spread: float, key: PRNGKey) -> JArray:
    return leaf * jnp.exp(spread * jr.normal(key, leaf.shape, leaf.dtype))


def _spreads(spread: float | Mapping[str, float]) -> Mapping[str, float]:
    return spread if isinstance(spread, Mapping) else {"": spread}


def _spread_of(name: str, spreads: Mapping[str, float]) -> float:
    covering = [n for n in spreads if covers(n, name)]
    if not covering or name.split(".")[-1] in RANGE + SETTINGS:
        return 0.0
    return spreads[max(covering, key=len)]


def covers(prefix: str, name: str) -> bool:
    """Whether a dotted name is the same as another, or lies below it."""
    return prefix == "" or name == prefix or name.startswith(f"{prefix}.")


def dotted(path: tuple[Any, ...]) -> str:
    """The dotted name of a leaf of a record."""
    return ".".join(entry.name for entry in path)
