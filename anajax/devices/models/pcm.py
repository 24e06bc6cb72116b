"""Phase-change memories as published."""

from typing import Literal

from anajax._core import checks
from anajax._core.tree import replace
from anajax._core.units import YEAR
from anajax.devices.base import Device
from anajax.devices.curves import (
    CappedPower,
    ClippedLog,
    Piecewise,
    Polynomial,
)
from anajax.devices.drift import PowerLawDrift
from anajax.devices.programming import GaussianProgramming
from anajax.devices.read_noise import FlickerRead


def pcm(
    *, g_max: float = 25.0, q_argument: Literal["programmed", "target"] = "programmed"
) -> Device:
    """Mushroom phase-change memory, 1 M-device array (the default device).

    Programming sd 0.26348 + 1.9650 x - 1.1731 x^2 uS (cycle-to-cycle) at g_max 25 uS,
    in proportion for another; drift exponent |N(mu(x), s(x))| (device-to-device);
    1/f read noise (cycle-to-cycle). x = target / g_max.

    Args:
        g_max: highest conductance, uS.
        q_argument: whether the read amplitude Q depends on the programmed conductance
            (as published simulations computed it) or on the target (as the papers
            write).

    Source: Nandakumar et al., ICECS 2019; Joshi et al., Nat. Commun. 11, 2473 (2020).
    Fitted on 0..25 uS up to one day; the power law is used up to one year.
    """
    checks.word("q_argument", q_argument, ("programmed", "target"))
    return Device(
        name="pcm",
        g_min=0.0,
        g_max=g_max,
        programming=_programming([0.26348, 1.9650, -1.1731], g_max, 25.0),
        drift=PowerLawDrift(
            nu_mean=_clipped_log(-0.0155, 0.0244, 0.049, 0.1),
            nu_sd=_clipped_log(-0.0125, -0.0059, 0.008, 0.045),
            g_max=g_max,
            t0=20.0,
        ),
        read=FlickerRead(
            q=CappedPower(factor=0.0088, exponent=0.65, cap=0.2),
            g_max=g_max,
            t0=20.0,
            t_read=250e-9,
            argument=q_argument,
        ),
        source="Nandakumar et al., ICECS 2019; Joshi et al., Nat. Commun. 11, 2473 "
        "(2020); 1 M-device array, measured to one day, power law to one year",
        valid_times=(0.0, YEAR),
    )


def pcm_joshi(*, g_max: float = 25.0) -> Device:
    """The array of `pcm` with the programming error of another publication.

    Programming sd max(-0.00178767 g^2 + 0.07585724 g + 0.28638599, 0) uS at g_max 25
    uS, in proportion for another (cycle-to-cycle), measured 27.36 s after programming,
    when drift starts to count (t0). Drift and read noise as in `pcm` (assumption: the
    publication's own differ).

    Args:
        g_max: highest conductance, uS.

    Source: Joshi et al., Nat. Commun. 11, 2473 (2020), Fig. 3b; g <= 25 uS.
    """
    device = pcm(g_max=g_max)
    sd = [0.28638599, 0.07585724 * 25.0, -0.00178767 * 625.0]
    return replace(
        device,
        name="pcm_joshi",
        programming=_programming(sd, g_max, 25.0),
        drift=replace(device.drift, t0=27.36),
        read=replace(device.read, t0=27.36),
        source="Joshi et al., Nat. Commun. 11, 2473 (2020), Fig. 3b; drift and read "
        "noise as `pcm`",
    )


def pcm_hermes(*, devices: int = 1, g_max: float | None = None) -> Device:
    """Phase-change memory of the HERMES chip, one or two devices per polarity.

    Args:
        devices: 1 or 2 physical devices in parallel (the "device" of the model).
        g_max: highest conductance, uS; 10.35 or 20.7 by default.

    Raises:
        ValueError: if `devices` is not 1 or 2.

    Source: Le Gallo et al., Nat. Electron. (2023); Khaddam-Aljameh et al., JSSC (2022);
    two devices: Vasilopoulos et al., IEEE TED (2023). Valid 0..g_max; the power law is
    used up to one year. Exponent: device-to-device; programming and read:
    cycle-to-cycle.
    """
    if devices not in _HERMES:
        checks.fail("devices", "be 1 or 2", devices, "Choose one of the two.")
    c = _HERMES[devices]
    g_max = c["g_max"] if g_max is None else g_max
    return Device(
        name="pcm_hermes" if devices == 1 else f"pcm_hermes_{devices}",
        g_min=0.0,
        g_max=g_max,
        programming=_programming(c["sd"], g_max, c["g_max"]),
        drift=PowerLawDrift(
            nu_mean=Piecewise(
                threshold=0.0945,
                below=_clipped_log(-0.0387, -0.0182, 0.0720, 0.13),
                above=Polynomial(coefficients=[0.0736, -0.0126, -0.0436]),
            ),
            nu_sd=_piecewise(c["nu_sd"]),
            g_max=g_max,
            t0=c["t0"],
        ),
        read=FlickerRead(q=_piecewise(c["q"]), g_max=g_max, t0=c["t0"], t_read=512e-9),
        source="Le Gallo et al., Nat. Electron. (2023); Khaddam-Aljameh et al., JSSC "
        "(2022); Vasilopoulos et al., IEEE TED (2023)",
        valid_times=(0.0, YEAR),
    )


_HERMES = {
    1: {
        "g_max": 10.35,
        "t0": 200.0,
        "sd": [0.15781817, 2.32443916, -2.16310839, 0.68841818],
        "nu_sd": (
            0.3039,
            (-0.0120, -0.0023, 0.0124, 0.04),
            [0.0104, 0.0116, -0.0165],
        ),
        "q": (
            0.1591,
            (-0.0078, 0.0038, 0.0179, 0.04),
            [0.0088, 0.0768, -0.1352, 0.0664],
        ),
    },
    2: {
        "g_max": 20.7,
        "t0": 300.0,
        "sd": [0.16603222, 4.71806468, -8.48101252, 4.68961419],
        "nu_sd": (
            0.3055,
            (-0.0117, -0.0057, 0.0091, 0.04),
            [0.0073, 0.0093, -0.0118],
        ),
        "q": (
            0.16,
            (-0.0117, -0.0069, 0.015, 0.04),
            [0.0123, 0.0211, -0.0280, 0.0069],
        ),
    },
}


def _programming(
    coefficients: list[float], g_max: float, fitted_g_max: float
) -> GaussianProgramming:
    factor = g_max / fitted_g_max
    scaled = Polynomial(coefficients=[c * factor for c in coefficients])
    return GaussianProgramming(sd=scaled, g_max=g_max)


def _clipped_log(
    slope: float, offset: float, low: float, high: float, x_floor: float = 1e-7
) -> ClippedLog:
    return ClippedLog(slope=slope, offset=offset, low=low, high=high, x_floor=x_floor)


def _piecewise(constants: tuple) -> Piecewise:
    threshold, below, above = constants
    return Piecewise(
        threshold=threshold,
        below=_clipped_log(*below),
        above=Polynomial(coefficients=above),
    )


PRESETS = (
    pcm,
    pcm_joshi,
    pcm_hermes,
)
