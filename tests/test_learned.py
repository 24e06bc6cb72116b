"""Learned programs in studies: from a config to the same results and report."""

import jax.numpy as jnp
import numpy as np
import pytest

from anajax import chip, density, devices, strategies
from anajax.studies import report, run
from anajax.studies.learned import expected_error
from anajax.weight_error import moment_table, weight_error
from tests import tiny_study

ENTRIES = [
    "lsp_first",
    {"name": "targets", "label": "joint",
     "learn": {"parts": ["strategy", "weights", "digital"], "steps": 3, "batch": 8}},
    {"name": "closed_loop", "reads": 2},
]  # fmt: skip


@pytest.mark.slow
def test_learned_programs_land_in_the_same_results(monkeypatch, tmp_path):
    tiny_study.use(monkeypatch)
    data = run.run(tiny_study.prepared(tmp_path / "a", strategies=ENTRIES))
    assert list(data.strategy.values) == [
        "digital",
        "lsp_first",
        "joint",
        "closed_loop",
    ]
    assert list(data.kind.values) == ["digital", "hand", "optimized", "optimized"]
    assert np.all(np.isfinite(data.accuracy))
    assert np.all(np.isnan(data.expected_rms_error.sel(strategy="closed_loop")))
    joint = data.sel(strategy="joint")
    measured = joint.weight_rms_error.mean("chip")
    np.testing.assert_allclose(joint.expected_rms_error, measured, rtol=0.3)
    page = report.write_report(tmp_path / "a")
    assert "closed_loop" in page.read_text(encoding="utf-8")


def test_expected_error_of_a_table_is_that_of_its_density(key):
    """Layers encoded by a table: exact moments of every weight = of the density."""
    device, times = devices.pcm(), np.array([1.0, 1e6])
    params = {"kernel": 0.3 * jnp.sin(jnp.arange(2000.0)).reshape(40, 50)}
    strategy = strategies.lsp_first(device)
    layers = chip.encode_weights(params, strategy)
    points = density.from_weights(params["kernel"], bins=20_001)
    error = weight_error(strategy, moment_table(device, jnp.asarray(times)), points)
    found = expected_error(layers, params, device, times)
    np.testing.assert_allclose(found, error.rms, rtol=2e-4)
