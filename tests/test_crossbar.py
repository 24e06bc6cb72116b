"""Products on tiles: exact where ideal, equal to other simulators, noise as stated."""

import json

import chex
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from shared import oracle

from anajax import crossbar as cb
from anajax import periphery as pp
from anajax._split import even_parts, join, split_axis
from anajax._tree import replace
from anajax.converters import Clip, Ideal, Uniform, calibrate, uniform

mvm = jax.jit(cb.mvm)
from_weights = jax.jit(cb.from_weights, static_argnames="normalize")
from_planes = jax.jit(cb.from_planes, static_argnames="combine")
column_sums = jax.jit(cb.column_sums)
CUTS = [
    ((None, None), "none"),
    ((40, 20), "tile"),
    ((7, 48), "column"),
    ((95, 47), "tile"),
]


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def uniform_data(*shape, low=-1.0, high=1.0, seed=1):
    return jnp.asarray(np.random.default_rng(seed).uniform(low, high, shape))


def pair(rows=30, columns=20):
    g = uniform_data(rows, columns, 4, low=0.0, high=25.0)
    return g, (2.0, -2.0, 1.0, -1.0)


# --- cutting ------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "count"), [(10, 3), (9, 3), (7, 7), (5, 4), (1, 1)])
def test_parts_are_nearly_equal_and_join_again(size, count):
    parts = even_parts(size, count)
    assert sum(parts) == size and parts == sorted(parts, reverse=True)
    assert max(parts) - min(parts) <= 1
    x = jnp.arange(2.0 * size).reshape(2, size)
    cut = split_axis(x, parts, axis=1)
    assert cut.shape == (2, count, max(parts))
    assert jnp.sum(cut) == jnp.sum(x)  # the padding is zero
    np.testing.assert_array_equal(join(cut, size, axis=1), x)


def test_rule_cuts_like_the_oracle():
    rows, columns = cb.TileRule(rows=40, columns=20).parts(96, 48)
    assert (rows, columns) == ([32] * 3, [16] * 3)


# --- exact where ideal --------------------------------------------------------------


@pytest.mark.parametrize(("limits", "normalize"), CUTS)
def test_ideal_hardware_is_the_digital_product(limits, normalize, x64):
    w, x = normal(96, 48), normal(3, 2, 96)
    b = jnp.arange(48.0)
    rule = cb.TileRule(rows=limits[0], columns=limits[1])

    def analog(w, x, b):
        return mvm(from_weights(w, rule, normalize=normalize, bias=b), x)

    def loss(f):
        return jax.jit(jax.grad(lambda *a: jnp.sum(jnp.sin(f(*a))), (0, 1, 2)))

    def digital(w, x, b):
        return x @ w + b

    np.testing.assert_allclose(jax.jit(analog)(w, x, b), digital(w, x, b), atol=1e-12)
    chex.assert_trees_all_close(
        loss(analog)(w, x, b), loss(digital)(w, x, b), atol=1e-11
    )
    tiles = from_weights(w, rule, normalize=normalize)
    np.testing.assert_allclose(cb.weights(tiles), w, atol=1e-14)


@pytest.mark.parametrize("combine", ["analog", "digital", (0, 0, 1, 1)])
@pytest.mark.parametrize("limits", [(None, None), (7, 6)])
def test_devices_combine_to_the_weight_in_every_domain(combine, limits, x64):
    g, c = pair()
    x, scale = normal(5, 30), jnp.linspace(0.1, 1, 20)
    rule = cb.TileRule(rows=limits[0], columns=limits[1])
    tiles = from_planes(
        g, rule, coefficients=c, combine=combine, unit=25.0, scale=scale
    )
    w = (g @ jnp.array(c)) * scale
    np.testing.assert_allclose(cb.weights(tiles), w, atol=1e-12)
    np.testing.assert_allclose(mvm(tiles, x), x @ w, atol=1e-11)


def test_digital_combination_converts_each_device(x64):
    g, c = pair()
    x = uniform_data(5, 30)
    adc = uniform(6, 12.0)
    rule = cb.TileRule(rows=16)
    build = {"coefficients": c, "unit": 25.0}
    io = pp.IO(adc=adc)

    def parts(rows):
        cut = (slice(0, 15), slice(15, 30))
        return sum(rows(x[:, s], g[s] / 25) for s in cut)

    each = parts(
        lambda x, g: jnp.einsum(
            "bod,d->bo", adc(jnp.einsum("br,rod->bod", x, g)), jnp.array(c)
        )
    )
    tiles = from_planes(g, rule, combine="digital", **build)
    np.testing.assert_allclose(mvm(tiles, x, io), 25 * each, atol=1e-10)
    pairs = parts(
        lambda x, g: (
            2 * adc(x @ (g[..., 0] - g[..., 1])) + adc(x @ (g[..., 2] - g[..., 3]))
        )
    )
    tiles = from_planes(g, rule, combine=(0, 0, 1, 1), **build)
    np.testing.assert_allclose(mvm(tiles, x, io), 25 * pairs, atol=1e-10)
    cell = parts(lambda x, g: 2 * adc(x @ (g @ jnp.array(c)) / 2))
    tiles = from_planes(g, rule, combine="analog", **build)
    np.testing.assert_allclose(mvm(tiles, x, io), 25 * cell, atol=1e-10)


# --- other simulators ---------------------------------------------------------------


def converter(res, bound):
    if res > 0:
        return Uniform(bound=bound, steps=round(1 / res))
    return Clip(bound=bound) if bound > 0 else Ideal()


def periphery(c):
    if c["is_perfect"]:
        return pp.ideal()
    cap = c["nm_thres"]
    scaling = {
        "NONE": pp.NoScaling(),
        "ABS_MAX": pp.AbsMax(cap=cap) if cap > 0 else pp.AbsMax(),
        "CONSTANT": pp.ConstantScale(value=cap) if cap > 0 else pp.NoScaling(),
    }
    again = c["bound_management"] == "ITERATIVE"
    return pp.IO(
        scaling=scaling[c["noise_management"]],
        dac=converter(c["inp_res"], c["inp_bound"]),
        adc=converter(c["out_res"], c["out_bound"]),
        bounds=pp.Reread(max_halvings=4) if again else pp.SingleRead(),
    )


def test_forward_passes_equal_aihwkit():
    z = np.load(oracle("io_forward.npz"))
    x, w = jnp.asarray(z["x"]), jnp.asarray(z["w"])
    cases = json.loads(str(z["cases"]))
    assert len(cases) == 18
    for name in cases:
        c = json.loads(str(z[f"{name}/config"]))
        kind = "column" if c["columnwise"] else "tile"
        tiles = from_weights(
            w.T,
            cb.TileRule(rows=c["max_input_size"], columns=c["max_output_size"]),
            normalize=kind if c["omega"] > 0 else "none",
            omega=c["omega"] or 1.0,
        )
        want = z[f"{name}/y_torch_by_row"]
        got = np.asarray(mvm(tiles, x, periphery(c)))
        off = np.abs(got - want) > 1e-5 * np.abs(want).max(axis=1, keepdims=True)
        assert off.sum() == 0, name


def test_voltage_drop_follows_the_formula(x64):
    w, x = normal(5, 3), uniform_data(4, 5)
    drop = pp.DropFormula(scale=0.7, gamma=20.0)
    got = mvm(from_weights(w), x, pp.IO(drop=drop))
    for b in range(4):
        for i in range(3):
            a = 5 / 20 * sum(abs(w[j, i]) * abs(x[b, j]) for j in range(5))
            c = a * (0.05 * a**2 - 0.2 * a + 0.5)
            lost = sum(w[j, i] * x[b, j] * (1 - (1 - j / 5) ** 2) for j in range(5))
            want = x[b] @ w[:, i] - 0.7 * c * lost
            assert got[b, i] == pytest.approx(float(want), rel=1e-10)


def test_sliced_inputs_equal_a_plain_loop_over_bits(x64):
    w, x = normal(24, 6), uniform_data(8, 24)
    adc = uniform(6, 6.0)
    io = pp.IO(dac=uniform(8, 1.0), slicing=pp.BitSlices(bits=2), adc=adc)
    code = np.round(np.asarray(x) * 127).astype(int)
    want = np.zeros((8, 6))
    for i in range(4):
        digit = np.sign(code) * ((np.abs(code) >> (2 * i)) & 3)
        want += 4**i * 3 / 127 * np.asarray(adc(jnp.asarray(digit / 3) @ w))
    np.testing.assert_allclose(mvm(from_weights(w), x, io), want, atol=1e-10)


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
    io = pp.IO(adc=uniform(8, 2.0), bounds=pp.Reread(max_halvings=5))
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
        bounds=pp.Reread(max_halvings=1),
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
    io = pp.IO(adc=uniform(10, 1.0), bounds=pp.Reread(max_halvings=6))

    def f(w, x):
        return mvm(from_weights(w, cb.TileRule(rows=8, columns=2)), x, io)

    y = f(w, x)
    np.testing.assert_allclose(jax.jit(f)(w, x), y, atol=1e-12)
    each = jax.jit(jax.vmap(f, (None, 0)))
    np.testing.assert_allclose(each(w, x), y, atol=1e-12)
    grad = jax.jit(jax.grad(lambda w: jnp.sum(f(w, x))))(w)
    np.testing.assert_allclose(grad, jnp.tile(x.sum(0)[:, None], (1, 3)), atol=1e-12)


# --- inside the user's own transformations ------------------------------------------


def test_one_trace_for_all_values_and_keys(key):
    @jax.jit
    @chex.assert_max_traces(n=1)
    def f(w, x, io, key):
        return mvm(from_weights(w, normalize="column"), x, io, key=key)

    w, x = normal(8, 4), normal(3, 8)
    for i in range(3):
        io = pp.training(input_range=1.0 + i)
        f(w * (i + 1), x, io, jr.key(i))


def test_scan_equals_a_loop(key):
    tiles = from_weights(normal(8, 8), bias=jnp.ones(8))
    io = pp.standard()
    keys = jr.split(key, 4)

    def step(h, k):
        return jnp.tanh(mvm(tiles, h, io, key=k)), None

    h = jnp.ones((2, 8))
    scanned, _ = jax.lax.scan(step, h, keys)
    for k in keys:
        h, _ = step(h, k)
    np.testing.assert_allclose(scanned, h, atol=0.05)  # an ADC step may flip
    assert np.mean(np.abs(scanned - h) < 1e-5) > 0.8


def test_quantized_gradient_is_straight_through(x64):
    w, x = normal(12, 5), normal(7, 12)
    io = replace(pp.standard(), noise=pp.NoNoise())
    tiles = from_weights(w, normalize="column")
    grad = jax.grad(lambda x: jnp.sum(mvm(tiles, x, io)))(x)
    np.testing.assert_allclose(grad, jnp.tile(w.sum(1), (7, 1)), rtol=1e-9)


def test_calibrated_adcs_do_not_clip_and_have_a_range_per_column():
    w = normal(20, 7) * jnp.linspace(0.1, 5, 7)
    x = normal(50, 20, seed=1)
    tiles = from_weights(w, cb.TileRule(rows=11, columns=4))
    io = pp.IO(adc=uniform(10, 1.0))
    rough = jnp.abs(mvm(tiles, x, io) - x @ w)
    sums = column_sums(tiles, x, io)
    fine = replace(io, adc=calibrate(io.adc, sums, axis=(1, 2)))
    error = jnp.abs(mvm(tiles, x, fine) - x @ w)
    step = jnp.max(jnp.abs(sums), axis=(1, 2)) / 511
    assert jnp.max(error[:, 0]) <= jnp.sum(step[:, 0, 0]) / 2 * 1.01
    assert jnp.max(error) < 0.1 * jnp.max(rough)


def test_partial_sums_add_up_and_rescale_reaches_every_level(x64):
    w, x = normal(20, 7), normal(5, 20, seed=1)
    tiles = from_weights(w, cb.TileRule(rows=11, columns=4))
    parts = cb.partial_sums(tiles, x)
    assert parts.shape == (5, 2, 2, 4)
    np.testing.assert_allclose(join(parts.sum(1), 7, axis=1), x @ w, atol=1e-12)
    column = jnp.arange(1.0, 8)
    np.testing.assert_allclose(cb.weights(cb.rescale(tiles, column)), w * column)
    np.testing.assert_allclose(cb.weights(cb.rescale(tiles, 2.0)), w * 2)
    tile = jnp.array([[1.0, 2.0], [3.0, 4.0]])[..., None]
    got = cb.weights(cb.rescale(tiles, tile))
    np.testing.assert_allclose(got[:10, :4], w[:10, :4], rtol=1e-12)
    np.testing.assert_allclose(got[10:, 4:], 4 * w[10:, 4:], rtol=1e-12)


# --- bad input ----------------------------------------------------------------------


def test_nan_is_refused_outside_of_traces_and_stays_in_its_vector_inside(key):
    tiles = from_weights(normal(9, 4), cb.TileRule(rows=5))
    x = normal(3, 9).at[1, 2].set(jnp.nan)
    with pytest.raises(ValueError, match="`x` must be finite"):
        cb.mvm(tiles, x)
    for bounds in (pp.SingleRead(), pp.Reread()):
        io = replace(pp.standard(), bounds=bounds)
        y = mvm(tiles, x, io, key=key)
        np.testing.assert_array_equal(
            np.isnan(y), np.array([[0], [1], [0]]) * np.ones(4)
        )


def planes(**changes):
    given = {"coefficients": (1.0, -1.0)} | changes
    return cb.from_planes(jnp.ones((4, 3, 2)), **given)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: cb.TileRule(rows=0), "rows.*positive integer"),
        (lambda: cb.TileRule(columns=-3), "columns.*positive integer"),
        (lambda: cb.from_weights(jnp.ones((3, 3, 4, 5))), r"weights.*\[in, out\]"),
        (lambda: cb.from_weights(jnp.ones((0, 3))), "weights.*matrix"),
        (lambda: cb.from_weights(jnp.ones((4, 3)), normalize="row"), "normalize"),
        (lambda: cb.from_weights(jnp.ones((4, 3)), omega=0.0), "omega.*positive"),
        (lambda: cb.from_weights(jnp.ones((4, 3)), bias=jnp.ones(4)), "bias.*column"),
        (lambda: planes(coefficients=(1.0,)), "coefficients.*per device"),
        (lambda: planes(combine="mixed"), "combine"),
        (lambda: planes(combine=(0, 2)), "combine.*number"),
        (lambda: planes(combine=(0, 0, 1)), "combine.*each device"),
        (lambda: planes(unit=0.0), "unit.*positive"),
        (lambda: planes(scale=jnp.ones(4)), "scale.*per column"),
        (lambda: planes(variance=jnp.ones((4, 3))), "variance.*shape"),
        (lambda: cb.mvm(planes(), jnp.ones((2, 5))), "x.*4 values"),
        (lambda: cb.mvm(planes(), jnp.ones((2, 4)), pp.standard()), "key.*noise"),
        (lambda: cb.rescale(planes(), jnp.ones(5)), "factor.*per column"),
    ],
)
def test_bad_input_is_refused_with_the_rule(call, words):
    with pytest.raises(ValueError, match=words):
        call()
