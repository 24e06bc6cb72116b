"""Every device that the tests of the device floor run over."""

from functools import partial

import jax

from anajax import devices
from anajax._core.tree import replace
from anajax.devices.base import ANY_TIME

TABLES = devices.tabulated(
    g_max=25.0,
    programming={"g": [0, 10, 25], "mean": [0.1, 0, -0.2], "sd": [0.3, 0.9, 1.1]},
    drift={"g": [0, 10, 25], "mean": [0.08, 0.05, 0.03], "sd": [0.03, 0.02, 0.01]},
    read={"g": [0, 25], "mean": [0, 0], "sd": [0.03, 0.01]},
)
FAULTY = replace(
    devices.reram_milo(),
    name="faulty",
    faults=devices.Faults(
        stuck_low=0.02, stuck_high=0.03, dead_rows=0.01, dead_columns=0.02
    ),
)
FLIPPING = replace(
    devices.mram_stt(stability=40.0, write_error=0.01), name="mram_flipping"
)
ALL = [
    *(make() for make in devices.presets().values()),
    devices.pcm_hermes(devices=2),
    devices.pcm(q_argument="target"),
    devices.reram_cmo(acceptance=2),
    TABLES,
    FAULTY,
    FLIPPING,
]


quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
"""A jit for small inputs: it compiles in half the time and runs slower."""


def structure(device):
    """The device without its name and source, so that equal structures share a jit."""
    return replace(device, name="", source="", valid_times=ANY_TIME)


def times_of(device):
    """Three times that the source covers, s: first, middle, last."""
    low, high = device.valid_times
    year = 365.25 * 86400.0
    high = min(high, year)
    return low, min(max(3600.0, low), high), high
