"""Damaged folders of results and malformed arrays, see `test_malformed`."""

import hashlib
import json
import shutil

import jax
import malformed
import numpy as np
import pytest
import tiny_study
from hypothesis import given
from hypothesis import strategies as st
from test_malformed import REFUSED, SIZES, invoke, many, no_work, refused, yaml_text

import anajax
from anajax import devices, rng
from anajax.mapping import density
from anajax.mapping import hand as strategies
from anajax.studies import run
from anajax.studies.report import report
from anajax.studies.store.folder import MANIFEST

__all__ = ["no_work"]  # a fixture


STUDY = tiny_study.CONFIG | {"strategies": ["single_pair"], "times": ["1 s"]}
DRAWN = {
    f"{stem}.{kind}": f"{stem} as {kind} ".encode() * 20
    for stem in ("device", "strategies", "weight_error", "accuracy")
    for kind in ("png", "svg")
}
"""Stands in for the figures, which are slow to draw."""


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr(report, "draw", lambda *_: DRAWN)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished study, and its config."""
    place = tmp_path_factory.mktemp("study")
    config = place / "c.yaml"
    config.write_text(yaml_text(STUDY))
    with pytest.MonkeyPatch.context() as patch:
        tiny_study.use(patch)
        patch.setattr(report, "draw", lambda *_: DRAWN)
        run.run(tiny_study.prepared(place / "out", **STUDY))
        report.write_report(place / "out")
    return place / "out", config


def files(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file()
    }


@st.composite
def harm(draw, content):
    """What is done to a folder: name of a file, and its new content (None: gone)."""
    name = draw(st.sampled_from(sorted(content)))
    kind = draw(st.sampled_from(["damage", "damage", "remove", "swap", "add", "json"]))
    if kind == "remove":
        return name, None
    if kind == "add":
        place = draw(st.sampled_from(["", "parts/", "figures/", "new/"]))
        return f"{place}x{draw(st.text('abc._-', max_size=8))}", b"foreign"
    if kind == "swap":
        return name, content[draw(st.sampled_from(sorted(content)))]
    if kind == "json" and name.endswith(".json"):
        return name, json.dumps(
            draw(malformed.mistaken(json.loads(content[name])))
        ).encode()
    return name, draw(malformed.damaged(content[name]))


def apply(folder, name, content):
    path = folder / name
    if content is None:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def admit(folder, name, content):
    """Enter a damaged file in the manifest, as if the study had written it."""
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest))


@SIZES
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"  # of h5netcdf, at damaged HDF5
)
def test_folders(few, tmp_path, finished):
    good, config = finished
    content = files(good)
    drawings = {"report.html", *(f"figures/{n}" for n in DRAWN)}
    folder = tmp_path / "out"

    @many(500, few)
    @given(harm(content), st.booleans(), st.integers(0, 2))
    def check(harmed, known, command):
        name, new = harmed
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(good, folder)
        apply(folder, name, new)
        if known and new is not None and name != MANIFEST:
            admit(folder, name, new)
        before = files(folder)
        words = [
            ("report", folder),
            ("compare", folder, good),
            ("run", config, "--out", folder, "--resume"),
        ][command]
        if invoke("folder", *words).exit_code == 2:
            assert files(folder) == before
        elif new is not None and name != MANIFEST and not (known and name in drawings):
            assert files(folder).get(name) == new  # never overwritten silently

    check()
    assert REFUSED["folder"] > (8 if few else 130)


@pytest.mark.parametrize("name", ["results.nc", "strategy.json", MANIFEST, "parts"])
@pytest.mark.parametrize("how", ["truncated", "foreign", "a folder"])
@pytest.mark.parametrize("command", ["resume", "report", "compare"])
def test_every_kind_of_file_is_checked_and_kept(finished, tmp_path, name, how, command):
    good, config = finished
    folder = tmp_path / "out"
    shutil.copytree(good, folder)
    path = next((folder / "parts").iterdir()) if name == "parts" else folder / name
    content = path.read_bytes()
    if how == "a folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(content[: len(content) // 2] if how == "truncated" else b"{}")
    before = files(folder)
    words = {
        "resume": ("run", config, "--out", folder, "--resume"),
        "report": ("report", folder),
        "compare": ("compare", folder, good),
    }[command]
    result = invoke("kind", *words)
    reads = command != "compare" or name == "results.nc"
    assert result.exit_code == (2 if reads else 0), result.output
    if reads:
        assert path.name in result.output.replace("\n", "")
    assert files(folder) == before


DEVICE = devices.state_independent()
PLAIN = strategies.lsp_first(DEVICE)
WEIGHTS = {"kernel": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)}
BAD_NUMBERS = st.one_of(
    st.sampled_from([np.nan, np.inf, -np.inf, -1.0, -1e-3]),
    st.floats(max_value=-1e-6, allow_nan=False),
)


@st.composite
def bad_times(draw):
    """Times with NaN, infinity, a negative one, out of order, or none at all."""
    times = sorted(draw(st.lists(st.floats(0, 1e9), max_size=3)))
    place = draw(st.integers(0, len(times)))
    kind = draw(st.sampled_from(["bad", "empty", "falls", "text"]))
    if kind == "bad":
        return [*times[:place], draw(BAD_NUMBERS), *times[place:]]
    if kind == "falls":
        return [1e10, *times, 1.0]
    return [] if kind == "empty" else draw(st.sampled_from([["a"], None, [None], {}]))


@st.composite
def bad_weights(draw):
    """Parameters with NaN, empty, of no weights, or not numbers."""
    w = WEIGHTS["kernel"].copy()
    kind = draw(st.sampled_from(["nan", "empty", "none", "text", "vector"]))
    w[draw(st.integers(0, 1)), draw(st.integers(0, 2))] = draw(
        st.sampled_from([np.nan, np.inf, -np.inf])
    )
    return {
        "nan": {"kernel": w},
        "empty": {"kernel": w[:0]},
        "none": {},
        "text": {"kernel": np.array([["a", "b"]])},
        "vector": {"bias": w[0]},
    }[kind]


def calls(key):
    """Functions of one malformed argument, with what is malformed."""

    def zero(p):
        return 0.0

    def study(weights=WEIGHTS, times=(1.0,), **more):
        chips = more.pop("chips", 2)
        anajax.evaluate(zero, weights, DEVICE, PLAIN, times, chips=chips, key=key)

    def optimize(times=(1.0,), weights=WEIGHTS["kernel"], **more):
        more = {"starts": 1, "steps": 1} | more
        anajax.optimize_strategy(DEVICE, weights, times, key=key, **more)

    texts = st.sampled_from(["a", None, {}, [[1.0], [2.0, 3.0]]])
    counts = st.one_of(st.integers(max_value=0), st.sampled_from([1.5, "a", None]))
    arrays = bad_weights().map(lambda p: p.get("kernel", np.zeros(0)))
    bad = st.one_of(BAD_NUMBERS, texts)
    return {
        "perturb, t": (
            lambda t: anajax.perturb(WEIGHTS, DEVICE, PLAIN, t=t, key=key), bad
        ),
        "perturb, params": (
            lambda p: anajax.perturb(p, DEVICE, PLAIN, t=1.0, key=key), bad_weights()
        ),
        "evaluate, times": (lambda v: study(times=v), bad_times()),
        "evaluate, params": (lambda v: study(weights=v), bad_weights()),
        "evaluate, chips": (lambda v: study(chips=v), counts),
        "optimize, times": (lambda v: optimize(times=v), bad_times()),
        "optimize, weights": (lambda v: optimize(weights=v), arrays),
        "optimize, steps": (lambda v: optimize(steps=v), counts),
        "density": (lambda v: density.from_weights(v), arrays),
        "gaussian": (lambda v: density.gaussian(v), bad),
        "strategy, f": (lambda v: strategies.lsp_first(DEVICE, f=v), bad),
        "strategy, k": (lambda v: strategies.single_pair(DEVICE, k=v), bad),
        "device, g_max": (lambda v: anajax.replace(DEVICE, g_max=v), bad),
        "moments, t": (
            lambda v: anajax.conductance_moments(DEVICE, np.ones(2), t=v), bad
        ),
        "age, t": (lambda v: anajax.age(DEVICE, CELLS, t=v), bad),
        "scale_noise": (lambda v: devices.scale_noise(DEVICE, read=v), bad),
        "stream": (
            lambda v: rng.stream(key, rng.Stage.CHIP, v),
            st.sampled_from([1.5, "a", None, np.ones(2)]),
        ),
    }  # fmt: skip


CELLS = anajax.program(DEVICE, np.ones(2, np.float32), key=jax.random.key(0))


def refuse_all(name, call, values, few):
    @many(40, few)
    @given(values)
    def check(value):
        assert refused("array", call, value), (name, value)

    check()


@SIZES
def test_arrays(few, key):
    for name, (call, values) in calls(key).items():
        refuse_all(name, call, values, few)
    assert REFUSED["array"] > (100 if few else 400)


@pytest.mark.slow
def test_two_thousand_in_total():
    """Runs after the others of both files, in one process."""
    if not {"config", "device", "folder", "array"} <= set(REFUSED):
        pytest.skip("Count all kinds: run test_malformed*.py with -m slow.")
    assert sum(REFUSED.values()) >= 2000, REFUSED
