"""A network of your own with your data: a function, then studies of every kind know it.

This one estimates: its outputs are values, its metric an error in volts, of which less
is better. What you write is `anajax.workload(apply, params, x, y, ...)`, in Python or
in a file that a config names; an ONNX file needs no code at all.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

import anajax
from anajax.cli import app
from anajax.studies.load import load_config, validate
from anajax.studies.report import terminal
from anajax.studies.run import prepare

RNG = np.random.default_rng(4)
PARAMS = {"hidden": RNG.normal(size=(6, 12)) / 2, "out": {"w": RNG.normal(size=12) / 3}}
X = RNG.normal(size=(80, 6))


def apply(params, x):
    return jnp.tanh(x @ params["hidden"]) @ params["out"]["w"][:, None]


def rmse(outputs, y):
    """One number for each item; the mean over items counts."""
    return jnp.sqrt(jnp.mean((outputs - y) ** 2, -1))


def load(items=80, scale=1.0):
    """What a config names: it returns the workload."""
    x = X[:items]
    y = np.asarray(apply(PARAMS, jnp.asarray(x))) * scale
    return anajax.workload(
        apply, PARAMS, x, y, metric=rmse, better="lower", unit="V", train=(x, y),
        name="estimator",
    )  # fmt: skip


WORK = load()
ONE = {"device": {"name": "state_independent"}, "times": ["1 s", "1 month"], "chips": 2}
KINDS = {
    "strategies": ONE
    | {
        "strategies": ["lsp_first", {"name": "targets", "learn": {"steps": 2}}],
        "periphery": {"dac_bits": 6, "adc_bits": 6, "rows": 8, "columns": 8},
    },
    "devices": {k: v for k, v in ONE.items() if k != "device"}
    | {"devices": ["state_independent"], "strategies": ["single_pair"]},
    "sweep": ONE
    | {"strategy": "single_pair", "sweep": {"points": [{"device.noise.read": 0}]}},
    "sensitivity": ONE
    | {
        "strategy": "single_pair", "gradients": {"chips": 2}, "screening": None,
        "variance": None, "layers": {"chips": 2},
        "one_at_a_time": {"imperfections": ["read"], "factors": [1, 2]},
    },
}  # fmt: skip


SLOW = pytest.mark.slow
QUICK = "sweep"


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=() if k == QUICK else SLOW) for k in KINDS]
)
def test_studies_of_every_kind_run_on_it(kind, tmp_path):
    asked = {"study": kind} | KINDS[kind]
    data = anajax.run(asked, workload=WORK, out=tmp_path / "a")
    assert data.attrs["workload"] == "estimator"
    assert (data.attrs["unit"], data.attrs["better"]) == ("V", "lower")
    assert data.attrs["digital_metric"] < 1e-5
    page = (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert "Digital rmse" in page and ">nan" not in page.lower()
    assert "percent" not in page and " nat" not in page
    if kind == "strategies":
        assert float(data.rmse.sel(strategy="lsp_first").mean()) > 0.005
        assert "Rmse (V)" in page and data.loss.attrs["units"] == "1"
        assert terminal.summary(data)
    if kind != QUICK:
        again = anajax.run(asked, workload=WORK, out=tmp_path / "a", resume=True)
        assert again.equals(data)
    with pytest.raises(ValueError, match="sha256"):  # other numbers, another study
        anajax.run(asked, workload=load(70), out=tmp_path / "a", resume=True)


def test_a_config_names_its_file(tmp_path):
    """Relative to the config; the file is part of the study, and options are yours."""
    own = f"import sys\nsys.path.insert(0, {str(__file__.rpartition('/')[0])!r})\n"
    (tmp_path / "my_net.py").write_text(own + "from test_extend_workload import load\n")
    section = {"python": "my_net.py:load", "options": {"scale": 0.5}, "items": 40}
    asked = {"study": "strategies", "workload": section, "strategies": ["single_pair"]}
    study = prepare(validate(ONE | asked, folder=tmp_path), out=tmp_path / "a")
    assert set(study.folder.identity["device_files"]) == {"my_net.py"}
    asked = study.folder.identity["config"]["workload"]
    assert (asked["python"], asked["options"]) == ("my_net.py:load", {"scale": 0.5})
    assert study.work.x.shape == (40, 6)
    assert float(anajax.workloads.evaluate(study.work).mean()) > 0.01


def test_a_broken_loader_shows_its_own_lines(tmp_path):
    (tmp_path / "my_net.py").write_text(
        "import numpy as np\n\ndef data(place):\n    return np.load(place)\n\n"
        "def load(place='none.npz', other=3):\n    return data(place)['x']\n\n"
        "def nothing():\n    pass\n"
    )
    for section, match in (
        (
            {"python": "my_net.py:load"},
            r"FileNotFoundError.*none.npz'. Correct it:\n"
            r"  my_net.py, line 7, in load: return data\(place\)\['x'\]\n"
            r"  my_net.py, line 4, in data: return np.load\(place\)$",
        ),
        (
            {"python": "my_net.py:load", "options": {"plce": 1}},
            r"`options` must be arguments of load: .*'plce'.* Arguments: place, other",
        ),
        ({"python": "my_net.py:nothing"}, "must return a workload: got NoneType"),
        ({"python": "my_net.py:lod"}, "function of my_net.py: got no such name"),
    ):
        asked = ONE | {"study": "strategies", "workload": section}
        with pytest.raises(ValueError, match=match):
            prepare(validate(asked, folder=tmp_path), out=tmp_path / "a")


def test_a_section_names_one_network():
    for section, match in (
        ({}, "`workload` must have one of `name`, `python` and `onnx`: got none"),
        ({"name": "digits", "python": "a.py:f"}, "got name and python"),
        ({"name": "digits", "metric": "accuracy"}, "for an `onnx` file only: got me"),
        ({"name": "digits", "options": {"a": 1}}, "`options` of a `python` function"),
        ({"python": "a.json"}, "`workload.python` must name a Python file"),
        ({"onnx": "a.onnx"}, "must have `data` for an `onnx` file"),
        ({"onnx": "a", "data": "b", "metric": "acuracy"}, "Did you mean 'accuracy'"),
    ):
        with pytest.raises(ValueError, match=match):
            validate(ONE | {"study": "strategies", "workload": section})
    with pytest.raises(FileNotFoundError, match="`workload.onnx` must be a file"):
        given = {"onnx": "a.onnx", "data": "b.npz"}
        validate(ONE | {"study": "strategies", "workload": given})


def classified(**changes):
    given = {"apply": apply, "params": PARAMS, "x": X, "y": np.zeros((80, 1))} | changes
    return anajax.workload(**({"metric": rmse} | given))


def test_what_does_not_fit_is_named():
    assert classified().unit == "1"
    for changes, match in (
        ({"y": np.zeros((79, 1))}, "`y` must have one entry per item of `x`: got 79"),
        ({"y": np.ones(80, int)}, r"`y` must be classes 0 to 0, of shape \('n',\)"),
        ({"x": X[:, :5]}, r"`apply` must take arrays of params, \(2, 5\)"),
        ({"metric": lambda o, y: jnp.mean(o)}, "be a function with a name"),
        ({"metric": jnp.mean}, "`metric` must take arrays"),
        ({"loss": mean}, r"one real number per item, \[2\].*Take no mean"),
        ({"metric": "acuracy"}, 'Use "accuracy"'),
        ({"metric": "accuracy", "unit": "%"}, "be left out for accuracy"),
        ({"better": "larger"}, "`better` must be one of"),
        ({"apply": lambda p, x: jnp.mean(x)}, "one output per item"),
        ({"apply": 3}, "`apply` must be a function"),
        ({"name": "a/b"}, "`name` must be of letters"),
        ({"x": X * np.nan}, "`x` must be finite"),
        ({"params": {"a": "text"}}, "`params` must be a number"),
    ):
        with pytest.raises(ValueError, match=match):
            classified(**changes)
    asked = ONE | {"study": "strategies"}
    with pytest.raises(ValueError, match="`workload` must be given once"):
        anajax.run(asked | {"workload": {"name": "digits"}}, workload=WORK)
    with pytest.raises(ValueError, match="`workload` must be a workload: got int"):
        anajax.run(asked, workload=3)
    with pytest.raises(ValueError, match="`importance` must be null for a network"):
        way = {"name": "optimized", "importance": "fisher"}
        anajax.run(asked | {"strategies": [way]}, workload=WORK)
    with pytest.raises(ValueError, match="be network for a network that is given"):
        way = {"name": "targets", "learn": {"by": "layer"}}
        anajax.run(asked | {"strategies": [way]}, workload=WORK)


def mean(outputs, y):
    return jnp.mean((outputs - y) ** 2)


@pytest.fixture
def iris(tmp_path):
    """A classifier of 4 numbers in an ONNX file, as scikit-learn's converter writes it:
    a label and probabilities; and its test data."""
    library = pytest.importorskip("onnx")
    helper, of = library.helper, library.numpy_helper.from_array
    w = [RNG.normal(size=s).astype(np.float32) for s in ((4, 8), (8,), (8, 3), (3,))]
    names = ("coefficient", "intercepts", "coefficient1", "intercepts1")
    nodes = [
        helper.make_node(kind, inputs.split(), [output])
        for kind, inputs, output in (
            ("MatMul", "X coefficient", "a"), ("Add", "a intercepts", "b"),
            ("Relu", "b", "c"), ("MatMul", "c coefficient1", "d"),
            ("Add", "d intercepts1", "logits"), ("Softmax", "logits", "probabilities"),
            ("ArgMax", "probabilities", "label"),
        )
    ]  # fmt: skip
    nodes.append(
        helper.make_node("ZipMap", ["probabilities"], ["z"], domain="ai.onnx.ml")
    )
    info = [helper.make_tensor_value_info(n, 1, None) for n in ("X", "label", "z")]
    held = [of(v, n) for n, v in zip(names, w, strict=True)]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], held)
    sets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 1)]
    model = helper.make_model(graph, opset_imports=sets, ir_version=8)
    (tmp_path / "iris.onnx").write_bytes(model.SerializeToString())
    x = RNG.normal(size=(60, 4)).astype(np.float32)
    y = np.argmax(np.maximum(x @ w[0] + w[1], 0) @ w[2] + w[3], -1)
    np.savez(tmp_path / "iris.npz", x=x, y=y)
    return tmp_path


CONFIG = """
study: strategies
workload: {onnx: iris.onnx, data: iris.npz, output: logits}
device: {name: state_independent}
times: ["1 h"]
chips: 2
strategies: [lsp_first]
"""


def test_an_onnx_file_needs_no_code(iris):
    (iris / "config.yaml").write_text(CONFIG)
    data = anajax.run(iris / "config.yaml")
    assert data.attrs["digital_metric"] == 1.0 and data.attrs["workload"] == "iris"
    (iris / "my.py").write_text(
        "import jax.numpy as jnp\n\ndef margin(outputs, y):\n"
        "    return jnp.take_along_axis(outputs, y[:, None], -1)[:, 0]\n"
    )
    changes = ["workload.metric=my.py:margin", "workload.unit=V"]
    study = prepare(load_config(iris / "config.yaml", changes), out=iris / "a")
    assert (study.work.metric, study.work.unit, study.work.better) == (
        "margin", "V", "higher",
    )  # fmt: skip
    assert {"my.py", "iris.onnx"} < set(study.folder.identity["device_files"])


@pytest.mark.slow
def test_from_a_file_to_a_page_in_four_commands(iris, monkeypatch):
    """What a user of scikit-learn types, the export of the network apart."""
    monkeypatch.chdir(iris)
    (iris / "config.yaml").write_text(CONFIG)
    for words in (
        ["check", "config.yaml"],
        ["run", "config.yaml", "--out", "out"],
        ["export", "out", "--out", "image", "--tiles", "4x4"],
        ["results", "out", "--csv", "--pdf", "--out", "tables"],
    ):
        found = CliRunner().invoke(app, words)
        assert found.exit_code == 0, found.output
    assert (iris / "out" / "report.html").is_file()
    assert (iris / "image" / "manifest.json").is_file()
    assert (iris / "tables" / "accuracy.pdf").is_file()


def test_an_onnx_file_that_does_not_fit_is_named(iris):
    (iris / "config.yaml").write_text(CONFIG)
    np.savez(iris / "few.npz", x=np.zeros((2, 4)))
    np.savez(iris / "odd.npz", x=np.zeros((2, 4)), y=np.zeros(2), z=np.zeros(2))
    for change, match in (
        ("output=null", "operators that are known: got ZipMap|ai.onnx.ml"),
        ("output=nothing", "`outputs` must be values of iris.onnx"),
        ("data=few.npz", "`workload.data` must hold arrays x, y"),
        ("data=odd.npz", "got x, y, z in odd.npz"),
        ("data=iris.onnx", "`workload.data` must be an .npz file"),
    ):
        config = load_config(iris / "config.yaml", [f"workload.{change}"])
        with pytest.raises(ValueError, match=match):
            prepare(config, out=iris / "out")


def test_a_folder_to_start_from(tmp_path):
    """`anajax init` and `anajax check`: the same network as a run would have."""

    def invoke(*words):
        return CliRunner().invoke(app, [str(word) for word in words])

    made = invoke("init", tmp_path / "mine")
    assert made.exit_code == 0, made.output
    files = {"config.yaml", "my_net.py", "README.md"}
    assert {path.name for path in (tmp_path / "mine").iterdir()} == files
    again = invoke("init", tmp_path / "mine")
    assert again.exit_code == 2 and "`DIR` must hold none of" in again.output
    config = tmp_path / "mine" / "config.yaml"
    found = invoke("check", config, "--set", "periphery={columns: 16}")
    assert found.exit_code == 0, found.output
    for text in (
        "Study: strategies, 3 parts, 10 chips at 1 s, 1 h, 1 d",
        "Network: my_net, 300 test items of shape (8,)",
        "Digital accuracy of the first 256 items: 0.9",
    ):
        assert text in found.output
    rows = [line.split() for line in found.output.splitlines()]
    assert ["hidden", "1", "x", "8", "x", "32", "2", "256"] in rows
    assert ["all", "3", "352"] in rows
    assert not (tmp_path / "out").exists()
    (tmp_path / "mine" / "my_net.py").write_text("def load(items):\n    return 1 / 0\n")
    broken = invoke("check", config)
    assert broken.exit_code == 2 and "\n  my_net.py, line 2, in load: " in broken.output
    assert "Traceback" not in broken.output
