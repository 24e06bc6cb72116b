"""Which form the data choose: by the criterion, among those that are right."""

import dataclasses
import json
from types import SimpleNamespace

import jax.random as jr
import numpy as np
import pytest
from typer.testing import CliRunner

from anajax import devices
from anajax.cli import app
from anajax.devices import measure
from anajax.devices.fitting import choice, file
from anajax.devices.fitting.fit import Parameter
from anajax.devices.fitting.measurements import group
from anajax.studies.report import terminal


def made(likelihood, size, *, converged=True, rejected=False, reason=""):
    """A fit, as far as choices look at it."""
    one = Parameter("programming.sd", 1.0, np.inf if reason else 0.1, reason)
    return SimpleNamespace(
        log_likelihood=likelihood, parameters=(one,) * size, converged=converged,
        form_rejected=rejected, undetermined={one.name: reason} if reason else {},
        device=SimpleNamespace(name="mine"),
    )  # fmt: skip


def data(cells=100):
    target = np.linspace(10.0, 20.0, cells)
    columns = {"cell": np.arange(cells), "target": target, "programmed": target}
    return group(columns | {"time": 0 * target, "read": target})


FITS = {
    "few": made(-500.0, 2),
    "many": made(-496.0, 20),  # 4 more of likelihood do not pay for 18 numbers
    "wrong": made(-300.0, 2, rejected=True),
    "unfinished": made(-200.0, 2, converged=False),
}


def fit(form):
    if form == "unfit":
        raise ValueError("`form` must have noise: got none. Give it some.")
    return FITS[form]


def test_the_best_is_right_and_has_the_least_criterion():
    told = []
    forms = ["many", "unfit", "few", "wrong", "unfinished"]
    trials = choice.compare(forms, fit, data(), notify=lambda *a: told.append(a))
    order = ["few", "many", "wrong", "unfinished", "unfit"]
    assert [t.form for t in trials] == order and told[1] == ("unfit", 1)
    assert trials[0].criterion == pytest.approx(1000 + 2 * np.log(100))
    assert trials[-1].reason == "`form` must have noise: got none"
    assert "few is chosen: unfinished has the better criterion" in choice.verdict(
        trials
    )
    said = choice.verdict(trials[:2])
    gap = 18 * np.log(100) - 8
    assert said == f"The data favor few over many by {gap:.1f}."
    close = dataclasses.replace(trials[0], found=made(-500.5, 2), form="close")
    assert "do not distinguish few from close" in choice.verdict([trials[0], close])
    table = terminal.forms(trials)
    assert list(map(str, table.columns[0].cells)) == order


def test_nothing_that_suits_is_refused_with_all_reasons():
    with pytest.raises(ValueError, match="fit a form: got unfit: `form` must have no"):
        choice.compare(["unfit"], fit, data())


def test_candidates_are_one_of_each_kind():
    found = choice.candidates(data())
    assert found[0] == "tables" and {"pcm", "reram_milo"} < set(found)
    assert not {"ideal", "pcm_joshi", "mram_stt"} & set(found)
    few = devices.mram_stt().levels
    assert few is not None and "mram_stt" in choice.candidates(data(2))


def test_curves_reach_the_highest_target():
    wide = choice.widened(devices.state_independent(g_max=15.0), data())
    assert float(wide.programming.g_max) == 20.0
    assert float(choice.widened(devices.pcm(), data()).programming.g_max) == 25.0


def test_what_is_not_determined_is_a_sentence():
    found = made(-1.0, 1, reason="no measured cell depends on it")
    (said,) = file.unknown(found)
    assert said.startswith("The data do not determine programming.sd: no measured cell")
    table = terminal.parameters(found)
    shown = [str(text) for column in table.columns for text in column.cells]
    assert shown[3] == "not determined" and not any("inf" in text for text in shown)


@pytest.mark.slow
def test_the_form_that_made_the_data_is_chosen(tmp_path):
    truth, random = devices.reram_milo(), np.random.default_rng(0)
    table = measure(truth, 50 + 175 * random.random(200), (0.0,), key=jr.key(0))
    path, out = tmp_path / "data.csv", tmp_path / "mine.json"
    rows = zip(*(np.asarray(v) for v in table.values()), strict=True)
    lines = [",".join(table), *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines))
    words = ["fit-device", path, "--out", out, "--json", "--plot", tmp_path / "a.png"]
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed["form"] == "reram_milo" and out.exists()
    assert "The data favor reram_milo over" in printed["notes"][-1]
    reasons = [f["reason"] for f in printed["forms"] if f["criterion"] is None]
    assert reasons and all("got" in reason for reason in reasons)
