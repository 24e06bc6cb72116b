"""Chip images: what a study puts on its chips, as files that any tool can read."""

import json
import shutil
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import tiny_study
import yaml
from shared import ROOT
from shared import data as data_of
from typer.testing import CliRunner

from anajax import analog, chip, devices, workloads
from anajax.analysis.engine import Engine
from anajax.cli import app
from anajax.crossbar.periphery import stacked
from anajax.crossbar.tiling import TileRule
from anajax.interop import image
from anajax.interop.image import Image
from anajax.mapping.hand import lsp_first
from anajax.mapping.layout import Layout
from anajax.studies.export import export
from anajax.studies.load import validate
from anajax.studies.plan import Placed, measure, network_of
from anajax.studies.run import prepare, run
from anajax.studies.ways.site import Program
from anajax.workloads import images

ASKED = {
    "strategies": ["single_pair", "lsp_first"], "times": ["1 h"], "chips": 2,
    "periphery": {"dac_bits": 6, "adc_bits": 8, "rows": 4, "columns": 3},
    "seed": 5,
}  # fmt: skip
STORAGE = ("safetensors", "csv", "hdf5")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "run"
    with pytest.MonkeyPatch.context() as patch:
        tiny_study.use(patch)
        return folder, run(tiny_study.prepared(folder, **ASKED))


@pytest.fixture(scope="module")
def made(study):
    with pytest.MonkeyPatch.context() as patch:
        tiny_study.use(patch)
        return export(study[0], "lsp_first", tiles=(3, 2))


@pytest.fixture
def folder(made, tmp_path):
    image.write(made, tmp_path / "image")
    return tmp_path / "image"


def contents(folder):
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype and np.array_equal(x, y)


@pytest.mark.parametrize("storage", STORAGE)
def test_image_network_image_are_the_same_bytes(made, storage, tmp_path):
    image.write(made, tmp_path / "a", storage)
    back = image.read(tmp_path / "a")
    same(dict(back.layers), dict(made.layers))
    same(back.device, made.device)
    assert (back.network, back.strategy, back.seed) == ("digits", "lsp_first", 5)
    image.write(back, tmp_path / "b", storage)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_products_behind_the_converters_of_the_image(study, tmp_path, monkeypatch):
    """The image alone says what the network gives: the study's outputs, to the bit."""
    tiny_study.use(monkeypatch)
    found = export(study[0], "lsp_first")
    assert (found.tiles.rows, found.tiles.columns) == (4, 3)
    image.write(found, tmp_path / "image")
    back, work = image.read(tmp_path / "image"), tiny_study._WORK
    params = back.insert(work.params)
    config = validate(tiny_study.CONFIG | ASKED)
    network = network_of(config, work)
    want = network.apply(network.hardware(back.device).ios, params, work.x, None)
    f = analog(work.apply, back.rules())
    got = f(params, work.x, ranges=back.ranges())
    assert np.array_equal(got, want)
    assert not np.allclose(got, work.apply(params, work.x), atol=1e-3)


def test_ranges_are_found_for_the_tiles_that_are_asked_for(study, made, monkeypatch):
    """Another size of tiles calls for other ranges of their ADCs."""
    tiny_study.use(monkeypatch)
    own = export(study[0], "lsp_first").ranges()
    assert (made.tiles.rows, made.tiles.columns) == (3, 2)
    for name, io in made.ranges().items():
        assert io.dac.codes == own[name].dac.codes == 31
        assert not np.array_equal(io.adc.bound, own[name].adc.bound)


def test_chips_of_the_image_are_those_of_the_study(study, folder):
    """To the bit: nothing but the image says what is programmed."""
    back, config = image.read(folder), validate(tiny_study.CONFIG | ASKED)
    network = network_of(config, tiny_study._WORK)
    params = back.insert(tiny_study._WORK.params)
    placed = Placed(
        network=network, hardware=network.hardware(back.device),
        program=Program(params=params, layers=dict(back.layers)),
    )  # fmt: skip
    tally = measure(config, Engine(), placed, config.times)
    of_study = study[1].accuracy.sel(strategy="lsp_first").values[0]
    assert np.array_equal(tally.metric[0], of_study)
    loss = study[1].loss.sel(strategy="lsp_first").values[0]
    assert np.array_equal(tally.loss[0], loss) and np.all(loss > 0)


READER = """
import json, sys, numpy as np
from safetensors.numpy import load_file
folder = sys.argv[1]
manifest = json.load(open(f"{folder}/manifest.json"))
arrays = load_file(f"{folder}/arrays.safetensors")
weights = {}
for layer in manifest["layers"]:
    shape, axes, groups = layer["shape"], layer["axes"], layer["groups"]
    order = axes["stack"] + axes["rows"] + axes["columns"]
    sizes = [[shape[a] for a in axes[k]] for k in ("stack", "rows", "columns")]
    n, rows, columns = (int(np.prod(size)) for size in sizes)
    one = {name: arrays[key] for name, key in layer["arrays"].items()}
    matrix = np.zeros((n * groups, rows, columns // groups))
    for tile in layer["tiles"]:
        place = tile["matrix"], slice(*tile["rows"]), slice(*tile["columns"])
        matrix[place] = arrays[tile["array"]] @ one["coefficients"].astype(float)
    whole = np.moveaxis(matrix.reshape(n, groups, rows, -1), 1, 2)
    whole = whole.reshape([shape[a] for a in order]).transpose(np.argsort(order))
    weights[layer["path"]] = (whole - one["offset"]) * one["w_max"] * one["column"]
np.savez(sys.argv[2], **weights)
"""


def grouped():
    """A grouped convolution, a stack, a vector, a matrix as of torch, on two tiles."""
    key, device = jr.key(0), devices.state_independent()
    params = {
        "conv": jr.normal(key, (3, 2, 6)), "stack": jr.normal(key, (2, 4, 3)),
        "vector": jr.normal(key, (7,)), "torch": jr.normal(key, (5, 4)),
        "bias": jnp.arange(3.0),
    }  # fmt: skip
    layout = {
        "conv": Layout(columns=(2,)), "stack": Layout(stack=(0,), columns=(2,)),
        "vector": Layout(rows=(0,)), "torch": Layout(columns=(0,)),
    }  # fmt: skip
    layers = chip.encode_weights(
        params, lsp_first(device), select=lambda path, _: path != "bias", layout=layout
    )
    made = Image(
        layers=layers, device=device, digital={"bias": params["bias"]},
        groups={"conv": 3}, tiles=TileRule(rows=4, columns=2), scope="column",
    )  # fmt: skip
    return made, params


def test_twenty_lines_read_it_without_anajax(tmp_path):
    assert len(READER.strip().splitlines()) == 20 and "anajax" not in READER
    made, params = grouped()
    image.write(made, tmp_path / "image")
    out = tmp_path / "weights.npz"
    words = [sys.executable, "-c", READER, str(tmp_path / "image"), str(out)]
    subprocess.run(words, check=True)
    found = np.load(out)
    assert set(found) == {"conv", "stack", "vector", "torch"}
    for path, weights in made.weights().items():
        np.testing.assert_allclose(found[path], weights, atol=1e-6)
        scale = float(jnp.max(jnp.abs(params[path])))
        np.testing.assert_allclose(found[path], params[path], atol=0.01 * scale)


@pytest.mark.parametrize("storage", STORAGE)
def test_weights_of_any_axes_come_back(storage, tmp_path):
    made, _ = grouped()
    image.write(made, tmp_path / "a", storage)
    back = image.read(tmp_path / "a")
    same({p: v.targets for p, v in back.layers.items()},
         {p: v.targets for p, v in made.layers.items()})  # fmt: skip
    assert np.array_equal(back.digital["bias"], made.digital["bias"])
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    conv = next(e for e in manifest["layers"] if e["path"] == "conv")
    assert conv["groups"] == 3 and {t["matrix"] for t in conv["tiles"]} == {0, 1, 2}
    assert [d["polarity"] for d in conv["devices"]] == [1, -1, 1, -1]
    assert conv["devices"][0]["significance"] == 1 > conv["devices"][2]["significance"]
    image.write(back, tmp_path / "b", storage)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_the_manifest_says_all_that_a_chip_needs(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (layer,), (product,) = manifest["layers"], manifest["periphery"]
    assert manifest["device"]["name"] == "state_independent"
    assert manifest["tile"] == {"rows": 3, "columns": 2}
    assert [t["rows"] for t in layer["tiles"]][::2] == [[0, 3], [3, 6], [6, 8]]
    assert product["bits"] == {"dac": 6.0, "adc": 8.0}
    assert set(product["arrays"]) == {"input_scale", "dac_bound", "adc_bound"}
    assert manifest["arrays"][layer["tiles"][0]["array"]]["unit"] == "uS"
    assert manifest["digital"] == ["bias"]
    assert {"anajax", "jax", "python"} <= set(manifest["versions"])


def changed(folder, change):
    """The same folder with something else in its manifest, and true digests."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def test_what_is_wrong_is_named(folder, tmp_path):
    def unit(m):
        m["arrays"][m["layers"][0]["tiles"][0]["array"]]["unit"] = "nS"

    def twice(m):
        m["layers"][0]["tiles"][1] |= m["layers"][0]["tiles"][0]

    def arrays(m):
        m["arrays"][m["layers"][0]["arrays"]["w_max"]]["shape"] = [3]

    tile = lambda m: m["layers"][0]["tiles"]  # noqa: E731
    for change, match in (
        (unit, "`unit` must be in uS for '.*tile:0:0:0': got nS"),
        (lambda m: tile(m).pop(), "`tiles` must cover layer .kernel. once.*leave 4 we"),
        (twice, "leave 6 weights out and hold 6 twice"),
        (lambda m: tile(m)[0].update(rows=[6, 9]), "lies outside"),
        (arrays, "for '.*w_max'"),
        (lambda m: m.update(version=2), "`manifest.version` must be 1: got 2"),
        (lambda m: m.pop("layers"), "`manifest` must have 'layers'"),
        (lambda m: m["files"].update({"../x": ""}), "leaves its folder"),
        (lambda m: m.update(extra=1), "alone: got 'extra'"),
    ):
        shutil.copytree(folder, tmp_path / "other")
        changed(tmp_path / "other", change)
        with pytest.raises(ValueError, match=match):
            image.read(tmp_path / "other")
        shutil.rmtree(tmp_path / "other")
    file = folder / "arrays.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="have the SHA-256 of arrays.safetensors: got"):
        image.read(folder)
    file.unlink()
    with pytest.raises(ValueError, match="name a file that can be read"):
        image.read(folder)
    with pytest.raises(ValueError, match="`out` must be an empty folder"):
        image.write(grouped()[0], folder)


def test_conductances_of_other_units_are_named(made, tmp_path):
    """Values in nS under the name of uS lie outside the range of the device."""
    layers = {
        path: chip.replace(layer, targets=layer.targets * 1000)
        for path, layer in made.layers.items()
    }
    image.write(Image(layers=layers, device=made.device), tmp_path / "a")
    with pytest.raises(ValueError, match="`targets` must be within the range of state"):
        image.read(tmp_path / "a")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fashion_resnet32", "fsdd_lstm"])
def test_real_networks_read_back_are_those_of_the_study(name, tmp_path):
    """Weights on every chip and their accuracy, from the image alone, to the bit."""
    if name == "fsdd_lstm":
        data_of("fsdd")
    elif not images.FASHION_PACKAGE.is_dir():
        pytest.skip("the Debian package dataset-fashion-mnist is not installed")
    asked = {
        "study": "strategies", "device": {"name": "pcm"}, "times": ["1 month"],
        "workload": {"name": name, "items": 40}, "chips": 2, "normalize": "column",
        "periphery": {"dac_bits": 8, "adc_bits": 8, "inputs": 0.999},
        "compensation": {"norms": name == "fashion_resnet32"},
        "strategies": ["lsp_first"],
    }  # fmt: skip
    config = validate(asked)
    found = run(prepare(config, out=tmp_path / "run", data=ROOT / "data"))
    image.write(export(tmp_path / "run", data=ROOT / "data"), tmp_path / "image")
    back = image.read(tmp_path / "image")
    work = workloads.load(name, data=ROOT / "data", items=40)
    network = network_of(config, work)
    params = back.insert(work.params)
    as_arrays = partial(jax.tree.map, lambda v: jnp.asarray(v, jnp.float32))
    ios = {name: stacked(io) for name, io in network.ios(work.params).items()}
    same(as_arrays(back.ranges()), as_arrays(ios))
    placed = Placed(
        network=network, hardware=network.hardware(back.device, params=work.params),
        program=Program(params=params, layers=dict(back.layers)),
    )  # fmt: skip
    tally = measure(config, Engine(), placed, config.times)
    of_study = found.sel(strategy="lsp_first")
    assert np.array_equal(tally.metric[0], of_study.accuracy.values[0])
    assert np.array_equal(tally.loss[0], of_study.loss.values[0])


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_command_exports_a_run_or_a_config(study, tmp_path, monkeypatch):
    tiny_study.use(monkeypatch)
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump(tiny_study.CONFIG | ASKED))
    how = "--strategy", "lsp_first", "--tiles", "3x2"
    for place, out in ((study[0], "a"), (config, "b")):
        found = invoke("export", place, *how, "--out", tmp_path / out)
        assert found.exit_code == 0, found.output
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    for words, text in (
        (("--strategy", "lsp"), "`--strategy` must be one of ['single_pair'"),
        ((), "`--strategy` must name one: got none"),
        ((*how[:2], "--tiles", "3"), "`--tiles` must be ROWSxCOLUMNS: got '3'"),
        ((*how[:2], "--format", "xls"), "`--format` must be safetensors, csv or hdf5"),
        ((*how[:2], "--device", "x"), "`--device` must be one of ['state_independent'"),
    ):
        found = invoke("export", config, *words, "--out", tmp_path / "c")
        assert found.exit_code == 2 and text in found.output, found.output
    found = invoke("export", config, *how, "--out", tmp_path / "a")
    assert "`--out` must be an empty folder" in found.output
    found = invoke("export", tmp_path / "a", *how, "--out", tmp_path / "c")
    assert "`RUN` must be the folder of a study, or a config" in found.output
