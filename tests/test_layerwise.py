"""Targets layer by layer."""

import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from flax import nnx

from anajax import devices
from anajax.analysis.evaluate import evaluate
from anajax.analysis.workload import pure
from anajax.mapping import hand as strategies
from anajax.programming.end_to_end.block_by_block import optimize_block_by_block
from anajax.programming.end_to_end.layer_by_layer import (
    Unit,
    optimize_layer_by_layer,
    relative_error,
    units_of,
)
from anajax.workloads.recurrent import CharacterNet, KeywordNet

NOISY = devices.scale_noise(devices.pcm(), programming=3, drift_spread=3, read=3)
MONTH = [30 * 86400.0]


class Net(nnx.Module):
    def __init__(self, *, rngs):
        blocks = [nnx.Linear(8, 8, rngs=rngs) for _ in range(2)]
        self.blocks = nnx.List(blocks)
        self.norm = nnx.LayerNorm(8, rngs=rngs)
        self.head = nnx.Linear(8, 5, rngs=rngs)

    def __call__(self, x):
        for block in self.blocks:
            x = jnp.tanh(block(x))
        return jax.nn.softmax(self.head(self.norm(x)))


def test_units_are_the_children_in_the_order_they_are_called(key):
    model = Net(rngs=nnx.Rngs(0))
    params, apply = pure(model)
    x = jr.normal(key, (4, 8))
    units = units_of(model, x)
    names = [("blocks/0",), ("blocks/1",), ("norm",), ("head",)]
    assert [u.prefixes for u in units] == names
    first = x @ params["blocks"][0]["kernel"] + params["blocks"][0]["bias"]
    np.testing.assert_allclose(units[0].outputs(params, x), first, rtol=1e-6)
    np.testing.assert_array_equal(units[-1].outputs(params, x), apply(params, x))
    assert type(model.blocks[0]) is nnx.Linear  # the model itself is untouched


@pytest.mark.parametrize(
    ("model", "x", "prefixes"),
    [
        (lambda r: KeywordNet(3, 6, 5, 4, rngs=r), jnp.ones((2, 7, 3)),
         [("cell",), ("linear",)]),
        (lambda r: CharacterNet(9, 4, 6, rngs=r), jnp.ones((2, 7), int),
         [("embed",), ("lstm1", "lstm2"), ("linear",)]),
    ],
)  # fmt: skip
def test_cells_in_a_scan_reproduce_the_input_of_what_follows(model, x, prefixes):
    units = units_of(model(nnx.Rngs(0)), x)
    assert [u.prefixes for u in units] == prefixes


@pytest.mark.slow
def test_layer_by_layer_beats_the_tuned_hand_strategy_in_the_sampler(key):
    model = Net(rngs=nnx.Rngs(1))
    params, apply = pure(model)
    train, test = jr.normal(key, (2, 256, 8))
    hand = strategies.lsp_first(NOISY, f=2.5, k=1.2)
    digital = apply(params, test)
    found = optimize_layer_by_layer(
        units_of(model, train), params, NOISY, hand, train, MONTH,
        key=key, steps=150, weight_rate=0.01,
    )  # fmt: skip
    assert found.history.shape == (3 * 150,)
    assert set(found.layers) == {"blocks/0/kernel", "blocks/1/kernel", "head/kernel"}

    def metric(p):
        return relative_error(apply(p, test), digital)

    errors = [
        np.asarray(
            evaluate(
                metric, params, NOISY, program, MONTH, chips=32, key=jr.fold_in(key, 2)
            ).metric
        )
        for program in (hand, found.layers)
    ]
    gain = errors[0] - errors[1]
    assert gain.mean() > 4 * gain.std(ddof=1) / np.sqrt(gain.size)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (dict(learn=("digital",)), "learn"),
        (dict(steps=0), "steps"),
        (dict(units=[]), "units"),
        (dict(units=[Unit(prefixes=("a",), outputs=lambda p, x: x)]), "units"),
    ],
)
def test_bad_input_is_named(key, changes, match):
    units = [Unit(prefixes=("a", "b"), outputs=lambda p, x: x)]
    args = dict(units=units, learn=("weights",)) | changes
    params = {"a": jnp.ones((2, 2)), "b": jnp.ones((2, 2))}
    with pytest.raises(ValueError, match=match):
        optimize_layer_by_layer(
            args.pop("units"), params, NOISY, strategies.lsp_first(NOISY),
            jnp.ones((3, 2)), MONTH, key=key, **args,
        )  # fmt: skip


def gated(block, h):
    """A block whose norm and scale stay digital."""
    return h + jnp.tanh(h * block["gain"] @ block["w"])


@pytest.mark.slow
def test_block_by_block_beats_the_hand_strategy_in_the_sampler(key):
    """Also by what stays digital, given the noisy blocks before."""
    ways = jr.split(key, 3)
    blocks = [{"w": jr.normal(k, (8, 8)) / 2, "gain": jnp.ones(8)} for k in ways]
    train, test = jr.normal(jr.fold_in(key, 1), (2, 256, 8))
    hand = strategies.lsp_first(NOISY)
    found = optimize_block_by_block(
        gated, blocks, train, NOISY, hand, MONTH, key=key, steps=150, batch=64,
        weight_rate=0.01, learn=("strategy", "weights", "digital"),
    )  # fmt: skip
    assert [len(f.history) for f in found] == [150] * 3

    def whole(blocks, h):
        return functools.reduce(lambda h, block: gated(block, h), blocks, h)

    digital = whole(blocks, test)
    learned = [f.params for f in found]
    layers = {f"{i}/w": f.layers["w"] for i, f in enumerate(found)}

    def error(params, program):
        def metric(p):
            return relative_error(whole(p, test), digital)

        how = {"chips": 32, "key": jr.fold_in(key, 2)}
        if program is hand:
            how["select"] = lambda path, _: path.endswith("w")
        return np.asarray(evaluate(metric, params, NOISY, program, MONTH, **how).metric)

    gain = error(blocks, hand) - error(learned, layers)
    assert gain.mean() > 4 * gain.std(ddof=1) / np.sqrt(gain.size)


def test_strategies_of_blocks_are_counted(key):
    with pytest.raises(ValueError, match="`strategy` must be one for 2 blocks: got 1"):
        optimize_block_by_block(
            gated, [{}, {}], jnp.ones((3, 2)), NOISY, [strategies.lsp_first(NOISY)],
            MONTH, key=key,
        )  # fmt: skip
