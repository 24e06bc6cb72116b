"""Device models against published moments, closed forms and their own quadrature."""

import json
import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.scipy.stats import norm
from shared import oracle

from anajax import devices
from anajax._tree import replace
from anajax.moments import conductance_moments as moments
from anajax.moments import tabulate

YEAR = 365 * 86400.0
ORACLE = {
    "PCMLike(g_max=25)": devices.pcm(),
    "Hermes(1dev)": devices.pcm_hermes(devices=1),
    "Hermes(2dev)": devices.pcm_hermes(devices=2),
    "StateIndependent(g_max=25)": devices.state_independent(),
}
TABLES = devices.tabulated(
    g_max=25.0,
    programming={"g": [0, 10, 25], "mean": [0.1, 0, -0.2], "sd": [0.3, 0.9, 1.1]},
    drift={"g": [0, 10, 25], "mean": [0.08, 0.05, 0.03], "sd": [0.03, 0.02, 0.01]},
    read={"g": [0, 25], "mean": [0, 0], "sd": [0.03, 0.01]},
)
ALL = [*ORACLE.values(), TABLES, devices.ideal(), devices.pcm(q_argument="target")]


def draw(device, g, t, key, n):
    """Programmed and read conductances [n] of one target."""
    cells = devices.program(device, jnp.full(n, g), key=key)
    aged = devices.age(device, cells, t=t)
    return cells, devices.read(device, aged, t=t, key=key)


def oracle_points():
    try:
        lines = oracle("aihwkit_moments.jsonl").read_text().splitlines()
    except pytest.skip.Exception:
        return []
    return [p for p in map(json.loads, lines) if p["model"] in ORACLE]


def within(sample, mean, sd, n_other):
    """Both are samples: means within 4 standard errors, deviations within 2 %."""
    n = sample.size
    error = sd * math.sqrt(1 / n + 1 / n_other)
    assert abs(sample.mean() - mean) < 4 * error + 1e-7
    assert abs(sample.std() / sd - 1) < 0.02


@pytest.mark.parametrize(
    "point", oracle_points(), ids=lambda p: f"{p['model']}-{p['g_target_uS']}"
)
def test_moments_published_by_another_simulator(point, key):
    device, n = ORACLE[point["model"]], 200_000
    sampler = jax.jit(draw, static_argnums=(4,))
    for t, final in point["g_final"].items():
        cells, g = sampler(device, point["g_target_uS"], float(t), key, n)
        within(np.asarray(g), final["mean"], final["std"], point["n"])
    within(np.asarray(cells.programmed), *point["g_prog"].values(), point["n"])
    within(np.asarray(cells.facts), *point["nu"].values(), point["n"])


@pytest.mark.parametrize("device", ALL, ids=lambda d: d.name)
def test_exact_moments_match_own_sampler(device, key):
    """Means within 4 standard errors, deviations within 0.5 % at 2 million draws."""
    n = 2_000_000
    fractions, times = (0.0, 0.02, 0.2, 0.6, 1.0), (0.0, 3600.0, YEAR)

    @jax.jit
    def both(g, t, key):
        _, sample = draw(device, g, t, key, n)
        exact = moments(device, g, t=t)
        return sample.mean(), sample.std(), exact.mean, jnp.sqrt(exact.var)

    for i, fraction in enumerate(fractions):
        for j, t in enumerate(times):
            g = device.g_min + fraction * (device.g_max - device.g_min)
            mean, sd, m, s = both(g, t, jr.fold_in(key, 10 * i + j))
            assert abs(mean - m) <= 4 * s / math.sqrt(n) + 1e-5, (fraction, t)
            assert abs(sd - s) <= 0.005 * s + 1e-6, (fraction, t)


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
    np.testing.assert_allclose(moments(device, g, t=t).mean, g * factor, rtol=2e-6)


def test_published_constants():
    device = devices.pcm()
    np.testing.assert_allclose(
        device.programming.sd(jnp.array([0.0, 0.5, 1.0])),
        [0.26348, 0.95270, 1.05538],
        rtol=1e-4,
    )
    ones = jnp.ones(4)
    t = jnp.array([1.0, 3600.0, 86400.0, YEAR])
    sd = device.read.sd(ones, target=ones, programmed=25 * ones, t=t)
    np.testing.assert_allclose(sd / 0.0088, [4.190, 4.765, 5.087, 5.637], atol=6e-4)


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
    exact = moments(devices.ideal(), g, t=YEAR)
    np.testing.assert_allclose(exact.mean, g, rtol=1e-6)
    np.testing.assert_allclose(exact.var, 0.0, atol=1e-6)


@pytest.mark.parametrize("device", ALL, ids=lambda d: d.name)
def test_gradients_of_moments_match_central_differences(device, x64):
    """With respect to every parameter of the device and the target, bounds included."""
    device = jax.tree.map(lambda v: jnp.asarray(v, jnp.float64), device)
    span = device.g_max - device.g_min
    target = device.g_min + span * jnp.array([0.007, 0.013, 0.31, 0.77, 0.95])
    weights = jnp.array([0.3, 1.0, -0.4, 0.7, 0.9])

    @jax.jit
    def f(device, target):
        m = moments(device, target, t=86400.0)
        return weights @ m.mean + weights @ m.var

    gradient = jax.jit(jax.grad(f, argnums=(0, 1)))
    at_bounds = gradient(device, device.g_min + span * jnp.array([0.0, 0, 0, 0, 1]))
    assert all(bool(jnp.all(jnp.isfinite(g))) for g in jax.tree.leaves(at_bounds))
    grads = jax.tree.leaves(gradient(device, target))
    leaves, tree = jax.tree.flatten((device, target))
    for i, (leaf, grad) in enumerate(zip(leaves, grads, strict=True)):
        for index in np.ndindex(leaf.shape):
            h = 1e-5 * (abs(float(leaf[index])) or 0.01)

            def at(step, i=i, index=index, leaf=leaf):
                new = [*leaves[:i], leaf.at[index].add(step), *leaves[i + 1 :]]
                return f(*jax.tree.unflatten(tree, new))

            numeric = (at(h) - at(-h)) / (2 * h)
            np.testing.assert_allclose(grad[index], numeric, rtol=1e-5, atol=1e-7)


def test_table_is_the_quadrature():
    device, times = devices.pcm(), jnp.array([1.0, 86400.0])
    g = jnp.linspace(0, 25, 201)
    table = tabulate(device, times)(g)
    for i, t in enumerate(times):
        exact = moments(device, g, t=t)
        np.testing.assert_allclose(table.mean[i], exact.mean, atol=5e-4)  # kinks
        np.testing.assert_allclose(table.var[i], exact.var, rtol=2e-3, atol=1e-4)


def test_csv_tables_equal_arrays(tmp_path):
    path = tmp_path / "drift.csv"
    path.write_text("g, mean, sd\n0, 0.08, 0.03\n10, 0.05, 0.02\n25, 0.03, 0.01\n")
    device = devices.tabulated(g_max=25.0, drift=path)
    np.testing.assert_array_equal(
        device.drift.nu_mean.value, TABLES.drift.nu_mean.value
    )


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("g,mean\n0,1\n", "drift.*columns g, mean, sd.*without.*sd"),
        ("g,mean,sd\n0,a,1\n", "line 2.*'mean'.*'a'"),
        ("g,mean,sd\n0,1,1\n0,1,1\n", "x.*increase"),
        ("g,mean,sd\n0,1,-1\n1,1,1\n", "sd.*not be negative"),
        ("", "data rows"),
    ],
)
def test_bad_csv_is_named(tmp_path, content, match):
    path = tmp_path / "bad.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=match):
        devices.tabulated(g_max=25.0, drift=path)


def test_bad_devices_are_refused(key):
    with pytest.raises(ValueError, match="g_min.*less than"):
        devices.ideal(g_min=5.0, g_max=5.0)
    with pytest.raises(ValueError, match="devices.*1 or 2"):
        devices.pcm_hermes(devices=3)
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv"):
        devices.tabulated(g_max=25.0, drift="nothing.csv")
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
