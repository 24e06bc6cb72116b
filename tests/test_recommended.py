"""The recommended program: chosen on validation data and chips, never on the test."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_study

from anajax import chip, rng
from anajax.analysis.network import AnalogNetwork
from anajax.analysis.workload import set_aside, training_inputs
from anajax.mapping.hand import lsp_first
from anajax.studies import run, sample
from anajax.studies.kinds import strategies as kind
from anajax.studies.load import validate
from anajax.studies.report import choices
from anajax.studies.report.report import write_report
from anajax.studies.ways import catalog
from anajax.studies.ways.base import Way
from anajax.studies.ways.recommended import Losses, Recommended, choose
from anajax.studies.ways.site import Program, Site


def losses(effort, mean, *, more=0.0, chips=8):
    """Losses that are `more` apart on every other chip and item."""
    swing = more * np.resize([1.0, -1.0], chips)
    return Losses(effort=effort, chips=mean + swing, items=mean + swing)


def test_the_least_loss_is_chosen_and_the_cheapest_of_those_tied():
    clear = {"hand": losses(0, 2.0), "optimum": losses(1, 1.0), "joint": losses(5, 3.0)}
    assert choose(clear).chosen == "optimum" == choose(clear).best
    tied = clear | {"hand": losses(0, 1.3, more=1.0)}  # 0.3 by about 0.5 of error
    assert choose(tied).chosen == "hand" and choose(tied).best == "optimum"
    assert choose(tied).error["hand"] == pytest.approx(
        np.sqrt(2) * np.std(tied["hand"].chips, ddof=1) / np.sqrt(8)
    )
    alike = clear | {"other": losses(1, 1.1, more=1.0)}
    assert choose(alike).chosen == "optimum"  # as cheap, and loses less
    broken = {"hand": losses(0, 1.0), "joint": losses(5, np.nan)}
    assert choose(broken).chosen == "hand"


class Half(Way):
    """The weights of some inputs are halved before they are programmed."""

    name: str = "half"
    family = "optimized"
    last: bool = False

    def build(self, site: Site) -> Program:
        rows = jnp.arange(8) >= 4 if self.last else jnp.arange(8) < 4
        halved = dict(site.params)
        halved["kernel"] = site.params["kernel"] * (1 - 0.5 * rows[:, None])
        device = site.device
        layers = chip.encode_weights(halved, lsp_first(device), **site.which)
        return site.of_layers(layers, {})


HALVES = [
    {"name": "half", "label": "of_test", "last": False},
    {"name": "half", "label": "of_training", "last": True},
]
WAYS = [*HALVES, {"name": "recommended", "chips": 3}]
CHOICE = "state_independent-recommended"


def lopsided(patch):
    """Test inputs live in the last features, those of the training split in others."""
    work = tiny_study.tiny_workload("digits")
    first = np.arange(8) < 4
    work = dataclasses.replace(
        work, x=work.x * ~first, train_x=work.train_x * first,
        calibration=work.calibration * first,
    )  # fmt: skip
    patch.setattr(run, "load", lambda *_, **__: work)
    patch.setattr(catalog, "_ways", catalog.ways())
    catalog.register(Half)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("recommended") / "a"
    measured, plain = [], kind.Runner._measure
    with pytest.MonkeyPatch.context() as patch:
        lopsided(patch)
        patch.setattr(
            kind.Runner, "_measure",
            lambda *a, **k: measured.append(a[1]) or plain(*a, **k),
        )  # fmt: skip
        data = run.run(tiny_study.prepared(out, strategies=WAYS))
    return out, data, measured


def test_validation_decides_and_not_the_test(finished):
    _, data, _ = finished
    assert data.recommended.item() == "of_training" == data.validation_best.item()
    lost = data.loss.mean(("device", "chip", "time"))
    assert lost.sel(strategy="of_training") > 2 * lost.sel(strategy="of_test")
    loss = data.validation_loss.sel(recommendation=CHOICE)
    assert loss.candidate.values.tolist() == ["of_test", "of_training"]
    assert 0 < 2 * loss.sel(candidate="of_training") < loss.sel(candidate="of_test")


def test_it_is_one_of_the_others_and_is_not_made_or_measured_again(finished):
    _, data, measured = finished
    assert len(measured) == 2
    both = (data.accuracy.sel(strategy=s) for s in ("recommended", "of_training"))
    np.testing.assert_array_equal(*both)
    (regret,) = choices.regrets(data)
    best = data.accuracy.isel(strategy=slice(1, 3)).mean("chip").max("strategy")
    mine = data.accuracy.sel(strategy="recommended").mean("chip")
    lost = (best - mine).values.squeeze()
    np.testing.assert_allclose(regret.found["value"].values.squeeze(), lost, atol=1e-6)
    assert np.all(lost >= 0) and set(regret.found.best.values) <= {
        "of_test", "of_training",
    }  # fmt: skip


@pytest.mark.slow
def test_the_report_says_which_and_what_it_cost(finished):
    page = write_report(finished[0]).read_text(encoding="utf-8")
    for text in (
        "Which strategy is recommended",
        "Regret of the recommended strategy",
        f"{CHOICE}: of_training, which has the lowest validation loss",
    ):
        assert text in page  # fmt: skip


def test_it_goes_on_bit_for_bit(finished, monkeypatch):
    out, data, _ = finished
    lopsided(monkeypatch)
    for name in (f"choice-{CHOICE}", f"validation-{CHOICE}-of_test"):
        (out / f"parts/{name}.npz").unlink()
    (out / "parts/state_independent-recommended.npz").unlink()
    again = run.run(tiny_study.prepared(out, resume=True, strategies=WAYS))
    for name in ("validation_loss", "validation_error", "recommended", "accuracy"):
        np.testing.assert_array_equal(again[name], data[name])


def test_chips_and_items_are_those_of_no_test_and_of_no_learning():
    work = set_aside(tiny_study.tiny_workload("digits"), 512)
    learned, held = training_inputs(work), np.asarray(work.held_x)
    assert len(held) == 12 and len(learned) == 52  # a fifth of 64
    rows = {x.tobytes() for x in np.asarray(learned)}
    assert not rows & {x.tobytes() for x in held}
    assert not {x.tobytes() for x in np.asarray(work.calibration)} & {
        x.tobytes() for x in held
    }
    network = AnalogNetwork(work=work)
    test = sample.of_study(0, 25, network)
    apart = sample.to_choose(0, 25, network, 512)
    numbers = [
        {k.tobytes() for k in jax.random.key_data(s.keys)} for s in (test, apart)
    ]
    assert not numbers[0] & numbers[1]
    assert apart.count == 12 and apart.items.x.shape == test.items.x.shape
    unlabeled = dataclasses.replace(work, train_x=None, train_y=None)
    assert len(set_aside(unlabeled, 8).held_x) == 8
    with pytest.raises(ValueError, match="`workload` must have inputs that were set"):
        AnalogNetwork(work=tiny_study.tiny_workload("digits")).held_items(4)
    assert rng.path_key(rng.key(0), sample.VALIDATION) != rng.key(0)


@pytest.mark.slow
def test_a_single_way_may_be_recommended_too(monkeypatch, tmp_path):
    """In studies of one strategy, among ways of its own."""
    tiny_study.use(monkeypatch)
    one = {k: tiny_study.CONFIG[k] for k in ("workload", "device", "times", "chips")}
    among = ["single_pair", {"name": "lsp_first", "f": 3}]
    way = {"name": "recommended", "among": among, "chips": 2, "at": "1 s"}
    asked = one | {"study": "sweep", "strategy": way}
    asked["sweep"] = {"points": [{"device.noise.read": 1}]}
    data = run.run(run.prepare(validate(asked), out=tmp_path / "a"))
    assert data.recommended.values.tolist() == ["lsp_first"]
    assert data.candidate.values.tolist() == ["single_pair", "lsp_first"]


def test_what_it_cannot_choose_among_is_named():
    for among, match in (
        (["nothing"], "`recommended.among` of known names: got 'nothing'"),
        ([{"name": "lsp_first", "f": 3}], "labels that no other way has: got lsp_fi"),
        (["lsp_first", "lsp_first"], "distinct labels: got"),
        (["recommended"], "put weights on chips by themselves: got recommended"),
        ([{"name": "lsp_first", "g": 3}], "no `g` for lsp_first"),
    ):
        with pytest.raises(ValueError, match=match):
            way = {"name": "recommended", "among": among}
            validate(tiny_study.CONFIG | {"strategies": ["lsp_first", way]})
    late = {"name": "recommended", "at": "1 y"}
    with pytest.raises(ValueError, match="`at` must be one of 1 s, 1 month: got 1 y"):
        validate(tiny_study.CONFIG | {"strategies": ["lsp_first", late]})
    assert Recommended(at=1e5).time_of(np.array([1.0, 1e4, 1e6])) == 1
    trained = {"name": "recommended", "trained": True}
    with pytest.raises(ValueError, match="have no `trained`"):
        validate(tiny_study.CONFIG | {"strategies": ["lsp_first", trained]})


def test_programs_with_learned_columns_share_the_trace_of_all_others(
    tmp_path, monkeypatch
):
    """Searched, chosen, hand-designed and learned: chips are compiled once."""
    traces, original = [], AnalogNetwork.at
    monkeypatch.setattr(
        AnalogNetwork, "at", lambda s, *a: traces.append(1) or original(s, *a)
    )
    work = tiny_study.tiny_workload("digits")
    monkeypatch.setattr(run, "load", lambda name, **kwargs: work)
    learn = {"steps": 2, "parts": ["columns", "weights"]}
    every = [{"name": "lsp_first", "f": 3}, {"name": "targets", "learn": learn},
             {"name": "recommended", "chips": 2}]  # fmt: skip
    run.run(tiny_study.prepared(tmp_path / "a", strategies=every))
    assert len(traces) == 1
