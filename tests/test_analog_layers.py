"""Layers of Flax on ideal hardware equal themselves; the report finds their weights."""

import jax
import jax.numpy as jnp
import jax.random as jr
import pytest
from analog_list import assert_equal, close, drawn, on_tiles
from flax import linen as nn
from flax import nnx
from layer_list import CELLS, LAYERS

from anajax.crossbar import periphery
from anajax.transformation import Layout, Rule, analog

DIGITAL = {"conv_masked"}


def functional(module):
    graphdef, params, rest = nnx.split(module, nnx.Param, ...)
    rest = nnx.to_pure_dict(rest)

    def apply(params, x):
        return nnx.merge(graphdef, params, rest)(x)

    return apply, nnx.to_pure_dict(params)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_nnx(name, key):
    build, shape = LAYERS[name]
    masked = name in DIGITAL  # its mask is an array that is needed
    module = build(nnx.Rngs(0)) if masked else nnx.eval_shape(build, nnx.Rngs(0))
    apply, shapes = functional(module)
    params = drawn(lambda: jax.tree.map(lambda s: jnp.zeros(s.shape), shapes))
    report = assert_equal(apply, params, jr.normal(key, shape))
    kernels = [p for p in report.parameters if p.path.endswith("kernel")]
    assert all(bool(p.sites) == (name not in DIGITAL) for p in kernels)
    assert not any(p.sites for p in report.parameters if p not in kernels)


LINEN = {
    "dense": (nn.Dense(5), (3, 7)),
    "dense_general": (nn.DenseGeneral((4, 2), axis=(-2, -1)), (5, 2, 3)),
    "dense_batch": (nn.DenseGeneral(4, axis=-1, batch_dims=(0,)), (2, 5, 3)),
    "einsum": (nn.Einsum((2, 3, 4), "...hd,hde->...he"), (5, 6, 2, 3)),
    "conv_causal": (nn.Conv(4, (3,), padding="CAUSAL", kernel_dilation=2), (2, 9, 3)),
    "conv_grouped": (
        nn.Conv(6, (3, 2), strides=(2, 1), padding="VALID", feature_group_count=2),
        (2, 7, 6, 4),
    ),
    "conv_circular": (nn.Conv(3, (3, 3), padding="CIRCULAR"), (2, 5, 6, 2)),
    "conv_spread": (
        nn.Conv(3, (2, 2), input_dilation=2, padding=((1, 0), (2, 1))),
        (2, 5, 4, 2),
    ),
    "conv_local": (nn.ConvLocal(3, (2,)), (2, 5, 2)),
    "conv_masked": (nn.Conv(3, (2,), mask=jnp.ones((2, 2, 3))), (2, 5, 2)),
    "transposed": (nn.ConvTranspose(4, (3, 3), strides=(2, 2)), (2, 4, 5, 3)),
    "transposed_kernel": (
        nn.ConvTranspose(4, (2, 3), strides=(3, 1), transpose_kernel=True),
        (2, 4, 5, 3),
    ),
    "depthwise": (nn.Conv(8, (3, 3), feature_group_count=4), (2, 5, 5, 4)),
    "conv3d": (nn.Conv(3, (2, 2, 2)), (1, 4, 3, 3, 2)),
    "transposed_pads": (
        nn.ConvTranspose(3, (3,), strides=(2,), padding=[(1, 2)], kernel_dilation=(2,)),
        (2, 6, 2),
    ),
    "attention": (nn.MultiHeadDotProductAttention(2), (2, 4, 6)),
    "lstm": (nn.RNN(nn.OptimizedLSTMCell(4)), (2, 5, 3)),
    "gru": (nn.RNN(nn.GRUCell(4)), (2, 5, 3)),
    "simple": (nn.RNN(nn.SimpleCell(4)), (2, 5, 3)),
    "conv_lstm": (nn.RNN(nn.ConvLSTMCell(2, (2, 2))), (1, 3, 4, 4, 1)),
    "remat": (nn.remat(nn.Dense)(5), (3, 7)),
}


SLOW = {"conv_lstm"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in LINEN],
)
def test_layers_of_linen(name, key):
    module, shape = LINEN[name]
    x = jr.normal(key, shape)
    params = drawn(module.init, key, x)
    report = assert_equal(module.apply, params, x)
    kernels = [p for p in report.parameters if p.path.endswith("kernel")]
    assert kernels
    assert all(bool(p.sites) == (name not in DIGITAL) for p in kernels)


EMPTY = ["dense", "einsum", "conv_grouped", "conv_spread", "transposed", "lstm"]


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_batch_gives_an_empty_array(name, key):
    module, shape = LINEN[name]
    params = drawn(module.init, key, jnp.zeros(shape))
    x = jnp.zeros((0, *shape[1:]))
    f = analog(module.apply, [Rule(".*", io=periphery.training())])

    def loss(x, f, **options):
        return jnp.sum(f(params, x, **options))

    got = jax.grad(loss)(x, f, key=key)
    assert (got.shape, got.dtype) == (x.shape, x.dtype)
    assert f(params, x, key=key).shape == module.apply(params, x).shape


QUICKLY = ("simple",)


@pytest.mark.parametrize(
    "name",
    [n if n in QUICKLY else pytest.param(n, marks=pytest.mark.slow) for n in CELLS],
)
def test_recurrent_cells_of_nnx(name, key):
    rnn = nnx.RNN(CELLS[name](nnx.Rngs(0)), rngs=nnx.Rngs(1))
    apply, params = functional(rnn)
    assert assert_equal(apply, params, jr.normal(key, (2, 5, 3))).analog


@pytest.mark.parametrize("second", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_recurrence_both_ways_with_lengths(second, key):
    rnn = nn.Bidirectional(nn.RNN(nn.GRUCell(4)), nn.RNN(nn.OptimizedLSTMCell(4)))
    x, lengths = jr.normal(key, (2, 5, 3)), jnp.array([5, 2])
    params = drawn(rnn.init, key, x)

    def loss(f, params):
        return jnp.sum(jnp.sin(f(params, x)))

    def apply(params, x):
        return rnn.apply(params, x, seq_lengths=lengths)

    if second:
        assert_equal(apply, params, x)
        return

    @jax.jit
    def both(params):
        return [
            jax.value_and_grad(loss, 1)(f, params) for f in (on_tiles(apply), apply)
        ]

    close(*both(params))


def test_axes_of_layers(key):
    """Rows, columns and matrices of kernels follow from their products."""
    cases = {
        "dense": (1, 7, 5, Layout(rows=(0,), columns=(1,))),
        "dense_general": (1, 6, 8, Layout(rows=(0, 1), columns=(2, 3))),
        "dense_batch": (2, 3, 4, Layout(stack=(0,), rows=(1,), columns=(2,))),
        "einsum": (2, 3, 4, Layout(stack=(0,), rows=(1,), columns=(2,))),
        "conv_grouped": (2, 12, 3, Layout(rows=(0, 1, 2), columns=(3,))),
        "transposed": (1, 27, 4, Layout(rows=(0, 1, 2), columns=(3,))),
        "transposed_kernel": (1, 18, 4, Layout(rows=(0, 1, 3), columns=(2,))),
    }
    for name, (groups, rows, columns, layout) in cases.items():
        module, shape = LINEN[name]
        x = jnp.zeros(shape)
        params = drawn(module.init, key, x)
        entry = {p.path: p for p in analog(module.apply).report(params, x).analog}
        got = entry["kernel"]
        assert (got.groups, got.rows, got.columns) == (groups, rows, columns), name
        assert got.layout == layout, name


def test_attention_has_heads_as_rows_or_columns(key):
    module, shape = LINEN["attention"]
    x = jnp.zeros(shape)
    layouts = analog(module.apply).report(drawn(module.init, key, x), x).layouts
    assert layouts["query/kernel"] == Layout(rows=(0,), columns=(1, 2))
    assert layouts["out/kernel"] == Layout(rows=(0, 1), columns=(2,))


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return nn.relu(nn.Dense(4)(x)), None


def test_a_stack_and_a_tied_head_of_linen(key):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            embed = nn.Embed(7, 4, name="embed")
            stacked = nn.scan(
                nn.remat(Block),
                variable_axes={"params": 0},
                split_rngs={"params": True},
                length=5,
            )
            x, _ = stacked(name="blocks")(embed(tokens), None)
            return embed.attend(x)

    model, tokens = Model(), jnp.arange(3)
    params = drawn(model.init, key, tokens)
    f = on_tiles(model.apply)
    close(jax.jit(f)(params, tokens), model.apply(params, tokens))
    assert f.report(params, tokens).layouts == {
        "blocks/Dense_0/kernel": Layout(stack=(0,), rows=(1,), columns=(2,)),
        "embed/embedding": Layout(rows=(1,), columns=(0,)),
    }


def test_rules_choose_layers(key):
    module, shape = LINEN["attention"]
    x = jr.normal(key, shape)
    params = drawn(module.init, key, x)
    f = analog(module.apply, (Rule("out", digital=True), Rule("query|key")))
    report = f.report(params, x)
    assert {p.path for p in report.analog} == {"query/kernel", "key/kernel"}
    why = {p.path: p.why for p in report.parameters}
    assert why["out/kernel"] == "rule" and why["value/kernel"] == "no rule"
    assert why["query/bias"] == "not in a product"
