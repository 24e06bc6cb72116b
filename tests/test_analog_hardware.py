"""Converters, noise and rules through the transformation."""

import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from analog_list import THROUGH, vectors, weights
from flax import nnx
from layer_list import LAYERS
from test_analog_layers import functional
from test_analog_networks import TOKENS, language_model, stack

from anajax import crossbar, rng
from anajax.crossbar import periphery
from anajax.crossbar.periphery import IO, OutputNoise
from anajax.crossbar.tiling import TileRule
from anajax.crossbar.windows import Window, unfold
from anajax.nn.convert import to_analog
from anajax.transformation import Rule, analog
from anajax.transformation.rules import as_rules

STEPS = IO(
    scaling=periphery.AbsMax(),
    dac=periphery.uniform(5, 1.0),
    adc=periphery.uniform(6, 2.0),
)
NOISY = Rule(".*", io=IO(noise=OutputNoise(sd=0.1)))


def dense(p, x):
    return x @ p["w"]


def test_a_product_is_that_of_the_crossbar_with_the_key_of_its_name(key):
    p, x = weights(w=(9, 7)), vectors(4, 9)
    io, tiles = periphery.standard(), TileRule(rows=4, columns=5)
    rule = Rule("w", io=io, tiles=tiles, normalize="column")

    @jax.jit
    def expected(w):
        cut = crossbar.from_weights(w, tiles, normalize="column")
        return crossbar.mvm(cut, x, io, key=rng.path_key(key, "w"))

    found = jax.jit(analog(dense, rule))(p, x, key=key)
    np.testing.assert_array_equal(found, expected(p["w"]))
    assert analog(dense, rule).report(p, x).tiles == 3 * 2


@pytest.mark.parametrize("name", ["general_axes", "einsum_batch", "conv2d_valid"])
def test_converters_act_as_in_the_layers_of_flax(name, key):
    build, shape = LAYERS[name]

    class Root(nnx.Module):
        def __init__(self):
            self.layer = build(nnx.Rngs(0))

        def __call__(self, x):
            return self.layer(x)

    x, tiles = jr.normal(key, shape), TileRule(rows=4, columns=2)
    layers = to_analog(Root(), [Rule(".*", io=STEPS, tiles=tiles)]).model
    converted, _ = functional(layers)
    apply, params = functional(Root())
    f = analog(apply, Rule(".*", io=STEPS, tiles=tiles))
    got, expected = jax.jit(lambda p: (f(p, x), converted(p, x)))(params)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "window",
    [
        Window((1, 1), ((0, 0), (1, 2)), (1, 1), (1, 1)),
        Window((2, 3), ((1, 0), (2, 2)), (1, 2), (2, 1)),
        Window((1, 2), ((-1, 0), (1, -2)), (3, 1), (1, 2)),
    ],
)
def test_windows_are_those_of_jax(window):
    x = vectors(2, 7, 6, 3)
    strides, padding, spread, dilation = window
    found = jax.lax.conv_general_dilated_patches(
        x, (3, 2), strides, padding, spread, dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip
    expected = found.reshape(*found.shape[:3], 3, -1).swapaxes(-1, -2)
    np.testing.assert_array_equal(unfold(x, (3, 2), window), expected)


def noise_of(apply, params, *inputs, key, rule=NOISY):
    f = analog(apply, rule)

    @jax.jit
    def noise(params, *inputs):
        noisy, exact = f(params, *inputs, key=key), apply(params, *inputs)
        return jax.tree.map(jnp.subtract, noisy, exact)

    return noise(params, *inputs)


def assert_unrelated(*draws, sd=0.1):
    """Normal draws of this standard deviation, without correlation."""
    draws = np.stack([np.ravel(d) for d in draws])
    n = draws.shape[1]
    np.testing.assert_allclose(draws.std(1), sd, rtol=5 / np.sqrt(2 * n))
    correlation = np.corrcoef(draws) - np.eye(len(draws))
    assert np.max(np.abs(correlation)) < 5 / np.sqrt(n)


def test_noise_is_fresh_for_vectors_keys_uses_and_weights(key):
    def apply(p, x):
        return x @ p["a"], x @ p["a"], x @ p["b"]

    p, x = weights(a=(3, 600), b=(3, 600)), jnp.ones((2, 3))
    first, again = (noise_of(apply, p, x, key=k) for k in (key, jr.key(1)))
    assert_unrelated(
        *(draw[i] for out in (*first, *again) for draw in [out] for i in (0, 1))
    )


def test_noise_is_fresh_for_steps_layers_and_parts(key):
    def recurrence(p, xs):
        return jax.lax.scan(lambda c, x: (c, x @ p["w"]), 0.0, xs)[1]

    def layers(p, x):
        return jax.lax.scan(lambda c, w: (c, x @ w), 0.0, p["w"])[1]

    def loop(p, x):
        def body(s):
            return s[0] + 1, jax.lax.dynamic_update_slice(
                s[1], (x @ p["w"])[None], (s[0], 0)
            )

        return jax.lax.while_loop(lambda s: s[0] < 3, body, (0, jnp.zeros((3, 600))))[1]

    x = jnp.ones(3)
    w, many = weights(w=(3, 600)), weights(w=(3, 3, 600))
    assert_unrelated(*noise_of(recurrence, w, jnp.ones((3, 3)), key=key))
    assert_unrelated(*noise_of(layers, many, x, key=key))
    assert_unrelated(*noise_of(loop, w, x, key=key))

    def conv(p, x):
        return jax.lax.conv(x, p["w"], (1, 1), "VALID")

    small = Rule(".*", io=NOISY.io, patches=200)
    images, kernel = jnp.ones((3, 1, 8, 8)), weights(w=(16, 1, 3, 3))
    assert_unrelated(*noise_of(conv, kernel, images, key=key, rule=small))


def test_noise_of_a_site_does_not_depend_on_other_sites(key):
    def more(p, x):
        return jnp.tanh(x @ p["a"]), x @ p["w"]

    p, x = weights(a=(3, 5), w=(3, 5)), vectors(2, 3)
    alone = noise_of(dense, p, x, key=key)
    np.testing.assert_allclose(noise_of(more, p, x, key=key)[1], alone, atol=1e-6)


def test_chips_under_vmap_equal_a_loop_and_compile_once(key):
    def layers(p, x):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, p["w"])[0]

    p, x, keys = weights(w=(3, 4, 4)), vectors(2, 4), jr.split(key, 3)
    f = analog(layers, Rule(".*", io=periphery.standard()))
    one = jax.jit(lambda p, key: f(p, x, key=key))
    loop = jnp.stack([one(p, k) for k in keys])
    assert one._cache_size() == 1
    many = jax.vmap(one, in_axes=(None, 0))(p, keys)
    np.testing.assert_allclose(many, loop, rtol=1e-5, atol=1e-6)
    assert jnp.std(loop, axis=0).min() > 0


def test_inside_scan_checkpoint_and_grad_with_donated_parameters(key):
    f = analog(dense, Rule(".*", io=periphery.standard()))
    x = vectors(4, 3)

    def loss(p, key):
        return jnp.sum(f(p, x, key=key) ** 2)

    @functools.partial(jax.jit, donate_argnums=0)
    def train(p, keys):
        def step(p, key):
            grad = jax.grad(jax.checkpoint(loss))(p, key)
            return jax.tree.map(lambda a, b: a - 0.01 * b, p, grad), None

        return jax.lax.scan(step, p, keys)[0]

    keys = jr.split(key, 3)
    p = weights(w=(3, 2))
    for k in keys:
        grad = jax.jit(jax.grad(loss))(p, k)
        p = jax.tree.map(lambda a, b: a - 0.01 * b, p, grad)
    np.testing.assert_allclose(train(weights(w=(3, 2)), keys)["w"], p["w"], rtol=1e-5)


@pytest.mark.parametrize("inside", [True, False])
def test_with_shard_map(inside, key):
    """Ideal and noisy, inside of the function and around it; devices differ."""
    kind = jax.sharding.AxisType.Auto
    mesh = jax.make_mesh((1,), ("items",), axis_types=(kind,))
    spec = jax.sharding.PartitionSpec
    p, x = weights(w=(3, 600)), jnp.ones((1, 3))

    def mapped(f):
        specs = (spec(), spec("items"))
        return jax.shard_map(f, mesh=mesh, in_specs=specs, out_specs=spec("items"))

    def hardware(*rules, key=None):
        if inside:
            return jax.jit(analog(mapped(dense), rules))(p, x, key=key)
        around = mapped(lambda p, x: analog(dense, rules)(p, x, key=key))
        return jax.jit(around)(p, x)

    through = Rule(".*", io=THROUGH)
    np.testing.assert_allclose(hardware(through), dense(p, x), rtol=1e-6)
    here = hardware(NOISY, key=key) - dense(p, x)
    assert_unrelated(here, noise_of(dense, p, x, key=key))


@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_with_sharded_inputs(kind, key):
    spec = jax.sharding.PartitionSpec
    kinds = (getattr(jax.sharding.AxisType, kind),)
    mesh = jax.make_mesh((1,), ("items",), axis_types=kinds)
    f = analog(dense, Rule(".*", io=periphery.standard()))
    p, x = weights(w=(3, 2)), vectors(2, 5, 3)
    run = jax.jit(jax.value_and_grad(lambda p, x: jnp.sum(f(p, x, key=key) ** 2)))
    expected = run(p, x)
    with jax.set_mesh(mesh):
        shard = jax.sharding.NamedSharding(mesh, spec("items"))
        got = run(p, jax.device_put(x, shard))
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(got[1]["w"], expected[1]["w"], rtol=1e-5)


def test_a_sweep_over_hardware_and_its_gradient(key):
    p, x = weights(w=(3, 600)), jnp.ones((1, 3))

    def noise(sd):
        rule = Rule(".*", io=IO(noise=OutputNoise(sd=sd)))
        return analog(dense, rule)(p, x, key=key) - dense(p, x)

    one, two = jax.vmap(noise)(jnp.array([0.1, 0.2]))
    np.testing.assert_allclose(two, 2 * one, rtol=1e-3, atol=1e-6)
    slope = jax.jacfwd(noise)(0.1)
    np.testing.assert_allclose(slope, one / 0.1, rtol=1e-3, atol=1e-5)


# --- rules ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rules, message",
    [
        (Rule("wrong"), "each cover a parameter: got none for 'wrong'"),
        ([Rule("w"), Rule("b")], "each cover a weight in a product: got none for 'b'"),
        ([Rule(".*"), Rule("x", activations=True)], "a product of two activations"),
        (Rule("w", max_tiles=1, tiles=TileRule(rows=2)), "allow 1 tiles: got 2"),
    ],
)
def test_errors_name_the_rule_before_any_work(rules, message):
    def apply(p, x):
        return x @ p["w"] + p["b"]

    x = jax.ShapeDtypeStruct((4, 3), jnp.float32)
    with pytest.raises(ValueError, match=message):
        analog(apply, rules).report(weights(w=(3, 2), b=(2,)), x)


def test_the_layers_of_a_stack_count_as_tiles():
    rules = Rule("layers/o", max_tiles=2), Rule(".*")
    with pytest.raises(ValueError, match="allow 2 tiles: got 3 for 3 matrices of 8 x"):
        analog(language_model, rules).report(stack(3), TOKENS)


@pytest.mark.parametrize("wrong", [["w"], "w", periphery.standard()])
def test_only_rules_are_rules(wrong):
    with pytest.raises(ValueError, match="`rules` must hold Rule records: got "):
        as_rules(wrong)


@pytest.mark.parametrize("wrong", ["*", "("])
def test_a_rule_needs_a_regular_expression(wrong):
    with pytest.raises(ValueError, match="`path` must be a regular expression"):
        Rule(wrong)


def test_noise_needs_a_key():
    with pytest.raises(ValueError, match="`key` must"):
        analog(dense, NOISY)(weights(w=(3, 2)), vectors(4, 3))


def test_joined_weights_need_one_rule():
    def apply(p, x):
        return x @ jnp.concatenate([p["a"], p["b"]], 1)

    with pytest.raises(ValueError, match="treat joined weights equally"):
        analog(apply, (Rule("a"), Rule("b"))).report(
            weights(a=(3, 2), b=(3, 2)), vectors(4, 3)
        )


def test_a_key_of_the_function_itself_is_refused():
    with pytest.raises(ValueError, match="`key` must be left to the hardware"):
        analog(lambda p, x, *, key: x)


def test_products_of_activations_go_through_converters_by_a_rule():
    def apply(p, x):
        q, k = x @ p["q"], x @ p["k"]
        return q @ k.T

    p, x = weights(q=(3, 2), k=(3, 2)), vectors(4, 3)
    assert analog(apply).report(p, x).products == ()
    f = analog(apply, (Rule(".*"), Rule(".*", io=STEPS, activations=True)))
    assert f.report(p, x).products == ("activations/0",)
    stored = crossbar.from_weights((x @ p["k"]).T)
    expected = crossbar.mvm(stored, x @ p["q"], STEPS)
    np.testing.assert_allclose(f(p, x), expected, rtol=1e-5, atol=1e-6)


def test_a_scale_for_each_column_of_a_row_tile_uses_the_range():
    """Columns and row tiles of unlike size: one scale for all loses the small ones."""
    p, x = weights(w=(8, 6)), vectors(50, 8)
    sizes = 10.0 ** -jnp.arange(6) * jnp.where(jnp.arange(8) < 4, 1, 1e-2)[:, None]
    p = {"w": p["w"] * sizes}
    io = IO(adc=periphery.uniform(8, 8.0))

    def error(normalize):
        rule = Rule("w", io=io, tiles=TileRule(rows=4), normalize=normalize)
        y = analog(dense, rule)(p, x)
        return jnp.max(jnp.std(y - dense(p, x), 0) / jnp.std(dense(p, x), 0))

    assert error("tile") == error("column") < 0.05
    assert error("array") > 0.5


def test_a_report_reads_like_a_table():
    params = stack(2)
    lines = str(analog(language_model).report(params, TOKENS)).splitlines()
    assert lines[0] == "6 weights on 11 tiles"
    assert lines[1].split() == "emb 1 x 8 x 11 on 1 tiles".split()


def test_ideal_hardware_is_the_program_itself():
    """It compiles as fast and runs as fast, whatever its tiles."""
    params, rule = stack(2), Rule(".*", tiles=TileRule(rows=3), normalize="tile")
    f = analog(language_model, rule)
    text, plain = (
        jax.jit(jax.value_and_grad(lambda p, f=f: jnp.sum(f(p, TOKENS))))
        .lower(params)
        .as_text()
        for f in (f, language_model)
    )
    count = lambda text: text.count("stablehlo.")  # noqa: E731
    assert abs(count(text) - count(plain)) < 0.05 * count(plain)
    assert text.count("dot_general") == plain.count("dot_general")


def test_sites_of_one_shape_share_one_trace(key):
    p = weights(a=(6, 6), b=(6, 6), c=(6, 6), d=(6, 3))

    def apply(p, x):
        return x @ p["a"] @ p["b"] @ p["c"] @ p["d"]

    f = analog(apply, Rule(".*", io=periphery.standard()))
    text = jax.jit(f).lower(p, vectors(4, 6), key=key).as_text()
    assert text.count("func private @multiply") == 2
    assert text.count("call @multiply") == 4
