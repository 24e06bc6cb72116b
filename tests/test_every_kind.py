"""What every kind of study can do: faults, held compensation, a mesh, enough chips."""

import dataclasses

import numpy as np
import pytest
import tiny_study

from anajax.analysis import sharding
from anajax.studies import run
from anajax.studies.load import validate
from anajax.studies.report import report
from anajax.studies.report.comparison import compare
from anajax.studies.store.folder import Folder
from anajax.studies.store.parts import Parts

ONE = {k: tiny_study.CONFIG[k] for k in ("workload", "device", "times")}
PROGRAMMED = {"strategies": ["single_pair"], "chips": 3}
KINDS = {
    "strategies": ONE | PROGRAMMED | {"study": "strategies"},
    "devices": {k: ONE[k] for k in ("workload", "times")}
    | PROGRAMMED
    | {"study": "devices", "devices": ["state_independent"]},
    "sensitivity": ONE
    | {
        "study": "sensitivity", "strategy": "single_pair", "chips": 3,
        "one_at_a_time": {
            "imperfections": ["read"], "factors": [1, 2], "against": "digital"
        },
        "gradients": None, "screening": None, "variance": None, "layers": None,
    },
    "sweep": ONE
    | {
        "study": "sweep", "strategy": "single_pair", "chips": 3,
        "sweep": {"points": [{"device.noise.read": 1}]},
    },
    "pareto": ONE
    | {
        "study": "pareto", "strategy": "single_pair", "chips": 3,
        "pareto": {"strategy": ["lsp_first"]},
    },
}  # fmt: skip
POINTS = ("sweep", "pareto")
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    tiny_study.use(monkeypatch)


def measured(kind, out, *, mesh=None, **changes):
    """The metric lost at the last time `[chips]`, and the results."""
    config = validate(KINDS[kind] | changes)
    data = run.run(run.prepare(config, out=out, mesh=mesh))
    if kind == "sensitivity":
        return data.gap.values[0, 0], data
    chosen = {"point": 0} if kind in POINTS else {"strategy": 1}
    values = data.accuracy.isel(chosen, drop=True).isel(time=-1)
    return 1 - np.ravel(values.squeeze()), data


@every_kind
def test_all_of_it_at_once(kind, tmp_path):
    """Faults, held compensation, no more chips than needed, loss and items."""
    asked = {
        "faults": {"stuck_high": 0.1}, "compensation": {"recalibrate": ["1 s"]},
        "stop_at_se": 0.2, "look_every": 2, "chips": 5,
    }  # fmt: skip
    found, data = measured(kind, tmp_path / "a", **asked)
    assert np.isnan(found).tolist() == [False] * 2 + [True] * 3
    assert data.attrs["stop_at_se"] == 0.2
    assert ("energy" in data) == ("costs" in data.attrs) == (kind == "pareto")
    assert np.atleast_1d(data.attrs["recalibrated"]).tolist() == [1.0]
    page = report.write_report(tmp_path / "a").read_text(encoding="utf-8")
    for text in (
        "No more chips are measured for a ",
        "once its standard error is at most 20 percentage",
        "It is measured at 1 s and held in between",
        "10 % of the cells stuck at the highest",
    ):
        assert text in page
    assert ">nan" not in page.lower()
    if kind == "sensitivity":
        assert np.all(data.gap_item_error > 0)
        mean = data.item_gap.isel(factor=0).mean("item")
        np.testing.assert_allclose(mean, np.nanmean(found), atol=1e-6)
        return
    chosen = {"point": 0} if kind in POINTS else {"strategy": 1}
    one = data.isel(chosen).isel(time=-1).squeeze()
    assert np.all(one.loss[:2] > 0)
    lost = 1 - one.item_accuracy.mean()
    np.testing.assert_allclose(lost, np.nanmean(found), atol=1e-6)


@pytest.mark.parametrize(
    "kind",
    [
        "sweep",
        *(pytest.param(k, marks=pytest.mark.slow) for k in KINDS if k != "sweep"),
    ],
)
def test_a_mesh_has_the_same_chips(kind, tmp_path):
    """Of one device; `test_sharding` has more."""
    alone, _ = measured(kind, tmp_path / "a")
    shared, _ = measured(kind, tmp_path / "b", mesh=sharding.make_mesh(1))
    np.testing.assert_allclose(shared, alone, atol=1e-6)


@pytest.mark.slow
@every_kind
def test_faults_cost_accuracy(kind, tmp_path):
    plain, _ = measured(kind, tmp_path / "a")
    broken, _ = measured(kind, tmp_path / "b", faults={"stuck_high": 0.3})
    assert broken.mean() > plain.mean() + 0.1


@pytest.mark.slow
@every_kind
def test_compensation_that_is_held_leaves_drift(kind, tmp_path):
    """Measured before drift sets in only: a month later outputs are further off."""
    quiet = dict.fromkeys(("programming", "drift_spread", "read"), 0.1)
    drifting = {"name": "state_independent", "options": {"nu": 0.1}, "noise": quiet}
    how = {"devices": [drifting]} if kind == "devices" else {"device": drifting}
    how |= {"layers": {"chips": 2}} if kind == "sensitivity" else {}
    off = {}
    for name, rule in (("every", None), ("held", ["1 s"])):
        asked = {"compensation": {"recalibrate": rule}}
        _, data = measured(kind, tmp_path / name, chips=2, **how, **asked)
        loss = data.alone_loss if kind == "sensitivity" else data.loss[..., -1]
        off[name] = float(loss.mean())
    assert off["held"] > 5 * off["every"]


@pytest.mark.slow
@every_kind
def test_chips_do_not_depend_on_where_a_study_stops(kind, tmp_path):
    stop = {"stop_at_se": 0.2, "look_every": 2, "chips": 5}
    found, _ = measured(kind, tmp_path / "a", **stop)
    whole, _ = measured(kind, tmp_path / "b", chips=5)
    np.testing.assert_array_equal(found[:2], whole[:2])


FEW = {"steps": 2, "chips": 2}
WAYS = {
    "trained": {"name": "single_pair", "trained": True},
    "learned": {"name": "targets", "learn": FEW | {"parts": ["strategy", "weights"]}},
    "loop": "closed_loop",
}


slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("way", "kind"),
    [
        ("trained", "sweep"),
        *(pytest.param(way, "sweep", marks=slow) for way in ("learned", "loop")),
        *(pytest.param(way, "sensitivity", marks=slow) for way in WAYS),
    ],
)
def test_any_way_to_program(kind, way, tmp_path):
    """The same weights on the same chips as in a study of strategies."""
    options = {"optimizer": tiny_study.CONFIG["optimizer"], "training": FEW}
    options |= {"times": ["1 month"]}
    entry = WAYS[way]
    same, _ = measured("strategies", tmp_path / "a", strategies=[entry], **options)
    behind = {"gradients": {"chips": 2, "inputs": 8}} if kind == "sensitivity" else {}
    found, data = measured(kind, tmp_path / "b", strategy=entry, **options, **behind)
    np.testing.assert_array_equal(found, same)
    config = validate(KINDS[kind] | {"strategy": entry} | options | behind)
    again = run.run(run.prepare(config, out=tmp_path / "b", resume=True))
    assert again.equals(data)


def test_subsets_of_items_have_losses_of_their_own(monkeypatch, tmp_path):
    first = np.arange(64) < 16
    work = dataclasses.replace(run.load("digits"), subsets={"first": first})
    monkeypatch.setattr(run, "load", lambda name, **kwargs: work)
    found, data = measured("sensitivity", tmp_path / "a")
    one = data.isel(imperfection=0, factor=0)
    of_first = one.item_gap[first].mean()
    np.testing.assert_allclose(one.subset_gap.sel(subset="first").mean(), of_first)
    assert float(of_first) != pytest.approx(found.mean(), abs=1e-6)
    page = report.write_report(tmp_path / "a").read_text(encoding="utf-8")
    assert "<th>first</th>" in page


def test_parts_of_an_earlier_version_are_named(tmp_path):
    parts = Parts(Folder.open(tmp_path / "f", {}), lambda *_: None)
    parts.get("a", lambda _: {"metric": np.ones(2)})
    with pytest.raises(
        ValueError, match=r"`--resume` must continue .* without \['loss'\]"
    ):
        parts.get("a", lambda _: {}, needs=("metric", "loss"))


def test_what_is_not_there_cannot_grow(tmp_path):
    asked = {"required": {"parameters": ["read", "adc"]}}
    with pytest.raises(ValueError, match=r"`required.parameters` .* got \['adc'\]"):
        measured("strategies", tmp_path / "a", **asked)
    with pytest.raises(ValueError, match="Did you mean 'adc'"):
        validate(KINDS["strategies"] | {"required": {"parameters": ["adcs"]}})


@pytest.mark.parametrize("kind", ["sweep", "sensitivity"])
def test_results_of_a_kind_are_compared_row_by_row(kind, tmp_path):
    """What twice the programming error costs, chip by chip."""
    noisy = ONE["device"] | {"noise": {"programming": 2.0}}
    first, a = measured(kind, tmp_path / "a")
    second, b = measured(kind, tmp_path / "b", device=noisy)
    found = compare(a, b)
    assert found.paired
    row = found.found.isel(row=0, time=-1)
    lost = (second - first).astype(float)
    np.testing.assert_allclose(row["value"], -lost.mean(), atol=1e-7)
    error = lost.std(ddof=1) / np.sqrt(lost.size)
    np.testing.assert_allclose(row["error"], error, rtol=1e-5)
