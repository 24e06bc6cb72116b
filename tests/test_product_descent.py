"""Programming by the error of the product."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from anajax import devices
from anajax._core.tree import replace
from anajax.devices import age, program
from anajax.mapping import hand as strategies
from anajax.mapping.strategy import decode, encode
from anajax.programming.loops.product_descent import ProductDescent, program_by_products

PCM = devices.pcm()
STRATEGY = strategies.lsp_first(PCM, f=2.0, k=1.2)
QUIET = replace(PCM, read=devices.NoReadNoise())


def tile(key, rows=96, columns=64):
    return jnp.clip(0.2 * jr.normal(key, (rows, columns)), -0.7, 0.7)


def trim(key, loop, device=PCM, **shape):
    u = tile(jr.fold_in(key, 1), **shape)
    result = jax.jit(lambda k: program_by_products(loop, device, STRATEGY, u, key=k))(
        key
    )
    return result, decode(STRATEGY, result.cells.g) - u


def test_one_exact_turn_leaves_the_cross_talk_of_other_rows(key):
    """No noise but the first programming: error variance falls to (rows - 1)/vectors
    of what it was, since E|(1 - x'x/B) e|^2 = (rows - 1)/B |e|^2 for signs."""
    rows, vectors = 96, 512
    loop = ProductDescent(pulse=0.0, turns=1, vectors=vectors)
    result, error = trim(key, loop, QUIET, rows=rows)
    left = float(np.mean(error**2) / result.history[0] ** 2)
    expected = (rows - 1) / vectors
    # 64 columns with 96 rows each: relative error of a mean of squares, times 2
    assert abs(left / expected - 1) < 4 * np.sqrt(2 / error.size) * 2
    assert result.products == vectors


def test_without_noise_turns_go_on_to_the_floor_of_the_range(key):
    loop = ProductDescent(pulse=0.0, turns=30, vectors=512)
    result, error = trim(key, loop, QUIET)
    assert np.sqrt(np.mean(error**2)) < 0.1 * result.history[0]
    assert np.all(np.diff(result.history) < 0)


def test_output_noise_enters_as_its_variance_over_vectors(key):
    """One turn, output noise s: the error gains s^2 / vectors per weight."""
    s, vectors = 3.0, 512
    quiet, noisy = (
        trim(key, ProductDescent(pulse=0.0, output=o, turns=1, vectors=vectors), QUIET)
        for o in (0.0, s)
    )
    gained = np.var(noisy[1]) - np.var(quiet[1])
    spread = np.sqrt(2 / quiet[1].size) * (s**2 / vectors)
    cross = 2 * np.std(quiet[1]) * s / np.sqrt(vectors * quiet[1].size)
    assert abs(gained - s**2 / vectors) < 4 * (spread + cross)


def test_pulses_that_are_not_worth_it_are_not_spent(key):
    """Noisy pulses: a threshold saves pulses and leaves a smaller error."""
    results = [
        trim(key, ProductDescent(pulse=0.5, threshold=t, turns=8, vectors=512))
        for t in (0.0, 0.8)
    ]
    (always, e_always), (when_due, e_due) = results
    assert np.all(always.pulses == 8)
    assert when_due.pulses.mean() < 3
    gain = e_always**2 - e_due**2
    assert gain.mean() > 4 * gain.std() / np.sqrt(gain.size)


def test_it_beats_a_single_shot_a_month_later(key):
    """Drift goes on from what was programmed; the gain is beyond 4 standard errors."""

    u, month = tile(jr.fold_in(key, 1)), 30 * 86400.0
    loop = ProductDescent(pulse=0.3, threshold=0.6, turns=8, vectors=512)
    trimmed = program_by_products(loop, PCM, STRATEGY, u, key=key).cells
    single = program(PCM, encode(STRATEGY, u), key=key)

    def error(cells):
        w = decode(STRATEGY, age(PCM, cells, t=month).g)
        alpha = np.sum(w * u) / np.sum(w**2)
        return np.asarray((alpha * w - u) ** 2)

    gain = error(single) - error(trimmed)
    assert gain.mean() > 4 * gain.std() / np.sqrt(gain.size)


def test_faults_are_seen_and_not_undone(key):
    """Stuck cells stay stuck, and the other devices of a weight make up for them."""
    u = tile(jr.fold_in(key, 1))
    broken = replace(QUIET, faults=devices.Faults(stuck_low=0.05))
    loop = ProductDescent(pulse=0.0, turns=8, vectors=1024)
    result = program_by_products(loop, broken, STRATEGY, u, key=key)
    stuck = np.asarray(result.cells.g == broken.g_min) & np.asarray(
        result.cells.programmed > 1.0
    )
    assert stuck.any()
    error = np.asarray(decode(STRATEGY, result.cells.g) - u)
    weights = stuck.any(-1)
    open_loop = program(broken, encode(STRATEGY, u), key=key)
    before = np.asarray(decode(STRATEGY, open_loop.g) - u)
    assert np.mean(error[weights] ** 2) < 0.5 * np.mean(before[weights] ** 2)


def test_bad_input_is_named(key):
    with pytest.raises(ValueError, match="analog"):
        program_by_products(
            ProductDescent(pulse=0.1), devices.mram_stt(), STRATEGY, jnp.ones((2, 2)),
            key=key,
        )  # fmt: skip
    with pytest.raises(ValueError, match="turns"):
        ProductDescent(pulse=0.1, turns=0)
    with pytest.raises(ValueError, match="pulse"):
        ProductDescent(pulse=-0.1)
    loop = ProductDescent(pulse=0.1)
    with pytest.raises(ValueError, match="matrix"):
        program_by_products(loop, PCM, STRATEGY, jnp.zeros(3), key=key)
    with pytest.raises(ValueError, match="pairs"):
        program_by_products(
            loop, PCM, strategies.offset_device(PCM), jnp.zeros((2, 2)), key=key
        )
