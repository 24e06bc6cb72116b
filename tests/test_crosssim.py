"""Parameter files of CrossSim: what means the same is read, the rest is listed."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from anajax import devices, interop

FILE = """
{"core": {"style": "BALANCED", "rows_max": 256, "cols_max": 128, "weight_bits": 0,
          "mapping": {"weights": {"percentile": 99.9}}},
 "simulation": {"useGPU": false, "Niters_max_parasitics": 100},
 "xbar": {
   "device": {"cell_bits": 0, "Rmin": 40000, "Rmax": 400000, "time": 0,
      "infinite_on_off_ratio": false,
      "read_noise": {"enable": true, "model": "NormalIndependentDevice",
                     "magnitude": 0.01},
      "programming_error": {"enable": true, "model": "NormalProportionalDevice",
                            "magnitude": 0.05},
      "drift_error": {"enable": true, "model": "PCMJoshi", "magnitude": 0}},
   "array": {"parasitics": {"enable": true, "Rp_row": 1.5, "Rp_col": 1.0}},
   "dac": {"mvm": {"model": "QuantizerDAC", "bits": 8}},
   "adc": {"mvm": {"model": "QuantizerADC", "bits": 0}}, }
}
"""


@pytest.fixture
def path(tmp_path):
    (tmp_path / "chip.json").write_text(FILE)
    return tmp_path / "chip.json"


def test_what_means_the_same_is_read(path, key):
    """With its comma too much; 0 bits are no converter."""
    found = interop.crosssim(path)
    periphery = found.periphery
    assert (periphery.rows, periphery.columns) == (256, 128)
    assert (periphery.dac_bits, periphery.adc_bits) == (8.0, None)
    device = found.device
    assert float(device.g_max) == 25.0 and float(device.g_min) == 2.5
    cells = devices.program(device, jnp.full(20000, 20.0), key=key)
    aged = devices.age(device, cells, t=1.0)
    g = np.asarray(devices.read(device, aged, t=1.0, key=jr.fold_in(key, 1)))
    want = np.hypot(0.05 * 20, 0.01 * 25)  # of the conductance, of the range
    assert abs(g.std() / want - 1) < 4 / np.sqrt(2 * g.size)
    assert abs(g.mean() - 20) < 4 * want / np.sqrt(g.size)


def test_what_has_no_counterpart_is_listed(path):
    unread = interop.crosssim(path).unread
    assert unread["xbar.array.parasitics.Rp_row"] == 1.5
    assert unread["xbar.device.drift_error.model"] == "PCMJoshi"
    assert unread["core.style"] == "BALANCED"
    assert unread["core.mapping.weights.percentile"] == 99.9
    assert not [key for key in unread if "read_noise" in key or "bits" in key[-4:]]


def test_damaged_files_are_named(path):
    for old, new, match in (
        ("{", "", "JSON that cannot be read"),
        ('"xbar"', '"bar"', "`xbar` is not there"),
        ("40000,", "900000,", "resistances from 900000.0 to 400000.0 Ohm"),
        ("0.05", '"much"', "a magnitude of 'much'"),
        ('"bits": 8', '"bits": "8"', "'8' for xbar.dac.mvm.bits"),
    ):
        path.write_text(FILE.replace(old, new, 1))
        with pytest.raises(ValueError, match=match):
            interop.crosssim(path)
