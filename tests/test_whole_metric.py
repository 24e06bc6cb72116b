"""A metric of all items together: an F1 score, an area under a curve, by any function.

Its error over items comes from leaving items out, and compares two networks item by
item, as that of an accuracy does.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import anajax
from anajax.analysis.metrics import GROUPS, item_values
from anajax.studies import run
from anajax.studies.load import validate

RNG = np.random.default_rng(4)
PARAMS = {"hidden": RNG.normal(size=(6, 12)) / 2, "out": RNG.normal(size=(12, 3))}
X = RNG.normal(size=(90, 6))


def apply(params, x):
    return jnp.tanh(x @ params["hidden"]) @ params["out"]


Y = np.asarray(jnp.argmax(apply(PARAMS, X) + 0.5 * RNG.normal(size=(90, 3)), -1))


def macro_f1(outputs, y):
    """A JAX function of all items."""
    said, true = (jax.nn.one_hot(v, 3) for v in (jnp.argmax(outputs, -1), y))
    return jnp.mean(2 * (said * true).sum(0) / (said.sum(0) + true.sum(0)))


def f1_of_numpy(outputs, y):
    """The same, as libraries of NumPy write it: no JAX function at all."""
    said, found = np.argmax(np.asarray(outputs), -1), []
    for label in np.unique(y):
        both = sum(1 for a, b in zip(said, y, strict=True) if a == b == label)
        found.append(2 * both / (list(said).count(label) + list(y).count(label)))
    return float(np.mean(found))


def hits(outputs, y):
    """One number for each item, but by NumPy."""
    return (np.argmax(np.asarray(outputs), -1) == y).astype(float)


def of(metric, **changes):
    given = {"metric": metric, "train": (X, Y), "name": "own"} | changes
    return anajax.workload(apply, PARAMS, X, Y, **given)


# --- what an item adds ----------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 7, GROUPS])
def test_a_mean_over_items_gives_back_the_items(n):
    x = RNG.normal(size=n)
    found = item_values(lambda outputs, y: np.mean(outputs), x, np.zeros(n))
    np.testing.assert_allclose(found, x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n", [30, 1000, 1013])
def test_the_error_of_a_ratio_is_that_of_the_delta_method(n):
    """A ratio of means r has the standard error sd(a - r b) / (mean(b) sqrt(n))."""
    a, b = RNG.normal(2.0, 1.0, n), RNG.normal(5.0, 1.0, n)
    values = item_values(lambda a, b: a.sum() / b.sum(), a, b)
    r = a.mean() / b.mean()
    np.testing.assert_allclose(values.mean(), a.sum() / b.sum(), rtol=1e-12)
    expected = (a - r * b).std(ddof=1) / (b.mean() * np.sqrt(n))
    of_groups = min(GROUPS, n) - 1
    k = 4 if n > GROUPS else 1  # standard errors of an sd; one group each: the same
    found = values.std(ddof=1) / np.sqrt(n)
    np.testing.assert_allclose(found, expected, rtol=k / np.sqrt(2 * of_groups))


def test_what_is_no_number_is_refused():
    for value in ("text", np.zeros(3), 1j, None):
        with pytest.raises(ValueError, match=r"`metric` must give one real number, or"):
            item_values(lambda outputs, y, v=value: v, np.zeros((5, 2)), np.zeros(5))


# --- through studies ------------------------------------------------------------------

ONE = {
    "device": {"name": "state_independent"}, "times": ["1 s", "1 month"], "chips": 2,
}  # fmt: skip
TILES = {"dac_bits": 6, "adc_bits": 6, "rows": 8, "columns": 8}
KINDS = {
    "strategies": {"strategies": ["single_pair", "lsp_first"]},
    "sweep": {
        "strategy": "single_pair", "sweep": {"points": [{"device.noise.read": 0}]}
    },
    "sensitivity": {
        "strategy": "single_pair", "gradients": None, "screening": None,
        "variance": None, "layers": None,
        "one_at_a_time": {"imperfections": ["read"], "factors": [1, 2]},
    },
}  # fmt: skip


def study(kind, work, out, **changes):
    return anajax.run(
        ONE | {"study": kind} | KINDS[kind] | changes, workload=work, out=out
    )


@pytest.mark.slow
def test_every_function_of_the_outputs_is_a_metric(tmp_path):
    """By JAX or NumPy, for all items or each: the same chips give the same numbers."""
    ways = {"strategies": ["single_pair"], "periphery": TILES}
    found = {
        metric.__name__: study(
            "strategies", of(metric), tmp_path / metric.__name__, **ways
        )
        for metric in (macro_f1, f1_of_numpy, hits)
    }
    one = found["macro_f1"]
    np.testing.assert_allclose(
        one.macro_f1, found["f1_of_numpy"].f1_of_numpy, rtol=1e-6
    )
    digital = float(macro_f1(apply(PARAMS, X), Y))
    np.testing.assert_allclose(one.attrs["digital_metric"], digital, rtol=1e-6)
    np.testing.assert_allclose(
        one.item_macro_f1.mean("item"), one.macro_f1.mean("chip"), rtol=1e-5
    )
    every = study("strategies", of("accuracy"), tmp_path / "accuracy", **ways)
    np.testing.assert_allclose(found["hits"].hits, every.accuracy, rtol=1e-6)
    np.testing.assert_array_equal(found["hits"].item_hits, every.item_accuracy)


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[pytest.mark.slow] * (k != "sweep")) for k in KINDS]
)
def test_studies_of_every_kind_know_it(kind, tmp_path):
    work = of(macro_f1)
    data = study(kind, work, tmp_path / "a")
    assert data.attrs["digital_metric"] == pytest.approx(
        float(macro_f1(apply(PARAMS, X), Y)), rel=1e-6
    )
    again = anajax.run(
        ONE | {"study": kind} | KINDS[kind], workload=work, out=tmp_path / "a",
        resume=True,
    )  # fmt: skip
    assert again.equals(data)


def test_validation_chooses_by_it(tmp_path):
    """`recommended` judges inputs that were set aside by the metric of all of them."""
    among = ["single_pair", "lsp_first"]
    chosen = {"name": "recommended", "among": among, "chips": 2, "by": "metric"}
    data = study(
        "strategies", of(macro_f1), tmp_path / "a", strategies=[*among, chosen]
    )
    taken = str(data.recommended.item())
    assert taken == str(
        data.candidate.values[np.argmin(data.validation_loss.values[0])]
    )
    of_test = data.macro_f1.sel(strategy=[taken, "recommended"])
    np.testing.assert_array_equal(of_test[:, 0], of_test[:, 1])
    page = (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert "acro f1 (1)" not in page
    assert "Digital macro f1: 0.92" in page and ">nan" not in page.lower()
    assert -1 < data.validation_loss.min() < -0.5 and data.validation_error.max() < 0.2


def test_a_config_names_it_for_an_onnx_file(tmp_path):
    library = pytest.importorskip("onnx")
    helper, of_array = library.helper, library.numpy_helper.from_array
    w = [PARAMS[n].astype(np.float32) for n in ("hidden", "out")]
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"]),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w1"], ["y"]),
    ]
    x, y = (
        helper.make_tensor_value_info(n, library.TensorProto.FLOAT, ["n", k])
        for n, k in (("x", 6), ("y", 3))
    )
    held = [of_array(v, f"w{i}") for i, v in enumerate(w)]
    graph = helper.make_graph(nodes, "own", [x], [y], held)
    library.save(helper.make_model(graph), tmp_path / "own.onnx")
    np.savez(tmp_path / "test.npz", x=X.astype(np.float32), y=Y)
    (tmp_path / "scores.py").write_text(
        "import numpy as np\n\ndef share(outputs, y):\n"
        "    return np.mean([a == b for a, b in zip(outputs.argmax(-1), y)])\n"
    )
    section = {"onnx": "own.onnx", "data": "test.npz", "metric": "scores.py:share"}
    asked = ONE | {
        "study": "strategies",
        "workload": section,
        "strategies": ["lsp_first"],
    }
    prepared = run.prepare(validate(asked, folder=tmp_path), out=tmp_path / "a")
    assert prepared.work.whole and prepared.work.metric == "share"
    right = np.mean(np.argmax(np.asarray(apply(PARAMS, X)), -1) == Y)
    found = anajax.workloads.evaluate(prepared.work).mean()
    np.testing.assert_allclose(found, right, rtol=1e-12)


def test_a_network_has_it_outside_studies():
    from anajax.analysis.network import AnalogNetwork

    network = AnalogNetwork(work=of(macro_f1))
    device = anajax.devices.pcm()
    found = anajax.evaluate(
        network.metric(PARAMS), PARAMS, device, anajax.strategies.single_pair(device),
        jnp.array([0.0, 1e6]), chips=2, key=jax.random.key(0), keyed=True,
    )  # fmt: skip
    assert found.metric.shape == (2, 2)


def test_what_does_not_fit_is_named():
    def fails(outputs, y):
        raise ValueError("only one class")

    def no_number(outputs, y):
        return np.nan

    def wrong(outputs, y):
        return outputs

    for metric, match in (
        (
            fails,
            r"`metric` must take arrays of \(90, 3\), \(90,\): got ValueError: only",
        ),
        (no_number, "`metric of the digital network` must be finite"),
        (wrong, r"`metric` must give one real number, or one per item \[90\]"),
    ):
        with pytest.raises(ValueError, match=match):
            of(metric)
