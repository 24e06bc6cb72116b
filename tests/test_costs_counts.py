"""Counts of what a network does, against counts by hand."""

import jax
import jax.numpy as jnp
import pytest

from anajax import Rule, analog
from anajax.costs import count
from anajax.costs.counts import ADDED
from anajax.crossbar import periphery
from anajax.crossbar.converters import uniform
from anajax.crossbar.periphery import IO, BitSlices
from anajax.crossbar.tiling import TileRule
from anajax.mapping.cell import pairs, singles


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


def linear(params, x):
    return x @ params["kernel"] + params["bias"]


LINEAR = {"kernel": shape(100, 30), "bias": shape(30)}


def test_linear():
    """100 x 30 on tiles of 64 x 16: 2 x 2 tiles of 50 x 15."""
    f = analog(linear, Rule("kernel", tiles=TileRule(rows=64, columns=16)))
    found = count(f, LINEAR, shape(8, 100), cell=pairs(1))
    assert found.totals == {
        "tiles": 4, "devices": 6000, "weights": 3000, "products": 1,
        "tile_products": 4, "macs": 3000, "conversions_in": 200,
        "conversions_out": 60, "additions": 30,
    }  # fmt: skip
    assert found.layers[0].sites == ("kernel",)
    assert "kernel" in found.table() and "6000" in found.table()


def test_slices_and_groups_multiply_conversions():
    """Magnitudes of 7 bits in slices of 2: 4 reads; two pairs are 4 conversions."""
    io = IO(dac=uniform(8, 1.0), slicing=BitSlices(bits=2))
    f = analog(linear, Rule("kernel", io=io))
    found = count(f, LINEAR, shape(8, 100), combine=(0, 1, 2, 3))
    assert found.total("conversions_in") == 4 * 100
    assert found.total("conversions_out") == 4 * 4 * 30
    assert found.total("additions") == (4 * 4 - 1) * 30


def strided(params, x):
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, params["k"], (2, 2), "SAME", feature_group_count=4, dimension_numbers=numbers
    )


def test_strided_grouped_convolution():
    """16 channels in 4 groups, 3 x 3, to 32: 4 matrices 36 x 8; 9 x 9 in, 5 x 5 out."""
    f = analog(strided, Rule("k", tiles=TileRule(rows=20)))
    found = count(f, {"k": shape(3, 3, 4, 32)}, shape(2, 9, 9, 16), cell=singles())
    assert found.totals == {
        "tiles": 4 * 2, "devices": 4 * 36 * 8, "weights": 4 * 36 * 8,
        "products": 25 * 4, "tile_products": 25 * 4 * 2, "macs": 25 * 4 * 36 * 8,
        "conversions_in": 25 * 4 * 36, "conversions_out": 25 * 4 * 8 * 2,
        "additions": 25 * 4 * 8,
    }  # fmt: skip


def lstm(params, x):
    """Four gates side by side, as Keras and PyTorch keep them."""

    def step(state, x):
        h, c = state
        i, f, g, o = jnp.split(x @ params["in"] + h @ params["hidden"], 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    start = jnp.zeros((x.shape[0], 5))
    (h, _), _ = jax.lax.scan(step, (start, start), jnp.moveaxis(x, 1, 0))
    return h @ params["head"]


def test_lstm():
    """12 steps of 6 inputs, 5 units, 20 gates; 3 classes from the last step."""
    f = analog(lstm, Rule(".*", tiles=TileRule(columns=16)))
    params = {"in": shape(6, 20), "hidden": shape(5, 20), "head": shape(5, 3)}
    found = count(f, params, shape(7, 12, 6), cell=pairs(1))
    assert found.totals == {
        "tiles": 2 + 2 + 1, "devices": 2 * 235, "weights": 6 * 20 + 5 * 20 + 5 * 3,
        "products": 12 + 12 + 1, "tile_products": 24 + 24 + 1,
        "macs": 12 * 120 + 12 * 100 + 15,
        "conversions_in": 12 * 6 * 2 + 12 * 5 * 2 + 5,
        "conversions_out": 12 * 20 + 12 * 20 + 3, "additions": 0,
    }  # fmt: skip


def test_stacks_and_tied_weights_are_programmed_once():
    """Three layers 4 x 4 in a scan, the first of them once more at the end."""

    def apply(params, x):
        x, _ = jax.lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, params["w"])
        return x @ params["w"][0]

    found = count(analog(apply), {"w": shape(3, 4, 4)}, shape(5, 4))
    assert found.total("weights") == 3 * 16 and found.total("tiles") == 3
    assert found.total("products") == 4


def test_joined_weights_are_one_matrix():
    def apply(params, x):
        return x @ jnp.concatenate([params["a"], params["b"]], axis=1)

    found = count(analog(apply), {"a": shape(6, 2), "b": shape(6, 3)}, shape(7, 6))
    assert len(found.layers) == 1
    assert found.totals["weights"] == 30 and found.totals["conversions_out"] == 5


def turns(params, x):
    def more(state):
        return state[1] < 3

    def turn(state):
        return jnp.tanh(state[0] @ params["w"]), state[1] + 1

    return jax.lax.while_loop(more, turn, (x, 0))[0]


def test_what_shapes_do_not_tell_is_asked_for():
    f, params, x = analog(turns), {"w": shape(4, 4)}, shape(2, 4)
    with pytest.raises(ValueError, match="`repeats` must say how often.*'w'"):
        count(f, params, x)
    assert count(f, params, x, repeats={"w": 3}).total("products") == 3
    with pytest.raises(ValueError, match="`repeats` must belong to sites: got 'v'"):
        count(f, params, x, repeats={"v": 3})


def test_bad_input_is_named():
    f = analog(linear, Rule("kernel", io=periphery.ideal()))
    for given, match in (
        ({"items": 3}, "`items` must divide the 8 products of 'kernel'"),
        ({"items": 0}, "`items` must be at least 1"),
        ({"cell": {}}, "`cell` must have one entry per weight.*'kernel'"),
        ({"combine": (0, 1)}, "`combine` must give each device a group"),
    ):
        with pytest.raises(ValueError, match=match):
            count(f, LINEAR, shape(8, 100), **given)
    with pytest.raises(ValueError, match="`name` must be one of"):
        count(f, LINEAR, shape(8, 100)).total("watts")
    both = analog(lambda p, x: x @ x.T, Rule(".*", activations=True))
    with pytest.raises(ValueError, match="`rules` must name products of weights"):
        count(both, {}, shape(8, 100))
    assert len(ADDED) == 9
