"""The write-verify loop: its exact distribution, its cost, its gradients."""

import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from device_list import quick_jit

from anajax import devices
from anajax._core.tree import replace
from anajax.devices import write_verified
from anajax.devices.moments import conductance_moments as moments

N = 1_000_000
LOOPS = {
    "usual": {"pulse": 1.0, "verify": 0.3, "band": 0.8, "gain": 0.6, "budget": 8},
    "sharp": {"pulse": 1.0, "verify": 0.05, "band": 0.8, "gain": 0.2, "budget": 20},
    "short": {"pulse": 0.2, "verify": 0.5, "band": 0.3, "gain": 1.4, "budget": 1},
}


def loop(name):
    return write_verified(devices.pcm(), **LOOPS[name]).programming


@jax.jit
def run(programming, target, key):
    written = programming.write(jnp.full(N, target), key=key)
    return jax.tree.map(lambda v: (jnp.mean(v), jnp.std(v)), written)


def statistics(programming, target):
    nodes, effort = programming.nodes(target), programming.effort(target)
    mean = jnp.sum(nodes.weight * nodes.value)
    sd = jnp.sqrt(jnp.sum(nodes.weight * (nodes.value - mean) ** 2))
    return mean, sd, jnp.sum(nodes.weight), effort


exact = quick_jit(statistics)


@pytest.mark.parametrize("name", LOOPS)
def test_quadrature_is_the_distribution_of_the_loop(name, key):
    programming = loop(name)
    for target in (0.4, 20.0):
        written = run(programming, target, key)
        mean, sd, total, effort = exact(programming, target)
        np.testing.assert_allclose(total, 1.0, atol=2e-6)
        assert abs(written.g[0] - mean) <= 4 * sd / math.sqrt(N)
        assert abs(written.g[1] - sd) <= 0.005 * sd
        for (m, s), e in (
            (written.pulses, effort.pulses),
            (written.accepted, effort.accepted),
        ):
            assert abs(m - e) < 4 * s / math.sqrt(N) + 1e-5


def test_one_turn_has_a_closed_form(key):
    """Without acceptance one pulse leaves (1 - gain) of the way and its noise."""
    programming = replace(loop("short"), budget=1)
    mean, sd, _, effort = exact(programming, 20.0)
    np.testing.assert_allclose(mean, 20.0 * 1.4, rtol=1e-5)
    np.testing.assert_allclose(sd, math.hypot(0.2, 1.4 * 0.5), rtol=1e-4)
    np.testing.assert_allclose(effort.pulses, 1.0, atol=1e-6)


def test_a_narrow_band_costs_pulses_and_buys_precision():
    _, wide, _, cheap = exact(loop("usual"), 10.0)
    narrow = write_verified(
        devices.pcm(), pulse=1.0, verify=0.3, band=0.2, gain=0.6, budget=60
    )
    _, tight, _, dear = exact(narrow.programming, 10.0)
    assert tight < wide and dear.pulses > cheap.pulses


@pytest.mark.parametrize("name", ["usual", "short"])
def test_exact_gradients_match_central_differences(name, x64):
    programming = jax.tree.map(lambda v: jnp.asarray(v, jnp.float64), loop(name))

    def f(programming, target):
        mean, sd, _, effort = statistics(programming, target)
        return mean + 3 * sd + effort.pulses - effort.accepted

    grad = quick_jit(jax.value_and_grad(f, argnums=(0, 1)))
    target = np.asarray(3.3)
    values = jax.tree.leaves(grad(programming, target)[1])
    leaves, tree = jax.tree.flatten(jax.tree.map(np.asarray, (programming, target)))
    for i, (leaf, value) in enumerate(zip(leaves, values, strict=True)):
        h = 1e-5 * (abs(float(leaf)) or 0.1)
        new = [[*leaves[:i], leaf + s * h, *leaves[i + 1 :]] for s in (1, -1)]
        up, down = (grad(*jax.tree.unflatten(tree, n))[0] for n in new)
        np.testing.assert_allclose(value, (up - down) / (2 * h), rtol=1e-4, atol=1e-7)


def test_sampled_loop_is_differentiable_and_hard(key):
    """The pathwise gradient to the target is 1 on average: the loop follows it."""
    programming = loop("usual")

    def mean(target):
        return jnp.mean(programming.sample(jnp.full(20_000, target), key=key))

    assert 0.9 < float(quick_jit(jax.grad(mean))(10.0)) < 1.1
    written = programming.write(jnp.full(100, 10.0), key=key)
    assert set(np.unique(written.accepted)) <= {0.0, 1.0}
    np.testing.assert_array_equal(written.pulses, jnp.round(written.pulses))


def test_it_is_a_programming_slot(key):
    device = write_verified(devices.pcm(), pulse=0.5, verify=0.2, band=0.4)
    cells = devices.program(device, jnp.full(200_000, 10.0), key=key)
    aged = devices.age(device, cells, t=3600.0)
    read = devices.read(device, aged, t=3600.0, key=jr.key(3))
    m = quick_jit(moments)(device, 10.0, t=3600.0)
    assert abs(jnp.mean(read) - m.mean) < 4 * jnp.sqrt(m.var / 200_000)
    assert abs(jnp.var(read) / m.var - 1) < 0.02
    quiet = devices.scale_noise(device, programming=0.1)
    assert float(quick_jit(moments)(quiet, 10.0, t=0.0).var) < float(m.var)


def test_bad_loops_are_refused():
    with pytest.raises(ValueError, match="budget.*at least 1"):
        write_verified(devices.pcm(), pulse=1.0, verify=1.0, band=1.0, budget=0)
    with pytest.raises(ValueError, match="gain.*less than 2"):
        write_verified(devices.pcm(), pulse=1.0, verify=1.0, band=1.0, gain=2.5)
