"""Functions of parameters for the transformation, and what must hold for each."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from anajax.crossbar.converters import Clip
from anajax.crossbar.periphery import IO
from anajax.transformation import analog
from anajax.transformation.multiply import no_periphery

QUICK = {"xla_backend_optimization_level": 0}
"""Compiles fast; runs slowly."""


THROUGH = IO(adc=Clip(bound=1e30))
"""Ideal, but not known to be: products go through tiles."""


def on_tiles(apply, rules=()):
    """The function with its products on tiles where ideal hardware would leave them."""
    f = analog(apply, rules)
    f.rules = tuple(
        dataclasses.replace(rule, io=THROUGH) if no_periphery(rule.io) else rule
        for rule in f.rules
    )
    return f


def everything(f, params, x):
    """Value, gradient, and a second derivative along the gradient."""

    def loss(params):
        return jnp.sum(jnp.sin(f(params, x)))

    grad, second = jax.jvp(jax.grad(loss), (params,), (params,))
    return f(params, x), grad, second


def drawn(init, *arguments):
    """Parameters of the shapes that `init` gives, drawn without compiling it."""
    draw = np.random.default_rng(0)
    return jax.tree.map(
        lambda s: jnp.asarray(draw.normal(size=s.shape) / 2, s.dtype),
        jax.eval_shape(init, *arguments),
    )


def close(a, b, tolerance=2e-5):
    """Equal to float32 rounding, relative to the largest number of each array."""
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        scale = np.max(np.abs(y), initial=0)
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance * scale + 1e-12)


def assert_equal(apply, params, x, *rules):
    """Ideal hardware equals the function; the report, for more to look at."""
    f = on_tiles(apply, rules)
    both = jax.jit(
        lambda p: (everything(f, p, x), everything(apply, p, x)), compiler_options=QUICK
    )
    got, expected = both(params)
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    close(got, expected)
    return f.report(params, x)


def weights(**shapes):
    """Parameters by name."""
    draw = np.random.default_rng(1)
    return {
        n: jnp.asarray(draw.normal(size=s) / 3, jnp.float32) for n, s in shapes.items()
    }


def vectors(*shape):
    """Inputs."""
    return jnp.asarray(np.random.default_rng(2).normal(size=shape), jnp.float32)


def norm(x):
    """RMS norm."""
    return x * jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-5)
