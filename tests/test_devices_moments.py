"""Exact moments against each device's own sampler, and their gradients."""

import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from device_list import ALL, quick_jit, structure, times_of

from anajax import devices
from anajax.devices.moments import conductance_moments as moments

N = 2_000_000
FRACTIONS = (0.0, 0.02, 0.2, 0.6, 1.0)


@jax.jit
def sampled_and_exact(device, g, t, key):
    """Mean and deviation [points] of N draws and by quadrature."""

    def one(point):
        g, t, key = point
        cells = devices.program(device, jnp.full(N, g), key=key)
        aged = devices.age(device, cells, t=t)
        sample = devices.read(device, aged, t=t, key=key)
        centered = sample - jnp.mean(sample)
        exact = moments(device, g, t=t)
        sd = jnp.sqrt(jnp.mean(centered**2))
        return jnp.mean(sample), sd, exact.mean, jnp.sqrt(exact.var)

    keys = jax.vmap(lambda i: jr.fold_in(key, i))(jnp.arange(g.size))
    return jax.lax.map(one, (g, t, keys))


@pytest.mark.parametrize("device", ALL, ids=lambda d: d.name)
def test_exact_moments_match_own_sampler(device, key):
    """Means within 4 standard errors, deviations within 0.5 % at 2 million draws."""
    first, middle, last = times_of(device)
    x = jnp.asarray([*FRACTIONS, 0.02, 0.6])
    t = jnp.asarray([last] * 5 + [first, middle])
    g = device.g_min + x * (device.g_max - device.g_min)
    mean, sd, m, s = map(np.asarray, sampled_and_exact(structure(device), g, t, key))
    np.testing.assert_array_less(abs(mean - m), 4 * s / math.sqrt(N) + 1e-6 * m + 1e-6)
    np.testing.assert_array_less(abs(sd - s), 0.005 * s + 1e-6 * m + 1e-6)


def scalar(device, target, t):
    m = moments(device, target, t=t)
    weights = jnp.asarray([0.3, 1.0, -0.4, 0.7, 0.9])
    return weights @ m.mean + weights @ m.var


value_and_grad = quick_jit(jax.value_and_grad(scalar, argnums=(0, 1)))


@pytest.mark.parametrize("device", ALL, ids=lambda d: d.name)
def test_gradients_of_moments_match_central_differences(device, x64):
    """With respect to every parameter of the device and the target, bounds included."""
    t = times_of(device)[1] * 1.37 if device.valid_times[1] else 0.0
    device = jax.tree.map(lambda v: jnp.asarray(v, jnp.float64), structure(device))
    span = device.g_max - device.g_min
    at_bounds = device.g_min + span * jnp.array([0.0, 0, 0, 0, 1])
    for time in (0.0, 1.0, t):
        grads = jax.tree.leaves(value_and_grad(device, at_bounds, time)[1])
        assert all(bool(jnp.all(jnp.isfinite(g))) for g in grads)
    target = device.g_min + span * jnp.array([0.007, 0.013, 0.31, 0.77, 0.95])
    grads = jax.tree.leaves(value_and_grad(device, target, t)[1])
    leaves, tree = jax.tree.flatten(jax.tree.map(np.asarray, (device, target)))
    for i, (leaf, grad) in enumerate(zip(leaves, grads, strict=True)):
        for index in np.ndindex(leaf.shape):
            h = 1e-5 * (abs(float(leaf[index])) or 0.1)

            def at(step, i=i, index=index, leaf=leaf):
                new = leaf.copy()
                new[index] += step
                changed = [*leaves[:i], new, *leaves[i + 1 :]]
                return value_and_grad(*jax.tree.unflatten(tree, changed), t)[0]

            numeric = (at(h) - at(-h)) / (2 * h)
            np.testing.assert_allclose(grad[index], numeric, rtol=1e-5, atol=1e-7)
