import dataclasses
import json

import jax
import numpy as np
import pytest
import tiny_study
import xarray as xr

from anajax import devices
from anajax.analysis.network import AnalogNetwork
from anajax.analysis.workload import evaluate
from anajax.mapping import hand as strategies
from anajax.programming.strategy_file import load_strategies, to_text
from anajax.studies import run
from anajax.studies.report import blocks, report, results, statistics, terminal
from anajax.studies.report.comparison import compare
from anajax.studies.store.folder import MANIFEST, Folder


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    tiny_study.use(monkeypatch)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "out"
    with pytest.MonkeyPatch.context() as patch:
        tiny_study.use(patch)
        run.run(tiny_study.prepared(out))
    return out


def arrays(path):
    data = results.read_results(path)
    return {name: np.asarray(v) for name, v in data.variables.items()}


def assert_same_bits(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].tobytes() == b[name].tobytes(), name


def test_results_are_labelled_with_units(finished):
    data = results.read_results(finished)
    assert list(data.strategy.values) == [
        "digital",
        "single_pair",
        "lsp_first",
        "optimized",
    ]
    assert data.accuracy.dims == ("device", "strategy", "chip", "time")
    assert data.accuracy.shape == (1, 4, 3, 2)
    assert data.time.attrs["units"] == "s" and data.accuracy.attrs["units"] == "1"
    assert data.attrs["digital_metric"] == 1.0
    assert np.all(data.accuracy.sel(strategy="digital") == 1.0)
    assert set(json.loads(data.attrs["versions"])) >= {"anajax", "jax", "flax"}
    assert json.loads(data.attrs["config"])["chips"] == 3
    analog = data.isel(strategy=slice(1, None), device=0)
    ratio = analog.weight_rms_error.mean("chip") / analog.expected_rms_error
    assert np.all((ratio > 0.5) & (ratio < 2))


def test_products_of_a_study_are_those_of_float32(tmp_path, monkeypatch):
    """Also where a device would round their inputs by default."""
    seen, load = [], run.load

    def note(*args, **kwargs):
        seen.append(jax.config.jax_default_matmul_precision)
        return load(*args, **kwargs)

    monkeypatch.setattr(run, "load", note)
    with jax.default_matmul_precision("bfloat16"):
        study = tiny_study.prepared(tmp_path / "out", strategies=["single_pair"])
        run.run(study, notify=lambda *_: note("digits"))
        assert jax.config.jax_default_matmul_precision == "bfloat16"
    assert len(seen) > 1 and set(seen) == {"highest"}


def test_same_seed_same_bits_and_another_seed_others(finished, tmp_path):
    run.run(tiny_study.prepared(tmp_path / "same"))
    assert_same_bits(arrays(finished), arrays(tmp_path / "same"))
    assert (finished / "strategy.json").read_bytes() == (
        tmp_path / "same" / "strategy.json"
    ).read_bytes()
    run.run(tiny_study.prepared(tmp_path / "other", seed=1))
    other = arrays(tmp_path / "other")["weight_rms_error"]
    assert not np.array_equal(other, arrays(finished)["weight_rms_error"])


def test_a_strategy_does_not_depend_on_the_others(finished, tmp_path):
    run.run(tiny_study.prepared(tmp_path / "one", strategies=["single_pair"]))
    one = results.read_results(tmp_path / "one").sel(strategy="single_pair")
    among = results.read_results(finished).sel(strategy="single_pair")
    assert np.array_equal(one.weight_rms_error, among.weight_rms_error)


def test_killed_study_resumes_with_the_same_bits(finished, tmp_path):
    out = tmp_path / "killed"

    def kill(text, done):
        if done and "lsp_first" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.run(tiny_study.prepared(out), notify=kill)
    (out / ".anajax-half").write_bytes(b"half")  # a temporary file of the killed run
    first = out / "parts" / "state_independent-single_pair.npz"
    before = first.stat().st_mtime_ns
    run.run(tiny_study.prepared(out, resume=True))
    assert first.stat().st_mtime_ns == before
    assert_same_bits(arrays(finished), arrays(out))
    assert not (out / ".anajax-half").exists()


def test_full_folder_is_refused(finished):
    with pytest.raises(ValueError, match=r"`--out` must be an empty folder.*--resume"):
        tiny_study.prepared(finished)


def test_another_study_is_not_resumed(finished):
    with pytest.raises(ValueError, match=r"got another in .*config.seed: 0 there, 5 h"):
        tiny_study.prepared(finished, resume=True, seed=5)


@pytest.fixture
def folder(tmp_path):
    made = Folder.open(tmp_path / "f", {"config": {"seed": 0}})
    made.write("results.nc", b"content")
    return made.path


def test_foreign_and_damaged_files_are_named_and_kept(folder):
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"notes.txt` must be a file of this study"):
        Folder.open(folder, {"config": {"seed": 0}}, resume=True)
    (folder / "notes.txt").unlink()
    (folder / "results.nc").write_bytes(b"cont")
    with pytest.raises(ValueError, match=r"results.nc` must be as the study wrote it"):
        Folder.open(folder, {"config": {"seed": 0}}, resume=True)
    assert (folder / "results.nc").read_bytes() == b"cont"


def test_foreign_file_is_not_overwritten(tmp_path):
    made = Folder.open(tmp_path / "f", {})
    (made.path / "report.html").write_text("mine")
    with pytest.raises(ValueError, match=r"report.html` must be a file of this study"):
        made.write("report.html", b"new")
    assert (made.path / "report.html").read_text() == "mine"


def test_folder_without_or_with_a_broken_manifest(tmp_path, folder):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("x")
    with pytest.raises(FileNotFoundError, match=r"without study.json"):
        Folder.open(tmp_path / "a", {}, resume=True)
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text[:-10])
    with pytest.raises(ValueError, match=r"study.json` must be a complete manifest"):
        Folder.open(folder, {}, resume=True)


def test_unwritable_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(ValueError, match=r"`--out` must be a folder that can be w"):
            Folder.open(place, {})


def test_truncated_results_are_named(finished, tmp_path):
    path = tmp_path / "results.nc"
    path.write_bytes((finished / "results.nc").read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"results.nc` must be the complete results"):
        results.read_results(path)
    old = xr.Dataset(attrs={"study": "strategies", "metric": "accuracy"})
    path.write_bytes(results.to_netcdf(old))
    with pytest.raises(ValueError, match=r"results.nc` must be results that this anaj"):
        results.read_results(path)
    with pytest.raises(FileNotFoundError, match="without results.nc"):
        results.read_results(tmp_path / "nowhere")


def test_strategy_file_round_trip(tmp_path):
    device = devices.pcm()
    given = {
        "a": strategies.lsp_first(device, f=2.5, k=1.2),
        "b": {
            "conv/kernel": strategies.offset_device(device),
            "linear/kernel": strategies.single_pair(device),
        },
    }
    (tmp_path / "s.json").write_text(to_text(given))
    read = load_strategies(tmp_path / "s.json")
    assert list(read) == ["a", "b"] and list(read["b"]) == list(given["b"])
    flat = [[d["a"], *d["b"].values()] for d in (given, read)]
    for one, two in zip(*flat, strict=True):
        assert (one.name, one.cell, one.mirrored) == (two.name, two.cell, two.mirrored)
        for name in ("knots", "targets", "significance", "scale", "offset"):
            assert np.array_equal(getattr(one, name), getattr(two, name)), name


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda s: s[: len(s) // 2], "must be complete JSON"),
        (lambda s: s.replace("anajax-strategy", "other"), "must be a file of format"),
        (lambda s: s.replace('"version": 2', '"version": 9'), "must have version 1"),
        (lambda s: s.replace('"scale"', '"scales"'), "must have 'scale' in entry 0"),
        (
            lambda s: s.replace('"signs": [', '"signs": [5,'),
            "must hold a valid strateg",
        ),
    ],
)
def test_damaged_strategy_file_is_named(tmp_path, change, text):
    path = tmp_path / "strategy.json"
    path.write_text(to_text({"a": strategies.lsp_first(devices.pcm())}))
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=text) as caught:
        load_strategies(path)
    assert str(path) in str(caught.value)


def test_times_beyond_the_source_need_a_flag(tmp_path):
    changes = {"device": {"name": "flash_sonos"}, "times": ["1 d", "1 y"]}
    with pytest.raises(ValueError, match=r"In a config: `extrapolate: true`"):
        tiny_study.prepared(tmp_path / "a", **changes)
    assert not (tmp_path / "a").exists()
    study = tiny_study.prepared(tmp_path / "b", extrapolate=True, **changes)
    assert study.study.cases[0].extrapolated.tolist() == [False, True]


@pytest.mark.slow
def test_held_drift_compensation_is_recorded_and_expected(tmp_path):
    """Measured after an hour only: a month later weights are off, as expected."""
    changes = {"device": {"name": "pcm"}, "strategies": ["lsp_first"], "chips": 8}
    rule = {"compensation": {"recalibrate": ["1 h"]}}
    data = [
        run.run(tiny_study.prepared(tmp_path / name, **changes, **more))
        for name, more in (("every", {}), ("held", rule))
    ]
    every, held = (
        d.weight_rms_error.mean("chip").sel(strategy="lsp_first").values[0, -1]
        for d in data
    )
    assert held > 1.2 * every
    assert data[1].attrs["recalibrated"] == [3600.0]
    expected = data[1].expected_rms_error.sel(strategy="lsp_first").values[0, -1]
    np.testing.assert_allclose(expected, held, rtol=0.1)
    page = report.write_report(tmp_path / "held").read_text(encoding="utf-8")
    assert "It is measured at 1 h and held in between; before, it is 1." in page


def test_gain_is_paired_against_the_best_hand_strategy_of_each_time():
    values = np.array(
        [
            [[0.9, 0.9], [0.9, 0.9]],
            [[0.8, 0.5], [0.6, 0.5]],
            [[0.5, 0.7], [0.5, 0.5]],
            [[0.9, 0.7], [0.7, 0.7]],
        ]
    )
    items = np.stack([values[:, 0], values[:, 1], values[:, 0]], -1)
    data = xr.Dataset(
        {
            "accuracy": (("strategy", "chip", "time"), values),
            "item_accuracy": (("strategy", "time", "item"), items),
        },
        coords={
            "strategy": ["digital", "a", "b", "o"],
            "family": ("strategy", ["digital", "hand", "hand", "optimized"]),
            "trained": ("strategy", [False] * 4),
        },
        attrs={"metric": "accuracy", "better": "higher"},
    )
    gain = statistics.gains(data, trained=False)
    assert gain.best.values.tolist() == ["a", "b"]
    gain = gain.sel(strategy="o")
    np.testing.assert_allclose(gain["value"], [0.1, 0.1])
    np.testing.assert_allclose(gain.error, [0.0, 0.1], atol=1e-12)
    np.testing.assert_allclose(gain.of_items, [0.0, 0.2 / 3], atol=1e-12)
    data.attrs["better"] = "lower"
    gain = statistics.gains(data, trained=False)
    assert gain.best.values.tolist() == ["b", "a"]
    assert statistics.gains(data, trained=True) is None


def test_compare_pairs_chips_of_one_seed(finished):
    data = results.read_results(finished)
    same = compare(data, data)
    assert same.paired and not np.any(same.found.to_array())
    with pytest.raises(ValueError, match="must have the same metric"):
        compare(data, data.assign_attrs(metric="bits_per_character"))
    with pytest.raises(ValueError, match="got strategies and sensitivity"):
        none = data.drop_vars("accuracy").assign_attrs(study="sensitivity")
        compare(data, none)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda d: d.assign_attrs(seed=9), "other chips (seeds): 0 and 9"),
        (lambda d: d.isel(chip=slice(2)), "other numbers of chips: 3 and 2"),
        (
            lambda d: d.assign_attrs(items=32),
            "other test items: 64 of drawn, all and 32 of drawn, all",
        ),
        (
            lambda d: d.assign_attrs(source=json.dumps({"split": "last"})),
            "other test items: 64 of drawn, all and 64 of drawn, last",
        ),
        (lambda d: d.assign_attrs(weights="w"), "other weights: random and w"),
        (lambda d: d.assign_attrs(workload="n"), "other networks: digits and n"),
    ],
)
def test_compare_says_what_is_not_the_same(finished, change, text):
    data = results.read_results(finished)
    found = compare(data, change(data))
    assert not found.paired and found.unlike == [text]
    title = str(terminal.comparison(found, blocks.format_of(data)).title)
    assert title == f"B - A, accuracy (percentage points), unpaired; {text}"


def test_metric_counts_every_item_once_in_batches():
    work = tiny_study.tiny_workload("digits")
    noisy = dataclasses.replace(work, y=work.y.at[:5].set(-1), batch=24)
    assert float(evaluate(noisy).mean()) == pytest.approx(59 / 64)
    network = AnalogNetwork(work=noisy)
    items = network.metric(noisy.params)(noisy.params, jax.random.key(0))
    np.testing.assert_array_equal(items, [0.0] * 5 + [1.0] * 59)
