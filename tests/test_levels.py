"""Strategies of few levels: stepped tables, and codes found by enumeration."""

import functools
import itertools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from anajax import devices
from anajax._core.tree import replace
from anajax.devices.base import program, to_levels
from anajax.devices.moments import conductance_moments
from anajax.mapping import density
from anajax.mapping import hand as strategies
from anajax.mapping.density import WeightDensity
from anajax.mapping.strategy import (
    Strategy,
    copies,
    decode,
    encode,
    interpolation,
    pairs,
    resample,
    singles,
    slices,
)
from anajax.mapping.weight_error import mean_abs, moment_table, tabulated_error
from anajax.programming import enumerate_levels, optimize_strategy
from anajax.programming.search.codes import best_scale, codes, envelope
from anajax.programming.search.objective import sampled_error
from anajax.programming.search.parameters import from_strategy
from anajax.programming.strategy_file import load_strategies, to_text
from anajax.studies.config.study import DeviceSection
from anajax.studies.plan import make_device

MRAM = devices.mram_stt()
FOUR = replace(devices.pcm(), levels=[0.0, 6.0, 14.0, 25.0])
"""A drifting memory of four levels."""
TIMES = jnp.array([1.0, 3600.0, 86400.0, 30 * 86400.0])
NORMAL = density.gaussian(0.3)
HAND = ("single_pair", "lsp_first", "msp_first", "equal_split")
STEPS = Strategy(
    cell=pairs(1),
    knots=[0.0, 0.2, 0.6],
    targets=[[1.0, 1.0], [2.0, 1.0], [4.0, 1.0]],
    significance=[1.0],
    scale=3.0,
    stepped=True,
)


def error(strategy, device, rho=NORMAL):
    found = tabulated_error(strategy, moment_table(device, TIMES), rho)
    return float(jnp.mean(found.mse))


def test_stepped_targets_hold_from_each_knot_to_the_next():
    u = jnp.array([-0.9, -0.2, -0.1, 0.0, 0.19, 0.2, 0.59, 0.6, 1.0])
    plus = np.asarray(encode(STEPS, u))
    np.testing.assert_array_equal(plus[:, 0], [1, 1, 1, 1, 1, 2, 2, 4, 4])
    np.testing.assert_array_equal(plus[:, 1], [4, 2, 1, 1, 1, 1, 1, 1, 1])
    matrix = interpolation(STEPS, jnp.abs(u))
    assert np.all((matrix == 0) | (matrix == 1))
    np.testing.assert_array_equal(matrix @ STEPS.targets, encode(STEPS, jnp.abs(u)))
    fine = resample(STEPS, [0.0, 0.1, 0.2, 0.4, 0.6, 0.8])
    np.testing.assert_array_equal(encode(fine, u), plus)
    batch = jax.vmap(lambda k: encode(replace(STEPS, knots=k), u))(STEPS.knots[None])
    np.testing.assert_array_equal(batch[0], plus)


def test_one_step_is_a_sign():
    sign = replace(STEPS, knots=[0.0], targets=[[4.0, 1.0]])
    np.testing.assert_array_equal(
        decode(sign, encode(sign, jnp.array([-0.5, 0.3]))), [-1.0, 1.0]
    )
    with pytest.raises(ValueError, match="targets.*increasing"):
        replace(STEPS, targets=STEPS.targets[::-1])


def test_steps_come_back_from_their_file(tmp_path):
    (tmp_path / "s.json").write_text(to_text({"a": STEPS}))
    back = load_strategies(tmp_path / "s.json")["a"]
    assert back.stepped and np.array_equal(back.targets, STEPS.targets)
    old = (tmp_path / "s.json").read_text().replace('"version": 2', '"version": 1')
    (tmp_path / "s.json").write_text(old.replace('"stepped": true,', ""))
    assert not load_strategies(tmp_path / "s.json")["a"].stepped


def test_a_target_is_programmed_to_the_nearest_level(key):
    targets = jnp.array([0.0, 2.9, 3.1, 9.9, 10.1, 19.0, 20.0, 25.0])
    near = np.array([0.0, 0.0, 6.0, 6.0, 14.0, 14.0, 25.0, 25.0])
    np.testing.assert_array_equal(to_levels(targets, FOUR.levels), near)
    np.testing.assert_array_equal(program(FOUR, targets, key=key).target, near)
    analog = conductance_moments(devices.pcm(), jnp.asarray(near), t=3600.0)
    levels = conductance_moments(FOUR, targets, t=3600.0)
    table = moment_table(FOUR, jnp.array([3600.0]))(targets)
    for name in ("mean", "var"):
        exact = getattr(analog, name)
        np.testing.assert_allclose(getattr(levels, name), exact, rtol=1e-6)
        np.testing.assert_allclose(getattr(table, name)[1], exact, rtol=1e-4)
    with pytest.raises(ValueError, match="levels.*0 to 25 uS"):
        replace(devices.pcm(), levels=[0.0, 26.0])


def test_devices_of_equal_coefficient_are_interchangeable():
    assert len(codes(2, np.array([2, -2, 1, -1]))) == 16
    assert len(codes(2, np.array([1, 1, 1, -1, -1, -1]))) == 16
    assert len(codes(3, np.array([1, 1]))) == 6
    with pytest.raises(ValueError, match="at most 1000000 codes.*8 devices of 16"):
        codes(16, np.array([8, -8, 4, -4, 2, -2, 1, -1]))


def test_envelope_is_the_least_of_all_lines():
    random = np.random.default_rng(0)
    for size in (1, 2, 3, 50, 2000):
        b = random.normal(size=size)
        a = b**2 + random.exponential(size=size) / 5
        a[size // 2 :], b[size // 2 :] = a[: size - size // 2], b[: size - size // 2]
        chosen, ends = envelope(a, b)
        assert np.all(np.diff(ends) > 0)
        x = np.linspace(-4, 4, 801)
        at = chosen[np.searchsorted(ends, x, side="right")]
        least = np.min(a[:, None] - 2 * x * b[:, None], 0)
        np.testing.assert_allclose(a[at] - 2 * x * b[at], least, atol=1e-12)


@pytest.mark.parametrize("both", [False, True])
def test_best_scale_is_the_best_of_all(both):
    random = np.random.default_rng(1)
    b = np.arange(-4, 5.0)
    a = b**2 + 0.3 * np.abs(b)
    chosen, ends = envelope(a, b)
    a, b = a[chosen], b[chosen]
    u = random.normal(size=40) if both else np.abs(random.normal(size=40))
    p = random.random(40)

    def value(scale):
        i = np.searchsorted(ends, scale * u, side="right")
        return p @ (a[i] - 2 * scale * u * b[i]) / scale**2

    best = best_scale(a, b, ends, u, p)
    grid = np.array([value(s) for s in np.geomspace(0.01, 100, 20001)])
    assert value(best) <= grid.min() + 1e-12
    assert value(best) > grid.min() - 1e-3 * abs(grid.min())


@functools.cache
def level_moments(device):
    """Mean and variance `[1 + times, levels]`, each level and time by itself."""
    at = jax.jit(lambda g, t: conductance_moments(device, g, t=t))
    grid = [[at(g, t) for g in device.levels] for t in (0.0, *TIMES.tolist())]
    return (
        np.array([[float(m.mean) for m in row] for row in grid]),
        np.array([[float(m.var) for m in row] for row in grid]),
    )


def of_cells(device, index, c):
    """Mean and variance `[1 + times, ...]` of c.g with these level numbers."""
    mean, var = level_moments(device)
    return mean[:, index] @ c, var[:, index] @ c**2


def all_codes(device, cell, significance):
    """Mean and variance of c.g for all combinations of levels."""
    c = np.asarray(cell.coefficients(jnp.asarray(significance)), float)
    ways = itertools.product(range(device.levels.size), repeat=c.size)
    return of_cells(device, np.array(list(ways)), c)


@pytest.mark.parametrize(
    ("device", "cell", "significance"),
    [
        (MRAM, pairs(3), slices(3)),
        (MRAM, pairs(2), copies(2)),
        (MRAM, singles(4), slices(4)),
        (FOUR, pairs(1), [1.0]),
        (FOUR, pairs(2), [3.0, 1.0]),
        (FOUR, singles(2), [4.0, 1.0]),
    ],
)
def test_no_combination_is_better_for_any_weight(device, cell, significance):
    """Given K, offset and alpha, on a grid of weights, against every combination."""
    found = enumerate_levels(
        device, NORMAL, TIMES, cell=cell, significance=significance
    )
    strategy, w = (
        found.strategy,
        tabulated_error(found.strategy, moment_table(device, TIMES), NORMAL),
    )
    mean, var = all_codes(device, cell, significance)
    k, alpha = float(strategy.scale), np.asarray(w.alpha, float)[:, None]
    u = np.linspace(0, 1, 301) if cell.paired else np.linspace(-1, 1, 301)
    shift = float(strategy.offset) / k

    def cost(m, v, u):
        bias = (alpha * m / k - shift)[..., None] - u
        return np.mean(bias**2 + (alpha**2 * v / k**2)[..., None], 0)

    least = cost(mean[1:], var[1:], u).min(0)
    g = np.asarray(encode(strategy, jnp.asarray(u)))
    c = np.asarray(cell.coefficients(strategy.significance), float)
    mean, var = of_cells(device, np.searchsorted(device.levels, g - 0.1), c)
    mine = np.diagonal(cost(mean[1:], var[1:], u))
    np.testing.assert_allclose(mine, least, rtol=2e-4, atol=1e-7)


def brute_force(device, rho):
    """Least error of all assignments of codes of one pair, each with its own alpha."""
    mean, var = all_codes(device, pairs(1), [1.0])
    positive = mean[0] >= -1e-4
    mean, var = mean[:, positive], var[:, positive]
    u, p = np.asarray(rho.u, float), np.asarray(rho.probability, float)
    ways = np.array(list(itertools.product(range(mean.shape[1]), repeat=u.size)))
    size = np.asarray(mean_abs(jnp.asarray(mean), jnp.asarray(var)), float)
    sizes = sum(p[i] * size[:, ways[:, i]] for i in range(u.size))
    alpha = sizes[:1] / sizes[1:]
    s = sum(p[i] * u[i] * mean[1:, ways[:, i]] for i in range(u.size))
    q = sum(p[i] * (mean**2 + var)[1:, ways[:, i]] for i in range(u.size))
    s, q = np.mean(alpha * s, 0), np.mean(alpha**2 * q, 0)
    return p @ u**2 - np.max(np.maximum(s, 0) ** 2 / q)


@pytest.mark.parametrize("device", [MRAM, FOUR], ids=lambda d: d.name)
def test_brute_force_finds_nothing_better(device):
    """All assignments of codes to five weights, each with its own alpha and best K."""
    random = np.random.default_rng(3)
    for _ in range(3):
        p = random.random(5)
        rho = WeightDensity(u=np.sort(random.random(5)), probability=p / p.sum())
        found = enumerate_levels(device, rho, TIMES, cell=pairs(1))
        least = brute_force(device, rho)
        assert abs(float(found.value) / least - 1) < 1e-5


def test_an_offset_is_as_good_as_any_on_a_grid():
    """One four-level device a weight: all K and offsets of a grid, best codes each."""
    skewed = WeightDensity(u=np.linspace(-0.4, 1, 29), probability=np.full(29, 1 / 29))
    found = enumerate_levels(FOUR, skewed, TIMES, cell=singles())
    w = tabulated_error(found.strategy, moment_table(FOUR, TIMES), skewed)
    alpha = np.asarray(w.alpha, float)[:, None]
    mean, var = all_codes(FOUR, singles(), [1.0])
    a = np.mean(alpha**2 * (mean[1:] ** 2 + var[1:]), 0)[:, None]
    b = np.mean(alpha * mean[1:], 0)[:, None]
    k, shift = float(found.strategy.scale), float(found.strategy.offset)

    def value(k, shift):
        x = np.asarray(skewed.u) + shift / k
        return np.mean(np.min(a / k**2 - 2 * x * b / k + x**2, 0))

    factors = np.geomspace(0.4, 2.5, 31)
    grid = min(value(k * i, shift * j) for i in factors for j in factors)
    assert abs(float(found.value) / value(k, shift) - 1) < 1e-3
    assert value(k, shift) < grid * (1 + 1e-3)


@functools.cache
def hand_errors(device):
    """Of the tuned hand strategies on the device, by name."""
    return {n: error(tune_strategy(n, device), device) for n in HAND}


def tune_strategy(name, device):
    if name == "single_pair":  # which has no F

        def build(device, *, f, k):
            return strategies.single_pair(device, k=k)
    else:
        build = getattr(strategies, name)
    return strategies.tune_strategy(device, NORMAL, TIMES, build=build).strategy


@pytest.mark.slow
@pytest.mark.parametrize(
    "device", [MRAM, pytest.param(FOUR, marks=pytest.mark.slow)], ids=["mram", "four"]
)
def test_no_hand_strategy_is_better(device):
    hand = dict(hand_errors(device))
    one = enumerate_levels(device, NORMAL, TIMES, cell=pairs(1))
    two = enumerate_levels(device, NORMAL, TIMES, cell=pairs(2))
    for found in (one, two):
        assert abs(error(found.strategy, device) / float(found.value) - 1) < 1e-4
    assert float(one.value) < hand.pop("single_pair") * (1 + 1e-5)
    assert float(two.value) < min(hand.values()) * (1 + 1e-5)
    assert abs(float(two.value) - float(two.info["per_start"].min())) < 1e-9


@pytest.mark.slow
def test_two_binary_pairs_halve_the_error_of_the_best_hand_strategy():
    """Mean squared error, weights of sd 0.3; sampled chips agree."""
    found = optimize_strategy(MRAM, NORMAL, TIMES, key=jr.key(0))
    assert found.strategy.stepped and found.strategy.cell == pairs(2)
    assert set(np.unique(found.strategy.targets)) == set(np.asarray(MRAM.levels))
    best = min(hand_errors(MRAM).values())
    assert float(found.value) < 0.56 * best
    assert float(found.info["history"][-1]) == float(found.info["per_start"].min())
    u = jnp.broadcast_to(NORMAL.u, (100, 401))
    drawn = sampled_error(found.strategy, MRAM, u, NORMAL.probability, TIMES, jr.key(1))
    assert abs(float(jnp.mean(drawn) / found.value) - 1) < 0.02


def test_the_worst_time_can_be_chosen_by():
    mean, worst = (
        enumerate_levels(FOUR, NORMAL, TIMES, cell=pairs(2), aggregate=a)
        for a in ("mean", "minimax")
    )
    table = moment_table(FOUR, TIMES)
    most = [
        float(jnp.max(tabulated_error(f.strategy, table, NORMAL).mse))
        for f in (mean, worst)
    ]
    assert most[1] <= most[0] * 1.001


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="device.*have levels.*pcm"):
        enumerate_levels(devices.pcm(), NORMAL, TIMES, cell=pairs(1))
    with pytest.raises(ValueError, match="significance.*2 groups"):
        enumerate_levels(MRAM, NORMAL, TIMES, cell=pairs(2), significance=slices(3))
    with pytest.raises(ValueError, match="samples.*None for a device with levels"):
        optimize_strategy(MRAM, NORMAL, TIMES, key=jr.key(0), samples=8)
    with pytest.raises(ValueError, match="strategy.*not be stepped"):
        from_strategy(STEPS, devices.pcm(), 11)
    with pytest.raises(ValueError, match="count.*at least 1"):
        singles(0)


def test_levels_of_a_config():
    section = DeviceSection(name="flash_sonos", levels=[0.0, 6.0, 12.0, 18.0])
    np.testing.assert_array_equal(make_device(section).levels, [0, 6, 12, 18])
    with pytest.raises(ValueError, match="levels.*lie in 0 to 18 uS"):
        make_device(DeviceSection(name="flash_sonos", levels=[0.0, 19.0]))
