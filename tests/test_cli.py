import json
import os
import resource
import subprocess
import sys

import numpy as np
import pytest
import tiny_study
import yaml
from typer.testing import CliRunner

import anajax
from anajax import devices
from anajax.cli import app
from anajax.devices import measure
from anajax.devices.files import load_device, save_device
from anajax.studies.report.results import read_results

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    tiny_study.use(monkeypatch)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_study.CONFIG))
    return path


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    with pytest.MonkeyPatch.context() as patch:
        tiny_study.use(patch)
        result = invoke("run", config, "--out", out)
    assert result.exit_code == 0, result.output
    return out, result


def invoke(*words):
    return RUNNER.invoke(app, [str(w) for w in words])


def refused(*words):
    result = invoke(*words)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    return result.output


def test_version():
    result = invoke("--version")
    assert result.exit_code == 0
    assert result.output == f"anajax {anajax.__version__}\n"


def test_run_prints_a_table_and_writes_everything(finished):
    out, result = finished
    written = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert {"results.nc", "strategy.json", "report.html", "study.json"} <= written
    assert "figures/accuracy.svg" in written
    best = "Best accuracy by the data:"
    for text in (
        "optimized",
        "lsp_first",
        "1 month",
        "best hand-designed strategy",
        best,
    ):
        assert text in result.output
    assert f"Report: {out / 'report.html'}" in result.output.replace("\n", "")


def test_report_draws_the_same_bytes_again(finished):
    out, _ = finished
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    result = invoke("report", out, "--quiet")
    assert (result.exit_code, result.output) == (0, "")
    assert before == {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_compare_prints_differences(finished):
    out, _ = finished
    result = invoke("compare", out, out)
    assert result.exit_code == 0
    text = " ".join(result.output.split())
    assert "paired, chip by chip" in text and "+0.00 ± 0.00" in text


def test_scripts_get_json_and_quiet(finished, config, tmp_path):
    out, _ = finished
    found = json.loads(invoke("results", out, "--json").output)
    data = read_results(out)
    asked = ["digital", "single_pair", "lsp_first", "optimized"]
    assert data.strategy.values.tolist() == asked  # though the last is done first
    assert (
        found["metric"] == "accuracy" and len(found["rows"]) == 2 * data.strategy.size
    )
    one = next(r for r in found["rows"] if r["strategy"] == "optimized")
    mean = data.accuracy.sel(strategy="optimized", time=one["time"]).mean("chip")
    assert one["mean"] == pytest.approx(mean.item()) and one["chips"] == 3
    assert found["arrays"]["time"]["values"] == [1.0, 2592000.0]
    assert not json.loads(invoke("compare", out, out, "--json").output)["unlike"]
    checked = json.loads(invoke("check", config, "--json").output)
    assert checked["parts"] == 3 and checked["weights"] == 32
    text = invoke("check", config).output
    assert "Study: strategies, 3 parts, 3 chips at 1 s, 1 month" in text
    again = (
        "run",
        config,
        "--out",
        tmp_path / "q",
        "--set",
        "strategies=[single_pair]",
    )
    assert invoke(*again, "--quiet").output == ""
    printed = json.loads(invoke(*again, "--resume", "--json").stdout)
    assert printed["report"] == str(tmp_path / "q" / "report.html")


def test_full_folder_is_refused(finished, config):
    out, _ = finished
    assert "Continue the study in it with --resume" in refused(
        "run", config, "--out", out
    ).replace("\n", " ")


def test_mistakes_end_with_code_2_and_a_message(config, tmp_path):
    out = tmp_path / "out"
    text = refused("run", config, "--set", "chips=0", "--set", "x=1", "--out", out)
    assert "Error: `chips` must be at least 2: got 0. Give 2 chips or more." in text
    assert "Error: `x` must be a known key: got 1. Known here: study, workload" in text
    assert "Traceback" not in text and not out.exists()
    assert "`CONFIG` must be a file: got none.yaml" in refused("run", "none.yaml")
    text = refused("run", config, "--data", tmp_path / "none", "--out", out)
    assert "`--data` must be a folder" in text and not out.exists()
    (tmp_path / "file").write_text("")
    text = refused("run", config, "--out", tmp_path / "file" / "out")
    assert "`--out` must be a folder that can be written to" in text
    assert "without study.json" in refused("report", tmp_path)
    assert "without results.nc" in refused("compare", tmp_path, tmp_path)


def test_device_file_with_a_mistake_is_named(config, tmp_path):
    (tmp_path / "my.json").write_text('{"format": "anajax-device"')
    change = f"device={{file: {tmp_path / 'my.json'}}}"
    text = refused("run", config, "--set", change, "--out", tmp_path / "out")
    assert "my.json` must be complete JSON" in text


def test_interrupted_run_says_how_to_go_on(config, tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("anajax.studies.run.run", interrupt)
    result = invoke("run", config, "--out", tmp_path / "out")
    assert result.exit_code == 130 and "--resume" in result.output


def test_devices_are_listed_with_source_and_times():
    result = invoke("devices")
    assert result.exit_code == 0
    for name in devices.presets():
        assert name in result.output
    assert "Nandakumar" in result.output and "1 s to 2 d" in result.output


def test_device_is_drawn(tmp_path, monkeypatch):
    path = tmp_path / "d.png"
    result = invoke("devices", "reram_milo", "--plot", path)
    save_device(devices.reram_milo(), tmp_path / "mine.json")
    monkeypatch.chdir(tmp_path)
    assert invoke("devices", "mine.json", "--plot").exit_code == 0
    assert (tmp_path / "mine.png").read_bytes()[:4] == b"\x89PNG"
    printed = json.loads(invoke("devices", "mine.json", "--json").output)
    assert [d["name"] for d in printed] == ["mine"] and printed[0]["g_max_uS"] == 225
    assert result.exit_code == 0 and path.read_bytes()[:4] == b"\x89PNG"
    assert "must be a preset: got pmc" in refused("devices", "pmc")
    text = refused("devices", "pcm", "--plot", tmp_path / "d.jpg")
    assert "`--plot` must end in .png or .svg or .pdf" in text
    assert "must have a preset to draw" in refused("devices", "--plot", path)


def test_fit_device_writes_a_file_for_configs(tmp_path, key, config):
    made = devices.reram_milo()
    random = np.random.default_rng(0)
    table = measure(made, 50 + 175 * random.random(400), (0.0,), key=key)
    path, out = tmp_path / "data.csv", tmp_path / "my.json"
    rows = np.stack([np.asarray(v) for v in table.values()], -1)
    header = ",".join(table)
    np.savetxt(path, rows, delimiter=",", header=header, comments="")
    asked = ("fit-device", path, "--form", "reram_milo", "--out", out)
    result = invoke(*asked, "--plot", tmp_path / "fit.pdf")
    assert result.exit_code == 0, result.output
    assert "not rejected" in result.output
    assert (tmp_path / "fit.pdf").read_bytes()[:5] == b"%PDF-"
    printed = json.loads(invoke(*asked, "--json").output)
    assert printed["cells"] == 400 and printed["file"] == str(out)
    assert all(p["standard_error"] > 0 for p in printed["parameters"])
    assert all(p["unit"] == "uS" for p in printed["parameters"])
    device = load_device(out)
    assert device.name == "my" and device.valid_times == (0.0, 0.0)
    sd = device.programming.sd(np.float32(0.5))
    assert abs(float(sd / made.programming.sd(np.float32(0.5))) - 1) < 0.15
    np.savetxt(path, rows[:, 1:], delimiter=",", header=header[5:], comments="")
    text = refused("fit-device", path, "--out", out)
    assert "got none named cell. Add them" in text
    assert "must end in .json" in refused("fit-device", path, "--out", tmp_path / "x")


def test_fit_device_that_is_not_right_writes_no_file(tmp_path):
    """Exit 3 and why; a file only by force. Units are stated or refused."""
    random = np.random.default_rng(0)
    target = random.uniform(20, 220, 200)
    columns = (np.arange(200.0), target, target + random.laplace(size=200) ** 2)
    rows = np.stack([*columns, np.zeros(200), columns[2]], -1)
    path, out = tmp_path / "data.csv", tmp_path / "mine.json"
    tables = ("--form", "tables", "--knots", 2)
    header = "cell,target,programmed,time,read"
    np.savetxt(path, rows, delimiter=",", header=header, comments="")
    result = invoke("fit-device", path, "--out", out, *tables)
    assert result.exit_code == 3 and not out.exists(), result.output
    assert "The data reject the form, most by the test of" in result.output
    assert "--force writes" in result.output
    result = invoke("fit-device", path, "--out", out, *tables, "--force")
    assert result.exit_code == 0 and load_device(out).g_min > 20
    rows[:, [1, 2, 4]] *= 1e-6
    np.savetxt(path, rows, delimiter=",", header=header, comments="")
    assert "State the units" in refused("fit-device", path, "--out", out)
    flags = ("--out", out, *tables, "--units", "S", "--force")
    assert invoke("fit-device", path, *flags).exit_code == 0
    assert 200 < load_device(out).g_max < 220
    np.savetxt(path, rows[:10], delimiter=",", header=header, comments="")
    flags = ("--out", out, "--form", "tables", "--units", "S")
    text = refused("fit-device", path, *flags)
    assert "at least 40 cells for tables: got 10" in text


@pytest.mark.parametrize(
    ("module", "slow"),
    [
        (
            "anajax.cli",
            ("jax", "numpy", "scipy", "rich.progress", "pydantic", "jinja2"),
        ),
        ("anajax.devices", ("scipy", "optax", "flax", "pandas", "xarray")),
        ("anajax.chip", ("scipy", "optax", "flax", "pandas", "xarray")),
    ],
)
def test_nothing_slow_is_imported_before_it_is_needed(module, slow):
    code = f"import sys, {module}; print([m for m in {slow} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_help_takes_less_than_a_blink():
    """0.7 s of a processor; without colors where there is no terminal."""
    begun = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "anajax.cli", "--help"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = sum(getattr(ended, k) - getattr(begun, k) for k in ("ru_utime", "ru_stime"))
    assert took < 0.7
    said = " ".join(done.stdout.split())
    assert "Exit codes: 0 done; 1 a bug" in said and "--install-completion" in said
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("words", "known"),
    [("anajax fit", "fit-device"), ("anajax run --res", "--resume")],
)
def test_a_shell_completes(words, known):
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    code = "import sys, anajax.cli; sys.argv = ['anajax']; anajax.cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env=os.environ | asked | {"_ANAJAX_COMPLETE": "complete_bash"},
    )  # fmt: skip
    assert done.stdout.split() == [known]


def test_results_leave_as_tables_and_figures(finished, tmp_path):
    pandas = pytest.importorskip("pandas")
    out = tmp_path / "tables"
    result = invoke("results", finished[0], "--csv", "--pdf", "--out", out)
    assert result.exit_code == 0, result.output
    frame = pandas.read_csv(out / "device-strategy-chip-time.csv")
    data = read_results(finished[0])
    assert len(frame) == data.accuracy.size
    assert {"accuracy", "loss", "weight_rms_error", "family"} <= set(frame)
    chosen = frame[(frame.strategy == "optimized") & (frame.chip == 1)]
    want = data.accuracy.sel(strategy="optimized", chip=1).values.ravel()
    np.testing.assert_allclose(chosen.sort_values("time").accuracy, want, rtol=1e-6)
    assert (out / "accuracy.pdf").read_bytes()[:5] == b"%PDF-"
    about = json.loads((out / "attributes.json").read_text())
    assert about["study"]["metric"] == "accuracy" and about["units"]["time"] == "s"
    assert "`--csv` must be given" in refused("results", finished[0])
    pytest.importorskip("pyarrow")
    invoke("results", finished[0], "--parquet", "--out", out)
    again = pandas.read_parquet(out / "device-strategy-chip-time.parquet")
    assert len(again) == len(frame)
