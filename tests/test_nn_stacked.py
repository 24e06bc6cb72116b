"""Layers stacked by `nnx.vmap`: each is a layer of its own, under Flax's transforms."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from flax import nnx
from layer_list import LAYERS

from anajax import chip, devices
from anajax._core.tree import replace
from anajax.crossbar import periphery
from anajax.crossbar.periphery import IO, LearnedRange, OutputNoise
from anajax.crossbar.product import TileRule
from anajax.mapping import hand as strategies
from anajax.nn.calibration import calibrate_ranges
from anajax.nn.convert import functional, to_analog, to_digital, with_key
from anajax.transformation import Rule, analog

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


QUIET = replace(devices.pcm(), read=devices.NoReadNoise())
LSP = strategies.lsp_first(QUIET)


@pytest.mark.parametrize(
    "combine", [(0, 0, 1, 1), pytest.param("analog", marks=pytest.mark.slow)]
)
def test_a_chip_of_a_stack_equals_its_weights(combine, key):
    params, apply = functional(Scanned())
    f = analog(apply, RULE)

    @jax.jit
    def run(key):
        part = f.put_on_chip(
            params, X, device=QUIET, strategy=LSP, key=key, combine=combine,
            scope="none",
        )  # fmt: skip
        weights = chip.read(QUIET, part.programmed, t=1e5, index=1, scope="none")
        return f(part.at(1e5), X), apply(chip.insert(params, weights), X)

    got, expected = run(key)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scope", ["column", "layer", "tile"])
def test_drift_of_a_stack_is_compensated_by_layer(scope, key):
    """Each layer has the factors that it has on a chip of its own."""
    device = devices.scale_noise(QUIET, drift_spread=0)
    device = replace(device, programming=devices.NoProgrammingError())
    params, apply = functional(Scanned())
    kernel = params["blocks"]["linear"]["kernel"]
    sizes = jnp.linspace(0.1, 1, 6) ** jnp.array([0.0, 1.0, 3.0])[:, None]
    kernel = kernel * sizes[:, None] * sizes[:, :, None]  # drift goes by conductance
    params["blocks"]["linear"]["kernel"] = kernel
    how = {"device": device, "strategy": LSP, "key": key, "scope": scope}

    @jax.jit
    def factors(params, kernel):
        part = analog(apply, RULE).put_on_chip(params, X, **how).at(1e5)
        dense = analog(lambda p, x: x @ p["w"], RULE)
        alone = [dense.put_on_chip({"w": w}, X, **how).at(1e5) for w in kernel]
        (found,) = part.held.values()
        return found.factor, jnp.stack([one.held["w"].factor for one in alone])

    found, expected = factors(params, kernel)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    each = [np.unique(np.round(one, 5)).size for one in found]
    assert each == {"layer": [1] * 3, "column": [6] * 3, "tile": [4] * 3}[scope]
    assert np.unique(np.round(found[:, 0, 0], 4)).size == 3


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
