"""Studies that are stopped: at once, with their code, and without losing their work."""

import signal
import time

import jax
import processes
import pytest
import tiny_study
import yaml
from jax.experimental.compilation_cache import compilation_cache

from anajax.studies import run
from anajax.studies.load import validate
from anajax.studies.store import drafts

# --- signals --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_study.CONFIG))
    return path


def stopped(config, out, number, *, wait=0.0, times=1, until="study.json"):
    """Code, last words and seconds until the end of an endless run."""
    words = ("tiny_run.py", "run", config, "--out", out)
    process = processes.start(*words, ENDLESS="1")
    assert process.stdout.readline() == "ready\n"
    deadline = time.monotonic() + 120
    while until and not (out / until).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(wait)
    begin = time.monotonic()
    for _ in range(times):
        process.send_signal(number)
    code, _, err = processes.finish(process, 60)
    return code, err, time.monotonic() - begin


def test_ctrl_c_in_the_midst_of_a_call(config, tmp_path):
    code, err, seconds = stopped(config, tmp_path / "a", signal.SIGINT, wait=2.0)
    assert code == 130 and seconds < 10
    assert f"Interrupted. Continue with --out {tmp_path / 'a'} --resume." in err
    assert "Traceback" not in err
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["study.json"]  # no lock


@pytest.mark.slow
@pytest.mark.parametrize("wait", [0.0, 0.3, 1.0, 5.0, 10.0])
def test_ctrl_c_at_any_moment_of_a_call(config, tmp_path, wait):
    code, err, _ = stopped(config, tmp_path / "a", signal.SIGINT, wait=wait)
    assert code == 130 and "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize("wait", [0.0, 1.0, 3.0])
def test_ctrl_c_before_there_is_a_folder(config, tmp_path, wait):
    code, err, _ = stopped(config, tmp_path / "a", signal.SIGINT, wait=wait, until=None)
    assert code == 130 and "Interrupted." in err and "Traceback" not in err


@pytest.mark.slow
def test_batch_systems_and_impatience(config, tmp_path):
    code, err, _ = stopped(config, tmp_path / "a", signal.SIGTERM)
    assert code == 143 and "Terminated. Continue with" in err
    code, _, _ = stopped(config, tmp_path / "b", signal.SIGINT, times=3)
    assert code == 130


# --- work that is kept ----------------------------------------------------------------

PLAIN = {"strategies": ["lsp_first"], "chips": 7, "chunk": 2}
SEARCHED = {
    "strategies": ["optimized", "lsp_first_tuned"],
    "optimizer": {"starts": 1, "steps": 5, "knots": 5, "per_layer": True},
    "save_every": 2,
}
LEARNED = {
    "strategies": [
        {"name": "targets", "label": "joint", "learn": {"steps": 4, "batch": 8}},
        {"name": "targets", "label": "by_layer",
         "learn": {"parts": ["weights"], "by": "layer", "steps": 4, "batch": 8}},
        {"name": "closed_loop", "reads": 2},
        {"name": "product_descent", "descent": {"turns": 2, "vectors": 16}},
        {"name": "lsp_first", "label": "hwa", "trained": True},
    ],
    "training": {"steps": 4, "batch": 8, "rate": 1e-3},
    "chips": 2,
}  # fmt: skip
REQUIRED = {
    "strategies": ["lsp_first_tuned"],
    "chips": 3,
    "required": {"gap": 0.05, "parameters": ["programming"], "factors": [1, 4]},
}
ONE_DEVICE = {k: tiny_study.CONFIG[k] for k in ("workload", "device", "times")}
SWEEP = ONE_DEVICE | {
    "study": "sweep",
    "strategy": "lsp_first",
    "chips": 6,
    "sweep": {
        "axes": [{"key": "device.noise.programming", "values": [1, 4]}],
    },
    "stop_at_se": 0.01,
    "look_every": 2,
}
SENSITIVITY = ONE_DEVICE | {
    "study": "sensitivity",
    "strategy": "lsp_first",
    "chips": 3,
    "one_at_a_time": {"gap": 0.05, "imperfections": ["programming"], "factors": [1, 8]},
    "gradients": None,
    "screening": {"samples": 2, "chips": 2},
    "variance": None,
    "layers": {"chips": 2},
}
KINDS = {
    "strategies": tiny_study.CONFIG | PLAIN,
    "sweep": SWEEP,
    "searched": tiny_study.CONFIG | SEARCHED,
    "devices": {k: v for k, v in (tiny_study.CONFIG | PLAIN).items() if k != "device"}
    | {"study": "devices", "devices": ["state_independent", "ideal"]},
    "learned": tiny_study.CONFIG | LEARNED,
    "required": tiny_study.CONFIG | REQUIRED,
    "sensitivity": SENSITIVITY,
}
LEAN = ("strategies",)


@pytest.fixture
def compiled(tmp_path):
    """What was compiled is kept on disk: each run makes functions of its own."""
    options = {
        "jax_compilation_cache_dir": str(tmp_path / "cache"),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in options}
    for values in (options, before):
        for name, value in values.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        if values is options:
            yield


@pytest.mark.parametrize(
    "kind",
    [k if k in LEAN else pytest.param(k, marks=pytest.mark.slow) for k in KINDS],
)
def test_every_kind_goes_on_where_it_was_to_the_same_bytes(
    kind, tmp_path, monkeypatch, compiled
):
    """All that can be kept is, and every run is stopped after it kept two things."""
    tiny_study.use(monkeypatch)
    if kind == "sensitivity":
        pytest.importorskip("SALib")
    monkeypatch.setattr(drafts, "EVERY", 1e9)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run.run(run.prepare(validate(KINDS[kind]), out=whole))
    monkeypatch.setattr(drafts, "EVERY", 0.0)
    save, kept = drafts.Draft.save, []

    def save_and_stop(self, make, *, now=False):
        save(self, make, now=True)
        kept.append(self.file)
        if len(kept) % 2 == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(drafts.Draft, "save", save_and_stop)
    attempts, done = 0, False
    while not done:
        attempts += 1
        try:
            run.run(run.prepare(validate(KINDS[kind]), out=cut, resume="auto"))
            done = True
        except KeyboardInterrupt:
            assert attempts < 100
    assert attempts == len(kept) // 2 + 1 > 2
    assert files(cut) == files(whole)


def files(folder):
    """Content by name, the manifest included."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file()
    }


@pytest.mark.slow
def test_little_is_kept_in_a_short_study(tmp_path, monkeypatch):
    tiny_study.use(monkeypatch)
    monkeypatch.setattr(drafts, "EVERY", 3600.0)  # short, on a loaded machine too
    seen = set()

    def note(text, done):
        seen.update(p.name for p in (tmp_path / "a").iterdir())

    run.run(tiny_study.prepared(tmp_path / "a"), notify=note)
    assert drafts.FOLDER not in seen
