"""Costs in studies: columns, the page, the terminal; always with what they rest on."""

import json

import numpy as np
import pytest
import tiny_study
import yaml

from anajax import strategies
from anajax.costs import costs
from anajax.costs.known import find_chip
from anajax.studies import run
from anajax.studies.load import load_config, validate
from anajax.studies.plan import device_of
from anajax.studies.report import report, terminal
from anajax.studies.report.costs import unit_of

BASIS = "model andrulis, calibrated on HERMES (1 phase, 4 phases), k = 7.19"
ONE = {k: tiny_study.CONFIG[k] for k in ("workload", "device", "times")}
SWEEP = ONE | {
    "study": "sweep", "strategy": "single_pair", "chips": 2, "costs": {},
    "periphery": {"dac_bits": 8, "adc_bits": 8},
    "sweep": {"axes": [{"key": "periphery.adc_bits", "values": [6, 8]},
                       {"key": "periphery.rows", "values": [4, 512]}]},
}  # fmt: skip


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    tiny_study.use(monkeypatch)


def ran(out, config):
    return run.run(run.prepare(validate(config), out=out))


def test_strategies_have_columns_and_a_section(tmp_path):
    """Those of `costs` itself; none of the digital network."""
    asked = {"costs": {"inputs": 16}, "strategies": ["single_pair", "lsp_first"]}
    config = tiny_study.CONFIG | asked
    data = ran(tmp_path / "a", config).isel(device=0)
    work, device = tiny_study._WORK, device_of(*_device(config))
    same = costs(
        work.apply, work.params, work.calibration[:16], chip=find_chip("hermes"),
        device=device, strategy=strategies.lsp_first(device), times=data.time.values,
    )  # fmt: skip
    one = data.sel(strategy="lsp_first")
    np.testing.assert_allclose(one.energy, same.per_inference, rtol=1e-5)
    parts = [float(same.energy[p][0, 1]) for p in data.part.values]
    np.testing.assert_allclose(one.part_energy[:, 1], parts, rtol=1e-5)
    np.testing.assert_allclose(one.layer_energy.sum("cost_layer"), one.energy)
    np.testing.assert_allclose(one.tops_per_watt, same.tops_per_watt, rtol=1e-5)
    assert float(one.latency) == pytest.approx(133e-9)
    assert float(one.throughput) == pytest.approx(1 / 133e-9)
    assert float(one.area) == pytest.approx(0.634)
    assert one.energy.attrs["units"] == "uJ"
    assert data.sel(strategy="digital").energy.isnull().all()
    single = data.sel(strategy="single_pair")
    assert np.all(single.energy < one.energy)  # two devices, not four
    assert json.loads(data.attrs["costs"])["basis"] == BASIS
    page = report.write_report(tmp_path / "a").read_text(encoding="utf-8")
    assert page.count(BASIS) == 4  # title, text, layers, what is assumed
    for text in ("Assumed for HERMES: read voltage 0.2 V", "Energy by layer (pJ,"):
        assert text in page
    assert BASIS in str(terminal.summary(data.expand_dims("device"))[-1].title)


def _device(config):
    made = validate(config)
    return made, made.device


@pytest.mark.slow
def test_points_of_a_sweep_have_costs_of_their_own(tmp_path):
    """Bits and lines of each: converters and tiles; the basis says what was changed."""
    data = ran(tmp_path / "a", SWEEP)
    (coarse, _, fine, whole) = (data.isel(point=i) for i in (0, 1, 2, 3))
    assert str(whole.costs_basis.values) == BASIS
    assert str(coarse.costs_basis.values) == (
        f"{BASIS}, 6-bit outputs in place of 8, 4 rows in place of 256"
    )
    adc = data.part_energy.sel(part="adc").isel(time=0).values
    assert adc[2] == pytest.approx(2 * adc[3])  # two tiles of rows: all columns twice
    assert adc[0] == pytest.approx(2 * adc[1]) and adc[1] < adc[3]
    array = data.part_energy.sel(part="array").isel(time=0).values
    np.testing.assert_allclose(array, array[0], rtol=1e-5)
    assert float(whole.area) == pytest.approx(0.634)
    assert float(fine.area) < 2 * 0.634  # two tiles of few rows
    page = report.write_report(tmp_path / "a").read_text(encoding="utf-8")
    assert "6-bit outputs in place of 8" in page


@pytest.mark.slow
def test_devices_and_sensitivity_have_them_too(tmp_path):
    both = {k: v for k, v in tiny_study.CONFIG.items() if k != "device"}
    both |= {"study": "devices", "devices": ["pcm", "reram_wan"], "costs": {}}
    data = ran(tmp_path / "a", both | {"strategies": ["single_pair", "closed_loop"]})
    there = data.energy.sel(strategy="closed_loop").notnull()
    assert there.any("time").all() and np.all(data.energy.dropna("strategy", how="all"))
    report.write_report(tmp_path / "a")
    alone = ONE | {
        "study": "sensitivity", "strategy": "single_pair", "chips": 2, "costs": {},
        "one_at_a_time": {"imperfections": ["read"], "factors": [1, 2]},
        "gradients": None, "screening": None, "variance": None, "layers": None,
    }  # fmt: skip
    data = ran(tmp_path / "b", alone)
    assert data.energy.dims == ("time",) and float(data.energy[0]) > 0
    page = report.write_report(tmp_path / "b").read_text(encoding="utf-8")
    assert "Costs of one inference on HERMES" in page


@pytest.mark.slow
def test_what_is_learned_and_trained_spares_energy(tmp_path):
    """Searches, targets and training from a config: less energy of the array."""
    found = {}
    for weight in (0.0, 1.0):
        learn = {"steps": 40, "chips": 1, "energy_weight": 10 * weight}
        asked = {
            "costs": {}, "training": {"steps": 40, "energy_weight": 10 * weight},
            "optimizer": {
                "starts": 1, "steps": 40, "knots": 5, "energy_weight": 0.03 * weight
            },
            "strategies": ["optimized", {"name": "targets", "learn": learn},
                           {"name": "lsp_first", "label": "hw", "trained": True}],
        }  # fmt: skip
        data = ran(tmp_path / f"{weight}", tiny_study.CONFIG | asked).isel(device=0)
        found[weight] = data.part_energy.sel(part="array").isel(time=-1)
    for label in ("optimized", "targets", "hw"):
        spent = found[1.0].sel(strategy=label) / found[0.0].sel(strategy=label)
        assert float(spent) < 0.9, label


def test_a_chip_of_ones_own_is_found_beside_the_config(tmp_path):
    from test_costs_chips import RECORD

    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(RECORD))
    path = tmp_path / "study.yaml"
    path.write_text(
        yaml.safe_dump(tiny_study.CONFIG | {"costs": {"chip": "mine.yaml"}})
    )
    config = load_config(path)
    assert run.identity(config, tiny_study._WORK)["device_files"].keys() == {
        "mine.yaml"
    }
    study = run.prepare(config, out=tmp_path / "out").study
    assert "calibrated on mine (8 bit)" in study.bill.chip.basis


def test_mistakes_are_named(tmp_path):
    base = tiny_study.CONFIG
    with pytest.raises(
        ValueError, match="`costs.inputs` must be .*1 calibration input"
    ):
        validate(base | {"costs": {"inputs": 0}})
    with pytest.raises(
        FileNotFoundError, match="`costs.chip` must be a file: got a.ya"
    ):
        validate(base | {"costs": {"chip": "a.yaml"}})
    for asked, match in (
        ({"costs": {"chip": "tpu"}}, "`chip` must be one of"),
        (
            {"costs": {}, "periphery": {"adc_bits": 2}},
            "`bits` must lie in 4 to 12, the validity of andrulis: got 2",
        ),
        (
            {"device": {"name": "mram_stt"}, "optimizer": {"energy_weight": 1.0},
             "extrapolate": True},
            "`optimizer` must have no energy for a device with few levels",
        ),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=match):
            run.prepare(validate(base | asked), out=tmp_path / "a")
    learn = {"by": "layer", "energy_budget": 0.1}
    with pytest.raises(ValueError, match="must have no energy by layer"):
        validate(base | {"strategies": [{"name": "targets", "learn": learn}]})


def test_units_suit_the_largest():
    assert unit_of(np.array([0.2, 3e-4])) == (1e-3, "nJ")
    assert unit_of(np.array([5e4])) == (1e3, "mJ")
