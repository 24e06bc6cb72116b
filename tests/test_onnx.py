"""ONNX files as functions: ONNX's own node tests, foreign networks, analog hardware."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import node_cases
import numpy as np
import pytest

import anajax
from anajax import analog, devices, periphery, strategies
from anajax.interop import onnx

library = pytest.importorskip("onnx")
helper, numpy_helper = library.helper, library.numpy_helper
RNG = np.random.default_rng(3)
FEW = {
    "test_gemm_all_attributes", "test_conv_with_strides_padding", "test_softmax_axis_0",
    "test_convtranspose_pads", "test_batchnorm_example", "test_lstm_with_initial_bias",
    "test_gru_defaults", "test_layer_normalization_2d_axis1", "test_slice_neg_steps",
    "test_averagepool_2d_ceil", "test_maxpool_2d_dilations", "test_gather_1",
    "test_resize_upsample_scales_nearest", "test_reduce_mean_keepdims_random",
    "test_reshape_zero_and_negative_dim", "test_div_int8",
}  # fmt: skip
MODULES = (
    "gemm", "conv", "convtranspose", "softmax", "batch_normalization", "lstm", "gru",
    "layernormalization", "averagepool", "maxpool", "gather", "resize", "reducemean",
    "reshape", "div", "slice",
)  # fmt: skip
PASS = 866
"""Of 894 node tests of onnx 1.23; the others are refused, by name."""


def saved(path, nodes, weights, inputs=("x",), outputs=("y",), opset=20):
    """A file of a graph."""
    info = [
        [helper.make_tensor_value_info(n, 1, None) for n in names]
        for names in (inputs, outputs)
    ]
    held = [numpy_helper.from_array(np.asarray(v), n) for n, v in weights.items()]
    graph = helper.make_graph(nodes, "g", *info, held)
    version = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=version, ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def node(kind, inputs, outputs="y", **attributes):
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


@pytest.fixture
def mlp(tmp_path):
    """Gemm as of torch, a flatten by a shape that is computed, MatMul as of Keras."""
    weights = {
        "fc1.weight": RNG.normal(size=(16, 12)).astype(np.float32) / 4,
        "fc1.bias": RNG.normal(size=16).astype(np.float32),
        "head/kernel": RNG.normal(size=(16, 4)).astype(np.float32) / 4,
        "first": np.asarray([0]),
        "rest": np.asarray([-1]),
    }
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape first", "batch", axis=0),
        node("Concat", "batch rest", "flat", axis=0),
        node("Reshape", "x flat", "a"),
        node("Gemm", "a fc1.weight fc1.bias", "b", transB=1),
        node("Relu", "b", "c"),
        node("MatMul", "c head/kernel"),
    ]
    return saved(tmp_path / "mlp.onnx", nodes, weights), weights


def digital(weights, x):
    hidden = x.reshape(len(x), -1) @ weights["fc1.weight"].T + weights["fc1.bias"]
    return np.maximum(hidden, 0) @ weights["head/kernel"]


def test_an_mlp_is_a_pure_function_of_its_weights(mlp):
    path, weights = mlp
    apply, params = onnx(path)
    x = RNG.normal(size=(5, 3, 4)).astype(np.float32)
    assert set(params) == {"fc1.weight", "fc1.bias", "head/kernel"}
    assert apply.inputs == ("x",) and apply.outputs == ("y",)
    np.testing.assert_allclose(jax.jit(apply)(params, x), digital(weights, x), 1e-5)
    grads = jax.grad(lambda p: jnp.sum(apply(p, x) ** 2))(params)
    assert all(np.any(np.asarray(g) != 0) for g in grads.values())


def test_an_mlp_on_converters_and_on_a_chip(mlp, key):
    path, weights = mlp
    apply, params = onnx(path)
    x = RNG.uniform(-1, 1, size=(64, 12)).astype(np.float32)
    want = digital(weights, x)
    hardware = anajax.analog(apply, anajax.Rule(".*", io=periphery.bits(8, 8)))
    found = {entry.path for entry in hardware.report(params, x).analog}
    assert found == {"fc1.weight", "head/kernel"}

    @jax.jit
    def converted(params, x, key):
        ranges = hardware.calibrate(params, x)
        return hardware(params, x, ranges=ranges, key=key)

    error = np.std(converted(params, x, key) - want) / np.std(want)
    assert 1e-4 < error < 0.02

    device = devices.pcm()
    kinds = {name: params[name] for name in found}
    strategy = strategies.lsp_first(device)
    perturb = jax.jit(lambda w: anajax.perturb(w, device, strategy, t=86400.0, key=key))
    noisy = perturb(kinds)
    error = np.std(apply(params | noisy, x) - want) / np.std(want)
    assert 0.005 < error < 0.3


def test_inputs_are_standardized_as_scikit_learn_exports_them(tmp_path):
    """The operator of another domain that stands before its networks."""
    scaler = node("Scaler", "x", domain="ai.onnx.ml", offset=[1.0, 2.0], scale=[2.0])
    path = saved(tmp_path / "scaler.onnx", [scaler], {})
    apply, _ = onnx(path)
    x = np.array([[1.0, 2.0], [3.0, 0.0]], np.float32)
    assert apply({}, x).tolist() == [[0.0, 0.0], [4.0, -4.0]]


def test_a_missing_operator_is_named_with_its_node(tmp_path):
    nodes = [node("Relu", "x", "a"), node("Det", "a", name="volume")]
    path = saved(tmp_path / "a.onnx", nodes, {})
    with pytest.raises(ValueError, match="operators that are known.*Det node 'volume'"):
        onnx(path)


def test_a_cycle_is_refused(tmp_path):
    nodes = [node("Add", "x b", "a"), node("Relu", "a", "b"), node("Relu", "b")]
    with pytest.raises(ValueError, match="takes 'b' before it is made"):
        onnx(saved(tmp_path / "a.onnx", nodes, {}))


def test_what_does_not_fit_is_named_with_its_node(mlp):
    apply, params = onnx(mlp[0])
    with pytest.raises(ValueError, match="`inputs` must fit Gemm node 'b'.*8, 7"):
        apply(params, jnp.ones((8, 7)))
    with pytest.raises(ValueError, match="`inputs` must be x: got 2 arrays"):
        apply(params, 1.0, 2.0)


def test_a_shape_must_be_known_when_traced(tmp_path):
    path = saved(tmp_path / "a.onnx", [node("Reshape", "x s")], {}, inputs=("x", "s"))
    apply, params = onnx(path)
    assert apply(params, jnp.ones(4), np.array([2, 2])).shape == (2, 2)
    with pytest.raises(ValueError, match="known where it sets a shape, in Reshape"):
        jax.jit(apply)(params, jnp.ones(4), np.array([2, 2]))


def test_a_branch_that_is_known_and_one_that_is_not(tmp_path):
    branches = {}
    for name, factor in [("then_branch", 2.0), ("else_branch", 3.0)]:
        out = helper.make_tensor_value_info(name, 1, None)
        held = [numpy_helper.from_array(np.float32(factor), f"f{name}")]
        inner = [node("Mul", f"x f{name}", name)]
        branches[name] = helper.make_graph(inner, name, [], [out], held)
    path = saved(
        tmp_path / "a.onnx", [node("If", "c", **branches)], {}, inputs=("x", "c")
    )
    apply, params = onnx(path)
    x = jnp.ones(3)
    assert set(params) == {"fthen_branch", "felse_branch"}
    for run in (apply, jax.jit(apply)):
        np.testing.assert_array_equal(run(params, x, True), 2.0)
        np.testing.assert_array_equal(run(params, x, np.bool_(False)), 3.0)


def test_a_constant_that_is_a_weight(tmp_path):
    value = numpy_helper.from_array(np.eye(3, dtype=np.float32) * 2)
    nodes = [node("Constant", "", "w", value=value), node("MatMul", "x w")]
    apply, params = onnx(saved(tmp_path / "a.onnx", nodes, {}))
    entries = anajax.analog(apply).report(params, jnp.ones((2, 3))).analog
    assert [entry.path for entry in entries] == ["w"]
    np.testing.assert_array_equal(apply(params, jnp.ones((2, 3))), 2.0)


WEIGHTS = {
    "Conv": [(6, 2, 3, 3)],
    "ConvTranspose": [(4, 3, 2, 2)],
    "LSTM": [(2, 16, 6), (2, 16, 4)],
    "GRU": [(2, 12, 6), (2, 12, 4)],
    "Einsum": [(6, 5)],
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_products_of_all_kinds_are_sites(kind, tmp_path):
    """Of layers with groups and directions, too; nothing is compiled."""
    more = {
        "Conv": {"group": 2},
        "ConvTranspose": {"group": 2, "strides": [2, 2]},
        "Einsum": {"equation": "nbi,io->nbo"},
    }
    attributes = more.get(kind, {"hidden_size": 4, "direction": "bidirectional"})
    weights = {
        f"w{i}": np.ones(shape, np.float32) for i, shape in enumerate(WEIGHTS[kind])
    }
    nodes = [node(kind, " ".join(["x", *weights]), **attributes)]
    apply, params = onnx(saved(tmp_path / "a.onnx", nodes, weights))
    x = jnp.ones((2, 4, 5, 5) if kind.startswith("Conv") else (3, 2, 6))
    entries = anajax.analog(apply).report(params, x).analog
    assert {entry.path for entry in entries} == set(weights)


def test_a_few_node_tests_of_onnx(tmp_path):
    few = [case for case in node_cases.of(MODULES) if case.name in FEW]
    assert {case.name for case in few} == FEW
    for case in few:
        node_cases.check(case, tmp_path)


@pytest.mark.parametrize("name", ["lstm", "gru", "conv", "attention", "encoder"])
def test_networks_exported_by_torch_are_what_torch_computes(name, tmp_path):
    """From benchmarks/peers/torch_onnx.py, by the exporter that is torch's default."""
    with np.load(Path(__file__).parent / "torch_onnx.npz") as found:
        (tmp_path / "net.onnx").write_bytes(found[f"{name}/onnx"].tobytes())
        x, want = found[f"{name}/x"], found[f"{name}/y"]
    apply, params = onnx(tmp_path / "net.onnx")
    np.testing.assert_allclose(apply(params, x), want, atol=1e-5)
    assert len(analog(apply).report(params, x).analog) == MATRICES[name]


MATRICES = {"lstm": 5, "gru": 3, "conv": 4, "attention": 4, "encoder": 4}


@pytest.mark.slow
def test_all_node_tests_of_onnx(tmp_path):
    cases, passed, refused = node_cases.cases(), [], []
    for case in cases:
        try:
            node_cases.check(case, tmp_path)
            passed.append(case.name)
        except ValueError as error:
            assert str(error).startswith("`path` must hold only"), (case.name, error)
            refused.append(case.name)
    assert len(passed) >= PASS, refused
    assert {kind for case in cases for kind in kinds(case)} >= LISTED


def kinds(case):
    return {n.op_type for n in case.model.graph.node}


LISTED = {
    "Gemm", "MatMul", "Conv", "ConvTranspose", "BatchNormalization", "Softmax",
    "LayerNormalization", "MaxPool", "AveragePool", "GlobalAveragePool", "LSTM", "GRU",
    "GlobalMaxPool", "Reshape", "Transpose", "Concat", "Slice", "Gather", "Squeeze",
    "Unsqueeze", "Expand", "Shape", "Constant", "ConstantOfShape", "Cast", "Split",
    "Pad", "Flatten", "Where", "Resize", "ReduceMean", "ReduceSum",
}  # fmt: skip


def tokens():
    return [RNG.integers(0, 257, (3, 2048)).astype(np.int32)]


def sound():
    return [RNG.normal(0, 0.3, (1, 43844, 1)).astype(np.float32)]


def speech():
    """A frame of 36 ms at 16 kHz, and the state of the frame before."""
    return [RNG.normal(0, 0.1, (1, 576)).astype(np.float32), state(), np.asarray(16000)]


def state():
    return RNG.normal(0, 0.1, (2, 1, 128)).astype(np.float32)


FOREIGN = {
    "magika/models/standard_v3_3/model.onnx": tokens,
    "basic_pitch/saved_models/icassp_2022/nmp.onnx": sound,
    "silero_vad/data/silero_vad.onnx": speech,
    "silero_vad/data/silero_vad_16k_op15.onnx": speech,
    "silero_vad/data/silero_vad_half.onnx": lambda: speech()[:2],
}
"""Networks inside wheels: `pip install --no-deps magika basic-pitch silero-vad`."""


@pytest.mark.slow
@pytest.mark.parametrize("file", FOREIGN)
def test_foreign_networks_are_as_onnxruntime_runs_them(file):
    runtime = pytest.importorskip("onnxruntime")
    package, _, rest = file.partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None:
        pytest.skip(f"{package} is not installed")
    path = Path(next(iter(spec.submodule_search_locations))) / rest
    inputs = FOREIGN[file]()
    apply, params = onnx(path)
    outs = jax.jit(lambda params, *arrays: apply(params, *arrays, *inputs[2:]))(
        params, *inputs[:2]
    )
    outs = outs if isinstance(outs, tuple) else (outs,)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    named = dict(zip(apply.inputs, inputs, strict=True))
    for out, want in zip(outs, session.run(None, named), strict=True):
        np.testing.assert_allclose(out, want, rtol=1e-4, atol=1e-4)
