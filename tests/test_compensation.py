"""Drift compensation: equal to aihwkit, also through converters; undoes equal drift."""

import json

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from shared import oracle

from anajax._core.tree import replace
from anajax.compensation import compensation_factor, last_recalibration, read_out
from anajax.crossbar import periphery as pp
from anajax.crossbar import product as cb


def test_factors_equal_aihwkit_with_and_without_converters():
    z = np.load(oracle("drift_compensation.npz"))
    io = replace(pp.standard(), noise=pp.NoNoise())
    ideal = jnp.asarray(z["w"].T)

    @jax.jit
    def through_converters(w):
        tiles = cb.from_weights(w)
        return read_out(lambda x: cb.mvm(tiles, x, io), w.shape[0], dtype=w.dtype)

    runs = json.loads(str(z["config"]))["runs"]
    assert len(runs) == 18
    for run in runs:
        coarse = run.endswith("/readout_7b9b")
        drifted = z[run.removesuffix("/readout_7b9b") + "/w_drifted"].swapaxes(1, 2)
        drifted = jnp.asarray(drifted)
        now = jax.lax.map(through_converters, drifted) if coarse else drifted
        for name, reference, per in (
            ("alpha_global", now[0], "global"),
            ("alpha_global_exact", ideal, "global"),
            ("alpha_per_column", now[0], "column"),
        ):
            if f"{run}/{name}" in z.files:
                got = compensation_factor(reference, now, per=per)
                np.testing.assert_allclose(got, z[f"{run}/{name}"], rtol=2e-5)


def test_per_tile_factors_undo_drift_that_differs_by_tile(x64):
    w = jnp.asarray(np.random.default_rng(0).normal(size=(10, 7)))
    rule = cb.TileRule(rows=4, columns=4)
    shrink = np.full((10, 7), 0.5)
    shrink[4:7, :4], shrink[7:, 4:] = 0.8, 0.25  # row parts 4 + 3 + 3
    before, after = (
        cb.from_weights(w, rule),
        cb.from_weights(w * jnp.asarray(shrink), rule),
    )
    outputs = [
        read_out(lambda x, t=t: cb.partial_sums(t, x), 10) for t in (before, after)
    ]
    factor = compensation_factor(*outputs, per="tile")
    assert factor.shape == (3, 2, 1)
    restored = cb.weights(cb.rescale(after, factor))
    np.testing.assert_allclose(restored, w, rtol=1e-12)


def test_noisy_read_out_finds_the_factor_within_its_error():
    w = jnp.asarray(np.random.default_rng(0).normal(0, 0.3, (64, 64)))
    io = pp.IO(noise=pp.OutputNoise(sd=0.01))

    def read(w, key):
        return read_out(lambda x: cb.mvm(cb.from_weights(w), x, io, key=key), 64)

    alpha = compensation_factor(read(w, jr.key(1)), read(w * 0.7, jr.key(2)))
    # the mean of n = 4096 magnitudes, each off by about the noise
    assert alpha[0] == pytest.approx(1 / 0.7, abs=5 * 1.5 * 0.01 / 0.2 / 64 * 1.43)
    assert alpha[0] != pytest.approx(1 / 0.7, abs=1e-7)


def test_dead_lines_keep_a_factor_of_one_and_gradients_are_finite():
    w = jnp.ones((4, 3)).at[:, 1].set(0.0)
    factor = compensation_factor(w, 0.5 * w, per="column")
    np.testing.assert_allclose(factor, [2, 1, 2])

    def loss(now):
        return jnp.sum(compensation_factor(w, now, per="column"))

    grad = jax.grad(loss)(0.5 * w)
    assert np.all(np.isfinite(grad)) and np.all(np.asarray(grad[:, 0]) < 0)


def test_the_last_recalibration_is_in_force():
    index = last_recalibration(
        jnp.array([10.0, 20.0]), jnp.array([0.0, 9.9, 10.0, 19.0, 20, 1e9])
    )
    np.testing.assert_array_equal(index, [0, 0, 1, 1, 2, 2])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: compensation_factor(jnp.ones((2, 2)), jnp.ones((2, 2)), per="row"),
            "per",
        ),
        (lambda: compensation_factor(jnp.ones((2, 2)), jnp.ones((2, 3))), "now.*agree"),
        (lambda: last_recalibration(jnp.array([2.0, 1.0]), 1.0), "schedule.*increase"),
        (lambda: compensation_factor(jnp.ones(2), jnp.ones(2)), "now.*agree"),
        (
            lambda: compensation_factor(jnp.ones((2, 2)), jnp.ones((2, 2)), per="tile"),
            "now.*last 4 axes",
        ),
        (
            lambda: compensation_factor(jnp.ones((2, 2)), jnp.ones((2, 2)), floor=0.0),
            "floor.*positive",
        ),
    ],
)
def test_bad_input_is_refused_with_the_rule(call, words):
    with pytest.raises(ValueError, match=words):
        call()
