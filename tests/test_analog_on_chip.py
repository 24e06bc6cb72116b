"""Any function on the cells of a chip."""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from analog_list import QUICK, norm, vectors, weights

from anajax import chip, crossbar, devices
from anajax._core.tree import replace
from anajax.crossbar import periphery
from anajax.crossbar.tiling import TileRule
from anajax.crossbar.wires import Wires
from anajax.devices import base
from anajax.mapping import hand as strategies
from anajax.transformation import Rule, analog

QUIET = replace(devices.pcm(), read=devices.NoReadNoise())
LSP = strategies.lsp_first(QUIET)


def fast(function):
    return jax.jit(function, compiler_options=QUICK)


def network(p, tokens, *, table=None):
    """A stack under remat, experts by index, joined and tied weights, a convolution."""

    def block(h, q):
        hidden = jnp.einsum("bi,ihd->bhd", norm(h), q["in"])
        return h + jnp.tanh(hidden).reshape(h.shape) @ q["out"].T, None

    table = p["emb"] if table is None else table
    h, _ = jax.lax.scan(jax.checkpoint(block), table[tokens], p["layers"])
    best = jnp.argmax(h, -1) % 3
    h = h + jnp.einsum("bi,bio->bo", h, p["experts"][best])
    h = jnp.tanh(h @ jnp.concatenate([p["a"], p["b"]], 1))
    h = jax.lax.cond(h[0, 0] > 9, lambda h: h @ p["rare"], lambda h: h @ p["often"], h)
    h = h.reshape(-1, 1, 2, 2)
    h = jax.lax.conv(h, p["conv"], (1, 1), "SAME").reshape(-1, 8) @ p["head"].T
    return h @ p["emb"].T


def parameters():
    shapes = {"emb": (7, 4), "experts": (3, 4, 4), "a": (4, 2), "b": (4, 2)}
    shapes |= {"rare": (4, 4), "often": (4, 4), "conv": (2, 1, 2, 2), "head": (4, 8)}
    layers = {"in": (3, 4, 2, 2), "out": (3, 4, 4)}
    return weights(**shapes) | {"layers": weights(**layers)}


TOKENS = jnp.array([3, 1, 4, 1, 5])


@pytest.mark.parametrize(
    "scope", [pytest.param("layer", marks=pytest.mark.slow), "column"]
)
def test_any_function_sees_the_weights_of_its_chip(scope, key):
    """With ideal converters it is the plain function of what `chip.read` gives.

    What is looked up stays as trained, in a tied embedding as well.
    """
    params, f = parameters(), analog(network)

    def each(key):
        part = f.put_on_chip(
            params, TOKENS, device=QUIET, strategy=LSP, key=key, scope=scope
        )
        read = chip.read(QUIET, part.programmed, t=9e4, index=1, scope=scope)
        expected = network(chip.insert(params, read), TOKENS, table=params["emb"])
        return f(part.at(9e4), TOKENS), expected, network(params, TOKENS)

    got, expected, trained = fast(each)(key)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert jnp.max(jnp.abs(got - trained)) > 1e-3


def dense(p, x):
    return x @ p["w"]


W, V = weights(w=(5, 4)), vectors(6, 5)


def test_chips_and_times_under_vmap_and_factors_that_are_held(key):
    f = analog(dense, Rule("w", io=periphery.bits()))

    @fast
    def many(keys):
        def one(key):
            part = f.put_on_chip(W, V, device=QUIET, strategy=LSP, key=key)
            times = jnp.array([0.0, 3600.0, 9e4])
            held = part.recalibrate(times[1:])
            at = [part.at(t, held=held) for t in (0.0, 1.0, 3600.0, 8e4)]
            loop = [f(part.at(t, index=i), V) for i, t in enumerate(times, 1)]
            together = jax.vmap(lambda t: f(part.at(t), V))(times)
            factors = [one.held["w"].factor[0, 0] for one in at]
            return jnp.stack(loop), together, jnp.stack(factors)

        return jax.vmap(one)(keys)

    loop, together, factors = many(jr.split(key, 3))
    np.testing.assert_allclose(together, loop, rtol=1e-5, atol=1e-6)
    assert jnp.std(loop, axis=0).min() > 0  # chips differ
    assert jnp.all(factors[:, :2] == 1) and jnp.all(factors[:, 2] == factors[:, 3])
    assert jnp.all(factors[:, 2] > 1)


def test_gradients_reach_what_is_not_on_the_chip(key):
    def apply(p, x):
        return x @ (p["w"] + p["a"]) @ p["v"]

    p = weights(w=(5, 4), a=(5, 4), v=(4, 2))
    f = analog(apply, Rule("w"))

    def loss(a, p):
        part = f.put_on_chip(p, V, device=QUIET, strategy=LSP, key=key)
        on = part.at(9e4)
        return jnp.sum(f(replace_params(on, {**p, "a": a}), V))

    def replace_params(on, params):
        return dataclasses.replace(on, params=params)

    expected = jnp.sum(V[:, :, None] * jnp.sum(p["v"], 1), 0)
    np.testing.assert_allclose(jax.grad(loss)(p["a"], p), expected, rtol=1e-4)


def test_a_product_meets_what_wires_make_of_the_conductances(key):
    wires, tiles = Wires(row=2.5, column=2.5), TileRule(rows=3)
    f = analog(dense, Rule("w", tiles=tiles))

    @fast
    def run(x):
        part = f.put_on_chip(W, x, device=QUIET, strategy=LSP, key=key, scope="none")
        behind = lambda _, g: crossbar.through_wires(g, tiles, wires)  # noqa: E731
        wired = dataclasses.replace(part, through=behind)
        layer = part.programmed.layers["w"]
        g = base.age(QUIET, part.programmed.cells["w"], t=9e4).g
        w = behind("", g) @ layer.coefficients * layer.unit
        return f(wired.at(9e4), x), x @ w, f(part.at(9e4), x)

    got, expected, plain = run(V)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    assert jnp.max(jnp.abs(got - plain)) > 1e-4


def test_what_a_chip_cannot_hold_is_refused(key):
    how = {"device": QUIET, "strategy": LSP, "key": key}
    with pytest.raises(ValueError, match="`select` must choose parameters"):
        folded = analog(lambda p, x: x @ jnp.tanh(p["w"]), Rule("w", fold=True))
        folded.put_on_chip(W, V, **how)
    with pytest.raises(ValueError, match="`combine` must give each device a group"):
        analog(dense).put_on_chip(W, V, combine=(0, 1), **how)
    with pytest.raises(ValueError, match="`scope` must be"):
        analog(dense).put_on_chip(W, V, scope="layers", **how)
    part = analog(dense).put_on_chip(W, V, **how)
    with pytest.raises(ValueError, match="`t` must"):
        part.at(-1.0)
    for wrong in (lambda p: analog(dense).calibrate(p, V), analog(dense).report):
        with pytest.raises(ValueError, match="`params` must be trained ones here"):
            wrong(part.at(1.0))
    other = analog(lambda p, x: x @ p["w"] @ p["v"], Rule("v"))
    on = dataclasses.replace(part.at(1.0), params={**W, **weights(v=(4, 2))})
    with pytest.raises(ValueError, match="`params` must be a chip with the weights"):
        other(on, V)
    rows = analog(lambda p, x: x @ jnp.concatenate([p["a"], p["b"]]))
    joined = weights(a=(2, 4), b=(3, 4))
    with pytest.raises(ValueError, match="`scope` must share factors within a column"):
        rows.put_on_chip(joined, V, **how)
    whole = rows.put_on_chip(joined, V, scope="none", **how).at(9e4)
    read = jnp.concatenate([whole.held[p].parts[0] for p in "ab"])
    np.testing.assert_allclose(rows(whole, V), V @ read, rtol=1e-5, atol=1e-6)
