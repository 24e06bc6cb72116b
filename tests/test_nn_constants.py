"""Known numbers are computed before a trace: XLA for GPUs fails on some in a remat.

It makes a select of a product with booleans, and mixes up the shapes of a select whose
operands have one element. No test here needs a GPU: the traces hold no such thing.
"""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import pytest
from flax import nnx
from jaxprs import booleans, constant_equations

from anajax import devices
from anajax.crossbar import periphery
from anajax.crossbar.product import TileRule, from_planes, mvm
from anajax.mapping import hand as strategies
from anajax.nn.convert import functional, to_analog
from anajax.transformation import Rule, analog


class Conv(nnx.Module):
    """A convolution, worked off in parts: each part in a `jax.checkpoint`."""

    def __init__(self):
        self.layer = nnx.Conv(3, 4, (3, 2), strides=(2, 1), rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.layer(x)


X = jr.normal(jr.key(0), (6, 7, 6, 3))
IOS = {"bits": periphery.bits, "aihwkit": periphery.standard} | {
    "training": periphery.training
}


def assert_known_before(params, apply, key):
    loss = lambda p, x, key: jnp.sum(jnp.cos(apply(p, x, key=key)))  # noqa: E731
    traced = jax.make_jaxpr(jax.grad(loss, (0, 1)))(params, X, key)
    assert "remat" in str(traced)
    assert not [e for e in constant_equations(traced) if booleans(e)]


@pytest.mark.parametrize("io", IOS)
def test_gradient_of_a_convolution_in_parts_selects_among_no_constants(io, key):
    rule = Rule(".*", patches=1000, io=IOS[io](), normalize="column")
    assert_known_before(*functional(to_analog(Conv(), [rule]).model), key)


@pytest.mark.parametrize("combine", ["analog", "digital", (0, 0, 1, 1)])
def test_gradient_through_a_chip_selects_among_no_constants(combine, key):
    device, (params, apply) = devices.pcm(), functional(Conv())
    f = analog(apply, Rule(".*", patches=1000, io=periphery.standard()))
    part = f.put_on_chip(
        params, X, device=device, strategy=strategies.lsp_first(device), key=key,
        combine=combine,
    ).at(60.0)  # fmt: skip

    def on_chip(params, x, key):
        return f(dataclasses.replace(part, params=params), x, key=key)

    assert_known_before(params, on_chip, key)


def test_significances_keep_their_gradient(key):
    planes, x = jr.uniform(key, (5, 3, 4)), jr.normal(key, (2, 5))
    rule = TileRule(rows=3, columns=2)

    def total(factors):
        tiles = from_planes(planes, rule, coefficients=factors, combine=(0, 0, 1, 1))
        return jnp.sum(mvm(tiles, x))

    got = jax.grad(total)(jnp.array([3.0, -3.0, 1.0, -1.0]))
    expected = jnp.einsum("bi,iod->d", x, planes)
    assert jnp.allclose(got, expected, rtol=1e-5, atol=1e-5)
