"""Records are pytrees; validation meets users, never tracers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anajax._core.tree import pytree, replace, static


@pytree
class Record:
    x: jax.Array
    n: int = static(default=3)

    def __post_init__(self):
        if not bool(jnp.all(self.x >= 0)):
            raise ValueError("`x` must not be negative")


def test_numbers_become_arrays_once():
    traces = []

    @jax.jit
    def f(r):
        traces.append(1)
        return r.x * 2

    for value in (1, 1.0, np.float32(1), jnp.float32(1.0), np.array(2.0, np.float32)):
        f(Record(x=value))
    assert len(traces) == 1


def test_validation_only_in_the_users_hands():
    with pytest.raises(ValueError, match="negative"):
        Record(x=-1.0)
    jax.jit(jax.grad(lambda r: r.x))(Record(x=2.0))  # tracers pass
    stacked = jax.vmap(lambda v: Record.__new__(Record) and v)(jnp.ones(3))
    assert stacked.shape == (3,)


def test_structure_is_static_and_paths_are_named():
    leaves, tree = jax.tree_util.tree_flatten_with_path(Record(x=1.0, n=5))
    assert jax.tree_util.keystr(leaves[0][0]) == ".x"
    assert tree != jax.tree.structure(Record(x=1.0, n=4))


def test_replace_validates():
    r = Record(x=1.0)
    assert replace(r, n=7).n == 7
    with pytest.raises(ValueError, match="negative"):
        replace(r, x=-3.0)
