"""Devices from measured tables."""

import numpy as np
import pytest
from device_list import TABLES

from anajax import devices


def test_csv_tables_equal_arrays(tmp_path):
    path = tmp_path / "drift.csv"
    path.write_text("g, mean, sd\n0, 0.08, 0.03\n10, 0.05, 0.02\n25, 0.03, 0.01\n")
    device = devices.tabulated(g_max=25.0, drift=path)
    np.testing.assert_array_equal(
        device.drift.nu_mean.value, TABLES.drift.nu_mean.value
    )


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("g,mean\n0,1\n", "drift.*columns g, mean, sd.*without.*sd"),
        ("g,mean,sd\n0,a,1\n", "line 2.*'mean'.*'a'"),
        ("g,mean,sd\n0,1,1\n0,1,1\n", "x.*increase"),
        ("g,mean,sd\n0,1,-1\n1,1,1\n", "sd.*not be negative"),
        ("", "data rows"),
    ],
)
def test_bad_csv_is_named(tmp_path, content, match):
    path = tmp_path / "bad.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=match):
        devices.tabulated(g_max=25.0, drift=path)
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv"):
        devices.tabulated(g_max=25.0, drift="nothing.csv")
