"""Stuck cells, dead lines and devices that vary from chip to chip."""

import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from anajax import devices
from anajax._core.tree import replace

FAULTS = devices.Faults(stuck_low=0.1, stuck_high=0.2)
IDEAL = replace(devices.ideal(g_min=5.0), faults=FAULTS)


def test_stuck_cells_keep_their_conductance_for_ever(key):
    device = replace(devices.pcm(), faults=FAULTS)
    targets = jnp.full(100_000, 12.0)
    cells = devices.program(device, targets, key=key)
    later = devices.age(device, cells, t=1e6)
    low, high = cells.faults == 1, cells.faults == 2
    for mask, share, g in ((low, 0.1, 0.0), (high, 0.2, 25.0)):
        error = math.sqrt(share * (1 - share) / targets.size)
        assert abs(float(jnp.mean(mask)) - share) < 4 * error
        np.testing.assert_array_equal(later.g[mask], g)
        np.testing.assert_array_equal(later.programmed[mask], g)
    healthy = cells.faults == 0
    same = devices.program(devices.pcm(), targets, key=key)
    np.testing.assert_array_equal(cells.g[healthy], same.g[healthy])


def test_faults_belong_to_the_chip(key):
    """The mask follows the chip's key, not the targets."""
    a = devices.program(IDEAL, jnp.full((50, 40), 10.0), key=key)
    b = devices.program(IDEAL, jnp.full((50, 40), 20.0), key=key)
    np.testing.assert_array_equal(a.faults, b.faults)
    c = devices.program(IDEAL, jnp.full((50, 40), 10.0), key=jr.key(1))
    assert bool(jnp.any(a.faults != c.faults))


def test_dead_lines_are_whole_lines(key):
    """Axes are [in out device]: a row is an input, a column an output and a device."""
    device = replace(
        devices.ideal(), faults=devices.Faults(dead_rows=0.2, dead_columns=0.3)
    )
    cells = devices.program(device, jnp.full((200, 150, 2), 10.0), key=key)
    dead = np.asarray(devices.read(device, cells, t=0.0, key=key) == 0.0)
    rows, columns = dead.all((1, 2)), dead.all(0)
    np.testing.assert_array_equal(dead, rows[:, None, None] | columns)
    assert abs(rows.mean() - 0.2) < 4 * math.sqrt(0.16 / 200)
    assert abs(columns.mean() - 0.3) < 4 * math.sqrt(0.21 / 300)
    assert (columns[:, 0] != columns[:, 1]).any()


def test_a_dead_line_is_silent_whatever_the_read_noise(key):
    device = replace(devices.reram_cmo(), faults=devices.Faults(dead_rows=1.0))
    cells = devices.program(device, jnp.full((3, 2, 2), 50.0), key=key)
    read = devices.read(device, devices.age(device, cells, t=9.0), t=9.0, key=key)
    np.testing.assert_array_equal(read, 0.0)


@pytest.mark.parametrize(
    ("fractions", "match"),
    [
        ({"stuck_low": -0.1}, "stuck_low.*not be negative"),
        ({"dead_rows": 1.5}, "dead_rows.*at most 1"),
        ({"stuck_low": 0.6, "stuck_high": 0.6}, r"stuck_low \+ stuck_high.*at most 1"),
    ],
)
def test_bad_fractions_are_refused(fractions, match):
    with pytest.raises(ValueError, match=match):
        devices.Faults(**fractions)


def test_parameters_vary_from_chip_to_chip(key):
    device = devices.state_independent(g_max=20.0)
    chips = jax.vmap(lambda k: devices.vary(device, 0.1, key=k))(jr.split(key, 4000))
    log = jnp.log(chips.drift.nu_mean.value / 0.1)
    assert abs(float(jnp.mean(log))) < 4 * 0.1 / math.sqrt(4000)
    assert abs(float(jnp.std(log)) / 0.1 - 1) < 4 / math.sqrt(8000)
    other = jnp.log(chips.programming.sd.value / 0.2)
    assert abs(float(jnp.corrcoef(log, other)[0, 1])) < 4 / math.sqrt(4000)
    np.testing.assert_array_equal(chips.g_max, 20.0)
    np.testing.assert_array_equal(chips.drift.g_max, 20.0)


def test_a_spread_may_name_its_parameters(key):
    device = devices.pcm()
    chip = devices.vary(device, {"drift": 0.2, "drift.nu_sd": 0.0}, key=key)
    assert float(chip.drift.nu_mean.low) != float(device.drift.nu_mean.low)
    assert float(chip.drift.nu_sd.low) == float(device.drift.nu_sd.low)
    np.testing.assert_array_equal(
        chip.programming.sd.coefficients, device.programming.sd.coefficients
    )
    with pytest.raises(ValueError, match="spread.*name parameters.*'drfit'"):
        devices.vary(device, {"drfit": 0.1}, key=key)
    with pytest.raises(ValueError, match="spread.*not be negative"):
        devices.vary(device, -0.1, key=key)
