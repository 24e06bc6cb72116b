"""Noise of products as stated, and re-reads of what clips."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from products import (
    column_sums,
    from_planes,
    from_weights,
    mvm,
    normal,
    pair,
    uniform_data,
)

from anajax._core.tree import replace
from anajax.crossbar import periphery as pp
from anajax.crossbar import product as cb
from anajax.crossbar.converters import Clip, uniform

# --- noise --------------------------------------------------------------------------


def moments(draws, mean, variance, k=5.0):
    """Sample mean and variance within k standard errors (normal draws)."""
    n = len(draws)
    error = np.abs(draws.mean(0) - mean) / np.sqrt(variance / n)
    spread = np.abs(draws.var(0) / variance - 1) / np.sqrt(2 / n)
    assert error.max() < k and spread.max() < k


def test_read_noise_equals_the_per_device_draw():
    """Same mean and variance as explicit fresh draws of every device."""
    n = 4000
    g, c = pair(12, 5)
    sd = 0.1 + 0.02 * g
    x = uniform_data(12)
    tiles = from_planes(g, coefficients=c, unit=25.0, scale=0.01, variance=sd**2)
    fast = mvm(tiles, jnp.tile(x, (n, 1)), key=jr.key(2))
    noisy = g + sd * normal(n, *g.shape, seed=3)
    slow = 0.01 * jnp.einsum("r,nrod,d->no", x, noisy, jnp.array(c))
    variance = 1e-4 * jnp.einsum("r,rod,d->o", x**2, sd**2, jnp.array(c) ** 2)
    mean = 0.01 * x @ (g @ jnp.array(c))
    moments(np.asarray(slow), mean, variance)
    moments(np.asarray(fast), mean, variance)


@pytest.mark.parametrize(
    ("limits", "combine"),
    [((5, 3), "analog"), ((5, 3), "digital"), ((None, None), (0, 0, 1, 1))],
)
def test_every_read_mode_has_the_same_variance_without_converters(combine, limits):
    n = 4000
    g, c = pair(12, 5)
    sd = 0.5 + 0.05 * g
    x = uniform_data(12)
    rule = cb.TileRule(rows=limits[0], columns=limits[1])
    tiles = from_planes(g, rule, coefficients=c, combine=combine, variance=sd**2)
    y = mvm(tiles, jnp.tile(x, (n, 1)), key=jr.key(2))
    variance = jnp.einsum("r,rod,d->o", x**2, sd**2, jnp.array(c) ** 2)
    moments(np.asarray(y), x @ (g @ jnp.array(c)), variance)
    assert abs(np.corrcoef(y.T)[0, 1]) < 5 / np.sqrt(n)


def test_each_slice_is_a_read_of_its_own():
    n = 4000
    w, v = normal(10, 3), jnp.full((10, 3), 0.04)
    x = uniform_data(10)
    io = pp.IO(
        dac=uniform(5, 1.0), slicing=pp.BitSlices(bits=1), noise=pp.OutputNoise(sd=0.1)
    )
    values, factors = io.slicing.split(x, io.dac)
    variance = factors**2 @ (values**2 @ v + 0.01)
    tiles = from_weights(w, variance=v)
    y = mvm(tiles, jnp.tile(x, (n, 1)), io, key=jr.key(2))
    moments(np.asarray(y), io.dac(x) @ w, variance)


def test_output_and_weight_noise_have_their_closed_form():
    n = 4000
    w = normal(10, 3)
    x = uniform_data(10)
    io = pp.IO(noise=pp.OutputNoise(sd=0.06), weight_noise=pp.WeightNoise(sd=0.1))
    y = mvm(from_weights(w), jnp.tile(x, (n, 1)), io, key=jr.key(2))
    moments(np.asarray(y), x @ w, 0.06**2 + 0.01 * x**2 @ jnp.abs(w))


def test_noise_adds_over_row_tiles_and_skips_padding(key):
    """Each tile converts for itself: 3 row tiles bring 3 output noises."""
    n = 4000
    w, x = normal(10, 5), jnp.zeros((n, 10))
    tiles = from_weights(w, cb.TileRule(rows=4, columns=2))
    io = pp.IO(noise=pp.OutputNoise(sd=0.1))
    moments(np.asarray(mvm(tiles, x, io, key=key)), 0, jnp.full(5, 0.03))
    sums = column_sums(tiles, x[:4], io, key=key)
    sums = np.asarray(sums)[..., 0]
    assert np.all(sums[..., 2, 1] == 0)  # columns 2 + 2 + 1, padded
    assert np.all(sums[..., 2, 0] != 0) and np.all(sums[..., :2, :] != 0)


def test_noise_is_fresh_per_vector_and_fixed_by_the_key(key):
    tiles = from_weights(jnp.ones((4, 3)), variance=jnp.ones((4, 3)))
    x = jnp.ones((2, 4))
    y = mvm(tiles, x, key=key)
    assert len(np.unique(y)) == 6
    np.testing.assert_array_equal(y, mvm(tiles, x, key=key))
    assert not np.any(y == mvm(tiles, x, key=jr.key(5)))


def test_gradient_of_the_noise_is_finite_at_zero_and_right_elsewhere(x64, key):
    v = uniform_data(6, 4, low=0.0).at[:, 0].set(0.0)
    w = normal(6, 4)
    x = normal(3, 6, seed=1).at[1].set(0.0)

    @jax.jit
    def loss(x, v, w):
        tiles = from_weights(w, variance=v)
        return jnp.sum(mvm(tiles, x, key=key) ** 2)

    grads = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(x, v, w)
    assert all(np.all(np.isfinite(g)) for g in grads)
    bump = jnp.zeros_like(x).at[0, 2].set(1e-5)
    slope = (loss(x + bump, v, w) - loss(x - bump, v, w)) / 2e-5
    assert grads[0][0, 2] == pytest.approx(float(slope), rel=1e-7)
    bump = jnp.zeros_like(v).at[3, 2].set(1e-5)
    slope = (loss(x, v + bump, w) - loss(x, v - bump, w)) / 2e-5
    assert grads[1][3, 2] == pytest.approx(float(slope), rel=1e-7)


def test_read_noise_needs_no_weight_sized_draw():
    tiles = from_weights(jnp.ones((1024, 1024)), variance=jnp.ones((1024, 1024)))
    plain = replace(tiles, variance=None)

    def temporary(t):
        run = jax.jit(lambda t, x, k: mvm(t, x, key=k))
        compiled = run.lower(t, jnp.ones((128, 1024)), jr.key(0)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary(tiles) - temporary(plain) < 50e6


# --- bound management ---------------------------------------------------------------


def test_rereading_halves_until_it_fits_row_by_row(x64):
    w = uniform_data(16, 3, low=0.0)
    x = jnp.array([0.05, 0.3, 1.0, 100.0])[:, None] * jnp.ones(16)
    io = pp.IO(adc=uniform(8, 2.0), bounds=pp.BoundManagement(max_halvings=5))
    y, want = mvm(from_weights(w), x, io), x @ w
    step = 2 / 127
    for row in range(3):
        size, halvings = jnp.max(want[row]), 0
        while size / 2**halvings > 2 + step / 2:
            halvings += 1
        adc = uniform(8, 2.0)
        exact = adc(want[row] / 2**halvings) * 2**halvings
        np.testing.assert_allclose(y[row], exact, rtol=1e-12)
    np.testing.assert_allclose(y[3], 2 * 32)  # gives up, clipped


def test_rereading_accepts_what_fits_with_fresh_noise(key):
    n = 2000
    w, x = jnp.ones((1, 1)), jnp.full((n, 1), 0.9)
    io = pp.IO(
        adc=Clip(bound=1.0),
        noise=pp.OutputNoise(sd=0.2),
        bounds=pp.BoundManagement(max_halvings=1),
    )
    y = np.asarray(mvm(from_weights(w), x, io, key=key))[:, 0]
    fits = y[y <= 1]  # the first read, kept where it fits
    share = 0.69146  # P(0.9 + 0.2 z < 1), z < 0.5
    again = n - np.sum(y <= 1)
    # second reads 0.9 + 0.4 z exceed 1 with P(z > 0.25) = 0.4013
    expected = n * (1 - share) * 0.4013
    assert abs(again - expected) < 5 * np.sqrt(expected)
    assert len(np.unique(y)) > 0.99 * n and len(fits) > 0


def test_rereading_under_grad_jit_and_vmap(x64):
    w, x = normal(16, 3), 3 * normal(5, 16)
    io = pp.IO(adc=uniform(10, 1.0), bounds=pp.BoundManagement(max_halvings=6))

    def f(w, x):
        return mvm(from_weights(w, cb.TileRule(rows=8, columns=2)), x, io)

    y = f(w, x)
    np.testing.assert_allclose(jax.jit(f)(w, x), y, atol=1e-12)
    each = jax.jit(jax.vmap(f, (None, 0)))
    np.testing.assert_allclose(each(w, x), y, atol=1e-12)
    grad = jax.jit(jax.grad(lambda w: jnp.sum(f(w, x))))(w)
    np.testing.assert_allclose(grad, jnp.tile(x.sum(0)[:, None], (1, 3)), atol=1e-12)
