"""Device files: what is written is what is read, and anything else is refused."""

import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from device_list import ALL

from anajax import devices

WRITTEN = devices.write_verified(devices.pcm(), pulse=0.5, verify=0.2, band=0.4)


@pytest.mark.parametrize("device", [*ALL, WRITTEN], ids=lambda d: d.name)
def test_a_saved_device_comes_back(device, tmp_path):
    path = tmp_path / "device.json"
    devices.save_device(device, path)
    back = devices.load_device(path)
    assert jax.tree.structure(back) == jax.tree.structure(device)
    for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(device), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype and a.shape == b.shape
    assert (back.name, back.source) == (device.name, device.source)
    assert os.listdir(tmp_path) == ["device.json"]


def test_every_slot_and_curve_can_be_saved():
    from anajax.devices import curves, records, relaxation, stages

    final = {
        cls.__name__
        for abstract in (
            stages.AbstractProgramming,
            stages.AbstractDrift,
            stages.AbstractRead,
            curves.AbstractCurve,
            relaxation.AbstractSurface,
        )
        for cls in abstract.__subclasses__()
        if cls.__module__.startswith("anajax.")
    }
    assert final <= set(records.records())


def edited(tmp_path, change):
    path = tmp_path / "device.json"
    devices.save_device(devices.pcm(), path)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda d: d.update(version=99), "device.json.*version 1.*99"),
        (lambda d: d.update(format="other"), "device.json.*format.*'other'"),
        (lambda d: d["device"].update(type="os.system"), "known record.*os.system"),
        (lambda d: d["device"].update(type="Constant"), "fields of Constant"),
        (lambda d: d["device"].pop("g_max"), "fields of Device.*g_max"),
        (lambda d: d["device"].update(extra=1), "fields of Device.*extra"),
        (lambda d: d["device"].update(g_max="x"), "numbers at device.g_max.*x"),
        (lambda d: d["device"].update(g_max=-5.0), "valid Device.*g_max.*positive"),
        (lambda d: d.update(device=d["device"]["drift"]), "hold a Device.*PowerLaw"),
    ],
)
def test_foreign_and_damaged_files_are_named(tmp_path, change, match):
    path = edited(tmp_path, change)
    with pytest.raises(ValueError, match=match):
        devices.load_device(path)


@pytest.mark.parametrize("content", ["", "[1, 2", "\x80abc", "[]", "7"])
def test_truncated_files_are_named(tmp_path, content):
    path = tmp_path / "cut.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match=r"cut\.json"):
        devices.load_device(path)
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        devices.load_device(tmp_path / "none.json")


def test_a_foreign_slot_is_not_saved_and_leaves_nothing(tmp_path):
    class Foreign:
        pass

    device = devices.pcm()
    object.__setattr__(device, "drift", Foreign())
    with pytest.raises(ValueError, match="known records.*Foreign"):
        devices.save_device(device, tmp_path / "device.json")
    with pytest.raises(OSError, match="Make its folder"):
        devices.save_device(devices.pcm(), tmp_path / "absent" / "device.json")
    assert os.listdir(tmp_path) == []
    assert jnp.isfinite(devices.pcm().g_max)
