import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from flax import nnx

from anajax.crossbar import periphery
from anajax.crossbar.periphery import IO, ConstantScale, LearnedRange, OutputNoise
from anajax.crossbar.product import TileRule
from anajax.nn.calibration import calibrate_ranges
from anajax.nn.convert import to_analog, with_key
from anajax.transformation import Rule

LEARNED = IO(
    scaling=LearnedRange(range=1.0),
    dac=periphery.uniform(8, 1.0),
    adc=periphery.uniform(8, 10.0),
)


class Net(nnx.Module):
    """A convolution worked off in parts, then a linear layer used twice."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.conv = nnx.Conv(2, 6, (2, 2), rngs=rngs)
        self.linear = nnx.Linear(6, 6, rngs=rngs)

    def __call__(self, x):
        h = jax.nn.relu(self.conv(x)).mean((1, 2))
        return self.linear(3 * self.linear(h))


X = jr.normal(jr.key(5), (8, 4, 4, 2)) * 4


def converted(io=LEARNED, **fields):
    return to_analog(Net(), [Rule(".*", io=io, **fields)]).model


def test_ranges_are_the_largest_values_that_the_digital_network_shows():
    net = Net()
    model = calibrate_ranges(converted(patches=40), [X[:4], X[4:]])
    h = jax.nn.relu(net.conv(X)).mean((1, 2))
    inputs = jnp.concatenate([h, 3 * net.linear(h)])
    for layer, x in ((model.conv, X), (model.linear, inputs)):
        expected = float(jnp.max(jnp.abs(x)))
        assert float(layer.analog.input_range[...]) == pytest.approx(expected, rel=1e-5)
    y = inputs @ net.linear.kernel[...] / jnp.max(jnp.abs(inputs))
    bound = float(model.linear.analog.io.get_value().adc.bound)
    assert bound == pytest.approx(float(jnp.max(jnp.abs(y))), rel=0.01)  # DAC steps


def test_calibrated_network_is_closer_to_the_digital_one():
    exact = Net()(X)
    before = converted()
    after = calibrate_ranges(before, [X])
    errors = [float(jnp.sqrt(jnp.mean((m(X) - exact) ** 2))) for m in (before, after)]
    assert errors[1] < 0.05 * errors[0]
    assert float(before.conv.analog.input_range[...]) == 1


def test_columns_with_scales_of_their_own_share_a_range_before_these():
    scale = jnp.array([1.0, 0.5, 0.1, 0.2, 0.05, 1.0])
    io = IO(scaling=ConstantScale(value=1.0), adc=periphery.uniform(8, 10.0))
    model = converted(io, tiles=TileRule(columns=4))
    scales = {"conv": jnp.ones(6), "linear": scale}
    bound = calibrate_ranges(model, [X], scales=scales).linear.analog.io.get_value()
    h = jax.nn.relu(Net().conv(X)).mean((1, 2))
    inputs = jnp.concatenate([h, 3 * Net().linear(h)])
    y = inputs @ Net().linear.kernel[...] / jnp.max(jnp.abs(inputs))
    largest = jnp.max(jnp.abs(y / scale))
    np.testing.assert_allclose(
        bound.adc.bound[..., 0], largest * scale.reshape(2, 3), rtol=1e-5
    )


def test_quantiles_leave_out_their_share():
    layer = nnx.List([nnx.Linear(500, 3, rngs=nnx.Rngs(0))])
    model, _ = to_analog(Seq(layer), [Rule(".*", io=LEARNED)])
    x = jr.normal(jr.key(0), (40, 500))
    model = calibrate_ranges(model, [x], inputs=0.9, outputs=0.5)
    share = jnp.mean(jnp.abs(x) <= model.layers[0].analog.input_range[...])
    assert share == pytest.approx(0.9, abs=1e-3)
    io = model.layers[0].analog.periphery()
    scaled = io.dac(x / io.scaling.range) @ layer[0].kernel[...]
    share = jnp.mean(jnp.abs(scaled) <= io.adc.bound)
    assert share == pytest.approx(0.5, abs=0.02)


class Seq(nnx.Module):
    def __init__(self, layers):
        self.layers = layers

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


@pytest.mark.parametrize(
    ("per", "shape"), [("tile", (3, 1, 1, 2, 1, 1)), ("column", (3, 1, 1, 2, 3, 1))]
)
def test_ranges_of_tiles_and_columns_fit_their_own_sums(per, shape):
    io = IO(scaling=ConstantScale(value=jnp.ones(3)), adc=periphery.uniform(6, 1.0))
    rule = Rule("linear", io=io, tiles=TileRule(rows=2, columns=3))
    model = calibrate_ranges(to_analog(Net(), [rule]).model, [X], per=per)
    adc = model.linear.analog.io.get_value().adc
    assert adc.bound.shape == shape and len(np.unique(adc.bound)) == adc.bound.size
    scale = model.linear.analog.io.get_value().scaling.value
    assert scale.shape == (3,) and len(np.unique(scale)) == 3
    y, exact = jax.jit(lambda x: model(x))(X), Net()(X)
    error = jnp.max(jnp.abs(y - exact))
    assert 0 < float(error) < 0.1 * float(jnp.max(jnp.abs(exact)))


def test_cells_in_a_scan_are_seen_at_every_step():
    rnn = nnx.RNN(nnx.OptimizedLSTMCell(3, 4, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(1))
    model, _ = to_analog(rnn, [Rule("cell", io=LEARNED)])
    x = jr.normal(jr.key(2), (2, 5, 3)) * jnp.array([1, 1, 1, 7, 1])[:, None]
    model = calibrate_ranges(model, [x])
    found = model.cell.dense_i.analog.input_range[...]
    assert float(found) == pytest.approx(float(jnp.max(jnp.abs(x))), rel=1e-5)
    carried = float(np.max(np.abs(np.asarray(rnn(x))[:, :-1])))
    found = model.cell.dense_h.analog.input_range[...]
    assert float(found) == pytest.approx(carried, rel=1e-5)


def test_noise_counts_with_a_key_only(key):
    io = IO(noise=OutputNoise(sd=30.0), adc=periphery.uniform(8, 1.0))
    model = converted(io)
    with pytest.raises(ValueError, match="`key`"):
        calibrate_ranges(model, [X])
    noisy = calibrate_ranges(model, [X], key=key)
    bound = float(noisy.linear.analog.io.get_value().adc.bound)
    assert 2 * 30 < bound < 5 * 30  # the largest of 96 draws
    with_key(noisy, key)(X)


def test_bad_input_is_named():
    model = converted()
    with pytest.raises(ValueError, match="`per`"):
        calibrate_ranges(model, [X], per="row")
    with pytest.raises(ValueError, match="`batches`.*'conv'"):
        calibrate_ranges(model, [])
    with pytest.raises(ValueError, match="`vectors`"):
        calibrate_ranges(model, [X], vectors=0)
    with pytest.raises(ValueError, match="`inputs` must lie in"):
        calibrate_ranges(model, [X], inputs=0.0)
    with pytest.raises(ValueError, match="finite"):
        calibrate_ranges(model, [X.at[0, 0, 0, 0].set(jnp.nan)])
