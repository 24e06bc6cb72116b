"""Normals of 16 bits against the closed forms of the normal distribution."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

from anajax._core import normal
from anajax._core.normal import normal16

N = 2**21


@pytest.fixture(scope="module")
def draws():
    return np.asarray(
        jax.jit(lambda k: normal16(k, (N,), jnp.float32))(jr.key(3)), float
    )


def test_values_are_those_of_a_normal_cut_into_equal_parts():
    z = normal.levels()
    assert z.shape == (65536,) and np.all(np.diff(z) > 0)
    np.testing.assert_array_equal(z, -z[::-1])
    assert np.mean(z**2) == pytest.approx(1, abs=1e-12)
    assert np.mean(z**4) == pytest.approx(3, abs=2e-4)
    assert np.mean(z**6) == pytest.approx(15, abs=1e-2)
    edges = stats.norm.ppf(np.arange(1, 65536) / 65536)
    assert np.all(z[:-1] < edges) and np.all(edges < z[1:])


@pytest.mark.parametrize("power", [1, 2, 3, 4, 6])
def test_moments(draws, power):
    moment = {1: 0, 2: 1, 3: 0, 4: 3, 6: 15}
    square = {1: 1, 2: 3, 3: 15, 4: 105, 6: 10395}[power]
    error = np.sqrt((square - moment[power] ** 2) / N)
    assert abs(np.mean(draws**power) - moment[power]) < 4 * error + 0.008 * (power == 6)


@pytest.mark.parametrize("z", [0.5, 1.0, 2.0, 3.0, 4.0])
def test_tails(draws, z):
    p = 2 * stats.norm.sf(z)
    share = np.mean(np.abs(draws) > z)
    # the last cell that reaches beyond z is all in or all out
    assert abs(share - p) < 4 * np.sqrt(p / N) + 2 / 65536


@pytest.mark.parametrize("lag", [1, 2, N // 2 - 1, N // 2, N // 2 + 1])
def test_draws_are_uncorrelated_also_in_size(draws, lag):
    for x in (draws, draws**2 - 1, np.abs(draws) - np.sqrt(2 / np.pi)):
        product = x[lag:] * x[:-lag]
        assert abs(product.mean()) < 4.5 * product.std() / np.sqrt(product.size)


def test_keys_and_shapes(x64):
    a, same = (normal16(jr.key(0), (3, 5), jnp.float64) for _ in range(2))
    assert a.shape == (3, 5) and a.dtype == jnp.float64 and len(np.unique(a)) == 15
    np.testing.assert_array_equal(a, same)
    assert not jnp.any(a == normal16(jr.key(1), (3, 5), jnp.float64))
    assert normal16(jr.key(0), (), jnp.float32).shape == ()
    assert normal16(jr.key(0), (0, 2), jnp.float32).size == 0
    keys = lambda: jr.split(jr.key(0), 4)  # noqa: E731
    one = jnp.stack([normal16(k, (7,), jnp.float32) for k in keys()])
    many = jax.vmap(lambda k: normal16(k, (7,), jnp.float32))(keys())
    np.testing.assert_array_equal(many, one)
