"""Weights and their axes from their products, for all functions of parameters."""

import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from analog_list import QUICK, norm, on_tiles, vectors, weights

import anajax
from anajax import chip, crossbar, devices
from anajax._core.tree import replace
from anajax.crossbar.tiling import TileRule
from anajax.mapping.layout import Layout
from anajax.programming import optimize_targets
from anajax.transformation import Rule, analog

DEVICE = replace(
    devices.scale_noise(devices.pcm(), drift_spread=0),
    programming=devices.NoProgrammingError(),
    read=devices.NoReadNoise(),
)
STRATEGY = anajax.strategies.lsp_first(DEVICE)
KEY = jr.key(3)


def network(p, x):
    """Weights in the orders of all frameworks; no name says which."""
    h = x @ p["out_in"].T
    h = h + jnp.tanh(jnp.einsum("bi,ihd->bhd", h, p["heads"])).reshape(h.shape)
    q, k, v = jnp.einsum("bi,cio->cbo", h, p["fused"])
    h = jnp.concatenate([q * k, v * (h @ p["list"][0]) + h @ p["list"][1]], -1)

    def layer(h, q):
        return norm(h) * q["bias"] @ q["scale"].T + q["kernel"], None

    h, _ = jax.lax.scan(jax.checkpoint(layer), h, p["layers"])
    images = h.reshape(-1, 1, 2, 4)
    return jax.lax.conv(images, p["oihw"], (1, 1), "VALID") + p["table"][0]


SHAPES = {
    "out_in": (4, 3), "heads": (4, 2, 2), "fused": (3, 4, 4), "list": (2, 4, 4),
    "oihw": (5, 1, 2, 2), "table": (7, 3),
}  # fmt: skip
STACK = {"scale": (2, 8, 8), "kernel": (2, 8), "bias": (2, 8)}
PARAMS = weights(**SHAPES) | {"layers": weights(**STACK)}
X = vectors(2, 3)
MATRICES = {  # the same weights as [layers, in, out]
    "out_in": ((4, 3), lambda w: w.T[None]),
    "heads": ((4, 2, 2), lambda w: w.reshape(1, 4, 4)),
    "fused": ((3, 4, 4), lambda w: jnp.moveaxis(w, 1, 0).reshape(1, 4, 12)),
    "list": ((2, 4, 4), lambda w: w),
    "layers/scale": ((2, 8, 8), lambda w: w.swapaxes(1, 2)),
    "oihw": ((5, 1, 2, 2), lambda w: w.reshape(1, 5, 4).swapaxes(1, 2)),
}


@pytest.fixture(scope="module")
def report():
    return analog(network).report(PARAMS, X)


def test_weights_are_what_stands_in_products_whatever_its_name(report):
    """Not stacked biases and scales, tables and what is looked up."""
    assert {p.path for p in report.analog} == MATRICES.keys()
    found = chip.table(PARAMS, select=report)
    assert {entry.path for entry in found.analog} == MATRICES.keys()


SCALING = [
    ("layer", "layer"),
    pytest.param("column", "column", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("normalize", "scope"), SCALING)
def test_a_network_reads_as_its_matrices_one_by_one(normalize, scope, report):
    """Each layer or column has its own scale and drift factor, in any order of axes.

    Without randomness what a weight reads depends on its scale and factor alone.
    """
    how = dict(t=9e4, key=KEY, normalize=normalize, scope=scope)

    @functools.partial(jax.jit, compiler_options=QUICK)
    def both(params, matrices):
        noisy = anajax.perturb(params, DEVICE, STRATEGY, select=report, **how)
        return noisy, anajax.perturb(matrices, DEVICE, STRATEGY, **how)

    trained = chip.weights(PARAMS, select=report)
    matrices = {
        f"{path}/{i}/kernel": m
        for path, (_, apart) in MATRICES.items()
        for i, m in enumerate(apart(trained[path]))
    }
    noisy, expected = both(PARAMS, matrices)
    digital = {"table": PARAMS["table"], **PARAMS["layers"]}
    for name, found in {"table": noisy["table"], **noisy["layers"]}.items():
        assert jnp.all(found == digital[name]) == (name != "scale")  # bit for bit
    noisy = chip.weights(noisy, select=report)
    for path, (shape, apart) in MATRICES.items():
        assert noisy[path].shape == shape
        for i, m in enumerate(apart(noisy[path])):
            want = expected[f"{path}/{i}/kernel"]
            np.testing.assert_allclose(m, want, rtol=1e-5, atol=1e-6)
            assert jnp.max(jnp.abs(m - matrices[f"{path}/{i}/kernel"])) > 3e-4


def test_names_alone_would_have_been_wrong(report):
    """The rule by names takes tables for weights, inputs for outputs and stacks."""
    named = chip.table(PARAMS).analog
    assert {entry.path for entry in named} != MATRICES.keys()
    assert report.layouts["out_in"] == Layout(rows=(1,), columns=(0,))
    assert report.layouts["layers/scale"].stack == (0,)


@pytest.mark.parametrize("normalize", ["layer", "column"])
def test_a_density_counts_layers_and_columns_of_the_report(normalize, report):
    found = anajax.weight_density(PARAMS, select=report, normalize=normalize, bins=51)
    trained = chip.weights(PARAMS, select=report)
    matrices = {
        f"{path}/{i}/kernel": m
        for path, (_, apart) in MATRICES.items()
        for i, m in enumerate(apart(trained[path]))
    }
    expected = anajax.weight_density(matrices, normalize=normalize, bins=51)
    np.testing.assert_allclose(found.probability, expected.probability, atol=1e-7)
    np.testing.assert_allclose(found.unit, expected.unit, rtol=1e-6)


@pytest.mark.slow
def test_studies_take_the_report(report):
    """`evaluate` and `optimize_targets` program these weights and no others."""
    metric = lambda p: jnp.sum(p["oihw"])  # noqa: E731
    found = anajax.evaluate(
        metric, PARAMS, DEVICE, STRATEGY, [9e4], key=KEY, chips=1, select=report
    )
    chosen = lambda p, v: p in MATRICES  # noqa: E731
    expected = anajax.evaluate(
        metric, PARAMS, DEVICE, STRATEGY, [9e4], key=KEY, chips=1,
        select=chosen, layout=report.layouts,
    )  # fmt: skip
    np.testing.assert_array_equal(found.weight_rms_error, expected.weight_rms_error)
    np.testing.assert_array_equal(found.metric, expected.metric)


@pytest.mark.slow
def test_targets_are_optimized_for_the_weights_of_the_report(report):
    found = optimize_targets(
        lambda p, x: network(p, x).reshape(2, -1), PARAMS, DEVICE, STRATEGY, X, [1.0],
        key=KEY, steps=1, chips=1, select=report,
    )  # fmt: skip
    assert found.layers.keys() == MATRICES.keys()
    assert found.layers["layers/scale"].w_max.shape == (2, 1, 1)


def test_what_does_not_fit_is_refused(report):
    with pytest.raises(ValueError, match="`layout` must say what axes are: got a repo"):
        chip.table(PARAMS, layout=report)
    with pytest.raises(ValueError, match="`layout` must name paths of arrays: got no"):
        chip.table({"w": jnp.ones((2, 2))}, select=report)
    folded = analog(lambda p, x: x @ jnp.tanh(p["w"]), Rule("w", fold=True))
    found = folded.report(weights(w=(3, 2)), X)
    with pytest.raises(ValueError, match="`select` must choose parameters"):
        anajax.weight_density(weights(w=(3, 2)), select=found)


# --- columns of tiles ---------------------------------------------------------------


def conv(p, x):
    return jax.lax.conv(x.reshape(-1, 2, 2, 2), p["w"], (1, 1), "VALID")


@pytest.mark.parametrize(
    ("apply", "shape"),
    [
        (lambda p, x: x @ p["w"].T, (4, 8)),
        (
            lambda p, x: jnp.einsum("bhi,iho->bo", x.reshape(-1, 2, 4), p["w"]),
            (4, 2, 5),
        ),
        (conv, (3, 2, 2, 2)),
        (
            lambda p, x: jax.lax.scan(lambda x, w: (x @ w, None), x, p["w"])[0],
            (2, 8, 8),
        ),
    ],
)
def test_each_column_of_each_tile_fills_the_range(apply, shape, monkeypatch):
    """Of the very tiles that the products of the function have."""
    p, x = weights(w=shape), vectors(2, 8)
    f, seen = on_tiles(apply, Rule("w", tiles=TileRule(rows=3))), []
    report = f.report(p, x)
    found = chip.normalized_weights(p, select=report, normalize="tile")["w"]
    np.testing.assert_allclose(found.u * found.unit, p["w"], rtol=1e-6)
    build = crossbar.from_weights

    def look(*args, **options):
        tiles = build(*args, **options)
        jax.debug.callback(lambda m: seen.append(np.asarray(m)), tiles.matrix)
        return tiles

    monkeypatch.setattr(crossbar, "from_weights", look)
    f({"w": found.u}, x)
    jax.effects_barrier()
    matrices = np.stack(seen)
    np.testing.assert_allclose(np.max(np.abs(matrices), axis=2), 1, rtol=1e-6)
    assert matrices.shape[1] == 3


def test_a_scale_for_each_tile_column_suits_small_ones():
    """Two row tiles of unlike size: their columns read as those of two matrices."""
    p = {"w": jnp.concatenate([w := weights(w=(4, 3))["w"], 0.01 * w])}
    f = analog(lambda p, x: x @ p["w"], Rule("w", tiles=TileRule(rows=4)))
    report = f.report(p, vectors(2, 8))
    device = replace(devices.ideal(), levels=jnp.linspace(0.0, 25.0, 9))
    strategy = anajax.strategies.single_pair(device)

    def read(params, **how):
        return anajax.perturb(
            params, device, strategy, t=0.0, key=KEY, scope="none", **how
        )

    tile = read(p, select=report, normalize="tile")["w"]
    apart = read(
        {"a": p["w"][:4], "b": p["w"][4:]}, normalize="column", layout="in_out"
    )
    np.testing.assert_allclose(tile, jnp.concatenate(list(apart.values())), rtol=1e-5)
    density = anajax.weight_density(p, select=report, normalize="tile")
    both = {"a": p["w"][:4], "b": 100 * p["w"][4:]}
    expected = anajax.weight_density(both, normalize="column", layout="in_out")
    assert density.unit < expected.unit  # errors of small columns count less
    for normalize in ("tile", "column"):
        found = anajax.evaluate(
            lambda p: jnp.sum(p["w"]), p, device, strategy, [1.0], key=KEY, chips=1,
            select=report, normalize=normalize,
        )  # fmt: skip
        assert jnp.isfinite(found.metric).all()


def test_by_tiles_their_rows_must_be_known():
    p, x = weights(w=(8, 3)), vectors(2, 8)
    report = analog(lambda p, x: x @ p["w"]).report(p, x)
    with pytest.raises(ValueError, match="`normalize` must know how many rows a tile"):
        anajax.weight_density(p, select=report, normalize="tile")
    with pytest.raises(ValueError, match="`tile_rows` must be at least 1"):
        Layout(rows=(0,), tile_rows=0)
    layout = {"w": Layout(rows=(0,), columns=(1,), tile_rows=8)}
    tile, column = (
        chip.normalized_weights(p, layout=layout, normalize=n)["w"].u
        for n in ("tile", "column")
    )
    np.testing.assert_allclose(tile, column, rtol=1e-6)  # one tile
