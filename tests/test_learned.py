"""Learned programs in studies: from a config to the same results and report."""

import chex
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from safetensors.numpy import save

from anajax import chip, density, devices, strategies
from anajax.studies import report, run, targets_file
from anajax.studies.config import validate
from anajax.studies.evaluate import evaluate
from anajax.studies.learned import expected_error
from anajax.studies.targets_file import load_targets
from anajax.weight_error import moment_table, weight_error
from tests import tiny_study

LSP = strategies.lsp_first(devices.pcm())
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
    text = page.read_text(encoding="utf-8")
    assert "No table over weights describes joint, closed_loop" in text
    saved, digital = load_targets(
        tmp_path / "a/targets/state_independent-joint.safetensors"
    )
    work = tiny_study.tiny_workload("digits")
    again = evaluate(
        tiny_study._METRIC, chip.insert(work.params, digital),
        devices.state_independent(), saved, joint.time.values, chips=3,
        key=jax.random.key(0),
    )  # fmt: skip
    np.testing.assert_allclose(again.metric, joint.accuracy, atol=1e-6)


def test_targets_come_back_from_their_file(tmp_path, key):
    layer = chip.encode_weights({"kernel": jr.normal(key, (3, 2))}, LSP)
    params = {"kernel": jnp.ones((3, 2)), "bias": jnp.arange(2.0)}
    path = tmp_path / "a.safetensors"
    path.write_bytes(targets_file.to_bytes(layer, params))
    back, digital = load_targets(path)
    chex.assert_trees_all_equal(back, jax.tree.map(jnp.asarray, layer))
    chex.assert_trees_all_equal(digital, {"bias": jnp.arange(2.0)})


def test_damaged_files_of_targets_are_named(tmp_path, key):
    path = tmp_path / "a.safetensors"
    with pytest.raises(FileNotFoundError, match="`path` must be a file"):
        load_targets(path)
    layer = chip.encode_weights({"kernel": jr.normal(key, (3, 2))}, LSP)
    whole = targets_file.to_bytes(layer, {"bias": jnp.ones(2)})
    path.write_bytes(whole[:-5])
    with pytest.raises(ValueError, match="a.safetensors` must be a safetensors file"):
        load_targets(path)
    path.write_bytes(save({"kernel:targets": np.ones(2)}))
    with pytest.raises(ValueError, match="must be of schema 'anajax targets 1'"):
        load_targets(path)
    path.write_bytes(
        save({"kernel:targets": np.ones(2)}, metadata={"schema": "anajax targets 1"})
    )
    with pytest.raises(ValueError, match="'w_max'.* differ at 'kernel'"):
        load_targets(path)


@pytest.mark.slow
def test_a_study_without_tables_has_a_report(monkeypatch, tmp_path):
    tiny_study.use(monkeypatch)
    run.run(tiny_study.prepared(tmp_path / "a", strategies=ENTRIES[1:2]))
    page = report.write_report(tmp_path / "a").read_text(encoding="utf-8")
    assert "Weight error" in page and "nan" not in page.lower()


@pytest.mark.parametrize("name", ["targets", "closed_loop"])
def test_few_levels_are_refused_before_any_work(monkeypatch, tmp_path, name):
    tiny_study.use(monkeypatch)
    with pytest.raises(ValueError, match="few levels"):
        tiny_study.prepared(
            tmp_path / "a",
            device={"name": "mram_stt"},
            times=["1 d"],
            strategies=[name],
        )
    assert not (tmp_path / "a").exists()


def test_a_study_of_devices_refuses_learned_programs():
    config = tiny_study.CONFIG | {"study": "devices", "devices": ["pcm"]}
    config = {k: v for k, v in config.items() if k != "device"}
    with pytest.raises(ValueError, match="study of devices"):
        validate(config | {"strategies": ["targets"]})


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
