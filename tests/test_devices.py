"""The flow program, age, read of every device; closed forms and errors."""

import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from device_list import quick_jit
from jax.scipy.stats import norm

from anajax import devices
from anajax._core.tree import replace
from anajax.devices.moments import conductance_moments as moments
from anajax.devices.moments import tabulate

YEAR = 365 * 86400.0


def draw(device, g, t, key, n):
    """Programmed and read conductances [n] of one target."""
    cells = devices.program(device, jnp.full(n, g), key=key)
    aged = devices.age(device, cells, t=t)
    return cells, devices.read(device, aged, t=t, key=key)


def test_drift_mean_has_its_closed_form(key):
    """E exp(-l |nu|) of a folded normal exponent, two normal distribution functions."""
    device = replace(devices.pcm(), read=devices.NoReadNoise())
    device = replace(device, programming=devices.NoProgrammingError())
    g, t = jnp.array([0.5, 2.0, 5.0, 20.0]), YEAR
    x = g / 25
    mu, s = device.drift.nu_mean(x), device.drift.nu_sd(x)
    log = math.log1p(t / 20.0)
    half = (s * log) ** 2 / 2
    factor = jnp.exp(half - mu * log) * norm.cdf(mu / s - s * log)
    factor += jnp.exp(half + mu * log) * norm.cdf(-mu / s - s * log)
    np.testing.assert_allclose(
        quick_jit(moments)(device, g, t=t).mean, g * factor, rtol=2e-6
    )


def test_one_chip_has_one_trajectory(key):
    device = devices.pcm()
    cells = devices.program(device, jnp.full(8, 10.0), key=key)
    day = devices.age(device, cells, t=86400.0)
    back = devices.age(device, day, t=0.0)
    np.testing.assert_array_equal(back.g, cells.g)
    np.testing.assert_array_equal(devices.age(device, day, t=86400.0).g, day.g)
    assert bool(jnp.all(day.g < cells.g))


def test_reads_are_fresh_and_q_argument_is_named(key):
    device = devices.pcm(q_argument="target")
    cells = devices.program(device, jnp.full(1000, 5.0), key=key)
    a, b = (devices.read(device, cells, t=0.0, key=k) for k in jr.split(key))
    assert abs(np.corrcoef(a - cells.g, b - cells.g)[0, 1]) < 4 / math.sqrt(1000)
    sd = device.read.sd(cells.g, target=cells.target, programmed=cells.g, t=0.0)
    assert float(jnp.std(sd / cells.g)) < 1e-6  # the target is the same for all


def test_ideal_device_is_exact(key):
    g = jnp.linspace(0.0, 25.0, 7)
    _, out = draw(devices.ideal(), 3.0, YEAR, key, 5)
    np.testing.assert_array_equal(out, 3.0)
    exact = quick_jit(moments)(devices.ideal(), g, t=YEAR)
    np.testing.assert_allclose(exact.mean, g, rtol=1e-6)
    np.testing.assert_allclose(exact.var, 0.0, atol=1e-6)


def test_table_is_the_quadrature():
    device, times = devices.pcm(), jnp.array([1.0, 86400.0])
    g = jnp.linspace(0, 25, 201)
    table = quick_jit(lambda: tabulate(device, times)(g))()
    for i, t in enumerate(times):
        exact = quick_jit(moments)(device, g, t=t)
        np.testing.assert_allclose(table.mean[i], exact.mean, atol=5e-4)
        np.testing.assert_allclose(table.var[i], exact.var, rtol=2e-3, atol=1e-4)


def test_bad_devices_are_refused(key):
    with pytest.raises(ValueError, match="g_min.*less than"):
        devices.ideal(g_min=5.0, g_max=5.0)
    with pytest.raises(ValueError, match="devices.*1 or 2"):
        devices.pcm_hermes(devices=3)
    cells = devices.program(devices.pcm(), jnp.ones(2), key=key)
    with pytest.raises(ValueError, match="`t` must not be negative"):
        devices.age(devices.pcm(), cells, t=-1.0)
    with pytest.raises(ValueError, match="times.*not be negative"):
        tabulate(devices.pcm(), jnp.array([3.0, -1.0]))


def test_one_trace_for_keys_times_and_values(key):
    traces = []

    @jax.jit
    def flow(device, g, t, key):
        traces.append(1)
        return draw(device, g, t, key, 16)[1]

    for i, device in enumerate((devices.pcm(), devices.pcm(g_max=30.0))):
        for t in (1, 1.0, 60.0):
            flow(device, 3.0 + i, jnp.float32(t), jr.fold_in(key, i))
    assert len(traces) == 1
