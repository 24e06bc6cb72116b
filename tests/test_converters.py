"""Converters round to the nearest code, clip, and pass gradients straight through."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anajax.crossbar import periphery as pp
from anajax.crossbar.converters import (
    Clip,
    ContinuousBits,
    Ideal,
    SelfRanging,
    Uniform,
    calibrate,
    clip_inclusive,
    continuous_bits,
    round_through,
    straight_through,
    uniform,
)


def test_round_through_has_slope_one_in_both_modes():
    x = jnp.array([-1.5, -0.2, 0.5, 2.5, 3.7])
    np.testing.assert_array_equal(round_through(x), [-2, 0, 0, 2, 4])
    assert jnp.all(jax.grad(lambda v: round_through(v).sum())(x) == 1)
    _, tangent = jax.jvp(round_through, (x,), (2 * x,))
    np.testing.assert_array_equal(tangent, 2 * x)


def test_straight_through_ignores_the_slope_of_its_value():
    grad = jax.grad(lambda v: straight_through(7 * v, v**2))(3.0)
    assert grad == 6


def test_clip_passes_gradients_at_its_bounds_and_keeps_nan():
    x = jnp.array([-2.0, -1.0, 0.0, 1.0, 2.0, jnp.nan])
    y, grad = jax.vmap(jax.value_and_grad(lambda v: clip_inclusive(v, -1, 1)))(x)
    np.testing.assert_array_equal(y, [-1, -1, 0, 1, 1, np.nan])
    np.testing.assert_array_equal(grad[:5], [0, 1, 1, 1, 0])


@pytest.mark.parametrize("bits", [2, 5, 8, 12])
@pytest.mark.parametrize("signed", [True, False])
def test_uniform_is_the_nearest_code(bits, signed, x64):
    adc = uniform(bits, 1.7, signed=signed)
    x = jnp.asarray(np.random.default_rng(0).uniform(-2.5, 2.5, 5000))
    codes = np.arange(-adc.codes if signed else 0, adc.codes + 1) * 1.7 / adc.codes
    nearest = codes[np.argmin(np.abs(np.asarray(x)[:, None] - codes), axis=1)]
    np.testing.assert_allclose(adc(x), nearest, atol=1e-12)
    assert adc(jnp.zeros(())) == 0
    assert len(codes) == adc.steps + 1 == 2**bits - signed


def test_overflow_is_decided_on_the_rounded_value():
    adc = Uniform(bound=2.0, steps=4)
    over = adc.overflow(jnp.array([-2.6, -2.4, 0, 2.4, 2.6]))
    np.testing.assert_array_equal(over, [1, 0, 0, 0, 1])
    positive = Uniform(bound=2.0, steps=2, signed=False)
    np.testing.assert_array_equal(positive.overflow(jnp.array([-9.0, 2.6])), [0, 1])
    np.testing.assert_array_equal(
        Clip(bound=1.0).overflow(jnp.array([1, -1.1])), [0, 1]
    )
    assert not jnp.any(Ideal().overflow(jnp.array([1e9])))


def test_the_bound_learns_by_rounding_residual_and_clipping(x64):
    def y(bound, x):
        return Uniform(bound=bound, steps=6)(x)

    inside, step = 0.4, 1 / 3
    slope = jax.grad(y)(1.0, jnp.asarray(inside))
    assert slope == pytest.approx((round(inside / step) - inside / step) / 3)
    assert jax.grad(y)(1.0, jnp.asarray(5.0)) == pytest.approx(1)
    assert jax.grad(y)(1.0, jnp.asarray(-5.0)) == pytest.approx(-1)


def test_steps_are_structure_and_bounds_are_numbers():
    traces = []

    @jax.jit
    def f(adc, x):
        traces.append(1)
        return adc(x)

    for bound in (1.0, 2, np.float32(3)):
        f(uniform(8, bound), jnp.ones(3))
    assert len(traces) == 1


@pytest.mark.parametrize(("quantile", "axis"), [(1.0, None), (0.9, None), (0.9, 0)])
def test_calibrate_takes_a_quantile_of_the_size(quantile, axis):
    values = jnp.asarray(np.random.default_rng(0).normal(size=(1000, 3))) * jnp.array(
        [1.0, 5.0, 0.0]
    )
    adc = calibrate(uniform(8, 1.0), values, quantile=quantile, axis=axis)
    want = np.quantile(np.abs(values), quantile, axis=axis, keepdims=axis is not None)
    np.testing.assert_allclose(adc.bound, np.where(want > 0, want, 1), rtol=1e-5)
    assert adc.steps == 254
    fits = np.mean(np.abs(values[:, 1]) <= np.broadcast_to(adc.bound, (1, 3))[0, 1])
    assert fits >= (quantile if axis == 0 else 0.7)


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize("quantile", [0.001, 0.5, 0.999])
def test_a_quantile_of_all_values_is_numpys(size, quantile):
    values = jnp.asarray(np.random.default_rng(size).normal(size=size))
    adc = calibrate(Clip(bound=1.0), values, quantile=quantile)
    want = np.quantile(np.abs(np.asarray(values)), quantile)
    np.testing.assert_allclose(adc.bound, want, rtol=1e-5)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: uniform(0, 1.0, signed=False), "bits.*at least 1"),
        (lambda: uniform(1, 1.0), "bits.*at least 2"),
        (lambda: uniform(8, 0.0), "bound.*positive"),
        (lambda: uniform(8, -1.0), "bound.*positive"),
        (lambda: uniform(8, jnp.nan), "bound.*finite"),
        (lambda: Clip(bound=0.0), "bound.*positive"),
        (lambda: Uniform(bound=1.0, steps=7), "steps.*even.*Use 6"),
        (lambda: Uniform(bound=1.0, steps=0), "steps.*at least 2"),
        (lambda: SelfRanging(steps=7), "steps.*even.*Use 6"),
        (lambda: pp.bits(1, 8), "bits.*at least 2"),
        (lambda: pp.bits(8, 1), "bits.*at least 2"),
        (lambda: pp.bits(adc_range=0.0), "bound.*positive"),
        (lambda: calibrate(Clip(bound=1.0), jnp.ones(3), quantile=0.0), "quantile"),
        (lambda: calibrate(Clip(bound=1.0), jnp.array([jnp.nan])), "values.*finite"),
        (lambda: pp.AbsMax(cap=0.0), "cap.*positive"),
        (lambda: pp.ConstantScale(value=0.0), "value.*positive"),
        (lambda: pp.LearnedRange(range=-1.0), "range.*positive"),
        (lambda: pp.OutputNoise(sd=-1.0), "sd.*negative"),
        (lambda: pp.WeightNoise(sd=-1.0), "sd.*negative"),
        (lambda: pp.BoundManagement(max_halvings=0), "max_halvings.*at least 1"),
        (lambda: pp.BitSlices(bits=0), "bits.*at least 1"),
        (lambda: pp.IRDrop(gamma=0.0), "gamma.*positive"),
        (lambda: pp.IO(slicing=pp.BitSlices()), "dac.*Uniform"),
    ],
)
def test_bad_numbers_are_refused_with_the_rule(build, words):
    with pytest.raises(ValueError, match=words):
        build()


# --- scaling and slicing ------------------------------------------------------------


def test_scales():
    x = jnp.array([[1.0, -4.0], [0.0, 0.0], [0.5, 0.1]])
    np.testing.assert_array_equal(pp.AbsMax().scale(x), [[4], [1], [0.5]])
    np.testing.assert_array_equal(pp.AbsMax(cap=2.0).scale(x), [[2], [1], [0.5]])
    np.testing.assert_array_equal(pp.NoScaling().scale(x), [[1]])
    np.testing.assert_array_equal(pp.ConstantScale(value=3.0).scale(x), [[3]])
    per_tile = pp.LearnedRange(range=jnp.array([1.0, 2.0])).scale(jnp.ones((2, 5, 4)))
    assert per_tile.shape == (2, 1, 1)


def test_only_the_learned_range_gets_a_gradient():
    def out(scaling):
        x = jnp.array([[0.3, 2.0]])
        scale = scaling.scale(x)
        return jnp.sum(uniform(8, 1.0)(x / scale) * scale)

    learned = jax.grad(out)(pp.LearnedRange(range=1.0))
    assert learned.range == pytest.approx(1, abs=0.01)
    assert jax.grad(out)(pp.ConstantScale(value=1.0)).value == 0


@pytest.mark.parametrize("bits", [1, 2, 3, 8])
@pytest.mark.parametrize("dac", [uniform(8, 1.5), uniform(4, 0.5, signed=False)])
def test_slices_add_up_to_the_code_and_to_its_gradient(bits, dac, x64):
    x = jnp.asarray(np.random.default_rng(0).uniform(-2.0, 2.0, 200))
    slicing = pp.BitSlices(bits=bits)
    values, factors = slicing.split(x, dac)
    assert values.shape[0] == -(-dac.codes.bit_length() // bits)
    np.testing.assert_allclose(jnp.tensordot(factors, values, 1), dac(x), atol=1e-12)
    digits = np.abs(values) / np.asarray(dac.bound, float) * (2**bits - 1)
    np.testing.assert_allclose(digits, np.round(digits), atol=1e-9)
    assert np.max(digits) < 2**bits

    def total(v):
        values, factors = slicing.split(v, dac)
        return jnp.sum(jnp.tensordot(factors, values, 1))

    whole = jax.grad(lambda v: jnp.sum(dac(v)))(x)
    np.testing.assert_allclose(jax.grad(total)(x), whole, atol=1e-12)


def test_presets_are_the_two_columns_of_aihwkit():
    io = pp.standard()
    assert (io.dac.steps, io.adc.steps) == (126, 510)
    assert (float(io.dac.bound), float(io.adc.bound)) == (1, 12)
    assert float(io.noise.sd) == pytest.approx(0.06)
    assert isinstance(io.scaling, pp.AbsMax)
    assert isinstance(io.weight_noise, pp.NoNoise) and isinstance(io.drop, pp.NoIRDrop)
    io = pp.training(input_range=3.0)
    assert (io.dac.steps, io.adc.steps) == (254, 254)
    assert (float(io.dac.bound), float(io.adc.bound)) == (1, 10)
    assert float(io.noise.sd) == pytest.approx(0.04)
    assert float(io.weight_noise.sd) == pytest.approx(0.0175)
    assert float(io.drop.gamma) == pytest.approx(571428.57)
    assert float(io.scaling.range) == 3


@pytest.mark.parametrize("bits", [2, 3, 5, 8])
def test_graded_converts_as_uniform_does(bits):
    x = jnp.linspace(-3, 3, 1001)
    given = uniform(bits, 1.7)
    made = continuous_bits(given)
    np.testing.assert_allclose(made(x), given(x), atol=1e-6)
    np.testing.assert_array_equal(made.overflow(x), given.overflow(x))


def test_graded_bits_share_a_trace_and_have_a_slope():
    """Within the bounds d y / d step is the rounding residual over the step."""
    traces = []

    @jax.jit
    def convert(codes, x):
        traces.append(codes)
        return ContinuousBits(bound=1.0, codes=codes)(x)

    x = jnp.array([0.31, -0.62, 0.05])
    for codes in (3.0, 7.0, 12.5):
        y = convert(jnp.asarray(codes), x)
        slope = jax.jacobian(convert)(jnp.asarray(codes), x)
        np.testing.assert_allclose(slope, -(y - x) / codes, atol=1e-6)
    assert len(traces) <= 2  # once for the value, once for the slope
    clipped = jax.grad(lambda b: ContinuousBits(bound=b, codes=7.0)(jnp.asarray(3.0)))(
        1.0
    )
    np.testing.assert_allclose(clipped, 1.0)


def test_graded_refuses_an_unsigned_converter():
    with pytest.raises(ValueError, match="`converter` must be signed"):
        continuous_bits(uniform(4, 1.0, signed=False))


def test_a_self_ranging_converter_fits_each_vector_and_tile():
    """Half a step of the largest of its columns, never clipped; slope 1."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 5, 2)))
    x = x * 10.0 ** jnp.arange(3)[:, None, None, None]
    adc = SelfRanging(steps=254)
    largest = jnp.max(jnp.abs(x), axis=(2, 3), keepdims=True)
    step = largest / 127
    error = jnp.abs(adc(x) - x) / step
    assert jnp.max(error) <= 0.5 + 1e-3 and jnp.max(error) > 0.4
    np.testing.assert_allclose(
        adc(x), uniform(8, largest[0])(x / largest * largest[0]) / largest[0] * largest,
        rtol=1e-5, atol=1e-6,
    )  # fmt: skip
    assert not jnp.any(adc.overflow(x)) and jnp.all(adc(jnp.zeros((2, 2))) == 0)
    np.testing.assert_allclose(jax.grad(lambda x: jnp.sum(adc(x)))(x), 1, rtol=1e-6)
    assert calibrate(adc, x).bound == jnp.max(jnp.abs(x))


def test_converters_of_so_many_bits():
    io = pp.bits(dac=6, adc=7)
    assert (io.dac.steps, io.adc.steps) == (62, 126)
    assert isinstance(io.scaling, pp.AbsMax) and isinstance(io.noise, pp.NoNoise)
    fixed = pp.bits(adc_range=3.0).adc
    assert (fixed.steps, float(fixed.bound)) == (254, 3)
