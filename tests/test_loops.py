"""Loops that measure while they program, as strategies of a study."""

import jax.numpy as jnp
import numpy as np
import pytest

import anajax
from anajax import chip, devices
from anajax.analysis.evaluate import evaluate
from anajax.mapping import hand as strategies
from anajax.mapping.found import Found
from anajax.programming import targets_file
from anajax.programming.loops.closed_loop import (
    closed_loop_layers,
    follow_open,
)
from anajax.programming.loops.product_descent import (
    ProductDescent,
    product_descent_layers,
)
from anajax.studies import run
from anajax.studies.ways import loops
from tests import tiny_study

LSP = strategies.lsp_first(devices.pcm())
LOOPS = [
    {"name": "closed_loop", "reads": 2},
    {"name": "product_descent", "descent": {"turns": 2, "vectors": 16}},
]


@pytest.mark.slow
def test_a_study_programs_chips_by_its_loops(monkeypatch, tmp_path):
    """The weights of a loop are those of its own layers, not of its first targets."""
    seen = []

    def optimize_closed_loop(device, *_, start, reads, **__):
        policy = follow_open(start, device, reads=reads)
        seen.append((start, policy))
        return Found(strategy=policy, value=jnp.zeros(()), info={})

    monkeypatch.setattr(loops, "optimize_closed_loop", optimize_closed_loop)
    tiny_study.use(monkeypatch)
    device, work = devices.pcm(), tiny_study.tiny_workload("digits")
    asked = {"device": {"name": "pcm"}, "times": ["1 s"], "strategies": LOOPS}
    data = run.run(tiny_study.prepared(tmp_path / "a", **asked))
    start, policy = seen[0]
    params = work.params

    def error(layers):
        found = evaluate(
            tiny_study.METRICS[False], params, device, layers, data.time.values,
            chips=3, key=anajax.key(0),
        )  # fmt: skip
        return found.weight_rms_error

    def in_study(name):
        return data.weight_rms_error.isel(device=0).sel(strategy=name).values

    open_loop = error(chip.encode_weights(params, start))
    closed = error(closed_loop_layers(params, policy))
    np.testing.assert_allclose(in_study("closed_loop"), closed, rtol=1e-5)
    assert np.all(np.abs(closed / open_loop - 1) > 1e-3)
    descent = ProductDescent(turns=2, vectors=16)
    trimmed = error(product_descent_layers(params, start, descent))
    gain = np.mean(open_loop - trimmed)  # a sum in another order may end elsewhere
    assert gain > 0.1 * np.mean(open_loop)
    assert abs(np.mean(in_study("product_descent") - trimmed)) < 0.25 * gain


def test_no_file_of_targets_describes_a_loop():
    w = {"kernel": jnp.ones((3, 2))}
    layers = product_descent_layers(w, LSP, ProductDescent(pulse=1.0))
    with pytest.raises(
        ValueError, match="`layers` must be programmed by targets alone"
    ):
        targets_file.to_bytes(layers, w)
