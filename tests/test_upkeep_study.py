"""A year at a required accuracy, from Python and from a config: the same answer."""

import jax.numpy as jnp
import numpy as np
import pytest
import tiny_study

import anajax
from anajax import devices, strategies
from anajax.analysis.evaluate import evaluate
from anajax.costs import costs, upkeep
from anajax.costs.held import held_metric, recalibrations
from anajax.costs.known import CostOptions, find_chip
from anajax.studies import run
from anajax.studies.load import validate
from anajax.studies.report import report, terminal

DAY = 86400.0
OPTIONS = CostOptions(pulse_energy=100.0, verify_energy=1.0)
DRIFTING = {
    "name": "state_independent", "options": {"nu": 0.1},
    "noise": {"programming": 0.3, "drift_spread": 2.0, "read": 0.3},
}  # fmt: skip
CONFIG = {
    "study": "upkeep",
    "workload": {"name": "digits"},
    "device": DRIFTING,
    "strategy": "single_pair",
    "times": ["1 s", "1 h"],
    "chips": 4,
    "extrapolate": True,
    "costs": {"pulse_energy": 100, "verify_energy": 1},
    "upkeep": {
        "required": 0.75, "inferences": 100, "reprogram": ["1 d", "30 d", "365 d"],
        "recalibrate": ["1 d"],
    },
}  # fmt: skip


def test_times_of_recalibration_are_as_many_for_any_plan():
    ages = np.array([1.0, 10.0, 100.0])
    assert recalibrations(ages, np.zeros(3)).tolist() == [200, 300, 400]
    assert recalibrations(ages, np.array([0, 4, 96.0])).tolist() == [4, 96, 200]


def drifted(params):
    """How much of the weights is there; 1 on ideal hardware."""
    return jnp.sum(jnp.abs(params["w"])) / 12


def test_a_metric_is_held_between_recalibrations(key):
    """By hand: of one drift exponent, (age / last)^-nu; without any, age^-nu."""
    noise = dict.fromkeys(("programming", "drift_spread", "read"), 0.0)
    device = devices.scale_noise(devices.state_independent(nu=0.1), **noise)
    params, plan = {"w": jnp.ones((3, 4))}, strategies.single_pair(device)
    measure = held_metric(drifted, params, device, plan, chips=2, key=key)
    ages = np.array([10.0, 100.0, 1000.0])
    raw = evaluate(drifted, params, device, plan, ages, chips=2, key=key,
                   scope="none", extrapolate=True).metric[0]  # fmt: skip
    never = measure(ages, np.zeros(3))
    np.testing.assert_allclose(never, raw, rtol=1e-3)
    assert never[2] < never[0]
    held = measure(ages, np.array([0.0, 10.0, 100.0]))
    np.testing.assert_allclose(held[1:], raw[1:] / raw[:2], rtol=1e-3)


@pytest.mark.slow
def test_the_least_energy_that_keeps_an_accuracy(key):
    """Accuracies by hand: what is looked at is the worst of each plan."""
    device = devices.state_independent()
    plan, density = strategies.single_pair(device), anajax.density.gaussian(0.3)
    chip = OPTIONS.finish(find_chip("hermes"))
    assert "pulse energy 100 pJ" in chip.assumed
    got = costs(
        lambda p, x: x @ p["w"], {"w": jnp.ones((8, 4))}, jnp.ones((2, 8)), chip=chip,
        device=device, strategy=plan,
    )  # fmt: skip

    def accuracy(ages, last):
        lost = np.where(last > 0, ages - last, ages) / (100 * DAY)
        return 1 - 0.2 * np.minimum(lost, 1)

    def best(required):
        found = upkeep(
            got, device, plan, density, required=required, inferences=10.0,
            reprogram=(DAY, 10 * DAY, 100 * DAY), recalibrate=(5 * DAY, np.inf),
            metric=accuracy, ages=[DAY], extrapolate=True,
        )  # fmt: skip
        return found

    loose, middle, tight = best(0.8), best(0.975), best(0.997)
    assert (loose.best.reprogram, loose.best.recalibrate) == (100 * DAY, np.inf)
    assert loose.best.metric == pytest.approx(0.8)
    assert (middle.best.reprogram, middle.best.recalibrate) == (100 * DAY, 5 * DAY)
    assert middle.best.metric == pytest.approx(1 - 0.2 * 0.05)
    assert (tight.best.reprogram, tight.best.recalibrate) == (DAY, np.inf)
    assert loose.best.total < middle.best.total < tight.best.total
    assert best(0.999).best is None
    assert "metric at least 0.99" in middle.table()
    assert best(0.999).table().startswith("no plan meets the requirement")


@pytest.mark.slow
def test_a_config_gives_the_same_answer(tmp_path, monkeypatch):
    """Plans, energies and the best, as of `upkeep` with the accuracies measured."""
    tiny_study.use(monkeypatch)
    study = run.prepare(validate(CONFIG), out=tmp_path)
    data = run.run(study)
    d, work = study.study.deployed, tiny_study._WORK
    assert (tmp_path / "parts" / "held-1.npz").is_file()
    plan = strategies.single_pair(d.device)
    rows = iter(data.accuracy.mean("chip").values)
    got = costs(
        work.apply, work.params, work.calibration[:8], device=d.device, strategy=plan,
        chip=OPTIONS.finish(find_chip("hermes")),
    )  # fmt: skip
    same = upkeep(
        got, d.device, plan, anajax.weight_density(work.params), required=0.75,
        inferences=100.0, reprogram=(DAY, 30 * DAY, 365 * DAY),
        recalibrate=(DAY, np.inf), metric=lambda *_: next(rows), ages=[1.0, 3600.0],
        extrapolate=True,
    )  # fmt: skip
    np.testing.assert_allclose(data.least, [p.metric for p in same.plans], atol=1e-6)
    totals = [p.total for p in same.plans]
    np.testing.assert_allclose(data.total_energy, totals, rtol=1e-4)
    error = data.weight_rms_error.mean("chip").isel(time=-1)
    assert abs(float(error[0] - error[1])) > 0.01  # daily, and never recalibrated
    kept = data.kept.values == 1
    assert 0 < kept.sum() < kept.size  # some plans do, some do not
    best = data.isel(plan=int(np.argmax(data.best.values)))
    assert float(best.reprogram) == same.best.reprogram
    assert float(best.total_energy) == data.total_energy.values[kept].min()
    page = report.write_report(tmp_path).read_text(encoding="utf-8")
    for text in ("The lowest energy: program every", "pulse energy 100 pJ"):
        assert text in page
    assert "calibrated on HERMES" in str(terminal.summary(data)[0].title)


def test_mistakes_are_named(tmp_path, monkeypatch):
    tiny_study.use(monkeypatch)
    section = CONFIG["upkeep"]
    for change, match in (
        ({"costs": {}}, "`costs.pulse_energy` must be given in pJ"),
        ({"upkeep": section | {"required": 0}}, "`upkeep.required` must be"),
        (
            {"upkeep": section | {"reprogram": ["2 y"]}},
            "`upkeep.reprogram` must be",
        ),
        ({"compensation": {"recalibrate": ["1 h"]}}, "See upkeep.recalibrate"),
        ({"optimizer": {"per_layer": True}}, "`optimizer.per_layer` must be false"),
        (
            {"extrapolate": False, "times": ["1 s", "20 y"]},
            "does not cover|extrapolate",
        ),
    ):
        with pytest.raises(ValueError, match=match):
            run.prepare(validate(CONFIG | change), out=tmp_path)
