"""Data and jitted functions that the tests of products share."""

import jax
import jax.numpy as jnp
import numpy as np

from anajax.crossbar import product as cb

mvm = jax.jit(cb.mvm)
from_weights = jax.jit(cb.from_weights, static_argnames="normalize")
from_planes = jax.jit(cb.from_planes, static_argnames="combine")
column_sums = jax.jit(cb.column_sums)
CUTS = [
    ((None, None), "none"),
    ((40, 20), "array"),
    ((7, 48), "column"),
    ((95, 47), "array"),
]


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def uniform_data(*shape, low=-1.0, high=1.0, seed=1):
    return jnp.asarray(np.random.default_rng(seed).uniform(low, high, shape))


def pair(rows=30, columns=20):
    g = uniform_data(rows, columns, 4, low=0.0, high=25.0)
    return g, (2.0, -2.0, 1.0, -1.0)
