"""Products on tiles: exact where ideal, equal to other simulators."""

import json

import chex
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from products import (
    CUTS,
    column_sums,
    from_planes,
    from_weights,
    mvm,
    normal,
    pair,
    uniform_data,
)
from shared import oracle

from anajax._core.tree import replace
from anajax.crossbar import periphery as pp
from anajax.crossbar import product as cb
from anajax.crossbar.converters import Clip, Ideal, Uniform, calibrate, uniform
from anajax.crossbar.split import even_parts, join, split_axis

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
        bounds=pp.BoundManagement(max_halvings=4) if again else pp.NoBoundManagement(),
    )


def test_forward_passes_equal_aihwkit():
    z = np.load(oracle("io_forward.npz"))
    x, w = jnp.asarray(z["x"]), jnp.asarray(z["w"])
    cases = json.loads(str(z["cases"]))
    assert len(cases) == 18
    for name in cases:
        c = json.loads(str(z[f"{name}/config"]))
        kind = "tile" if c["columnwise"] else "array"
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
    drop = pp.IRDrop(scale=0.7, gamma=20.0)
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


def test_inputs_of_half_precision_meet_all_codes_of_an_adc(key):
    """As in single precision, rounded once at the end; and what that loses is said."""
    w = jr.normal(key, (24, 8))
    x = jr.normal(jr.fold_in(key, 1), (50, 24)).astype(jnp.bfloat16)
    io = pp.IO(scaling=pp.AbsMax(), dac=uniform(8, 1.0), adc=uniform(12, 12.0))
    tiles = cb.from_weights(w)
    single = cb.mvm(tiles, x.astype(jnp.float32), io)
    with pytest.warns(UserWarning, match="codes.* 2047: got bfloat16, which holds 256"):
        half = cb.mvm(tiles, x, io)
    np.testing.assert_array_equal(half, single.astype(jnp.bfloat16))
    sums = cb.column_sums(tiles, x, io)
    assert sums.dtype == jnp.float32
    codes = io.adc.encode(sums.astype(jnp.bfloat16))
    assert codes.dtype == jnp.float32 and np.all(np.asarray(codes) % 1 == 0)
    assert len(np.unique(io.adc.encode(sums))) > 300
    fitting = replace(io, adc=uniform(9, 12.0))  # no more codes than bfloat16 holds
    assert cb.mvm(tiles, x, fitting).dtype == jnp.bfloat16


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
    for bounds in (pp.NoBoundManagement(), pp.BoundManagement()):
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
