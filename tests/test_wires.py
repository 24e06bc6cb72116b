"""Wires: equal to a direct nodal solution, differentiable, cached, estimated."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nodal import nodal
from shared import oracle

from anajax.crossbar import product as cb
from anajax.crossbar.wires import (
    Wires,
    attenuated_matrix,
    effective_matrix,
    effective_planes,
    solve,
)
from anajax.crossbar.wires_nonlinear import MiloCell, OhmicCell, solve_nonlinear

run = jax.jit(solve)
matrix = jax.jit(effective_matrix)
nonlinear = jax.jit(solve_nonlinear, static_argnames="max_iterations")


def both(ohm, **ends):
    return Wires(row=ohm, column=ohm, **ends)


def array(rows, columns, low=0.25, high=25.0, batch=2, seed=0):
    rng = np.random.default_rng(seed)
    g = rng.uniform(low, high, (rows, columns))
    g[rng.random(g.shape) < 0.2] = 0
    g[rows // 3], g[:, columns // 2] = 0, 0
    return g, rng.uniform(0, 0.2, (batch, rows))


def off(got, want):
    return np.max(np.abs(np.asarray(got, float) - want)) / np.max(np.abs(want))


# --- against direct solutions -------------------------------------------------------


@pytest.mark.parametrize("shape", [(16, 16), (100, 128), (256, 256)])
def test_currents_are_within_1e6_of_the_nodal_solution_in_single_precision(shape):
    g, v = array(*shape)
    for ohm in (0.35, 5.0):
        want, _ = nodal(g * 1e-6, v, ohm, ohm)
        got = run(jnp.asarray(g, jnp.float32), jnp.asarray(v, jnp.float32), both(ohm))
        assert off(got.current, want * 1e6) < 1e-6
        assert np.max(got.iterations) <= 12
    if shape == (256, 256):  # the hardest, by its cached matrix
        cached = matrix(jnp.asarray(g, jnp.float32), both(5.0))
        assert off(v @ np.asarray(cached, float), want * 1e6) < 1e-6


def test_currents_equal_the_oracle(x64):
    z = np.load(oracle("ir_drop_nodal.npz"))
    for name in ("16x16", "64x64", "33x70"):
        g, v = jnp.asarray(z[f"{name}/G_uS"]), jnp.asarray(z[f"{name}/V_volt"]).T
        for ohm in ("0.35", "1", "5"):
            want = z[f"{name}/I_A_rp{ohm}"] * 1e6
            assert off(run(g, v, both(float(ohm))).current, want) < 1e-9
            if name == "33x70":
                assert off(v @ matrix(g, both(float(ohm))), want) < 1e-9


@pytest.mark.parametrize(
    ("drive", "sense"),
    [("left", "top"), ("right", "bottom"), ("both", "bottom"), ("left", "both")],
)
def test_every_choice_of_ends_solves_its_own_circuit(drive, sense, x64):
    g, v = array(9, 6)
    g = g * 20
    want, voltage = nodal(g * 1e-6, v, 30.0, 70.0, drive, sense)
    wires = Wires(row=30.0, column=70.0, drive=drive, sense=sense)
    got = run(jnp.asarray(g), jnp.asarray(v), wires)
    assert off(got.current, want * 1e6) < 1e-12
    assert off(got.voltage, voltage) < 1e-12
    assert off(v @ matrix(jnp.asarray(g), wires), want * 1e6) < 1e-12


def test_long_wires_joined_at_both_ends(x64):
    """More nodes than a block of the running sums, not a multiple of it."""
    g, v = array(70, 75)
    want, _ = nodal(g * 1e-6, v, 5.0, 5.0, "both", "both")
    got = run(jnp.asarray(g), jnp.asarray(v), both(5.0, drive="both", sense="both"))
    assert off(got.current, want * 1e6) < 1e-12


def test_wires_without_resistance_and_open_arrays_are_exact(x64):
    g, v = (jnp.asarray(a) for a in array(12, 7))
    np.testing.assert_allclose(run(g, v, both(0.0)).current, v @ g, rtol=1e-14)
    np.testing.assert_allclose(attenuated_matrix(g, both(0.0)), g, rtol=1e-14)
    dark = run(0 * g, v, both(5.0))
    assert np.all(np.asarray(dark.current) == 0)
    np.testing.assert_array_equal(dark.voltage[0], np.tile(v[0][:, None], (1, 7)))
    assert np.all(np.asarray(run(g, 0 * v, both(5.0)).current) == 0)


def test_loss_of_output_is_that_of_other_simulators():
    """Mean loss at 0.35, 1, 2.5 Ohm for 64x64: 1.2, 3.4, 8.0 % (uniform 0.25-25 uS)."""
    rng = np.random.default_rng(1)
    g = jnp.asarray(rng.uniform(0.25, 25, (64, 64)), jnp.float32)
    v = jnp.asarray(rng.uniform(0, 1, (20, 64)), jnp.float32)
    for ohm, percent in ((0.35, 1.2), (1.0, 3.4), (2.5, 8.0)):
        ideal = v @ g
        lost = float(jnp.mean((ideal - v @ matrix(g, both(ohm))) / ideal))
        assert 100 * lost == pytest.approx(percent, abs=0.15)


@pytest.mark.parametrize("ohm", [1e4, 1e6, 1e8])
def test_wires_that_take_nearly_all_voltage_are_solved_or_nan(ohm):
    """At 1 MOhm a segment 200 iterations were 7 % off; never a wrong number."""
    for shape in ((16, 16), (64, 48)):
        g, v = array(*shape, 50.0, 225.0)
        want, voltage = nodal(g * 1e-6, v, ohm, ohm)
        with jax.enable_x64(True):
            got = run(jnp.asarray(g), jnp.asarray(v), both(ohm))
            assert off(got.current, want * 1e6) < 1e-8
            assert off(got.voltage, voltage) < 1e-8
            assert off(v @ matrix(jnp.asarray(g), both(ohm)), want * 1e6) < 1e-8
        single = run(
            jnp.asarray(g, jnp.float32), jnp.asarray(v, jnp.float32), both(ohm)
        )
        for current, exact in zip(single.current, want, strict=True):
            unknown = bool(np.all(np.isnan(current)))
            assert unknown or off(current, exact * 1e6) < 2e-3
            assert unknown == (ohm == 1e8) or ohm == 1e6


def test_inputs_of_any_size_have_the_same_solution():
    """Their squares would vanish in single precision."""
    g, v = (jnp.asarray(a, jnp.float32) for a in array(16, 16))
    one, tiny = run(g, v, both(50.0)), run(g, 1e-25 * v, both(50.0))
    np.testing.assert_allclose(1e25 * tiny.current, one.current, rtol=1e-5)


def test_newtons_steps_that_do_not_settle_are_nan():
    g, v = (jnp.asarray(a, jnp.float32) for a in array(16, 16, 50.0, 225.0))
    cell = MiloCell()
    assert np.all(np.isnan(nonlinear(g, v, both(50.0), cell, max_iterations=1).current))
    settled = nonlinear(g, v, both(50.0), cell)
    assert np.all(np.isfinite(settled.current)) and np.max(settled.iterations) < 20


# --- derivatives --------------------------------------------------------------------


def test_gradients_equal_central_differences_also_at_open_cells(x64):
    g, v = (jnp.asarray(a) for a in array(10, 8))
    g = g * 20
    assert g[0, 4] == 0

    @jax.jit
    def loss(g, v, row, column):
        found = solve(g, v, Wires(row=row, column=column))
        return jnp.sum(found.current**2) + jnp.sum(found.voltage**3)

    at = (g, v, jnp.asarray(30.0), jnp.asarray(70.0))
    grads = jax.jit(jax.grad(loss, (0, 1, 2, 3)))(*at)
    assert all(np.all(np.isfinite(x)) for x in grads)
    for n, index, h in (
        (0, (2, 3), 1e-4),
        (1, (1, 5), 1e-6),
        (2, (), 1e-4),
        (3, (), 1e-4),
    ):
        up = loss(*(x.at[index].add(h) if i == n else x for i, x in enumerate(at)))
        down = loss(*(x.at[index].add(-h) if i == n else x for i, x in enumerate(at)))
        assert grads[n][index] == pytest.approx(float(up - down) / (2 * h), rel=1e-6)
    one, two = (loss(g.at[0, 4].set(h), *at[1:]) for h in (1e-4, 2e-4))
    forward = (-3 * loss(*at) + 4 * one - two) / 2e-4  # one-sided, at the open cell
    assert grads[0][0, 4] == pytest.approx(float(forward), rel=1e-5)


def test_forward_mode_and_second_derivatives_agree_with_reverse_mode(x64):
    g, v = (jnp.asarray(a) for a in array(6, 5))
    g, dg = g * 20 + 1, jnp.ones_like(g)

    def loss(g):
        return jnp.sum(solve(g, v, both(50.0)).current ** 2)

    grad = jax.jit(jax.grad(loss))
    slope = jax.jit(lambda g, dg: jax.jvp(loss, (g,), (dg,))[1])(g, dg)
    assert slope == pytest.approx(float(jnp.vdot(grad(g), dg)), rel=1e-10)
    curve = jax.jit(lambda g, dg: jax.jvp(jax.grad(loss), (g,), (dg,))[1])(g, dg)
    h = 1e-4
    change = (grad(g + h * dg) - grad(g - h * dg)) / (2 * h)
    np.testing.assert_allclose(curve, change, rtol=1e-5, atol=1e-8)


def test_gradient_through_the_cached_matrix_and_the_estimate(x64):
    g = jnp.asarray(array(7, 9)[0]) * 20
    for form in (effective_matrix, attenuated_matrix):

        @jax.jit
        def loss(g, form=form):
            return jnp.sum(jnp.sin(form(g, both(40.0))))

        grad = jax.jit(jax.grad(loss))(g)
        assert np.all(np.isfinite(grad))
        up, down = (loss(g.at[1, 2].add(h)) for h in (1e-5, -1e-5))
        assert grad[1, 2] == pytest.approx(float(up - down) / 2e-5, rel=1e-6)


# --- batches, traces, the estimate --------------------------------------------------


def test_any_batch_shape_vmap_and_one_trace(x64):
    g, v = (jnp.asarray(a) for a in array(8, 6, batch=6))
    whole = run(g, v, both(5.0)).current
    shaped = run(g, v.reshape(2, 3, 8), both(5.0))
    np.testing.assert_allclose(shaped.current.reshape(6, 6), whole, rtol=1e-13)
    assert shaped.iterations.shape == (2, 3)
    each = jax.vmap(lambda v: run(g, v, both(5.0)).current)(v)
    np.testing.assert_allclose(each, whole, rtol=1e-12)
    single = run(g, v[0], both(5.0)).current
    np.testing.assert_allclose(single, whole[0], rtol=1e-13)

    traced = jax.jit(chex.assert_max_traces(solve, n=1))
    for ohm in (0.0, 1, 5.0):
        traced(g * (1 + ohm), v, both(ohm))


def test_iterations_stop_at_their_bound():
    g, v = (jnp.asarray(a, jnp.float32) for a in array(64, 64))
    short = solve(g, v, both(5.0), max_iterations=1)
    assert np.all(np.asarray(short.iterations) == 1)
    assert np.all(np.isnan(short.current)) and np.all(np.isnan(short.voltage))
    rough = solve(g, v, both(5.0), tolerance=1e-2)
    assert np.max(rough.iterations) < np.min(run(g, v, both(5.0)).iterations)


@pytest.mark.parametrize(
    ("n", "ohm", "ideal", "estimate"),
    [(64, 1.0, 0.03, 5e-4), (64, 5.0, 0.12, 1e-2), (128, 1.0, 0.10, 8e-3)],
)
def test_the_estimate_is_far_closer_than_no_wires(n, ohm, ideal, estimate):
    g, v = (jnp.asarray(a, jnp.float32) for a in array(n, n))
    want = np.asarray(v @ matrix(g, both(ohm)), float)
    assert off(v @ g, want) > ideal
    assert off(v @ attenuated_matrix(g, both(ohm)), want) < estimate


# --- on tiles -----------------------------------------------------------------------


def test_interleaved_devices_share_their_rows(x64):
    g = jnp.asarray(array(6, 10)[0]).reshape(6, 5, 2)
    planes = jax.jit(effective_planes)
    separate = planes(g, both(50.0))
    np.testing.assert_allclose(separate[..., 1], matrix(g[..., 1], both(50.0)))
    woven = planes(g, both(50.0, layout="interleaved"))
    np.testing.assert_allclose(
        woven.reshape(6, 10), matrix(g.reshape(6, 10), both(50.0))
    )
    assert np.sum(woven) < np.sum(separate)


def test_tiles_have_wires_of_their_own_size(x64):
    g = jnp.asarray(np.random.default_rng(0).uniform(1, 500, (11, 8, 2)))
    rule, wires = cb.TileRule(rows=4, columns=4), both(20.0)
    seen = jax.jit(cb.through_wires)(g, rule, wires)
    for rows in (slice(0, 4), slice(4, 8), slice(8, 11)):
        for columns in (slice(0, 4), slice(4, 8)):
            for device in (0, 1):
                want = matrix(g[rows, columns, device], wires)
                got = seen[rows, columns, device]
                np.testing.assert_allclose(got, want, rtol=1e-10)
    x = g[0, :3, :1] * g[:, 0, 0]
    tiles = cb.from_planes(seen, rule, coefficients=(1.0, -1.0))
    np.testing.assert_allclose(cb.mvm(tiles, x), x @ (seen[..., 0] - seen[..., 1]))


# --- nonlinear cells ----------------------------------------------------------------


def test_ohmic_cells_are_the_linear_circuit(x64):
    g, v = (jnp.asarray(a) for a in array(9, 70))
    got = nonlinear(g, v, both(20.0), OhmicCell())
    np.testing.assert_allclose(got.current, run(g, v, both(20.0)).current, rtol=1e-12)
    assert np.max(got.iterations) <= 2


@pytest.mark.parametrize("ends", [("left", "bottom"), ("right", "top")])
def test_milo_cells_solve_their_circuit(ends, x64):
    """Against the nodal solution with secant conductances, iterated to rest."""
    g, v = array(12, 8, 50.0, 225.0)
    v = 2.5 * v * np.sign(np.random.default_rng(3).normal(size=v.shape))
    cell = MiloCell()
    wires = Wires(row=20.0, column=10.0, drive=ends[0], sense=ends[1])
    got = nonlinear(jnp.asarray(g), jnp.asarray(v), wires, cell)
    assert np.max(got.iterations) <= 6
    for b in range(2):
        secant = g
        for _ in range(40):
            want, d = nodal(secant * 1e-6, v[b : b + 1], 20.0, 10.0, *ends)
            current = np.asarray(cell.current(jnp.asarray(g), jnp.asarray(d[0])))
            secant = np.where(g > 0, current / d[0], 0)
        assert off(got.current[b], want[0] * 1e6) < 1e-11
    linear = run(jnp.asarray(g), jnp.asarray(v), wires).current
    assert off(linear, np.asarray(got.current)) > 0.01


def test_milo_curve_has_the_published_numbers(x64):
    cell = MiloCell()
    # L = -4: a = -8.1e-6 A/V^2, b = -8.0e-7 A/V^3 (the sums in the fit, by hand)
    v = 0.4
    a = 0.0001388 * -64 + 0.001541 * 16 - 0.005711 * 4 + 0.007063
    b = 8.8710e-5 * 16 - 6.7919e-4 * 4 + 1.2968e-3
    want = 1e6 * (1e-4 * v + a * v**2 + b * v**3)
    assert cell.current(jnp.asarray(100.0), jnp.asarray(v)) == pytest.approx(want)
    odd = cell.current(jnp.asarray(100.0), jnp.asarray(-v))
    assert odd == pytest.approx(-want)
    g, d = jnp.linspace(0, 400, 41)[:, None], jnp.linspace(-0.5, 0.5, 201)
    assert np.all(np.diff(cell.current(g, d), axis=1)[1:] > 0)
    assert np.all(np.asarray(cell.current(0.0 * g, d)) == 0)
    half, end = (
        float(cell.current(jnp.asarray(x), jnp.asarray(0.3))) for x in (25, 50.0)
    )
    assert half == pytest.approx(end / 2)


def test_nonlinear_gradients_equal_central_differences(x64):
    g, v = (jnp.asarray(a) for a in array(8, 6, 50.0, 225.0))

    @jax.jit
    def loss(g, v, row):
        found = solve_nonlinear(g, 2 * v, Wires(row=row, column=10.0), MiloCell())
        return jnp.sum(found.current**2)

    at = (g, v, jnp.asarray(20.0))
    grads = jax.jit(jax.grad(loss, (0, 1, 2)))(*at)
    assert all(np.all(np.isfinite(x)) for x in grads)
    for n, index, h in ((0, (5, 4), 1e-4), (1, (1, 5), 1e-6), (2, (), 1e-4)):
        up = loss(*(x.at[index].add(h) if i == n else x for i, x in enumerate(at)))
        down = loss(*(x.at[index].add(-h) if i == n else x for i, x in enumerate(at)))
        assert grads[n][index] == pytest.approx(float(up - down) / (2 * h), rel=1e-6)


# --- bad input ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Wires(row=-1.0, column=1.0), "row.*negative"),
        (lambda: Wires(row=1.0, column=jnp.nan), "column.*finite"),
        (lambda: both(1.0, drive="top"), "drive.*left"),
        (lambda: both(1.0, sense="left"), "sense.*bottom"),
        (lambda: both(1.0, layout="stacked"), "layout.*separate"),
        (lambda: solve(jnp.ones(3), jnp.ones(3), both(1.0)), "g.*array"),
        (lambda: solve(-jnp.ones((3, 2)), jnp.ones(3), both(1.0)), "g.*negative"),
        (lambda: solve(jnp.ones((3, 2)), jnp.ones(2), both(1.0)), "v.*per row"),
        (
            lambda: solve(jnp.ones((3, 2)), jnp.full(3, jnp.nan), both(1.0)),
            "v.*finite",
        ),
        (
            lambda: solve(jnp.ones((3, 2)), jnp.ones(3), both(1.0), tolerance=0.0),
            "tolerance.*positive",
        ),
        (
            lambda: solve_nonlinear(
                jnp.ones((3, 2)), jnp.ones(3), both(1.0), OhmicCell(), max_iterations=0
            ),
            "max_iterations.*positive",
        ),
    ],
)
def test_bad_input_is_refused_with_the_rule(call, words):
    with pytest.raises(ValueError, match=words):
        call()
