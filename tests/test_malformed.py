"""Malformed configs, device files, folders and arrays: always a message, never more.

A small share runs by default; all of them, 2,000 and more, are marked slow.
"""

import collections
import datetime
import json
import shutil
import traceback

import malformed
import pytest
import tiny_study
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from anajax import cli, devices
from anajax.devices.files import load_device, save_device
from anajax.studies.load import load_config

RUNNER = CliRunner()
REFUSED = collections.Counter()
"""How many inputs of each kind were refused."""
SIZES = pytest.mark.parametrize(
    "few", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["few", "all"]
)
CONFIG = tiny_study.CONFIG | {
    "workload": {"name": "digits", "items": 20},
    "device": {
        "name": "state_independent",
        "options": {},
        "noise": {"programming": 1.0, "drift_mean": 1, "drift_spread": 1, "read": 1},
    },
    "chunk": 1,
    "seed": 3,
    "compensation": {"scope": "layer"},
    "extrapolate": False,
    "strategies": [
        "single_pair",
        {"name": "lsp_first", "f": 2.0, "k": 1.0, "label": "x"},
        {"name": "targets", "learn": {"parts": ["strategy"], "steps": 1}},
        {"name": "closed_loop", "reads": 1},
    ],
    "optimizer": {"pairs": 2, "knots": 5, "starts": 1, "steps": 5, "per_layer": False},
}


def many(count, few):
    """Settings of so many examples, the same ones every time."""
    return settings(
        max_examples=max(10, count // 20) if few else count,
        deadline=datetime.timedelta(seconds=20),
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(autouse=True)
def no_work(monkeypatch):
    """All that comes before work is done; nothing is computed."""
    tiny_study.use(monkeypatch)
    monkeypatch.setattr(cli.studies, "_work", lambda study, **_: None)


def invoke(kind, *words):
    """Run a command; a refusal has exit code 2, a message that names, no traceback."""
    result = RUNNER.invoke(cli.app, [str(w) for w in words])
    trace = "".join(traceback.format_exception(result.exception or Exception()))
    assert result.exit_code in (0, 2), f"{result.output}\n{trace}"
    if result.exit_code == 2:
        assert isinstance(result.exception, SystemExit), trace
        assert "Error: " in result.output and "`" in result.output, result.output
        assert "Traceback" not in result.output
        assert len(result.output) < 20_000, result.output[:500]
        REFUSED[kind] += 1
    return result


def refused(kind, function, *args, **kwargs):
    """Whether a call is refused by anajax itself, with a message that names."""
    try:
        function(*args, **kwargs)
    except (ValueError, TypeError, OSError) as error:
        *_, last = traceback.extract_tb(error.__traceback__)
        trace = "".join(traceback.format_exception(error))
        assert "`" in str(error) and "got" in str(error), trace
        assert "/anajax/" in last.filename, trace
        REFUSED[kind] += 1
        return True
    return False


def yaml_text(document):
    return yaml.safe_dump(document, sort_keys=False)


@SIZES
def test_configs(few, tmp_path):
    path, out = tmp_path / "c.yaml", tmp_path / "out"
    base = yaml_text(CONFIG).encode()

    def check(content):
        path.write_bytes(content)
        result = invoke("config", "run", path, "--out", out)
        assert path.read_bytes() == content
        assert out.exists() == (result.exit_code == 0)
        shutil.rmtree(out, ignore_errors=True)

    @many(900, few)
    @given(malformed.mistaken(CONFIG))
    def mistakes(document):
        check(yaml_text(document).encode())

    @many(200, few)
    @given(malformed.damaged(base))
    def damage(content):
        check(content)

    @many(100, few)
    @given(st.text(max_size=20), malformed.JUNK)
    def changes(key, value):
        path.write_bytes(base)
        invoke("config", "run", path, "--set", f"{key}={value}", "--out", out)
        shutil.rmtree(out, ignore_errors=True)

    mistakes()
    damage()
    changes()
    assert REFUSED["config"] > (30 if few else 800)


@pytest.mark.parametrize("name", malformed.DEEP)
def test_documents_that_exhaust_readers(name, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(malformed.DEEP[name])
    assert invoke("deep", "run", path, "--out", tmp_path / "out").exit_code == 2
    assert refused("deep", load_config, path)
    assert refused("deep", load_device, path)
    text = malformed.DEEP[name] if name == "laughs" else ""
    if text:
        path.write_text(text + yaml_text(CONFIG | {"chips": 0}))
        assert invoke("deep", "run", path, "--out", tmp_path / "out").exit_code == 2


PRESETS = ("pcm", "reram_wan", "flash_sonos", "state_independent", "mram_stt")


@pytest.fixture(scope="module")
def device_documents(tmp_path_factory):
    folder = tmp_path_factory.mktemp("devices")
    found = []
    for name in PRESETS:
        if name in devices.presets():
            save_device(devices.presets()[name](), folder / name)
            found.append((folder / name).read_text())
    return found


@SIZES
def test_device_files(few, tmp_path, device_documents):
    path, config = tmp_path / "my.json", tmp_path / "c.yaml"
    section = {"device": {"file": "my.json"}, "strategies": ["single_pair"]}
    config.write_text(yaml_text(tiny_study.CONFIG | section | {"extrapolate": True}))

    def check(content):
        path.write_bytes(content)
        if not refused("device", load_device, path):
            invoke("device", "run", config, "--out", tmp_path / "out")
            shutil.rmtree(tmp_path / "out", ignore_errors=True)
        assert path.read_bytes() == content

    for text in device_documents:
        document = json.loads(text)

        @many(120, few)
        @given(malformed.mistaken(document))
        def mistakes(document):
            check(malformed.text_of(document).encode())

        @many(20, few)
        @given(malformed.damaged(text.encode()))
        def damage(content):
            check(content)

        mistakes()
        damage()
    assert REFUSED["device"] > (40 if few else 450)
