"""Layers stacked by `nnx.vmap`: each is a layer of its own, under Flax's transforms."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from flax import nnx
from layer_list import LAYERS

from anajax import chip, devices
from anajax.crossbar import periphery
from anajax.crossbar.periphery import IO, LearnedRange, OutputNoise
from anajax.crossbar.product import TileRule
from anajax.mapping import hand as strategies
from anajax.nn.calibration import calibrate_ranges
from anajax.nn.convert import functional, to_analog, to_digital, with_key
from anajax.nn.on_chip import program_layers
from anajax.nn.programmed import compensate, compensation_factors, read_outs
from anajax.transformation import Rule

DEPTH = 3
RULE = Rule(".*", tiles=TileRule(rows=4, columns=3), normalize="column")
LEARNED = IO(
    scaling=LearnedRange(range=1.0),
    dac=periphery.uniform(8, 1.0),
    adc=periphery.uniform(8, 10.0),
)


def stack(build, depth=DEPTH):
    make = nnx.vmap(build, in_axes=0, out_axes=0)
    return nnx.split_rngs(splits=depth)(make)(nnx.Rngs(0))


class Block(nnx.Module):
    """A layer and what stays digital, the larger the later in the stack."""

    def __init__(self, rngs):
        self.linear = nnx.Linear(6, 6, rngs=rngs)
        self.norm = nnx.LayerNorm(6, rngs=rngs)

    def __call__(self, x):
        return x + self.norm(jnp.tanh(self.linear(x)))


@nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
def run(x, block):
    return block(x)


class Scanned(nnx.Module):
    """Three blocks by `nnx.scan`."""

    def __init__(self):
        self.blocks = stack(Block)

    def __call__(self, x):
        return run(x, self.blocks)


class Manual(Scanned):
    """The same by `jax.lax.scan` over the state."""

    def __call__(self, x):
        graph, state = nnx.split(self.blocks)
        step = lambda x, state: (nnx.merge(graph, state)(x), None)  # noqa: E731
        return jax.lax.scan(step, x, state)[0]


X = jr.normal(jr.key(1), (5, 6))
WAYS = {"nnx.scan": Scanned, "lax.scan": Manual}


def unrolled(model):
    """The blocks one by one, in plain Python."""
    graph, state = nnx.split(model.blocks)
    part = lambda i: jax.tree.map(lambda a: a[i], state)  # noqa: E731
    return [nnx.merge(graph, part(i)) for i in range(DEPTH)]


def value_and_gradients(model):
    params, apply = functional(model)

    def loss(params):
        y = apply(params, X)
        return jnp.sum(jnp.cos(y)), y

    return jax.jit(jax.grad(loss, has_aux=True))(params)


@pytest.mark.parametrize("way", WAYS)
def test_stack_equals_flax_forward_and_gradient(way):
    model = WAYS[way]()
    converted, report = to_analog(model, [RULE])
    (entry,) = report.analog
    assert (entry.stack, entry.groups, entry.tiles) == (3, 3, 3 * 4)
    assert (entry.rows, entry.columns) == (6, 6) and "3 layers on 12" in str(report)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5),
        *map(value_and_gradients, (converted, model)),
    )
    assert jax.tree.all(
        jax.tree.map(
            jnp.array_equal, *(nnx.state(m) for m in (to_digital(converted), model))
        )
    )


@pytest.mark.parametrize(
    "name", ["linear", "general_batch", "einsum", "depthwise", "transposed_valid"]
)
def test_each_kind_of_layer_in_a_vmap_equals_flax(name, key):
    build, shape = LAYERS[name]
    model = nnx.List([stack(build, 2)])
    converted, report = to_analog(model, [RULE])
    x = jr.normal(key, (2, *shape))
    call = nnx.jit(nnx.vmap(lambda layer, x: layer(x), in_axes=(0, 0)))
    got, expected = (call(m[0], x) for m in (converted, model))
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=3e-6)
    assert report.analog[0].stack == 2


def test_stacks_of_stacks(key):
    model = nnx.List([stack(lambda r: stack_inner(r), 2)])
    converted, report = to_analog(model, [RULE])
    x = jr.normal(key, (2, 3, 4, 7))
    call = nnx.jit(nnx.vmap(nnx.vmap(lambda layer, x: layer(x))))
    got, expected = (call(m[0], x) for m in (converted, model))
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-6)
    assert report.analog[0].stack == 6
    model[0].kernel[...] = jnp.zeros((2, 3, 7, 5))
    noisy = with_key(to_analog(model, [Rule(".*", io=NOISY)]).model, key)
    noise = call(noisy[0], jnp.ones_like(x))
    assert len(np.unique(noise)) == noise.size


def stack_inner(rngs):
    make = nnx.vmap(lambda r: nnx.Linear(7, 5, rngs=r))
    return nnx.split_rngs(splits=3)(make)(rngs)


NOISY = IO(noise=OutputNoise(sd=0.1))


def test_each_layer_of_a_stack_has_noise_of_its_own(key):
    model = Scanned()
    model.blocks.linear.kernel[...] = jnp.zeros((DEPTH, 6, 6))
    noisy = with_key(to_analog(model, [Rule(".*", io=NOISY)]).model, key)
    layer = noisy.blocks.linear
    step = nnx.scan(lambda x, one: (x, one(x)), in_axes=(nnx.Carry, 0))
    noise = step(X, layer)[1] - layer.bias[...][:, None]
    alone = [one.linear(X) - one.linear.bias[...] for one in unrolled(noisy)]
    np.testing.assert_allclose(noise, jnp.stack(alone), rtol=1e-5, atol=1e-7)
    flat = noise.reshape(DEPTH, -1)
    assert np.max(np.abs(np.corrcoef(flat) - np.eye(3))) < 5 / np.sqrt(flat.shape[1])


def test_ranges_of_each_layer_are_calibrated_by_its_own_inputs():
    model = Scanned()
    scale = jnp.array([1.0, 5.0, 0.2])[:, None]
    model.blocks.norm.scale[...] = model.blocks.norm.scale[...] * scale
    start, _ = to_analog(model, [Rule(".*", io=LEARNED)])
    found = calibrate_ranges(start, [X[:2], X[2:]])
    h, largest, sums = X, [], []
    for block in unrolled(model):
        largest.append(jnp.max(jnp.abs(h)))
        sums.append(jnp.max(jnp.abs(h @ block.linear.kernel[...])) / largest[-1])
        h = block(h)
    analog = found.blocks.linear.analog
    np.testing.assert_allclose(analog.input_range[...], jnp.stack(largest), rtol=1e-5)
    bound = analog.io.get_value().adc.bound
    np.testing.assert_allclose(bound, jnp.stack(sums), rtol=0.02)  # DAC steps
    errors = [float(jnp.max(jnp.abs(m(X) - model(X)))) for m in (start, found)]
    assert errors[1] < 0.1 * errors[0]


def aged(converted, key, combine):
    device = devices.scale_noise(devices.pcm(), read=0)
    params, apply = functional(Scanned())
    is_kernel = lambda path, leaf: path.endswith("kernel")  # noqa: E731
    layers = chip.encode_weights(params, strategies.lsp_first(device), select=is_kernel)
    part = chip.program(device, layers, key=key)
    weights = chip.read(device, part, t=1e5, index=1, scope="none")
    expected = apply(chip.insert(params, weights), X)
    return program_layers(converted, device, part, t=1e5, combine=combine), expected


@pytest.mark.parametrize(
    "combine", [(0, 0, 1, 1), pytest.param("analog", marks=pytest.mark.slow)]
)
def test_a_chip_of_a_stack_equals_its_weights(combine, key):
    converted, _ = to_analog(Scanned(), [RULE])

    @jax.jit
    def run(key):
        model, expected = aged(converted, key, combine)
        return with_key(model, key)(X), expected

    got, expected = run(key)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("per", "shape"),
    [
        ("column", (3, 1, 6)),
        pytest.param("global", (3, 1), marks=pytest.mark.slow),
        pytest.param("tile", (3, 1, 2, 2, 1), marks=pytest.mark.slow),
    ],
)
def test_drift_of_a_stack_is_compensated_by_layer(per, shape, key):
    fresh, _ = to_analog(Scanned(), [RULE])
    old = nnx.clone(fresh)
    drift = jnp.array([0.5, 0.8, 0.9])[:, None, None]
    old.blocks.linear.kernel[...] = old.blocks.linear.kernel[...] * drift
    outs = [read_outs(m, key=key, per=per) for m in (fresh, old)]
    factors = compensation_factors(*outs, per=per)
    assert factors["blocks/linear"].shape == shape
    apply = jax.jit(functional(compensate(old, factors))[1])
    got = apply(functional(old)[0], X)
    np.testing.assert_allclose(got, fresh(X), rtol=1e-5, atol=1e-5)


def test_a_whole_stack_at_once_or_in_parts_is_refused():
    model = Scanned()
    converted, _ = to_analog(model, [Rule(".*", io=LEARNED)])
    with pytest.raises(ValueError, match="a stack .3,. at once"):
        converted.blocks.linear(X)
    axes = nnx.StateAxes({nnx.Param: 0, ...: None})
    some = nnx.vmap(lambda layer, x: layer(x), in_axes=(axes, None))
    with pytest.raises(ValueError, match="all of its Variables.*StateAxes"):
        some(converted.blocks.linear, X)
    make = nnx.vmap(lambda r: nnx.Linear(4, 5, rngs=r), out_axes=1)
    make = nnx.split_rngs(splits=DEPTH)(make)
    with pytest.raises(ValueError, match="leading axes.*(4, 3, 5).*out_axes=0"):
        to_analog(nnx.List([make(nnx.Rngs(0))]), [RULE])
