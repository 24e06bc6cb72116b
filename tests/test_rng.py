"""Keys by name."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from anajax import rng


def test_streams_equal_single_members(key):
    many = rng.streams(key, rng.Stage.CHIP, jnp.arange(8))
    one = rng.stream(key, rng.Stage.CHIP, 7)
    assert jr.key_data(many[7]).tolist() == jr.key_data(one).tolist()


def test_stages_and_paths_differ(key):
    keys = [rng.stream(key, s) for s in rng.Stage]
    keys += [rng.path_key(key, p) for p in (("a", 0), ("a", 1), "b")]
    data = {tuple(np.asarray(jr.key_data(k)).tolist()) for k in keys}
    assert len(data) == len(keys)


def test_path_is_its_names(key):
    a, b = rng.path_key(key, ("conv", 1, "kernel")), rng.path_key(key, "conv/1/kernel")
    assert jr.key_data(a).tolist() == jr.key_data(b).tolist()


@pytest.mark.parametrize("bad", [3.7, jnp.float32(3.0), np.array(1.5), "x"])
def test_float_index_is_refused(key, bad):
    with pytest.raises(TypeError, match=r"index.*integer"):
        rng.stream(key, rng.Stage.TIME, bad)
