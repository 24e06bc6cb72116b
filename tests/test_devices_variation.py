"""Devices whose noise is scaled or varied as a whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from device_list import quick_jit, structure

from anajax import devices
from anajax.devices.moments import conductance_moments as moments


@pytest.mark.parametrize("name", sorted(devices.presets()))
def test_factors_of_one_change_nothing_and_zero_removes_the_error(name):
    device = devices.presets()[name]()
    g = jnp.linspace(0.2, 0.9, 4) * (device.g_max - device.g_min) + device.g_min
    g = g if device.levels is None else device.levels
    device, exact = structure(device), quick_jit(moments)
    same = exact(devices.scale_noise(device), g, t=3600.0)
    np.testing.assert_array_equal(same.var, exact(device, g, t=3600.0).var)
    none = devices.scale_noise(
        device, programming=0.0, drift_mean=0.0, drift_spread=0.0, read=0.0
    )
    exact = exact(none, g, t=3600.0)
    np.testing.assert_allclose(exact.mean, g, rtol=1e-5)
    np.testing.assert_allclose(exact.var, 0.0, atol=1e-6 * float(device.g_max))


def test_each_factor_scales_its_own_stage():
    device = devices.scale_noise(
        devices.pcm(), programming=3.0, drift_mean=0.5, drift_spread=2.0, read=4.0
    )
    assert float(device.programming.scale) == 3.0
    assert float(device.drift.mean_scale) == 0.5
    assert float(device.drift.spread_scale) == 2.0
    assert float(device.read.scale) == 4.0


def test_noise_factors_are_differentiable():
    def sd(factor):
        device = devices.scale_noise(devices.pcm(), programming=factor, read=0.0)
        return jnp.sqrt(moments(device, jnp.array(20.0), t=0.0).var)

    np.testing.assert_allclose(
        quick_jit(jax.grad(sd))(1.0), 1.0845, rtol=1e-3
    )  # sigma_P(20 uS)
