"""Shapes, dtypes and models at the edge: empty, donated, one layer, adapters, bf16."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from flax import nnx
from layer_list import CELLS, EMPTY, LAYERS, NO_WINDOW

from anajax import chip, devices
from anajax.crossbar import periphery
from anajax.crossbar.periphery import IO, LearnedRange
from anajax.crossbar.product import TileRule
from anajax.mapping import hand as strategies
from anajax.nn.analog import analog_layers, set_key
from anajax.nn.calibration import calibrate_ranges
from anajax.nn.convert import functional, to_analog, to_digital, with_key
from anajax.programming.end_to_end.learnable import start_from
from anajax.transformation import Rule
from anajax.transformation import analog as transformed

TRAINING = Rule(".*", io=periphery.training(), tiles=TileRule(rows=4, columns=3))
IDEAL = Rule(".*", tiles=TileRule(rows=4, columns=3))


class Net(nnx.Module):
    """Two layers."""

    def __init__(self, **dtypes):
        rngs = nnx.Rngs(0)
        self.first = nnx.Linear(6, 5, rngs=rngs, **dtypes)
        self.second = nnx.Linear(5, 6, rngs=rngs, **dtypes)

    def __call__(self, x):
        return self.second(jnp.tanh(self.first(x)))


X = jr.normal(jr.key(1), (4, 6))

# --- empty --------------------------------------------------------------------------


def outputs(model, x):
    """Outputs, and the gradient in the input."""
    y, pull = jax.vjp(model, x)
    return y, *pull(jnp.ones_like(y))


def assert_as_flax(build, shape, rule, key):
    model, x = build(nnx.Rngs(0)), jnp.zeros(shape)
    converted = with_key(to_analog(model, [rule]).model, key)
    got, expected = (
        jax.eval_shape(lambda x, m=m: outputs(m, x), x) for m in (converted, model)
    )
    assert [(v.shape, v.dtype) for v in got] == [(v.shape, v.dtype) for v in expected]


@pytest.mark.parametrize("name", LAYERS)
def test_an_empty_batch_gives_flax_empty_array(name, key):
    build, shape = LAYERS[name]
    assert_as_flax(build, EMPTY.get(name, (0, *shape[1:])), TRAINING, key)


@pytest.mark.parametrize(("name", "shape"), NO_WINDOW)
def test_an_input_without_a_window_gives_flax_shape(name, shape, key):
    assert_as_flax(LAYERS[name][0], shape, IDEAL, key)


@pytest.mark.parametrize(
    ("name", "shape"), [("transposed", (1, 0, 5, 3)), ("linear", (0, 7))]
)
def test_empty_inputs_give_flax_values(name, shape):
    layer = LAYERS[name][0](nnx.Rngs(0))
    got, expected = (outputs(m, jnp.zeros(shape)) for m in (analog(layer), layer))
    jax.tree.map(np.testing.assert_array_equal, got, expected)


@pytest.mark.parametrize("name", CELLS)
def test_an_empty_batch_goes_through_a_cell(name):
    cell = CELLS[name](nnx.Rngs(3))
    carry = cell.initialize_carry((0, 3), nnx.Rngs(0))
    got, expected = (m(carry, jnp.zeros((0, 3))) for m in (analog(cell), cell))
    assert jax.tree.map(jnp.shape, got) == jax.tree.map(jnp.shape, expected)


def analog(model, rule=IDEAL):
    return to_analog(model, [rule]).model


def test_empty_batches_count_for_nothing_in_a_calibration():
    model = analog(nnx.Linear(6, 2, rngs=nnx.Rngs(0)), Rule(".*", io=RANGES))
    got, expected = (
        nnx.state(calibrate_ranges(model, batches)) for batches in ([X[:0], X], [X])
    )
    jax.tree.map(np.testing.assert_array_equal, got, expected)
    with pytest.raises(ValueError, match=r"`batches`.*\(the model\)"):
        calibrate_ranges(model, [X[:0]])


RANGES = IO(scaling=LearnedRange(range=1.0), adc=periphery.uniform(8, 10.0))


# --- donation -----------------------------------------------------------------------


def buffers(tree):
    leaves = [v for v in jax.tree.leaves(tree) if isinstance(v, jax.Array)]
    plain = [v for v in leaves if not jnp.issubdtype(v.dtype, jax.dtypes.prng_key)]
    return [v.unsafe_buffer_pointer() for v in plain]


def test_no_two_arrays_of_a_model_share_a_buffer(key):
    digital = Net()
    start = analog(digital, TRAINING)
    fitted = calibrate_ranges(start, [X], key=key)
    models = [start, fitted, with_key(start, key)]
    for model in models:
        found = buffers(nnx.state(model))
        assert len(set(found)) == len(found) > 10
    assert not set(buffers(nnx.state(start))) & set(buffers(nnx.state(digital)))
    assert not set(buffers(nnx.state(start))) & set(buffers(TRAINING.io))


def test_what_a_search_starts_from_shares_no_buffer():
    device = devices.pcm()
    found = buffers(
        start_from(strategies.lsp_first(device), device, functional(Net())[0])
    )
    assert len(set(found)) == len(found)


def test_donated_parameters_train(key):
    digital = Net()
    params, apply = functional(analog(digital, TRAINING))
    optimizer = optax.adam(0.01)

    def step(params, state, key):
        loss = lambda p: jnp.mean((apply(p, X, key=key) - X) ** 2)  # noqa: E731
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, value

    run, state = jax.jit(step, donate_argnums=(0, 1)), optimizer.init(params)
    first = jax.tree.map(np.asarray, params)
    for i in range(3):
        params, state, value = run(params, state, jr.fold_in(key, i))
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), first, params)
    assert all(jax.tree.leaves(moved)) and np.isfinite(value)
    assert jnp.all(jnp.isfinite(digital(X)))  # its arrays are its own


def test_a_donated_model_and_its_optimizer_train(key):
    model = with_key(analog(Net(), TRAINING), key)
    optimizer = nnx.Optimizer(model, optax.adam(0.01), wrt=nnx.Param)
    graph, state = nnx.split((model, optimizer))

    def step(state):
        model, optimizer = nnx.merge(graph, state)
        value, grads = nnx.value_and_grad(lambda m: jnp.mean((m(X) - X) ** 2))(model)
        optimizer.update(model, grads)
        return nnx.state((model, optimizer)), value

    run = jax.jit(step, donate_argnums=0)
    values = [0.0] * 3
    for i in range(3):
        state, values[i] = run(state)
    assert values[2] < values[0]


# --- one layer is the whole model ---------------------------------------------------


LAYER = nnx.Linear(6, 5, rngs=nnx.Rngs(0))


def test_one_layer_is_a_model_with_a_report_rules_and_ranges(key):
    model, report = to_analog(LAYER, [TRAINING])
    assert type(LAYER) is nnx.Linear and report.tiles == 4
    assert "(the model)" in str(report) and [r.path for r in report.analog] == [""]
    assert [path for path, _ in analog_layers(model)] == [""]
    assert to_analog(LAYER, [Rule("", digital=True)]).report.tiles == 0
    with pytest.raises(ValueError, match="`rules`.*'encoder'"):
        to_analog(LAYER, [Rule("encoder")])
    with pytest.raises(ValueError, match=r"`max_tiles`.*\(the model\)"):
        to_analog(LAYER, [Rule(".*", tiles=TileRule(rows=1), max_tiles=2)])
    fitted = calibrate_ranges(model, [X], key=key)
    assert fitted.analog.input_range[...] == jnp.max(jnp.abs(X))
    set_key(fitted, key)
    np.testing.assert_array_equal(fitted(X), with_key(fitted, key)(X))


def test_one_layer_goes_on_a_chip_and_back(key):
    model, device = analog(LAYER), devices.scale_noise(devices.pcm(), read=0)
    params, apply = functional(model)
    np.testing.assert_allclose(apply(params, X), LAYER(X), rtol=1e-5, atol=1e-6)
    f = transformed(functional(LAYER)[1], IDEAL)

    @jax.jit
    def run(key):
        part = f.put_on_chip(
            params, X, device=device, strategy=strategies.lsp_first(device), key=key
        )
        weights = chip.read(device, part.programmed, t=3600.0, index=1, scope="none")
        aged = part.at(3600.0)
        return weights["kernel"], aged.held["kernel"].factor, f(aged, X, key=key)

    weights, factors, y = run(key)
    assert np.unique(factors).size == 1 and factors[0, 0] > 1
    expected = factors[0, 0] * (X @ weights) + LAYER.bias[...]
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    model.kernel[...] = weights
    back = to_digital(model)
    assert type(back) is nnx.Linear
    np.testing.assert_array_equal(back.kernel[...], weights)


@pytest.mark.parametrize("name", ["conv2d", "general_axes", "einsum"])
def test_other_single_layers_are_models(name, key):
    build, shape = LAYERS[name]
    layer, x = build(nnx.Rngs(0)), jr.normal(key, shape)
    got, expected = (jax.jit(lambda x, m=m: m(x))(x) for m in (analog(layer), layer))
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-6)


def test_one_cell_is_a_model():
    cell = nnx.GRUCell(3, 4, rngs=nnx.Rngs(0))
    model, report = to_analog(cell, [IDEAL])
    assert len(report.analog) == 2 and type(to_digital(model)) is nnx.GRUCell


# --- adapters -----------------------------------------------------------------------


class Adapted(nnx.Module):
    """An adapter of either kind, and what is in the way of the gradient."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.inside = nnx.LoRALinear(6, 5, lora_rank=2, rngs=rngs)
        base = nnx.Linear(5, 6, rngs=rngs)
        self.around = nnx.LoRA(5, 2, 6, base_module=base, rngs=rngs)
        for lora in (self.inside.lora, self.around):
            lora.lora_b[...] = jr.normal(jr.key(2), lora.lora_b.shape)

    def __call__(self, x):
        return self.around(jnp.tanh(self.inside(x)))


def test_adapters_stay_digital_and_their_base_goes_on_tiles():
    model = Adapted()
    converted, report = to_analog(model, [IDEAL])
    kinds = {r.path: (r.kind, r.tiles) for r in report.layers}
    assert kinds == {
        "inside": ("LoRALinear", 4),
        "inside/lora": ("LoRA", 0),
        "around": ("LoRA", 0),
        "around/base_module": ("Linear", 4),
    }
    np.testing.assert_allclose(converted(X), model(X), rtol=1e-5, atol=1e-6)
    back = to_digital(converted)
    assert type(back.inside) is nnx.LoRALinear
    np.testing.assert_array_equal(back(X), model(X))
    coarse, alone = (
        analog(m, Rule(".*", io=COARSE)).inside for m in (model, without(model))
    )
    adapter = coarse.lora(X)  # whatever the converters of its base do
    np.testing.assert_allclose(coarse(X) - alone(X), adapter, rtol=1e-5, atol=1e-6)


COARSE = IO(adc=periphery.uniform(3, 1.0))


def without(model):
    model = nnx.clone(model)
    model.inside.lora.lora_b[...] = 0 * model.inside.lora.lora_b[...]
    return model


def test_adapters_alone_train(key):
    model = with_key(analog(Adapted(), TRAINING), key)
    graph, adapters, rest = nnx.split(model, nnx.LoRAParam, ...)

    @jax.jit
    def value_and_gradients(adapters):
        loss = lambda a: jnp.mean((nnx.merge(graph, a, rest)(X) - X) ** 2)  # noqa: E731
        return jax.value_and_grad(loss)(adapters)

    before, grads = value_and_gradients(adapters)
    assert all(jnp.any(g != 0) for g in jax.tree.leaves(grads))
    assert len(jax.tree.leaves(grads)) == 4
    adapters = jax.tree.map(lambda a, g: a - 0.02 * g, adapters, grads)
    assert value_and_gradients(adapters)[0] < before


# --- dtypes -------------------------------------------------------------------------

HALF = {"dtype": jnp.bfloat16, "param_dtype": jnp.bfloat16}


@pytest.mark.parametrize("io", ["ideal", "standard", "training"])
def test_bfloat16_stays(io, key):
    model, x = Net(**HALF), X.astype(jnp.bfloat16)
    converted = analog(
        model, Rule(".*", io=getattr(periphery, io)(), normalize="array")
    )
    params, apply = functional(converted)
    kernels = lambda p: [p[n][k].dtype for n in p for k in ("kernel", "bias")]  # noqa: E731
    loss = lambda p, x: jnp.sum(apply(p, x, key=key))  # noqa: E731
    grads, slope = jax.eval_shape(jax.grad(loss, (0, 1)), params, x)
    assert {*kernels(params), *kernels(grads), slope.dtype} == {jnp.dtype(jnp.bfloat16)}
    carried = lambda x: jax.lax.scan(_layer(apply, params, key), x, None, 3)  # noqa: E731
    assert jax.eval_shape(carried, x)[0].dtype == jnp.bfloat16
    if io == "ideal":
        got, expected = (jax.jit(m.__call__)(x) for m in (converted, model))
        np.testing.assert_allclose(got, expected, rtol=0.05, atol=0.02)


def _layer(apply, params, key):
    return lambda x, _: (apply(params, x, key=key), None)


def test_bfloat16_stays_with_the_weights_of_a_chip(key):
    (params, apply), x = functional(Net(**HALF)), X.astype(jnp.bfloat16)
    f, device = transformed(apply, TRAINING), devices.pcm()

    def again(x):
        part = f.put_on_chip(
            params, x, device=device, strategy=strategies.offset_device(device),
            key=key,
        ).at(3600.0)  # fmt: skip
        return jax.lax.scan(lambda x, _: (f(part, x, key=key), None), x, None, 2)[0]

    assert jax.eval_shape(again, x).dtype == jnp.bfloat16
