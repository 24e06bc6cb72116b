"""Many devices and processes give what one does: same draws, sums within rounding."""

import json
import time

import jax
import jax.numpy as jnp
import numpy as np
import processes
import pytest
import tiny_study
import yaml

from anajax.analysis import sharding
from anajax.studies.report import results
from anajax.studies.store import hosts

ROUNDING = 1e-5


def differences(*words):
    code, out, err = processes.finish(
        processes.start("sharded.py", *words, devices=8), timeout=600
    )
    assert code == 0, err[-2000:]
    return json.loads(out)


def test_eight_devices_draw_what_one_does():
    found = differences("small", "4x2")
    assert found["spread"] > 1  # uS: chips differ
    one = found["4x2"]
    assert one["bits"] and one["shape"] and one["outputs"] < ROUNDING
    assert one["cuts"] == {"targets": True, "share": 0.5, "items": [2, 4, 24]}


@pytest.mark.slow
@pytest.mark.parametrize("device", ["pcm", "reram_wan"])
def test_any_mesh_draws_what_one_device_does(device):
    """Programming, faults, drift and reads bit for bit; products within rounding."""
    meshes = ("8x1", "4x2", "2x4", "1x8")
    found = differences(device, *meshes)
    assert found["spread"] > 0.5
    for name in meshes:
        assert found[name]["bits"] and found[name]["shape"], name
        assert max(found[name]["outputs"], found[name]["rms"]) < ROUNDING, name
        assert found[name]["cuts"]["share"] == 1 / int(name[-1])
    assert found["8x1"]["output_bits"]  # whole chips on each device: all bits


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    changes = {"chips": 5, "strategies": ["single_pair", "optimized"]}
    path.write_text(yaml.safe_dump(tiny_study.CONFIG | changes))
    return path


@pytest.fixture(scope="module")
def alone(config, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "out"
    code, _, err = processes.finish(
        processes.start("tiny_run.py", "run", config, "--out", out)
    )
    assert code == 0, err[-2000:]
    return out


def assert_same(a, b, *, bits):
    assert (a / "strategy.json").read_bytes() == (b / "strategy.json").read_bytes()
    if bits:
        assert (a / "results.nc").read_bytes() == (b / "results.nc").read_bytes()
    first, second = results.read_results(a), results.read_results(b)
    assert first.sizes == second.sizes
    for name in ("accuracy", "weight_rms_error"):
        np.testing.assert_allclose(first[name], second[name], rtol=ROUNDING)


@pytest.mark.slow
@pytest.mark.parametrize(("parts", "bits"), [(1, True), (2, False)])
def test_study_on_eight_devices(alone, config, tmp_path, parts, bits):
    words = ("run", config, "--out", tmp_path / "out", "--devices", "all")
    code, _, err = processes.finish(
        processes.start("tiny_run.py", *words, "--parts", parts, devices=8)
    )
    assert code == 0, err[-2000:]
    assert_same(alone, tmp_path / "out", bits=bits)
    assert (tmp_path / "out" / "report.html").is_file()


def begin_two(config, outs, *more, slurm=False):
    """Two processes of a study, of four devices each, with folders of their own."""
    port = processes.free_port()
    begun = []
    for index, out in enumerate(outs):
        cluster = "auto" if slurm else f"localhost:{port},{index},2"
        names = {
            "SLURM_JOB_ID": str(port),
            "SLURM_STEP_NODELIST": "localhost",
            "SLURM_NTASKS": "2",
            "SLURM_PROCID": str(index),
            "SLURM_LOCALID": str(index),
            "SLURM_STEP_NUM_TASKS": "2",
        }
        words = ("run", config, "--out", out, "--devices", "all", "--cluster", cluster)
        environment = names if slurm else {}
        begun.append(
            processes.start("tiny_run.py", *words, *more, devices=4, **environment)
        )
    return begun


@pytest.mark.slow
@pytest.mark.parametrize(
    ("slurm", "parts"), [(False, 1), (True, 2)], ids=["by hand", "slurm"]
)
def test_study_in_two_processes(alone, config, tmp_path, slurm, parts):
    outs = tmp_path / "first", tmp_path / "second"
    begun = begin_two(config, outs, "--parts", parts, slurm=slurm)
    ends = [processes.finish(p) for p in begun]
    assert [code for code, *_ in ends] == [0, 0], ends
    assert_same(alone, outs[0], bits=parts == 1)
    assert not outs[1].exists()  # process 0 alone writes
    assert "Report:" in ends[0][1] and "Report:" not in ends[1][1]


@pytest.mark.slow
def test_killed_process_ends_the_others_and_one_goes_on(alone, config, tmp_path):
    out = tmp_path / "out"
    first, second = begin_two(config, (out, tmp_path / "none"))
    deadline = time.monotonic() + 200
    while not list(out.glob("parts/state*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    second.kill()
    second.communicate()
    code, _, err = processes.finish(first, 200)
    assert code not in (0, -9), err  # it ends by itself, and not as if all were well
    assert not (out / "results.nc").exists()
    code, _, err = processes.finish(
        processes.start("tiny_run.py", "run", config, "--out", out, "--resume")
    )
    assert code == 0, err
    assert_same(alone, out, bits=True)


@pytest.mark.slow
def test_mistake_in_one_process_ends_all(alone, config, tmp_path):
    ends = [
        processes.finish(p, 120) for p in begin_two(config, (alone, tmp_path / "b"))
    ]
    assert [code for code, *_ in ends] == [2, 2], ends
    assert "`--out` must be an empty folder" in ends[0][2]
    assert "got an error in process 0" in ends[1][2]


def test_meshes_and_clusters_that_cannot_be_are_named():
    with pytest.raises(ValueError, match="`devices` must be in 1..[0-9]+, the dev"):
        sharding.make_mesh(100_000)
    with pytest.raises(ValueError, match="`parts` must divide the number of devices"):
        sharding.make_mesh(1, parts=2)
    for text in ("node0", "node0:1,2,2", "node0:1,-1,2", "n:1,0,2 x"):
        with pytest.raises(ValueError, match="`--cluster` must be auto or HOST:PORT"):
            hosts.connect(text)


def test_place_keeps_values_keys_and_what_lies_there(key):
    mesh = sharding.make_mesh(1)
    tree = {"w": jnp.arange(6.0).reshape(2, 3), "key": key, "none": None}
    placed = sharding.place(tree, mesh, cut="weights")
    assert placed["none"] is None
    np.testing.assert_array_equal(placed["w"], tree["w"])
    assert jax.random.bits(placed["key"]) == jax.random.bits(key)
    assert sharding.place(placed, mesh)["w"] is placed["w"]
    np.testing.assert_array_equal(sharding.padded(jnp.arange(3), mesh), jnp.arange(3))


@pytest.mark.slow
def test_a_periphery_with_wires_is_the_same_on_a_mesh(tmp_path):
    """Converters, noise of outputs and wires; chips in parts that do not fill it."""
    config = tmp_path / "behind.yaml"
    periphery = {"adc_bits": 8, "output_noise": 0.02, "wires": 2.0, "rows": 5}
    changes = {"chips": 3, "save_every": 2, "strategies": ["lsp_first"]}
    asked = tiny_study.CONFIG | changes | {"periphery": periphery}
    config.write_text(yaml.safe_dump(asked))
    found = {}
    for devices, more in ((1, []), (4, ["--devices", 4, "--parts", 2])):
        out = tmp_path / f"on{devices}"
        code, _, err = processes.finish(
            processes.start(
                "tiny_run.py", "run", config, "--out", out, *more, devices=devices
            )
        )
        assert code == 0, err[-2000:]
        found[devices] = out
    assert_same(found[1], found[4], bits=False)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sweep", "sensitivity"])
def test_other_kinds_of_studies_are_the_same_on_a_mesh(tmp_path, kind):
    """Weights, items and chips shared among four devices, two of them a chip."""
    asked = {k: tiny_study.CONFIG[k] for k in ("workload", "device", "times")}
    asked |= {"study": kind, "strategy": "lsp_first", "chips": 3}
    if kind == "sweep":
        asked["sweep"] = {"axes": [{"key": "device.noise.read", "values": [1, 2]}]}
    else:
        asked |= {"one_at_a_time": {"imperfections": ["read"], "factors": [1, 2]}}
        asked |= dict.fromkeys(("screening", "variance", "layers"))
        asked |= {"gradients": {"chips": 2, "inputs": 16}}
    config, found = tmp_path / "other.yaml", []
    config.write_text(yaml.safe_dump(asked))
    for devices, more in ((1, []), (4, ["--devices", 4, "--parts", 2])):
        out = tmp_path / f"on{devices}"
        words = ("run", config, "--out", out, *more)
        code, _, err = processes.finish(
            processes.start("tiny_run.py", *words, devices=devices)
        )
        assert code == 0, err[-2000:]
        found.append(results.read_results(out))
    for name in found[0].data_vars:
        if found[0][name].dtype.kind == "f":
            np.testing.assert_allclose(
                found[1][name], found[0][name], rtol=1e-3, atol=1e-5, err_msg=name
            )
