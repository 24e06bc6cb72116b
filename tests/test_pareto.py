"""Accuracy against energy: one knob at a time, its front, its figure, its config."""

import re
from pathlib import Path

import numpy as np
import pytest
import tiny_study

from anajax.studies import run
from anajax.studies.kinds.costs.pareto_page import GRAY, figure, front
from anajax.studies.load import load_config, validate
from anajax.studies.report import report, terminal

CONFIG = {
    "study": "pareto",
    "workload": {"name": "digits"},
    "device": {"name": "state_independent"},
    "times": ["1 month"],
    "chips": 3,
    "periphery": {"dac_bits": 8, "adc_bits": 8},
    "optimizer": {"starts": 1, "steps": 40, "knots": 5},
    "pareto": {"weight": [0.5], "adc_bits": [5], "tiles": [4]},
}
KNOBS = ["base", "weight", "adc_bits", "tiles"]


def test_a_study_of_one_knob_has_its_table_and_figure(tmp_path, monkeypatch):
    tiny_study.use(monkeypatch)
    bits = {"strategy": "single_pair", "pareto": {"adc_bits": [5, 6]}}
    data = run.run(run.prepare(validate(CONFIG | bits), out=tmp_path))
    assert data.knob.values.tolist() == ["base", "adc_bits", "adc_bits"]
    assert data.turned.values.tolist() == ["", "5", "6"]
    parts = data.part_energy.isel(time=0)
    assert len(set(parts.sel(part="array").values)) == 1
    assert np.all(np.diff(parts.sel(part="adc").values[[1, 2, 0]]) > 0)
    shown, *_ = terminal.summary(data)
    assert shown.row_count == 3
    assert "calibrated on HERMES (1 phase, 4 phases), k = 7.19" in str(shown.title)
    _look(data)


@pytest.mark.slow
def test_points_turn_one_knob_each(tmp_path, monkeypatch):
    """Energy from its own source: array by weight, ADC by bits, columns by tiles."""
    tiny_study.use(monkeypatch)
    data = run.run(run.prepare(validate(CONFIG), out=tmp_path))
    assert data.knob.values.tolist() == KNOBS
    assert data.turned.values.tolist() == ["", "0.5", "5", "4"]
    parts = data.part_energy.isel(time=0)
    base, aware, coarse, small = (
        {p: float(parts.sel(part=p)[i]) for p in ("array", "adc")} for i in range(4)
    )
    assert aware["array"] < 0.9 * base["array"] and aware["adc"] == base["adc"]
    assert coarse["array"] == base["array"] and coarse["adc"] < base["adc"]
    assert small["adc"] == pytest.approx(2 * base["adc"])
    page = report.write_report(tmp_path).read_text(encoding="utf-8")
    title = "Accuracy against energy: handwritten digits, small CNN, on cells of equal"
    assert f"{title} noise" in page
    assert "HERMES: model andrulis, calibrated on HERMES (1 phase, 4 phases)" in page
    assert "<li>ADC bits 5: 5-bit outputs in place of 8</li>" in page
    assert re.search(r"Best accuracy by the data: [^.]+, [\d.]+ pJ", page)
    assert "Lowest energy of those not worse than the base by two standard" in page
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"pareto.png", "pareto_array.svg"} <= names


def _look(data):
    """The line of digital; a gray mark for what is dominated, and only for that."""
    (axis,) = figure(data).axes
    assert "calibrated on HERMES" in axis.figure.get_suptitle().replace("\n", " ")
    (line,) = (v for v in axis.lines if v.get_label() == "digital")
    assert line.get_ydata()[0] == 100 * data.attrs["digital_metric"]
    energy = data.energy.values[:, 0]
    kept = front(energy, data.accuracy.values.mean(1)[:, 0])
    gray = [c for c in axis.containers if c[0].get_color() == GRAY]
    size = next(s for s in (1e-3, 1e-6) if energy.max() >= s)
    shown = np.concatenate([c[0].get_xdata() for c in gray]) * size
    np.testing.assert_allclose(np.sort(shown), np.sort(energy[~kept]), rtol=1e-5)


def test_front_by_hand():
    energy = np.array([1.0, 2.0, 2.0, 3.0, 1.0])
    metric = np.array([0.5, 0.9, 0.8, 0.9, 0.5])
    assert front(energy, metric).tolist() == [True, True, False, False, True]


def test_mistakes_are_named(tmp_path, monkeypatch):
    tiny_study.use(monkeypatch)
    for change, match in (
        ({"pareto": {}}, "`pareto` must change one of weight, pairs"),
        ({"pareto": {"weight": [-1]}}, r"`pareto.weight.* must be"),
        ({"pareto": {"volts": [1]}}, "volts"),
        ({"periphery": None}, "`periphery` must be given if bits or tiles"),
        ({"strategy": "single_pair"}, "`strategy` must be optimized where weight"),
        ({"pareto": {"tiles": [512]}}, "`pareto.tiles` must fit those of HERMES"),
        ({"pareto": {"adc_bits": [2]}}, "`bits` must lie in 4 to 12"),
        ({"pareto": {"strategy": ["digital"]}}, "`strategy` must have `trained`"),
    ):
        with pytest.raises(ValueError, match=match):
            run.prepare(validate(CONFIG | change), out=tmp_path)


@pytest.mark.slow
def test_the_example_runs(tmp_path):
    """Few chips; the energy-aware points save array energy, one pair saves half."""
    config = load_config(Path("configs/pareto.yaml"), ["chips=3", "workload.items=60"])
    data = run.run(run.prepare(config, out=tmp_path))
    array = data.part_energy.sel(part="array").isel(time=0).values
    by_knob = {k: array[data.knob.values == k] for k in set(data.knob.values)}
    assert np.all(np.diff(by_knob["weight"]) < 0)
    assert by_knob["weight"][0] < by_knob["base"][0] > 2 * by_knob["pairs"][0]
    assert report.write_report(tmp_path).is_file()
