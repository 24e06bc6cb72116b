"""Laws that a fit knows by their quadrature nodes alone, against formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from anajax import devices
from anajax._core.tree import replace
from anajax.devices import quadrature
from anajax.devices.curves import Constant
from anajax.devices.stages import AbstractDrift, AbstractProgramming

Z = np.linspace(-2.0, 2.0, 21)
by_nodes = jax.jit(AbstractProgramming.score)
drift_by_nodes = jax.jit(AbstractDrift.score)
along_nodes = jax.jit(AbstractDrift.along)


def assert_same(found, exact, *, z=0.012, density=0.03):
    np.testing.assert_allclose(found.z, exact.z, atol=z)
    np.testing.assert_allclose(found.log_density(), exact.log_density(), atol=density)
    np.testing.assert_allclose(found.cdf(), exact.cdf(), atol=z)


@pytest.mark.parametrize("floor", [True, False])
def test_gaussian_programming(floor, x64):
    law = devices.GaussianProgramming(sd=Constant(value=2.0), g_max=25.0, floor=floor)
    target = jnp.full(Z.size, 15.0)
    g = target + 2.0 * Z
    exact = law.score(target, g)
    np.testing.assert_allclose(exact.z, Z, atol=1e-12)
    np.testing.assert_allclose(exact.log_density(), stats.norm(15, 2).logpdf(g))
    assert_same(by_nodes(law, target, g), exact)


def test_values_at_a_floor_are_as_likely_as_all_below(x64):
    law = devices.GaussianProgramming(sd=Constant(value=2.0), g_max=25.0)
    found = by_nodes(law, jnp.full(2, 1.0), jnp.array([0.0, 2.0]))
    np.testing.assert_allclose(
        np.exp(found.log_density()),
        [stats.norm.cdf(-0.5), stats.norm.pdf(0.5) / 2],
        rtol=0.1,
    )
    np.testing.assert_allclose(found.cdf()[0], [0.0, stats.norm.cdf(-0.5)], atol=1e-4)


def test_log_normal_programming(x64):
    law = devices.flash_floating_gate(programming_sd=5e-3).programming
    target = jnp.full(Z.size, 4.0)
    g = target * np.exp(float(law.sd / law.swing) * Z)
    exact = law.score(target, g)
    np.testing.assert_allclose(exact.z, Z, atol=1e-5)
    assert_same(by_nodes(law, target, g), exact)


def test_exact_values(x64):
    """A law without spread has one value; any other is impossible."""
    law = devices.NoProgrammingError()
    found = by_nodes(law, jnp.full(2, 4.0), jnp.array([4.0, 4.1]))
    assert np.isfinite(found.log_density()[0]) and found.log_density()[1] == -np.inf
    assert np.isnan(found.cdf()).all()


@pytest.mark.parametrize(
    "drift",
    [devices.reram_cmo().drift, devices.flash_floating_gate(loss_sd=4e-3).drift],
    ids=["relaxation", "threshold"],
)
def test_drift_without_read_noise(drift, x64):
    target, t = jnp.full(Z.size, 40.0), jnp.full(Z.size, 1e4)
    side = 1.0 if isinstance(drift, devices.RelaxationDrift) else -1.0
    g = drift.evolve(target, target, jnp.asarray(side * Z), t=t)
    exact = drift.score(target, target, g, t=t)
    np.testing.assert_allclose(exact.z, Z, atol=1e-5)
    assert_same(drift_by_nodes(drift, target, target, g, t=t), exact)


def test_cells_keep_their_rank_at_all_times(x64):
    """A power law: the rank of a cell is that of its exponent, the other way round."""
    drift = devices.state_independent(nu=0.1, nu_sd=0.02).drift
    target = jnp.full((3, 1, 1), 20.0)
    t = jnp.broadcast_to(jnp.asarray([1.0, 1e3, 1e6]), (3, 1, 3))
    z = jnp.broadcast_to(jnp.asarray(Z)[:, None], (3, Z.size, 1))
    found = along_nodes(drift, target, target, z, t=t)
    exact = drift.along(target, target, 0.1 - 0.02 * z, t=t)
    assert found.shape == exact.shape == (3, Z.size, 3)
    np.testing.assert_allclose(found, exact, rtol=2e-3)


def test_quantiles_increase_and_have_derivatives(key, x64):
    """Also where nodes are few, unordered and unevenly spaced."""
    value = jax.random.uniform(key, (5, 6))
    nodes = quadrature.Nodes(value=value, weight=jnp.full((5, 6), 1 / 6))
    z = jnp.broadcast_to(jnp.linspace(-4, 4, 101), (5, 101))

    def total(value):
        found = quadrature.quantile(replace(nodes, value=value), z)
        return jnp.sum(found**2), found

    (_, found), slope = jax.jit(jax.value_and_grad(total, has_aux=True))(value)
    assert np.all(np.diff(found) >= 0)
    step = 1e-6
    up, down = (jax.jit(total)(value + s)[0] for s in (step, -step))
    moved = (up - down) / (2 * step)
    np.testing.assert_allclose(jnp.sum(slope), moved, rtol=1e-5)
