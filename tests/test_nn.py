import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from flax import nnx
from layer_list import CELLS, LAYERS

from anajax.crossbar import TileRule, periphery
from anajax.crossbar.periphery import IO, OutputNoise
from anajax.nn.analog import content_key
from anajax.nn.convert import functional, to_analog, with_key
from anajax.transformation import Rule

SMALL = Rule(".*", tiles=TileRule(rows=4, columns=3), normalize="column")


class Root(nnx.Module):
    """One layer in a module: rules speak of paths."""

    def __init__(self, build):
        self.layer = build(nnx.Rngs(3))

    def __call__(self, x):
        return self.layer(x)


class Scan(nnx.Module):
    """A cell over time: a scan in the user's code."""

    def __init__(self, build):
        self.cell = build(nnx.Rngs(3))

    def __call__(self, x):
        zero = jnp.zeros((x.shape[1], 4), x.dtype)
        lstm = isinstance(self.cell, nnx.LSTMCell | nnx.OptimizedLSTMCell)
        return jax.lax.scan(self.cell, (zero, zero) if lstm else zero, x)[1]


def forward_and_gradients(model, x):
    params, apply = functional(model)

    def loss(params, x):
        y = apply(params, x)
        return jnp.sum(y * jnp.cos(jnp.arange(y.size).reshape(y.shape))), y

    return jax.jit(jax.grad(loss, (0, 1), has_aux=True))(params, x)


def assert_as_digital(model, x, rule=SMALL):
    converted, report = to_analog(model, [rule])
    assert report.tiles > 0
    got, expected = (forward_and_gradients(m, x) for m in (converted, model))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=3e-6),
        got,
        expected,
    )


@pytest.mark.parametrize("name", LAYERS)
def test_ideal_periphery_equals_digital_forward_and_gradient(name, key):
    build, shape = LAYERS[name]
    assert_as_digital(Root(build), jr.normal(key, shape))


@pytest.mark.parametrize("name", CELLS)
def test_cells_in_a_scan_equal_digital(name, key):
    assert_as_digital(Scan(CELLS[name]), jr.normal(key, (5, 2, 3)))


def test_rnn_of_flax_runs_analog_cells(key):
    rnn = nnx.RNN(nnx.OptimizedLSTMCell(3, 4, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(1))
    x = jr.normal(key, (2, 5, 3))
    converted, _ = to_analog(rnn, [Rule("cell")])
    np.testing.assert_allclose(converted(x), rnn(x), rtol=1e-5, atol=1e-6)


def test_double_precision(x64, key):
    build = lambda r: nnx.Conv(2, 3, (2, 2), param_dtype=jnp.float64, rngs=r)  # noqa: E731
    model, x = Root(build), jr.normal(key, (2, 4, 4, 2))
    converted, _ = to_analog(model, [SMALL])
    assert converted(x).dtype == jnp.float64
    np.testing.assert_allclose(converted(x), model(x), rtol=1e-12)


def test_convolution_in_parts_equals_the_whole(key):
    model = Root(LAYERS["conv2d"][0])
    x = jr.normal(key, (6, 7, 6, 3))
    assert_as_digital(model, x, Rule(".*", patches=1000))


def test_converters_act_on_the_true_product_of_a_convolution(key):
    model, x = Root(LAYERS["conv2d_valid"][0]), jr.normal(key, (2, 8, 9, 4))
    io = IO(adc=periphery.uniform(4, 2.0))
    got = to_analog(model, [Rule(".*", io=io)]).model(x) - model.layer.bias[...]
    exact = model(x) - model.layer.bias[...]
    np.testing.assert_allclose(got, io.adc(exact), atol=1e-5)


def noisy(model, sd=0.1):
    return to_analog(model, [Rule(".*", io=IO(noise=OutputNoise(sd=sd)))]).model


def test_noise_is_fresh_per_vector_per_key_and_per_input(key):
    model = Root(lambda r: nnx.Linear(3, 400, rngs=r))
    x = jnp.ones((4, 3))
    analog = noisy(model)
    noise = [
        with_key(analog, k)(v) - model(v)
        for k, v in ((key, x), (key, 2 * x), (jr.key(1), x))
    ]
    rows = jnp.concatenate(noise)
    correlation = np.corrcoef(rows) - np.eye(12)
    assert np.max(np.abs(correlation)) < 5 / np.sqrt(400)
    np.testing.assert_allclose(np.std(rows), 0.1, rtol=5 / np.sqrt(2 * rows.size))
    again = with_key(analog, key)(x)
    assert jnp.all(again == with_key(analog, key)(x))


def test_noise_is_fresh_across_groups(key):
    model = Root(lambda r: nnx.Conv(2, 800, (1,), feature_group_count=2, rngs=r))
    x = jnp.ones((1, 1, 2))
    noise = (with_key(noisy(model), key)(x) - model(x)).reshape(2, 400)
    assert abs(np.corrcoef(noise)[0, 1]) < 5 / np.sqrt(400)


def test_repeated_input_of_a_cell_meets_fresh_noise_at_each_step(key):
    scan = Scan(lambda r: nnx.SimpleCell(3, 4, rngs=r))
    scan.cell.dense_h.kernel[...] = jnp.zeros((4, 4))  # no memory: only x counts
    x = jnp.ones((200, 1, 3))
    y = with_key(noisy(scan), key)(x)[:, 0]
    assert len(np.unique(np.asarray(y[:, 0]))) == 200
    lag = np.corrcoef(y[1:, 0], y[:-1, 0])[0, 1]
    assert abs(lag) < 5 / np.sqrt(200)


def test_vmap_over_examples_draws_noise_for_each(key):
    model = Root(lambda r: nnx.Linear(3, 50, rngs=r))
    params, apply = functional(noisy(model))
    x = jr.normal(key, (6, 3))
    noise = jax.vmap(lambda v: apply(params, v, key=key))(x) - model(x)
    assert np.max(np.abs(np.corrcoef(noise) - np.eye(6))) < 5 / np.sqrt(50)


def test_content_key_differs_by_a_bit_and_a_sign(key):
    x = jnp.arange(8.0)
    keys = [content_key(key, v) for v in (x, -x, x[::-1], x.at[3].add(1e-6), x[:7])]
    assert len({tuple(jr.key_data(k).tolist()) for k in keys}) == 5


def test_noise_needs_a_key():
    with pytest.raises(ValueError, match="key"):
        noisy(Root(LAYERS["linear"][0]))(jnp.ones((1, 7)))


def test_not_finite_activations_name_the_layer():
    analog, _ = to_analog(Root(LAYERS["linear"][0]), [SMALL])
    with pytest.raises(ValueError, match="inputs of layer"):
        analog(jnp.full((1, 7), jnp.nan))


def test_one_trace_for_keys_and_weights(key):
    params, apply = functional(noisy(Root(LAYERS["linear"][0])))
    count = []

    @jax.jit
    def run(params, x, key):
        count.append(1)
        return apply(params, x, key=key)

    x = jnp.ones((2, 7))
    for i in range(3):
        run(jax.tree.map(lambda p, i=i: p * i, params), x * i, jr.key(i))
    assert len(count) == 1
