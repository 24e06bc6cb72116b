"""Files of aihwkit, both ways; its outputs are those of the oracles."""

import json

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy.stats import norm
from shared import oracle

from anajax import devices
from anajax.crossbar.product import mvm
from anajax.crossbar.tiling import from_weights
from anajax.interop import aihwkit, aihwkit_names
from anajax.mapping.hand import equal_split, lsp_first, offset_device, single_pair
from anajax.mapping.strategy import Strategy, encode, pairs
from anajax.transformation.multiply import no_periphery


def interpolated(arguments, w):
    """Conductances `[devices n]` as its converter has them: linear between nodes."""
    nodes = np.linspace(-1, 1, len(arguments["g_lst"][0]))
    return np.stack([np.interp(w, nodes, g) for g in arguments["g_lst"]])


def test_a_strategy_is_the_arguments_of_its_converter():
    """The tables of the oracle go in and come out, and so do the conductances."""
    z = np.load(oracle("converters.npz"))
    seen = 0
    for name in json.loads(str(z["cases"])):
        config = json.loads(str(z[f"{name}/config"]))
        if config["kind"] != "custom" or "nonlinear" in name or "random" in name:
            continue
        g, f = np.array(config["g"]).T, np.array(config["f"])
        strategy = Strategy(
            cell=pairs(f.size), knots=np.linspace(-1, 1, len(g)), targets=g,
            significance=f, scale=float((g[-1].reshape(-1, 2) @ [1, -1]) @ f),
            mirrored=False,
        )  # fmt: skip
        device = devices.ideal(g_min=config["g_min"], g_max=config["g_max"])
        found = aihwkit.custom_pair(strategy, device, nodes=len(g))
        np.testing.assert_allclose(found["f_lst"], config["f"])
        np.testing.assert_allclose(found["g_lst"], config["g"], atol=1e-5)
        w = z["w"]
        np.testing.assert_allclose(interpolated(found, w), z[f"{name}/G_w"], atol=2e-5)
        seen += 1
    assert seen == 3


@pytest.mark.parametrize("build", [single_pair, lsp_first, equal_split])
def test_strategies_by_hand_are_followed(build):
    device = devices.state_independent()
    strategy = build(device)
    found = aihwkit.custom_pair(strategy, device, nodes=1001)
    w = np.random.default_rng(0).uniform(-1, 1, 200)
    g = np.asarray(encode(strategy, jnp.asarray(w))).T
    np.testing.assert_allclose(interpolated(found, w), g, atol=0.15)
    assert (found["g_min"], found["g_max"]) == (0.0, 25.0)


def test_what_the_converter_cannot_say_is_named():
    device = devices.state_independent()
    for strategy, nodes, match in (
        (offset_device(device), 31, "`strategy` must be of pairs"),
        (single_pair(device, k=1.5), 31, "give back the largest weight: got 0.6667"),
        (single_pair(device), 30, "`nodes` must be odd.*Use 31"),
    ):
        with pytest.raises(ValueError, match=match):
            aihwkit.custom_pair(strategy, device, nodes=nodes)


@pytest.fixture
def params():
    keys = jr.split(jr.key(0), 4)
    return {
        "conv": {"kernel": jr.normal(keys[0], (3, 2, 4, 5)), "bias": jnp.zeros(5)},
        "wave": {"kernel": jr.normal(keys[1], (3, 5, 6))},
        "fc": {"kernel": jr.normal(keys[2], (6, 7)), "bias": jr.normal(keys[3], (7,))},
    }


def test_weights_go_as_a_state_dict_and_come_back(params, tmp_path):
    found = aihwkit.state_dict(params)
    assert found["conv.weight"].shape == (5, 4, 3, 2)
    assert found["wave.weight"].shape == (6, 5, 3)
    assert found["fc.weight"].shape == (7, 6) and found["fc.bias"].shape == (7,)
    assert found["conv.weight"][1, 2, 0, 1] == params["conv"]["kernel"][0, 1, 2, 1]
    save_file(found, tmp_path / "model.safetensors")
    back = aihwkit.from_state_dict(tmp_path / "model.safetensors")
    flat = {f"{a}/{b}": v for a, part in params.items() for b, v in part.items()}
    assert set(back) == set(flat)
    assert all(np.array_equal(back[k], flat[k]) for k in flat)


FUSION = """0,1
AnalogLinear,AnalogConv2d
6,4
2,2
3,2
fc/kernel,conv/kernel
40.0,20.0,0.0,10.0,40.0,4.0
8.0,40.0,40.0,20.0
"""


def test_a_fusion_file_by_hand(tmp_path):
    """Two layers as its `fusion_export` lays them out: |w| by output, scaled to 40."""
    (tmp_path / "f.csv").write_text(FUSION)
    side = {
        "fc/kernel:sign": np.array([[1, -1, 0], [-1, 1, 1]], np.int8),
        "fc/kernel:scale": np.array([2.0, 1.0]), "fc/kernel:shape": np.array([3, 2]),
        "conv/kernel:sign": np.array([[1, 1], [-1, 1]], np.int8),
        "conv/kernel:scale": np.array([1.0, 4.0]),
        "conv/kernel:shape": np.array([2, 1, 1, 2]), "g_max": np.array(40.0),
    }  # fmt: skip
    np.savez(tmp_path / "f.side.npz", **side)
    found = aihwkit.read_fusion(tmp_path / "f.csv")
    want = np.array([[2.0, -1.0, 0.0], [-0.25, 1.0, 0.1]]).T
    np.testing.assert_allclose(found["fc/kernel"], want, rtol=1e-6)
    conv = np.array([[0.2, 1.0], [-4.0, 2.0]]).T.reshape(2, 1, 1, 2)
    np.testing.assert_allclose(found["conv/kernel"], conv, rtol=1e-6)


def test_fusion_files_come_back(params, tmp_path):
    beside = aihwkit.write_fusion(tmp_path / "f.csv", params)
    lines = (tmp_path / "f.csv").read_text().splitlines()
    assert lines[0] == "0,1,2" and len(lines) == 9
    assert lines[1].split(",") == ["AnalogConv2d", "AnalogLinear", "AnalogConv1d"]
    assert lines[3:5] == ["5,7,6", "24,6,15"]
    numbers = np.array([float(v) for v in lines[7].split(",")]).reshape(7, 6)
    np.testing.assert_allclose(numbers.max(1), 40.0, rtol=1e-6)
    assert beside.name == "f.side.npz"
    found = aihwkit.read_fusion(tmp_path / "f.csv")
    kernels = jax.tree.map(lambda v: v, {k: v["kernel"] for k, v in params.items()})
    for name, kernel in kernels.items():
        np.testing.assert_allclose(found[f"{name}/kernel"], kernel, rtol=1e-6)


def test_damaged_fusion_files_are_named(params, tmp_path):
    path = tmp_path / "f.csv"
    aihwkit.write_fusion(path, params)
    whole = path.read_text()
    lines = whole.splitlines()
    for text, match in (
        ("\n".join(lines[:-1]), "2 lines for 3 layers"),
        (whole.replace("5,7,6", "5,7"), "headers of different lengths"),
        (whole.replace("5,7,6", "5,7,5"), "not height times width"),
        (whole.replace(lines[6], "-1" + lines[6][3:]), "below 0|conductances of"),
        (whole.replace("fc/kernel", "fd/kernel"), "which the file beside does not"),
        (lines[0], "values to unpack"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=match):
            aihwkit.read_fusion(path)
    with pytest.raises(ValueError, match="`g_max` must be 10 to 40 uS: got 60"):
        aihwkit.write_fusion(path, params, g_max=60)


NAMED = {  # bits in, bits out, bound, noise, reads again
    "IOParameters": (7, 9, 12.0, 0.06, 4),
    "PresetIOParameters": (7, 9, 20.0, 0.1, 4),
    "StandardIOParameters": (8, 8, 10.0, 0.04, 5),
}
"""As its source has them: `inp_res`, `out_res`, `out_bound`, `out_noise`."""


@pytest.mark.parametrize("name", NAMED)
def test_names_of_its_parameters_are_peripheries(name, key):
    """Steps, range and noise of what comes out."""
    dac, adc, bound, noise, again = NAMED[name]
    io = aihwkit_names.io(name)
    assert io.bounds.max_halvings == again
    x = jnp.linspace(-1, 1, 4001)[:, None]
    assert np.unique(np.round(io.dac(x), 6)).size == 2**dac - 1
    sums = np.asarray(io.adc(1.5 * bound * x))
    assert np.unique(np.round(sums, 6)).size == 2**adc - 1
    assert sums.max() == pytest.approx(bound)
    tiles, ones = from_weights(jnp.zeros((1, 64))), jnp.ones((400, 1))
    drawn = np.asarray(mvm(tiles, ones, io, key=key))
    codes = np.arange(-9, 10)  # noise of a few steps, rounded
    step = 2 * bound / (2**adc - 2)
    edges = norm.cdf((codes[:, None] + [-0.5, 0.5]) * step / noise)
    want = step * np.sqrt(np.diff(edges)[:, 0] @ codes**2)
    assert drawn.std() == pytest.approx(want, rel=4 / np.sqrt(2 * drawn.size))


def test_names_of_its_noise_models_are_devices():
    """PCM of its tables; what has no counterpart is named."""
    assert aihwkit_names.device("PCMLikeNoiseModel", g_max=40.0).g_max == 40.0
    assert aihwkit_names.device("ReRamWan2022NoiseModel").name == "reram_wan"
    assert no_periphery(aihwkit_names.io("FloatingPointPreset"))
    with pytest.raises(ValueError, match=r"`name` must be one of .*got 'EcRamPreset'"):
        aihwkit_names.io("EcRamPreset")
