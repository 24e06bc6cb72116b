"""Studies on raw cells: fresh read noise, compensation measured through converters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_study

from anajax import chip, devices
from anajax._core.tree import replace
from anajax.analysis.hardware import Periphery
from anajax.analysis.network import AnalogNetwork
from anajax.analysis.point import one_chip
from anajax.analysis.points import filled
from anajax.devices.read_noise import NoReadNoise
from anajax.mapping import hand as strategies
from anajax.studies import run
from anajax.studies.config.study import CompensationSection
from anajax.studies.report import report

WORK = tiny_study.tiny_workload("digits")
PCM, IDEAL = devices.pcm(), Periphery()


def measured(raw, device, key, *, periphery=IDEAL, analog=None, hold=None):
    network = AnalogNetwork(work=WORK, periphery=periphery, raw=raw)
    layers = chip.encode_weights(WORK.params, strategies.lsp_first(device))
    point = network.point(
        network.hardware(device), layers, filled(jnp.asarray([1.0, 1e6])),
        network.first_items(64), analog=analog, recalibrate=hold,
    )  # fmt: skip
    found = jax.jit(lambda key: one_chip(point, key))(key)
    return {name: np.asarray(v[:2]) for name, v in found.items()}


@pytest.mark.parametrize("hold", [None, jnp.asarray([3600.0])])
def test_without_read_noise_cells_are_the_weights_that_are_read(key, hold):
    quiet = replace(PCM, read=NoReadNoise())
    fine = Periphery(dac_bits=22, adc_bits=22)
    raw, read = (measured(r, quiet, key, periphery=fine, hold=hold) for r in (1, 0))
    loss = read["loss"].mean(-1)
    np.testing.assert_allclose(raw["loss"].mean(-1), loss, rtol=1e-3)
    assert np.all(loss > 1e-4)
    error = raw["weight_rms_error"]
    np.testing.assert_allclose(error, read["weight_rms_error"], rtol=1e-4)


def test_read_noise_is_fresh_for_each_vector(key):
    network = AnalogNetwork(work=WORK, raw=True)
    layers = chip.encode_weights(WORK.params, strategies.lsp_first(PCM))
    point = network.point(
        network.hardware(PCM), layers, filled(jnp.ones(1)), network.items
    )
    part = chip.program(PCM, layers, key=key)
    found = point.cells(PCM, part, WORK.params, None).at(1.0)
    x = jnp.ones((400, 8))
    outputs = network.at({}, found, key)(x)
    assert np.all(outputs.std(0) > 0)
    spread = sum(v.sum(0) for v in found.held["kernel"].variance) ** 0.5
    np.testing.assert_allclose(outputs.std(0), spread, rtol=0.15)
    again = network.at({}, found, key)(x, 1)
    assert not np.any(again == outputs)


def test_a_layer_that_is_not_analog_is_exact(key):
    none = {"kernel": jnp.asarray(False)}
    found = measured(True, PCM, key, analog=none)
    assert np.all(abs(found["loss"]) < 1e-6) and np.all(
        found["weight_rms_error"] < 1e-6
    )


def test_weights_of_a_network_share_no_factor_through_converters():
    with pytest.raises(ValueError, match="scope"):
        CompensationSection(scope="network", through="periphery")


@pytest.mark.slow
def test_a_study_says_which_physics_it_ran(tmp_path, monkeypatch):
    tiny_study.use(monkeypatch)
    periphery = {"dac_bits": 6, "adc_bits": 6, "rows": 5}
    pages = {}
    for through in ("weights", "periphery"):
        asked = {"strategies": ["lsp_first"], "periphery": periphery}
        asked["compensation"] = {"through": through}
        run.run(tiny_study.prepared(tmp_path / through, **asked))
        pages[through] = report.write_report(tmp_path / through).read_text("utf-8")
    assert "read once per chip" in pages["weights"]
    assert "new read noise for each input vector" in pages["periphery"]
