"""The ideal and the state-independent device: assumptions, not real memories."""

from anajax._core.tree import replace
from anajax._core.units import YEAR
from anajax.devices.base import Device
from anajax.devices.curves import Constant
from anajax.devices.drift import NoDrift, PowerLawDrift
from anajax.devices.programming import GaussianProgramming, NoProgrammingError
from anajax.devices.read_noise import FlickerRead, NoReadNoise


def ideal(*, g_min: float = 0.0, g_max: float = 25.0) -> Device:
    """A device without any error: analog results equal digital ones.

    Args:
        g_min: lowest conductance, uS.
        g_max: highest conductance, uS.
    """
    return Device(
        name="ideal",
        g_min=g_min,
        g_max=g_max,
        programming=NoProgrammingError(),
        drift=NoDrift(),
        read=NoReadNoise(),
        source="No error by definition.",
    )


def only_range(device: Device) -> Device:
    """The ideal device with the range of `device`: the same structure for all devices.

    Functions that need only the range then have one trace for all devices.
    """
    return replace(ideal(), g_min=device.g_min, g_max=device.g_max)


def state_independent(
    *,
    g_max: float = 25.0,
    sd: float = 0.2,
    nu: float = 0.1,
    nu_sd: float = 0.05,
    q: float | None = None,
) -> Device:
    """A device whose statistics do not depend on its conductance.

    Args:
        g_max: highest conductance, uS.
        sd: programming error, uS (cycle-to-cycle).
        nu: mean drift exponent.
        nu_sd: spread of the exponent (device-to-device), folded at zero.
        q: relative read noise amplitude (cycle-to-cycle); by default (1 uS) / g_max.

    Source: an assumption of simulators, not a measured memory. t0 20 s, t_read 250 ns.
    """
    return Device(
        name="state_independent",
        g_min=0.0,
        g_max=g_max,
        programming=GaussianProgramming(sd=Constant(value=sd), g_max=g_max),
        drift=PowerLawDrift(
            nu_mean=Constant(value=nu),
            nu_sd=Constant(value=nu_sd),
            g_max=g_max,
            t0=20.0,
        ),
        read=FlickerRead(
            q=Constant(value=1.0 / g_max if q is None else q),
            g_max=g_max,
            t0=20.0,
            t_read=250e-9,
        ),
        source="State-independent statistics: an assumption of simulators",
        valid_times=(0.0, YEAR),
    )


PRESETS = (
    ideal,
    state_independent,
)
