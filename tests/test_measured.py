"""Conductances of a real chip come back: its accuracy, a verdict, a second round."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import tiny_study
import yaml
from typer.testing import CliRunner

from anajax import chip, devices
from anajax.analysis.workload import evaluate
from anajax.cli import app
from anajax.crossbar.tiling import TileRule
from anajax.devices.fitting import file as fitting
from anajax.interop import image
from anajax.interop.image import Image, measured
from anajax.mapping.hand import lsp_first, msp_first
from anajax.studies import measured as reports

TIMES = (0.0, 3600.0)
WORK = tiny_study._WORK
SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def made():
    """An image for one device."""
    device = devices.state_independent()
    layers = chip.encode_weights(WORK.params, lsp_first(device))
    others = chip.others(WORK.params)
    return Image(
        layers=layers, device=device, digital=others, network="digits",
        strategy="lsp_first", tiles=TileRule(rows=5, columns=3),
    )  # fmt: skip


def conductances(device, made, key, reads=2):
    """What a chip of a device reports: reads `{path: g}` by time."""
    cells = {
        path: devices.program(device, layer.targets, key=jr.fold_in(key, 1))
        for path, layer in made.layers.items()
    }
    found = {}
    for i, t in enumerate(TIMES):
        found[t] = [
            {
                path: np.asarray(devices.read(
                    device, devices.age(device, c, t=t, extrapolate=True), t=t,
                    key=jr.fold_in(key, 10 * i + r + 2), extrapolate=True,
                ))
                for path, c in cells.items()
            }
            for r in range(reads)
        ]  # fmt: skip
    return found


def with_gaps(chips, share, seed=0):
    random = np.random.default_rng(seed)

    def one(g):
        return np.where(random.random(g.shape) < share, np.nan, g).astype(g.dtype)

    return {t: [jax.tree.map(one, g) for g in reads] for t, reads in chips.items()}


def accuracy(made, g, first):
    """Of the network with these conductances, compensated by hand."""
    layer = made.layers["kernel"]
    parts = [x["kernel"] @ np.asarray(layer.coefficients) for x in (g, first)]
    alpha = np.abs(parts[1]).mean() / np.abs(parts[0]).mean()
    kernel = jnp.asarray((parts[0] * alpha - layer.offset) * layer.unit)
    params = chip.insert(WORK.params, {"kernel": kernel})
    return float(jnp.mean(evaluate(WORK, params)))


def other_device():
    """Not the device of the image: it drifts four times as fast."""
    return devices.state_independent(nu=0.2)


def test_the_accuracy_is_that_of_the_chip(made, tmp_path, key):
    chips = conductances(other_device(), made, key)
    path = tmp_path / "chip.csv"
    measured.write(path, made, chips)
    found = reports.look(made, measured.read(path, made), WORK)
    first = chips[0.0][0]
    want = [accuracy(made, chips[t][0], first) for t in TIMES]
    np.testing.assert_allclose(found.metric, want, atol=1e-6)
    assert found.gaps == 0 and found.digital == 1.0
    measured.write(path, made, with_gaps(chips, 0.02))
    again = reports.look(made, measured.read(path, made), WORK)
    np.testing.assert_allclose(again.metric, want, atol=0.04)
    assert again.times == TIMES


def quiet(**changes):
    """A device whose read noise does not hide the rest."""
    return devices.state_independent(**({"sd": 0.5, "q": 0.01} | changes))


@pytest.fixture(scope="module")
def large():
    """Enough cells to judge a model by."""
    device = quiet()
    params = {"kernel": jr.normal(jr.key(8), (48, 32)).clip(-2, 2) / 4}
    layers = chip.encode_weights(params, msp_first(device))
    return Image(
        layers=layers, device=device, strategy="msp_first",
        tiles=TileRule(rows=32, columns=16),
    )  # fmt: skip


CASES = {
    None: quiet(),
    "drift": quiet(nu=0.15),
    "programming": devices.scale_noise(quiet(), programming=1.5),
    "read": devices.scale_noise(quiet(), read=2.0),
}


@pytest.mark.parametrize(
    "stage",
    [None, "drift", *(pytest.param(s, marks=SLOW) for s in ("programming", "read"))],
)
def test_the_verdict_names_the_stage(stage, large, tmp_path, key):
    """And no other: what is different in one stage is not blamed on the next."""
    path = tmp_path / "chip.csv"
    measured.write(path, large, with_gaps(conductances(CASES[stage], large, key), 0.02))
    found = reports.look(large, measured.read(path, large))
    stages = {j.stage for j in found.judgements if not j.fits}
    assert stages == ({stage} if stage else set()), found.verdict
    if stage:
        assert f"does not fit in {stage}: {stage}: " in found.verdict
    else:
        assert found.verdict == "The device model fits: programming, drift, read."
        assert abs(found.tiles[0]["mean_z"]) < 0.2
        assert abs(found.tiles[0]["sd_z"] - 1) < 0.15
    assert 0 < found.gaps < 0.005  # both reads of a cell are missing


def test_stuck_cells_and_gaps_are_counted(large, tmp_path, key):
    chips = conductances(quiet(), large, key, reads=1)
    random = np.random.default_rng(1)
    stuck = random.random(chips[0.0][0]["kernel"].shape) < 0.03
    far = np.where(np.asarray(large.layers["kernel"].targets) > 12, 0.0, 25.0)
    for reads in chips.values():
        reads[0]["kernel"] = np.where(stuck, far, reads[0]["kernel"])
    measured.write(tmp_path / "chip.csv", large, with_gaps(chips, 0.02))
    found = reports.look(large, measured.read(tmp_path / "chip.csv", large))
    assert abs(found.stuck - stuck.mean()) < 0.005
    assert abs(found.gaps - 0.02) < 0.005
    assert sum(tile["cells"] for tile in found.tiles) == stuck.size


def test_a_second_round_brings_the_weights_closer(large, tmp_path, key):
    """A closed loop over files: the last pairs make up for what the first ones miss."""
    device = large.device
    chips = conductances(device, large, key)
    measured.write(tmp_path / "chip.csv", large, chips)
    back = measured.read(tmp_path / "chip.csv", large)
    image.write(reports.second_round(large, back), tmp_path / "next")
    again = image.read(tmp_path / "next")
    old, new = (np.asarray(i.layers["kernel"].targets) for i in (large, again))
    same = np.all(old == new, axis=(0, 1))
    assert same.tolist() == [True, True, False, False]
    layer, ideal = again.layers["kernel"], large.weights()["kernel"]
    first = chips[0.0][0]["kernel"]
    cells = devices.program(device, layer.targets, key=jr.fold_in(key, 99))
    aged = devices.age(device, cells, t=0.0)
    g = np.asarray(devices.read(device, aged, t=0.0, key=jr.fold_in(key, 98)))
    g = np.where(same, first, g)  # the first pairs are not touched
    c = np.asarray(layer.coefficients)
    off = [np.std((x @ c - layer.offset) * layer.unit - ideal) for x in (first, g)]
    assert off[1] < 0.6 * off[0]


@pytest.mark.slow
def test_a_device_is_fitted_to_the_tiles(large, tmp_path, key):
    truth = quiet(nu=0.2)
    measured.write(tmp_path / "chip.csv", large, conductances(truth, large, key, 1))
    back = measured.read(tmp_path / "chip.csv", large)
    table = reports.measurements(large, back).decode().splitlines()
    few = [table[0], *table[1::8]]
    (tmp_path / "few.csv").write_text("\n".join(few) + "\n")
    path = tmp_path / "few.csv"
    found = fitting.fit(path, form="state_independent", knots=4, name="mine")
    nu = found["drift.nu_mean.value"]
    assert abs(nu.value - 0.2) < 3 * nu.se < 0.02


def test_files_of_laboratories_are_read_alike(made, tmp_path):
    plain, messy = tmp_path / "plain.csv", tmp_path / "messy.csv"
    targets = {p: np.asarray(layer.targets) for p, layer in made.layers.items()}
    measured.write(plain, made, {0.5: [targets]})
    text = plain.read_text().replace(",", ";").replace(".", ",")
    messy.write_text("# chip 7\n" + text, encoding="utf-8-sig")
    first, second = (measured.read(path, made) for path in (plain, messy))
    assert first.times == second.times == (0.5,)
    np.testing.assert_array_equal(first.layers["kernel"], second.layers["kernel"])
    messy.write_text(f"# chip 7\n{text}x;0;0;0;0;1\n")
    line = len(text.splitlines()) + 2
    with pytest.raises(ValueError, match=f"line {line}` must name a tile"):
        measured.read(messy, made)


def test_what_is_wrong_in_a_file_is_named(made, tmp_path):
    head = "tile,row,column,device,time_s,conductance_uS"
    name = "kernel:tile:0:0:0"
    path = tmp_path / "chip.csv"
    for text, match in (
        (f"{head.replace('uS', 'nS')}\n", "conductance_nS for conductance_uS in chip"),
        ("tile,row\n", "must have the columns tile, row, .*got none for column"),
        (f"{head}\nx,0,0,0,1,2\n", "line 2` must name a tile of the image: got 'x'"),
        (f"{head}\n{name},9,0,0,1,2\n", r"line 2` must lie in a tile of \(4, 2, 4\)"),
        (f"{head}\n{name},0,0,0,1,high\n", "line 2` must hold numbers"),
        (f"{head}\n{name},0,0,0,-1,2\n", "times of 0 s or more: got 2.0, -1.0 s"),
        (f"{head}\n{name},0,0,0,1,2\n{name},0,0,0,1,3\n", "report a cell once"),
        (f"{head}\n{name},0,0,0,1,nan\n", "hold measurements: got no rows"),
        (f"{head}\n{name},0\n", "must hold measurements|must hold numbers"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=match):
            measured.read(path, made)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="hold measurements: got no CSV"):
        measured.read(tmp_path / "empty", made)


def test_the_command_says_it_all(made, tmp_path, key, monkeypatch):
    tiny_study.use(monkeypatch)
    image.write(made, tmp_path / "chip")
    chips = with_gaps(conductances(other_device(), made, key), 0.02)
    measured.write(tmp_path / "chip" / "reads.csv", made, chips)
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump(tiny_study.CONFIG))
    words = ["measured", tmp_path / "chip", "--config", config, "--out", tmp_path / "o"]
    found = CliRunner().invoke(app, [str(word) for word in words])
    assert found.exit_code == 0, found.output
    for text in (
        "Digital accuracy: 100.00 %",
        "accuracy of this chip at 1 h: ",
        "The device",
    ):
        assert text in found.output
    names = {p.name for p in (tmp_path / "o").iterdir()}
    assert names == {
        "measured.json", "tiles.csv", "measurements.csv", "errors.png", "next"
    }  # fmt: skip
    assert image.read(tmp_path / "o" / "next").strategy == "lsp_first, next round"
    found = CliRunner().invoke(app, ["measured", str(tmp_path)])
    assert found.exit_code == 2 and "Name the folder of an image" in found.output


@SLOW
@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"programming": 1.3},
        {"drift_mean": 1.3, "drift_spread": 1.3},
        {"read": 1.3},
    ],
    ids=["none", "programming", "drift", "read"],
)
def test_a_stage_that_is_a_third_off_is_named_alone(wrong, tmp_path):
    """On another device and network than the others here."""
    device = devices.pcm_hermes()
    weights = {"kernel": jr.normal(jr.key(7), (64, 48))}
    layers = chip.encode_weights(weights, lsp_first(device))
    large = Image(layers=layers, device=device, network="n", strategy="lsp_first")
    chips = conductances(devices.scale_noise(device, **wrong), large, jr.key(11))
    measured.write(tmp_path / "m.csv", large, chips)
    found = reports.look(large, measured.read(tmp_path / "m.csv", large), seed=5)
    off = {j.stage for j in found.judgements if not j.fits}
    assert off == {name.partition("_")[0] for name in wrong}
