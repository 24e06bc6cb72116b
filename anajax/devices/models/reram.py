"""Resistive memories (ReRAM) as published."""

from anajax._core import checks
from anajax._core.units import YEAR
from anajax.devices.base import Device
from anajax.devices.curves import Polynomial
from anajax.devices.drift import NoDrift
from anajax.devices.programming import GaussianProgramming
from anajax.devices.read_noise import LogFlickerRead, NoReadNoise
from anajax.devices.relaxation import (
    Growth,
    LogTime,
    PolynomialsInTime,
    RelaxationDrift,
)

_WAN = (
    (1.0, (0.348, 16.030, -43.853, 45.393, -16.815)),
    (86400.0, (0.701, 22.086, -50.773, 47.095, -16.458)),
    (172800.0, (0.782, 20.274, -43.507, 37.062, -11.934)),
)
_CMO = {0.2: (0.00081107, 0.00106879), 2.0: (0.01121854, 0.01129027)}


def reram_wan(*, g_max: float = 40.0) -> Device:
    """Resistive memory of the NeuRRAM chip: relaxation over two days.

    Standard deviation sum_i c_i x^i uS (x = target / g_max) with quartics at 1 s, 1 day
    and 2 days, linear in ln t between. The value at 1 s is the programming error
    (cycle-to-cycle); the growth after that is relaxation (device-to-device, fixed,
    assumed independent of the programming error). There is no read noise. For another
    g_max, conductances and standard deviations are scaled together.

    Args:
        g_max: highest conductance, uS; the source has 40.

    Source: Wan et al., Nature 608, 504 (2022), Extended Data Fig. 3, as digitized by
    aihwkit (quartics). CrossSim digitizes 1.536e-4 g^3 - 1.167e-2 g^2 + 0.2374 g +
    1.053 at 1 s from the same figure: 7 to 19 % apart in mid-range, a factor 3 at g =
    0. Valid from 1 s to 2 days; constant outside.
    """
    factor = g_max / 40.0
    quartics = [[c * factor for c in row] for _, row in _WAN]
    return Device(
        name="reram_wan",
        g_min=0.0,
        g_max=g_max,
        programming=GaussianProgramming(
            sd=Polynomial(coefficients=quartics[0]), g_max=g_max, floor=False
        ),
        drift=RelaxationDrift(
            spread=Growth(
                total=PolynomialsInTime(
                    times=tuple(t for t, _ in _WAN), coefficients=quartics
                ),
                first=1.0,
            ),
            g_max=g_max,
        ),
        read=NoReadNoise(),
        source="Wan et al., Nature 608, 504 (2022), Extended Data Fig. 3 (quartics "
        "read by aihwkit; CrossSim's reading differs by 7-19 %); 1 s to 2 days; "
        "independence of programming error and relaxation is an assumption",
        valid_times=(1.0, 172800.0),
    )


def reram_cmo(*, acceptance: float = 0.2, g_max: float = 88.2) -> Device:
    """Resistive memory of conductive metal oxide on hafnium oxide.

    Programming sd 0.00106879 g + 0.00081107 uS (0.2 % acceptance) or
    0.01129027 g + 0.01121854 uS (2 %), cycle-to-cycle. Relaxation: mean
    -0.08900206 ln t, sd 0.04201137 ln t + 0.41183342 uS at every conductance
    (device-to-device, fixed). Read sd 0.0277316 log10(g) sqrt(ln((t + 1e-6) / 2e-6))
    uS (cycle-to-cycle). Reads are confined to the range, 9 to 88.2 uS, as in the
    published simulation. For another g_max everything in uS is scaled together.

    Args:
        acceptance: acceptance range of the write-verify loop, %; 0.2 or 2.
        g_max: highest conductance, uS; the source has 88.2.

    Raises:
        ValueError: if `acceptance` is neither 0.2 nor 2.

    Source: Falcone et al., arXiv 2502.04524, whose abstract states simulations of this
    array from 1 s to 10 years after programming: these are the valid times. Late times
    are its authors' extrapolation in ln t. The duration of the relaxation measurement,
    1 h at a reference of 50 uS, is taken from a summary of the paper, not from the
    paper itself.
    """
    if acceptance not in _CMO:
        checks.fail("acceptance", "be 0.2 or 2 (%)", acceptance, "Choose one of them.")
    offset, slope = _CMO[acceptance]
    f = g_max / 88.2
    return Device(
        name="reram_cmo" if acceptance == 0.2 else "reram_cmo_2",
        g_min=9.0 * f,
        g_max=g_max,
        programming=GaussianProgramming(
            sd=Polynomial(coefficients=[offset * f, slope * g_max]), g_max=g_max
        ),
        drift=RelaxationDrift(
            shift=LogTime(slope=-0.08900206 * f, offset=0.0),
            spread=LogTime(slope=0.04201137 * f, offset=0.41183342 * f),
            g_max=g_max,
            points=96,
        ),
        read=LogFlickerRead(amplitude=0.0277316 * f, unit=f, t_read=1e-6),
        read_low=9.0 * f,
        read_high=g_max,
        source="Falcone et al., arXiv 2502.04524, simulated there from 1 s to 10 "
        "years; late times are its authors' extrapolation in log time",
        valid_times=(1.0, 10 * YEAR),
    )


def reram_milo(*, g_max: float = 225.0) -> Device:
    """Resistive memory of hafnium oxide: programming error only.

    Programming sd 4.782321 - 0.009107 g uS, 50 <= g <= 225 (cycle-to-cycle). The source
    gives no retention and no read noise, so only t = 0 is valid. For another g_max,
    conductances and standard deviations are scaled together.

    Args:
        g_max: highest conductance, uS; the source has 225.

    Source: Milo et al., IRPS 2021, Fig. 4.
    """
    f = g_max / 225.0
    return Device(
        name="reram_milo",
        g_min=50.0 * f,
        g_max=g_max,
        programming=GaussianProgramming(
            sd=Polynomial(coefficients=[4.782321 * f, -0.009107 * g_max]), g_max=g_max
        ),
        drift=NoDrift(),
        read=NoReadNoise(),
        source="Milo et al., IRPS 2021, Fig. 4; 50 to 225 uS; no retention data",
        valid_times=(0.0, 0.0),
    )


PRESETS = (
    reram_wan,
    reram_cmo,
    reram_milo,
)
