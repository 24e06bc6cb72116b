"""Learned programs in studies: from a config to the same results and report."""

import dataclasses
import re

import chex
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from safetensors.numpy import save

import anajax
from anajax import chip, devices
from anajax.analysis.evaluate import evaluate
from anajax.analysis.expected import expected_error, targets
from anajax.analysis.network import AnalogNetwork
from anajax.analysis.tolerance import required_device
from anajax.mapping import density
from anajax.mapping import hand as strategies
from anajax.mapping.weight_error import moment_table, tabulated_error
from anajax.programming import targets_file
from anajax.programming.targets_file import load_targets
from anajax.studies import run
from anajax.studies.load import validate
from anajax.studies.report import report, statistics
from anajax.studies.ways import tables
from anajax.studies.ways.site import OptimizerOptions, Site
from tests import tiny_study

LSP = strategies.lsp_first(devices.pcm())
ENTRIES = [
    "lsp_first",
    {"name": "targets", "label": "joint",
     "learn": {"parts": ["strategy", "weights", "digital"], "steps": 3, "batch": 8}},
    {"name": "closed_loop", "reads": 2},
    {"name": "targets", "label": "by_layer",
     "learn": {"parts": ["weights"], "by": "layer", "steps": 3, "batch": 8}},
    {"name": "product_descent", "descent": {"turns": 2, "vectors": 16}},
    {"name": "optimized", "label": "fisher", "importance": "fisher"},
    {"name": "lsp_first", "label": "hwa", "trained": True},
    {"name": "optimized", "label": "hwa_optimized", "trained": True},
]  # fmt: skip
TRAINING = {"steps": 3, "batch": 8, "rate": 1e-3}


@pytest.mark.slow
def test_expected_error_counts_columns_in_the_units_of_their_layer(key):
    """By the density of a search, or by the moments of every target."""
    w = jr.normal(key, (64, 12)) * jnp.linspace(0.1, 1, 12)
    params, device, errors = {"kernel": w}, devices.pcm(), {}
    for normalize in ("layer", "column"):
        network = AnalogNetwork(
            work=tiny_study.tiny_workload("digits"), normalize=normalize
        )
        times = np.array([1.0, 1e6])
        site = Site(
            network=network,
            params=params,
            device=device,
            times=times,
            key=key,
            layouts=chip.layouts(params),
        )
        layers = targets(params, LSP, device, normalize, chip.layouts(params))
        exact = expected_error(layers, params, device, times)
        found = site.error(LSP)
        np.testing.assert_allclose(found, exact, rtol=0.02)
        np.testing.assert_allclose(site.error({"kernel": LSP}), found)
        errors[normalize] = exact
    assert np.all(errors["column"] < 0.9 * errors["layer"])


@pytest.mark.slow
def test_an_optimum_may_be_asked_to_be_never_worse_than_by_hand(key):
    """Two layers of unlike weights; each has its own strategy and its own ceiling."""
    params = {"a": 0.2 * jr.normal(key, (64, 32)), "b": jr.uniform(key, (64, 32))}
    options = OptimizerOptions(starts=1, steps=200, per_layer=True, never_worse=True)
    site = Site(
        network=AnalogNetwork(work=tiny_study.tiny_workload("digits")),
        params=params, layouts=chip.layouts(params), device=devices.pcm_hermes(),
        times=np.array([1.0, 3600.0, 1e6]), key=key, optimizer=options,
    )  # fmt: skip
    ways = tables.LspFirst(f=[2.0]), tables.LspFirstTuned(), tables.Optimized()
    two, tuned, best = (site.error(way.strategies(site)) for way in ways)
    assert np.all(best < 1.005 * np.minimum(two, tuned)) and best[-1] < 0.98 * tuned[-1]


@pytest.mark.slow
@pytest.mark.parametrize("normalize", ["layer", "column"])
def test_learned_programs_land_in_the_same_results(monkeypatch, tmp_path, normalize):
    tiny_study.use(monkeypatch)
    out = tmp_path / "a"
    asked = {"strategies": ENTRIES, "training": TRAINING, "normalize": normalize}
    data = run.run(tiny_study.prepared(out, **asked))
    assert statistics.strategies(data) == {
        "lsp_first": ("hand", False), "hwa": ("hand", True),
        "hwa_optimized": ("optimized", True),
        **dict.fromkeys(
            ("joint", "closed_loop", "by_layer", "product_descent", "fisher"),
            ("optimized", False),
        ),
    }  # fmt: skip
    assert data.strategy.values[data.trained].tolist() == ["hwa", "hwa_optimized"]
    assert np.all(np.isfinite(data.accuracy))
    for loop in ("closed_loop", "product_descent"):
        assert np.all(np.isnan(data.expected_rms_error.sel(strategy=loop)))
    plain, trained = (statistics.gains(data, trained=t) for t in (False, True))
    assert plain.sizes["strategy"] == 5 and set(plain.best.values.ravel()) == {
        "lsp_first"
    }
    assert trained.strategy.values.tolist() == ["hwa_optimized"]
    assert set(trained.best.values.ravel()) == {"hwa"}
    joint = data.isel(device=0).sel(strategy="joint")
    measured = joint.weight_rms_error.mean("chip")
    np.testing.assert_allclose(joint.expected_rms_error, measured, rtol=0.3)
    page = report.write_report(out)
    text = page.read_text(encoding="utf-8")
    assert "No table over weights describes joint, closed_loop, by_layer" in text
    assert (
        "Optimized minus the best hand-designed strategy, all on trained weights"
        in text
    )
    assert "Trained weights: hardware-aware training" in text
    saved, digital = load_targets(
        tmp_path / "a/targets/state_independent-joint.safetensors"
    )
    work = tiny_study.tiny_workload("digits")
    again = evaluate(
        tiny_study.METRICS[False], chip.insert(work.params, digital),
        devices.state_independent(), saved, joint.time.values, chips=3,
        key=anajax.key(0),
    )  # fmt: skip
    np.testing.assert_allclose(again.metric, joint.accuracy, atol=1e-6)
    (trained,) = (out / "trained").iterdir()
    params = targets_file.params_from_bytes(trained.read_bytes(), work.params)
    moved = np.abs(params["kernel"] - work.params["kernel"])
    assert 0 < moved.max() <= 3.1 * TRAINING["rate"]
    assert_goes_on(out, asked, data)


def assert_goes_on(out, asked, data):
    """What took long is not made again, and the rest comes out the same."""
    slow = [*(out / "targets").iterdir(), *(out / "trained").iterdir()]
    assert len(slow) == 3
    ages = [p.stat().st_mtime_ns for p in slow]
    for part in (out / "parts").iterdir():
        part.unlink()
    again = run.run(tiny_study.prepared(out, resume=True, **asked))
    assert [p.stat().st_mtime_ns for p in slow] == ages
    np.testing.assert_array_equal(again.accuracy, data.accuracy)
    np.testing.assert_array_equal(again.weight_rms_error, data.weight_rms_error)


def test_targets_come_back_from_their_file(tmp_path, key):
    layer = chip.encode_weights({"kernel": jr.normal(key, (3, 2))}, LSP)
    params = {"kernel": jnp.ones((3, 2)), "bias": jnp.arange(2.0)}
    path = tmp_path / "a.safetensors"
    path.write_bytes(targets_file.to_bytes(layer, params))
    back, digital = load_targets(path)
    chex.assert_trees_all_equal(back, jax.tree.map(jnp.asarray, layer))
    chex.assert_trees_all_equal_shapes(back, jax.tree.map(jnp.asarray, layer))
    chex.assert_trees_all_equal(digital, {"bias": jnp.arange(2.0)})


def test_targets_of_the_first_schema_count_in_20_s(tmp_path, key):
    layer = chip.encode_weights({"kernel": jr.normal(key, (3, 2))}, LSP)
    names = ("targets", "coefficients", "offset", "w_max", "column", "drift")
    arrays = {f"kernel:{n}": np.asarray(getattr(layer["kernel"], n)) for n in names}
    (tmp_path / "a").write_bytes(save(arrays, metadata={"schema": "anajax targets 1"}))
    assert load_targets(tmp_path / "a")[0]["kernel"].t0 == 20.0


def test_files_of_targets_are_the_same_bytes_again(key):
    layer = chip.encode_weights({"kernel": jr.normal(key, (3, 2))}, LSP)
    made = {targets_file.to_bytes(layer, {"é": jnp.ones(3)}) for _ in range(20)}
    assert len(made) == 1
    _, digital = targets_file.from_bytes(made.pop())
    chex.assert_trees_all_equal(digital, {"é": jnp.ones(3)})


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
    with pytest.raises(ValueError, match="must be of schema 'anajax targets 2'"):
        load_targets(path)
    path.write_bytes(
        save({"kernel:targets": np.ones(2)}, metadata={"schema": "anajax targets 2"})
    )
    with pytest.raises(ValueError, match="'w_max'.* differ at 'kernel'"):
        load_targets(path)


@pytest.mark.slow
def test_a_study_without_tables_has_a_report(monkeypatch, tmp_path):
    tiny_study.use(monkeypatch)
    run.run(tiny_study.prepared(tmp_path / "a", strategies=ENTRIES[1:2]))
    page = report.write_report(tmp_path / "a").read_text(encoding="utf-8")
    assert "Weight error" in page and "nan" not in page.lower()


@pytest.mark.parametrize("name", ["targets", "closed_loop", "product_descent"])
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


@pytest.mark.slow
def test_a_study_of_devices_learns_on_each_of_them(monkeypatch, tmp_path):
    tiny_study.use(monkeypatch)
    config = {k: v for k, v in tiny_study.CONFIG.items() if k != "device"} | {
        "study": "devices",
        "devices": ["pcm", "state_independent"],
        "strategies": [ENTRIES[0], ENTRIES[1], ENTRIES[-2]],
        "training": TRAINING,
        "periphery": {"dac_bits": 8, "adc_bits": 8},
    }
    out = tmp_path / "a"
    data = run.run(run.prepare(validate(config), out=out))
    assert data.item_accuracy.dims == ("device", "strategy", "time", "item")
    for folder in ("targets", "trained"):
        assert len({p.read_bytes() for p in (out / folder).iterdir()}) == 2
    page = report.write_report(out).read_text(encoding="utf-8")
    for text in (
        "8-bit DAC, 8-bit ADC",
        "Loss relative to the digital",
        "hardware-aware",
    ):
        assert text in page
    assert not re.search(r"\bnan\b", page)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"strategies": ENTRIES[-2:]}, "`training` must be given.*'hwa'"),
        ({"strategies": [{"name": "targets", "trained": True}]}, "no `trained` for t"),
        (
            {"strategies": [{"name": "lsp_first", "importance": "fisher"}]},
            "no `importance` for lsp_first",
        ),
        (
            {"strategies": [{"name": "targets", "learn": {"by": "layer",
             "parts": ["digital"]}}]},
            "no `digital` among its parts by layer",
        ),
        ({"required": {"strategies": ["nobody"]}}, "`required.strategies`.*nobody"),
        ({"required": {"parameters": ["reed"]}}, "Did you mean 'read'"),
        ({"required": {"factors": [2, 1]}}, "increase strictly"),
        ({"periphery": {"adc_bits": 1}}, "`periphery.adc_bits` must be at least 2"),
        ({"save_every": 0}, "`save_every` must be at least 1"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_named(changes, match):
    with pytest.raises(ValueError, match=match):
        validate(tiny_study.CONFIG | changes)


@pytest.mark.slow
def test_the_loosest_device_is_that_of_required_device(monkeypatch, tmp_path):
    tiny_study.use(monkeypatch)
    asked = {"gap": 0.2, "strategies": ["lsp_first"], "factors": [0.5, 4, 32]}
    data = run.run(tiny_study.prepared(tmp_path / "a", required=asked))
    work, device = tiny_study.tiny_workload("digits"), devices.state_independent()
    layers = chip.encode_weights(work.params, strategies.lsp_first(device))
    same = required_device(
        tiny_study.METRICS[False], work.params, device, layers, gap=0.2,
        t=30 * 86400.0, key=anajax.key(0), factors=(0.5, 4, 32), chips=3,
    )  # fmt: skip
    assert list(data.imperfection.values) == [r.parameter for r in same]
    for r in same:
        found = data.sel(required_strategy="lsp_first", imperfection=r.parameter)
        found = found.isel(device=0)
        np.testing.assert_allclose(found.gap, r.gaps, atol=1e-6)
        assert float(found.largest_factor) == pytest.approx(float(r.factor), rel=1e-4)
    page = report.write_report(tmp_path / "a").read_text(encoding="utf-8")
    assert "Device requirements" in page
    assert (tmp_path / "a/figures/tolerance.png").is_file()


@pytest.mark.slow
def test_expected_error_of_a_table_is_that_of_its_density(key):
    """Layers encoded by a table: exact moments of every weight = of the density."""
    device, times = devices.pcm(), np.array([1.0, 1e6])
    params = {"kernel": 0.3 * jnp.sin(jnp.arange(2000.0)).reshape(40, 50)}
    strategy = strategies.lsp_first(device)
    layers = chip.encode_weights(params, strategy)
    points = density.from_weights(params["kernel"], bins=20_001)
    error = tabulated_error(strategy, moment_table(device, jnp.asarray(times)), points)
    found = expected_error(layers, params, device, times)
    np.testing.assert_allclose(found, error.rms, rtol=2e-4)


@pytest.mark.slow
def test_training_on_labels_stands_beside_a_digital_network_trained_alike(
    monkeypatch, tmp_path
):
    tiny_study.use(monkeypatch)
    asked = {
        "strategies": [
            {"name": "digital", "trained": True},
            {"name": "lsp_first", "label": "hwa", "trained": True},
            {"name": "targets",
             "learn": {"parts": ["weights"], "goal": "labels", "steps": 3, "batch": 8}},
        ],
        "training": TRAINING | {"goal": "labels"},
        "periphery": {"dac_bits": 8, "adc_bits": 8},
    }  # fmt: skip
    data = run.run(tiny_study.prepared(tmp_path / "a", **asked))
    families = ["digital", "digital", "hand", "optimized"]
    assert data.family.values.tolist() == families
    assert data.trained.values.tolist() == [False, True, True, False]
    work = tiny_study.tiny_workload("digits")
    path = tmp_path / "a/trained/digital.safetensors"
    params = targets_file.params_from_bytes(path.read_bytes(), work.params)
    right = work.metric_fn(work.apply(params, work.x), work.y).mean()
    np.testing.assert_allclose(data.accuracy.sel(strategy="trained_digital"), right)
    before, after = (work.loss_fn(work.apply(p, work.x), work.y).mean()
                     for p in (work.params, params))  # fmt: skip
    assert after < before
    assert not np.any(data.weight_rms_error.sel(strategy="trained_digital"))
    text = report.write_report(tmp_path / "a").read_text(encoding="utf-8")
    assert "on the labels of the training split" in text


def test_the_digital_network_is_trained_on_labels_only(monkeypatch, tmp_path):
    tiny_study.use(monkeypatch)
    alike = [{"name": "digital", "trained": True}]
    with pytest.raises(ValueError, match=r"`training.goal` must be labels .* digital"):
        tiny_study.prepared(tmp_path, strategies=alike, training={})
    with pytest.raises(ValueError, match="`strategies.*` must have `trained`"):
        tiny_study.prepared(tmp_path, strategies=[{"name": "digital"}])
    strategies = [*alike, "lsp_first"]
    labels = {"goal": "labels"}
    asked = {"strategies": ["trained_digital"]}
    with pytest.raises(ValueError, match=r"`required.strategies` .*trained_digital"):
        tiny_study.prepared(
            tmp_path, strategies=strategies, training=labels, required=asked
        )
    by_layer = {"by": "layer", "parts": ["weights"], "goal": "labels"}
    with pytest.raises(ValueError, match="must have the goal `digital` by layer"):
        entry = {"name": "targets", "learn": by_layer}
        tiny_study.prepared(tmp_path, strategies=[entry])
    work = dataclasses.replace(tiny_study.tiny_workload("digits"), train_y=None)
    monkeypatch.setattr(run, "load", lambda name, **kwargs: work)
    with pytest.raises(ValueError, match="`goal` must be digital .* digits"):
        tiny_study.prepared(tmp_path, training={"goal": "labels"})
