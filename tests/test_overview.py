"""Several networks in one figure and one table."""

import csv
import dataclasses

import numpy as np
import pytest
import tiny_study
from typer.testing import CliRunner

from anajax import cli
from anajax.studies import run
from anajax.studies.load import validate
from anajax.studies.report import gaps, overview, results, statistics

BASE = {k: v for k, v in tiny_study.CONFIG.items() if k != "device"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    place = tmp_path_factory.mktemp("studies")
    both = BASE | {"study": "devices", "devices": ["state_independent", "pcm"]}
    one = BASE | {"device": {"name": "pcm"}}
    with pytest.MonkeyPatch.context() as patch:
        tiny_study.use(patch)
        for name, config in (("both", both), ("one", one)):
            run.run(run.prepare(validate(config), out=place / name))
    return place


def test_overview_has_all_numbers_and_draws_all_panels(finished, tmp_path):
    data = overview._read(finished / "both")
    other = overview._read(finished / "one").assign_attrs(workload="another")
    chart = overview.figure([data, other])
    assert sum(axis.axison for axis in chart.axes) == 3  # one device, one network less
    (tmp_path / "t.csv").write_text(overview.table([data, other]))
    with (tmp_path / "t.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 3 * 2  # panels, strategies, times
    row = next(
        r for r in rows if (r["network"], r["strategy"]) == ("another", "optimized")
    )
    values = other.accuracy.sel(device="pcm", strategy="optimized").values[:, 0]
    assert float(row["mean"]) == pytest.approx(values.mean(), abs=1e-5)
    assert float(row["loss"]) == pytest.approx(1 - values.mean(), abs=2e-5)
    assert float(row["loss_error"]) >= values.std(ddof=1) / np.sqrt(3) - 1e-5
    assert {bool(r["gain"]) for r in rows if r["strategy"] != "optimized"} == {False}


def test_the_gap_is_that_of_the_best_hand_strategy_and_has_whole_intervals(finished):
    data = overview._read(finished / "both")
    found = gaps.gaps(data)
    assert {g.role for g in found} == {
        "single pair", "best by hand", "least weight error"
    }  # fmt: skip
    assert {(g.device, g.time) for g in found} == {
        (d, t) for d in ("state_independent", "pcm") for t in (30 * 86400.0,)
    }
    loss = statistics.lost(data.sel(device="pcm", time=30 * 86400.0))
    one = next(g for g in found if (g.device, g.role) == ("pcm", "best by hand"))
    mine = loss.sel(strategy="lsp_first")
    share = 100 / float(data.attrs["digital_metric"])
    assert one.loss == pytest.approx(share * float(mine["value"]), abs=1e-6)
    assert one.half == pytest.approx(1.96 * share * float(mine["error"]), abs=1e-6)
    chart, slide = gaps.figure(found), gaps.figure(found, slide=True)
    assert chart.get_figwidth() == 3.5 and len(chart.axes) == len(slide.axes) == 2
    assert chart.axes[1].get_title("left") == "PCM\n"


def test_the_recommended_program_stands_on_what_it_is():
    def gap(role, loss):
        return gaps.Gap(
            network="a", device="pcm", role=role, time=1.0, loss=loss, half=0.1
        )

    at = {r: gap(r, v) for r, v in (("best by hand", 1.0), ("learned targets", 0.5))}
    rows = gaps._rows(at | {"recommended": gap("recommended", 0.5)})
    assert rows["recommended"] == rows["learned targets"] == -rows["best by hand"]
    rows = gaps._rows(at | {"recommended": gap("recommended", 0.7)})
    assert len(set(rows.values())) == 3


def test_overview_has_gains_over_the_best_hand_strategy_with_both_errors(finished):
    data = overview._read(finished / "one")
    hands = data.strategy.values[data.family.values == "hand"]
    right = np.arange(data.sizes["item"]) % 4 > 0
    for one, of_chips, of_items in (
        ("optimized", [[0.6], [0.6], [0.9]], right),
        (hands[0], [[0.5], [0.6], [0.7]], ~right & right),
        (hands[1], [[0.1], [0.2], [0.3]], right),
    ):
        data.accuracy.loc[{"strategy": one}] = np.array(of_chips)
        data.item_accuracy.loc[{"strategy": one}] = of_items.astype(np.float32)
    rows = list(csv.DictReader(overview.table([data]).splitlines()))
    row = next(r for r in rows if r["strategy"] == "optimized")
    of_chips = np.std([0.1, 0.0, 0.2], ddof=1) / np.sqrt(3)
    of_items = np.std(right, ddof=1) / np.sqrt(len(right))
    assert float(row["gain"]) == pytest.approx(0.1, abs=1e-5)
    assert float(row["gain_error"]) == pytest.approx(
        np.hypot(of_chips, of_items), abs=2e-5
    )


def test_command_writes_files_and_names_mistakes(finished, tmp_path):
    runner = CliRunner()
    args = ["overview", str(finished / "both"), "--out", str(tmp_path / "o")]
    assert runner.invoke(cli.app, args).exit_code == 0
    names = {p.name for p in (tmp_path / "o").iterdir()}
    three = ("overview", "slide", "curves")
    files = {f"{n}.{k}" for n in three for k in ("png", "svg")}
    assert names == files | {"overview.csv"}
    twice = runner.invoke(cli.app, [*args, str(finished / "one")])
    assert twice.exit_code == 2 and "different networks" in twice.output
    data = results.read_results(finished / "one").isel(strategy=1)
    data.attrs["study"] = "sweep"
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / results.RESULTS).write_bytes(results.to_netcdf(data))
    other = runner.invoke(cli.app, ["overview", str(tmp_path / "s")])
    assert other.exit_code == 2 and "of kind sweep" in other.output


def test_subsets_of_items_have_rows_of_their_own(monkeypatch, tmp_path):
    tiny_study.use(monkeypatch)
    first = np.arange(64) >= 48
    work = dataclasses.replace(run.load("digits"), subsets={"first": first})
    monkeypatch.setattr(run, "load", lambda *_, **__: work)
    config = BASE | {"device": {"name": "pcm"}, "save_every": 2}
    run.run(run.prepare(validate(config), out=tmp_path / "a"))
    both = overview._read(tmp_path / "a")
    data = both.sel(device="pcm")
    found = data.subset_accuracy.sel(subset="first")
    np.testing.assert_allclose(
        found.mean("chip"), data.item_accuracy[..., first].mean("item"), atol=1e-6
    )
    loss, error = lost(data, "first")
    np.testing.assert_allclose(
        loss, 1 - found.sel(strategy="optimized").mean("chip"), atol=1e-6
    )
    everything, of_all = lost(data, None)
    assert np.all(error > of_all * 1.2) and not np.allclose(loss, everything)
    rows = list(csv.DictReader(overview.table([both]).splitlines()))
    few = [r for r in rows if r["items_of"] == "first"]
    assert len(few) == len(rows) / 2 and {r["items"] for r in few} == {"16"}


def lost(data, subset):
    found = statistics.lost(data, subset).sel(strategy="optimized")
    return found["value"], found["error"]
