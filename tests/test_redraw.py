"""Chips whose cells are drawn again at each read: the same draws, in less memory."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import anajax
from anajax import chip, devices, strategies

DEVICE = anajax.replace(devices.pcm(), faults=devices.Faults(stuck_low=0.1))
TIMES = [1.0, 3600.0, 1e6]
ROUNDING = {"rtol": 0, "atol": 2e-6}
HOW = {"chips": 2, "key": anajax.key(3)}


def network():
    random = np.random.default_rng(0)
    shapes = {"a": (12, 10), "b": (3, 3, 4, 6), "c": (10, 3)}
    draw = {k: random.normal(size=s).astype("f4") for k, s in shapes.items()}
    return {
        k: {"kernel": jnp.asarray(w), "bias": jnp.zeros(w.shape[-1])}
        for k, w in draw.items()
    }


def metric(params):
    return jnp.concatenate([w.ravel() for w in jax.tree.leaves(params)])


@pytest.mark.parametrize(
    ("scope", "normalize"),
    [
        ("layer", "layer"),
        pytest.param("network", "column", marks=pytest.mark.slow),
        pytest.param("column", "column", marks=pytest.mark.slow),
    ],
)
def test_chips_drawn_again_are_those_kept(scope, normalize):
    way = strategies.lsp_first(DEVICE)
    how = HOW | {"scope": scope, "normalize": normalize}
    kept = anajax.evaluate(metric, network(), DEVICE, way, TIMES, **how)
    again = anajax.evaluate(metric, network(), DEVICE, way, TIMES, budget=0, **how)
    np.testing.assert_allclose(kept.metric, again.metric, **ROUNDING)
    np.testing.assert_allclose(
        kept.weight_rms_error, again.weight_rms_error, **ROUNDING
    )


@pytest.mark.slow
def test_targets_already_chosen_are_drawn_again_too(x64):
    """In double precision the same to 12 digits: nothing but rounding differs."""
    way = strategies.single_pair(device := jax.tree.map(jnp.float64, DEVICE))
    params = jax.tree.map(lambda w: w.astype(float), network())
    layers = chip.encode_weights(params, way)
    kept = anajax.evaluate(metric, params, device, layers, TIMES, **HOW)
    again = anajax.evaluate(metric, params, device, layers, TIMES, budget=0, **HOW)
    assert kept.metric.dtype == float
    np.testing.assert_allclose(kept.metric, again.metric, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "key", [anajax.key(1), pytest.param(jr.key(1), marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("scope", ["layer", "network"])
def test_perturb_is_program_and_read(key, scope):
    """Within the rounding of compiled sums."""
    params, way = network(), strategies.lsp_first(DEVICE)
    part = chip.program(DEVICE, chip.encode_weights(params, way), key=key)
    read = chip.read(DEVICE, part, t=60.0, index=1, scope=scope)
    found = chip.perturb(params, DEVICE, way, t=60.0, key=key, scope=scope)
    for path, w in chip.weights(found).items():
        np.testing.assert_allclose(w, read[path], **ROUNDING)
