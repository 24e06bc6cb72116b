"""Studies of sensitivity: the ranking, its parts, resume and report."""

import numpy as np
import pytest
import tiny_study

import anajax
from anajax import devices
from anajax.analysis.impaired import greedy_order, grow
from anajax.analysis.network import AnalogNetwork
from anajax.analysis.tolerance import required_device
from anajax.studies import run
from anajax.studies.load import validate
from anajax.studies.programs import Programs
from anajax.studies.report import report, results, terminal
from anajax.studies.store.parts import Parts

pytest.importorskip("SALib")
FACTORS = [1.0, 2.0, 4.0, 8.0, 16.0]
CONFIG = {
    "study": "sensitivity",
    "workload": {"name": "digits"},
    "device": {"name": "state_independent"},
    "strategy": "lsp_first",
    "times": ["1 month"],
    "chips": 4,
    "one_at_a_time": {"gap": 0.05, "against": "digital", "factors": FACTORS},
    "gradients": None,
    "screening": {"samples": 2, "chips": 2},
    "variance": {"samples": 2, "chips": 2},
    "layers": {"chips": 4},
}


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    tiny_study.use(monkeypatch)


def prepared(out, resume=False, **changes):
    return run.prepare(validate(CONFIG | changes), out=out, resume=resume)


def program(study):
    """Targets by path, as the study has them."""
    own, parts = study.study, Parts(study.folder, lambda *_: None)
    programs = Programs(own.config, own.deployed.network, own.deployed.case, parts)
    return programs.of(own.config.strategy).layers


@pytest.mark.slow
def test_a_study_ranks_and_goes_on(tmp_path):
    """Device alone: limits are those of `required_device` on the same chips."""
    study = prepared(tmp_path / "a")
    done = []
    data = run.run(study, notify=lambda text, end: done.append(text) if end else None)
    assert len(done) == study.parts
    asked = required_device(
        tiny_study.METRICS[False], study.study.work.params,
        devices.state_independent(),
        program(study), gap=0.05, t=30 * 86400.0,
        key=anajax.key(0),
        parameters=("programming",), factors=FACTORS, chips=4,
    )[0]  # fmt: skip
    one = data.sel(imperfection="programming")
    for name in ("factor", "low", "high"):
        np.testing.assert_allclose(
            one[f"largest_{name}"], getattr(asked, name), rtol=1e-5
        )
    assert data.order.values.tolist() == ["kernel"]
    assert data.order_metric.values[1].tolist() == [1.0] * 4  # all digital
    page = report.write_report(tmp_path / "a").read_text()
    for text in (
        "has lost 5 percentage points",
        "Screening",
        "Sobol",
        "Layers",
    ):
        assert text in page
    assert [t.row_count for t in terminal.summary(data)] == [
        data.sizes["imperfection"], 1
    ]  # fmt: skip
    again = run.run(prepared(tmp_path / "a", resume=True))
    assert again.equals(data)
    assert results.read_results(tmp_path / "a").attrs["study"] == "sensitivity"


def test_growing_stops_where_the_loss_is_clear():
    factors = [1.0, 2.0, 4.0, 8.0]

    def clear(f):
        return np.array([f, f + 0.1, np.nan]), 0.1 * f

    tried, found, errors = grow(clear, factors, 1.5)
    assert tried.tolist() == [1.0, 2.0, 4.0] and found.shape == (3, 3)
    np.testing.assert_allclose(errors, [0.1, 0.2, 0.4])
    tried, *_ = grow(lambda f: (np.array([f, -f]), 0.0), factors, 1.5)
    assert tried.size == 4


def test_greedy_order_takes_what_helps_most_given_the_others():
    """Layers 0 and 1 cost only together with each other; 2 costs 3 in any case."""

    def measure(masks, step):
        loss = 3.0 * masks[:, 2] + 4.0 * (masks[:, 0] & masks[:, 1]) + 0.1 * masks[:, 1]
        return {"loss": np.stack([loss, loss], 1), "metric": -np.stack([loss, loss], 1)}

    order, found = greedy_order(measure, 3)
    assert order == [1, 2, 0]
    np.testing.assert_allclose(found["loss"][:, 0], [7.1, 3.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"device": {"name": "ideal"}}, "must have an imperfection"),
        (
            {"one_at_a_time": {"imperfections": ["wires"]}},
            "present in this hardware",
        ),
        ({"one_at_a_time": {"imperfections": ["wire"]}}, "Did you mean 'wires'"),
        ({"one_at_a_time": {"factors": [2, 1]}}, "increase strictly"),
        ({"variance": {"samples": 12}}, "be a power of 2: got 12. Use 16"),
        ({"variance": {"low": 2.0, "high": 1.0}}, "`low` below `high`"),
        (
            {
                "strategy": {"name": "digital", "trained": True},
                "training": {"goal": "labels"},
            },
            "must put weights on chips: got trained_digital",
        ),
        (
            {"strategy": {"name": "lsp_first", "trained": True}},
            "`training` must be given for strategies with `trained`",
        ),
        (
            {"strategy": "targets", "device": {"name": "mram_stt"}},
            "leave out 'targets' for a device with few levels",
        ),
        (
            dict.fromkeys(("one_at_a_time", "screening", "variance", "layers")),
            "ask for",
        ),
        ({"periphery": {"adc_bits": 1}}, "be at least 2"),
    ],
)
def test_mistakes_are_named_before_any_work(tmp_path, changes, match):
    with pytest.raises(ValueError, match=match):
        prepared(tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_every_imperfection_in_one_trace_with_a_periphery(tmp_path, monkeypatch):
    traces, original = [], AnalogNetwork.at
    monkeypatch.setattr(
        AnalogNetwork, "at", lambda s, *a: traces.append(1) or original(s, *a)
    )
    study = prepared(
        tmp_path / "a",
        faults={"stuck_low": 0.01, "stuck_high": 0.01},
        periphery={"dac_bits": 6, "adc_bits": 6, "output_noise": 0.01, "wires": 1.0},
        gradients={"chips": 2, "inputs": 16},
    )
    data = run.run(study)
    assert len(traces) == 2  # and one for the gradients
    assert data.sizes["imperfection"] >= 8
    assert {"wires/column", "periphery/adc/codes"} <= set(data.parameter.values)
    noise = data.elasticity.sel(output="loss", parameter="device/programming/scale")
    assert float(noise) > 0
    assert np.all(np.isfinite(data.elasticity))
    report.write_report(tmp_path / "a")
