"""Sweeps: one trace for numbers, chips as of `evaluate`, early stop, resume, report."""

import json

import numpy as np
import pytest
import tiny_study

import anajax
from anajax import devices
from anajax.analysis.engine import Engine
from anajax.analysis.evaluate import evaluate
from anajax.analysis.network import AnalogNetwork
from anajax.devices.files import save_device
from anajax.studies import run
from anajax.studies.kinds.sweep_config import settings
from anajax.studies.load import validate
from anajax.studies.report import report, results, terminal
from anajax.studies.store.parts import Parts

CONFIG = {
    "study": "sweep",
    "workload": {"name": "digits"},
    "device": {"name": "state_independent"},
    "strategy": "lsp_first",
    "times": ["1 s", "1 month"],
    "chips": 4,
}
TOP = ("chunk", "chips", "stop_at_se", "look_every")
NOISE = {"key": "device.noise.programming", "values": [1, 2, 4]}


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    tiny_study.use(monkeypatch)


def prepared(out, resume=False, **options):
    changes = {k: options.pop(k) for k in list(options) if k in TOP}
    config = validate(CONFIG | changes | {"sweep": options})
    return run.prepare(config, out=out, resume=resume)


def variants(study):
    """Points of a sweep with their programs, as the study has them."""
    return study.study.variants(Parts(study.folder, lambda *_: None))


def traced(monkeypatch):
    """A list that grows with every trace of a network that was not seen before."""
    traces, original = [], AnalogNetwork.at
    monkeypatch.setattr(
        AnalogNetwork, "at", lambda s, *a: traces.append(1) or original(s, *a)
    )
    work = tiny_study.tiny_workload("digits")
    monkeypatch.setattr(run, "load", lambda name, **kwargs: work)
    return traces


def test_numbers_share_one_trace_and_chips_are_those_of_evaluate(tmp_path, monkeypatch):
    """Noise, times' own leaves and programs that are chosen anew: one trace."""
    traces = traced(monkeypatch)
    both = ["device.noise.read", "device.noise.drift_spread"]
    axes = [
        NOISE,
        {"key": both, "values": [1, [3, 2]]},
        {"key": "strategy.k", "values": [0.7, 1]},
    ]
    study = prepared(tmp_path / "a", axes=axes, chunk=2, gap=0.1)
    data = run.run(study)
    assert len(traces) == 1
    assert data.sizes["point"] == 12 and set(data.group.values) == {0}
    assert study.study.points[3] == {
        "device.noise.programming": 1, "device.noise.read": 3,
        "device.noise.drift_spread": 2, "strategy.k": 1,
    }  # fmt: skip
    for i in (0, 11):
        layers = variants(study)[i].placed.layers
        noise = {
            k.split(".")[-1]: v
            for k, v in study.study.points[i].items()
            if "noise" in k
        }
        device = devices.scale_noise(devices.state_independent(), **noise)
        same = evaluate(
            tiny_study.METRICS[False], study.study.work.params, device, layers,
            [1.0, 2592e3], chips=4, key=anajax.key(0),
        )  # fmt: skip
        np.testing.assert_allclose(
            data.weight_rms_error.values[i], same.weight_rms_error, rtol=1e-5
        )
    page = report.write_report(tmp_path / "a").read_text()
    assert (
        "12 points in 1 trace," in page and "<th>spread of drift (factor)</th>" in page
    )
    points, limits = terminal.summary(data)
    assert points.row_count == 12 and limits.row_count == 4
    assert "programming error (factor), up to" in page


@pytest.mark.slow
def test_structures_are_groups_and_a_sweep_goes_on(tmp_path, monkeypatch):
    """Devices of other structure get traces of their own; parts are done once."""
    axes = [{"key": "device.name", "values": ["state_independent", "ideal"]}, NOISE]
    data = run.run(prepared(tmp_path / "a", axes=axes))
    assert data.group.values.tolist() == [0, 0, 0, 1, 1, 1]
    exact = data.weight_rms_error.values[3:]
    assert np.all(exact < 1e-6) and np.all(data.weight_rms_error.values[:3] > 1e-3)
    study = prepared(tmp_path / "a", resume=True, axes=axes)
    original, calls = Engine.measure, []
    monkeypatch.setattr(
        Engine, "measure", lambda *a, **k: calls.append(1) or original(*a, **k)
    )
    again = run.run(study)
    (tmp_path / "a" / "parts" / "points-00000.npz").unlink()
    run.run(prepared(tmp_path / "a", resume=True, axes=axes))
    assert again.equals(data) and len(calls) == 2  # the groups of the lost part


@pytest.mark.slow
def test_points_stop_when_they_are_known(tmp_path):
    """The quiet point takes the first batch only; the noisy one all chips."""
    names = ("programming", "drift_mean", "drift_spread", "read")
    points = [{f"device.noise.{n}": f for n in names} for f in (0, 12)]
    data = run.run(
        prepared(
            tmp_path / "a", chips=12, points=points, stop_at_se=0.004, look_every=4
        )
    )
    taken = data.accuracy.notnull().all("time").sum("chip").values
    assert taken.tolist() == [4, 12]
    whole = run.run(prepared(tmp_path / "b", chips=12, points=points))
    np.testing.assert_array_equal(
        data.accuracy.values[0, :4], whole.accuracy.values[0, :4]
    )
    np.testing.assert_array_equal(data.accuracy.values[1], whole.accuracy.values[1])
    assert results.read_results(tmp_path / "a").attrs["stop_at_se"] == 0.004


@pytest.mark.slow
def test_device_files_are_relative_to_the_config_and_part_of_the_study(tmp_path):
    """In any way to name them: as a key among others, or within a whole section."""
    for name, noise in (("a", 2.0), ("b", 3.0)):
        device = devices.scale_noise(devices.pcm(), read=noise)
        save_device(device, tmp_path / f"{name}.json")
    ways = [
        {"axes": [{"key": "device.file", "values": ["a.json", "b.json"]}]},
        {"axes": [{"key": "device", "values": [{"file": f"{n}.json"} for n in "ab"]}]},
        {"points": [{"device.file": "a.json"}, {"device.file": "b.json"}]},
    ]
    for i, way in enumerate(ways):
        config = validate(CONFIG | {"sweep": way}, folder=tmp_path)
        study = run.prepare(config, out=tmp_path / f"out{i}")
        assert set(study.folder.identity["device_files"]) == {"a.json", "b.json"}
        assert str(tmp_path) not in json.dumps(
            [study.study.points, study.folder.identity]
        )
        read = [float(v.placed.hardware.device.read.scale) for v in variants(study)]
        assert read == [2.0, 3.0]
        with pytest.raises(FileNotFoundError, match=r"`device.file` must be a file"):
            validate(CONFIG | {"sweep": way}, folder=tmp_path / "elsewhere")
    save_device(devices.pcm(), tmp_path / "b.json")
    with pytest.raises(ValueError, match="device_files"):
        run.prepare(config, out=tmp_path / "out2", resume=True)


@pytest.mark.slow
def test_bits_share_a_trace_and_more_of_them_are_better(tmp_path, monkeypatch):
    traces = traced(monkeypatch)
    axes = [{"key": "periphery.adc_bits", "values": [2, 4, 12]}]
    data = run.run(prepared(tmp_path / "a", axes=axes))
    assert len(traces) == 1
    loss = data.loss.values[:, :, 0].mean(1)
    assert loss[0] > 2 * loss[1] > 2 * loss[2]
    plain = run.run(prepared(tmp_path / "b", points=[{"seed": 0}]))
    np.testing.assert_allclose(loss[2], plain.loss.values[0, :, 0].mean(), rtol=0.05)


def test_a_sample_is_a_latin_hypercube():
    pytest.importorskip("SALib")
    ranges = {"device.noise.read": [0.5, 8.0], "faults.stuck_low": [0.001, 0.1]}
    config = validate(CONFIG | {"sweep": {"sample": {"samples": 16, "ranges": ranges}}})
    found = settings(config)
    share = [np.log(p["device.noise.read"] / 0.5) / np.log(16) for p in found]
    assert sorted(np.floor(16 * np.array(share)).astype(int)) == list(range(16))


@pytest.mark.parametrize(
    ("section", "match"),
    [
        ({}, "have one of `axes`, `points` and `sample`"),
        (
            {"points": [{"seed": 1}], "gap": 0.01},
            "have a first axis of positive numbers",
        ),
        (
            {"axes": [{"key": "device.noise.read", "values": [1, 3, 2]}], "gap": 0.01},
            r"positive numbers in order, for a `gap`: got \[1, 3, 2\]. Order them",
        ),
        ({"axes": [{"key": "workload.name", "values": ["digits"]}]}, "alone"),
        ({"axes": [NOISE, NOISE]}, "name a key once"),
        ({"axes": [{"key": "device.noise.red", "values": [1]}]}, "Did you mean `read`"),
        ({"axes": [{"key": "seed.a", "values": [1]}]}, "must name keys of sections"),
        ({"axes": [{"key": ["a", "b"], "values": [[1]]}]}, "have 2 values"),
        ({"axes": [{"key": "times", "values": [["1 s"]]}]}, "must have one length"),
        ({"axes": [NOISE], "batch": 4}, "`look_every` must be outside of `sweep`"),
        ({"sample": {"samples": 4, "ranges": {"seed": [1, 0]}}}, "low end"),
    ],
)
def test_mistakes_are_named_before_any_work(tmp_path, section, match):
    with pytest.raises(ValueError, match=match):
        prepared(tmp_path / "out", **section)
    assert not (tmp_path / "out").exists()
