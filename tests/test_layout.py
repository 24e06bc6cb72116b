"""What is a weight, and what its axes are: layouts, tables, stacks."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from flax import linen, nnx
from flax.training.train_state import TrainState
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_list import CELLS, LAYERS

from anajax import chip, devices
from anajax._core.tree import pytree, replace
from anajax.mapping import hand as strategies
from anajax.mapping.layout import IN_OUT, OUT_IN, Layout
from anajax.nn.convert import to_analog
from anajax.transformation import Rule

PCM, IDEAL = devices.pcm(), devices.ideal()
LSP = strategies.lsp_first(PCM)
DAY = 86400.0


def found(params, **how):
    """Layouts of the weights by path."""
    return {e.path: e.layout for e in chip.table(params, **how).analog}


def shapes(**given):
    return {name: jnp.ones(shape) for name, shape in given.items()}


# --- the record ---------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(4)), st.integers(0, 2), st.integers(1, 3))
def test_matrices_and_back(axes, stack, rows):
    stack, rows = min(stack, 2), min(rows, 3 - min(stack, 2))
    layout = Layout(
        stack=tuple(axes[:stack]),
        rows=tuple(axes[stack : stack + rows]),
        columns=tuple(axes[stack + rows :]),
    )
    w = jnp.arange(120.0).reshape(2, 3, 4, 5)
    matrices = layout.matrices(w)
    assert matrices.shape == layout.sizes(w.shape)
    np.testing.assert_array_equal(layout.restored(matrices, w.shape), w)
    largest = jnp.broadcast_to(layout.per_column(jnp.max, w), w.shape)
    expected = jnp.max(matrices, 1, keepdims=True)
    np.testing.assert_array_equal(
        layout.matrices(largest), jnp.broadcast_to(expected, matrices.shape)
    )


def test_layouts_that_do_not_fit_are_named():
    for build, match in (
        (lambda: Layout(rows=(0,), columns=(0,)), "each axis once"),
        (lambda: Layout(rows="in"), "rows.*tuple of axes"),
        (lambda: Layout(columns=(2,)).on(2, "w"), "2 axes of 'w'"),
        (lambda: Layout(rows=(0, 1)).on(2, "w"), "rows and columns"),
        (lambda: Layout(rows=(0,), columns=(-2,)).on(2, "w"), "each once"),
    ):
        with pytest.raises(ValueError, match=match):
            build()


# --- what is a weight ---------------------------------------------------------------


class Block(linen.Module):
    @linen.compact
    def __call__(self, x, _):
        h = linen.LayerNorm()(x)
        x = x + linen.MultiHeadDotProductAttention(2)(h, h)
        return x + linen.Dense(x.shape[-1], use_bias=False)(x), None


def test_a_scanned_transformer_of_linen():
    """Biases and scales of a stack are digital, and each layer is a layer."""
    stacked = linen.scan(
        Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=3
    )
    params = stacked().init(jr.key(0), jnp.ones((2, 5, 6)), None)
    table = chip.table(params)
    assert all(e.path.endswith("kernel") for e in table.analog)
    assert all(not e.path.endswith("kernel") for e in table.digital)
    sizes = {e.path: e.layout.sizes(e.shape) for e in table.analog}
    assert set(sizes.values()) == {(3, 6, 6)} and len(sizes) == 5
    columns = {e.path.split("/")[-2]: e.layout.columns for e in table.analog}
    assert columns["query"] == (2, 3) and columns["out"] == (3,)


def test_a_vmapped_layer_of_nnx():
    @nnx.split_rngs(splits=3)
    @nnx.vmap(in_axes=0, out_axes=0)
    def build(rngs):
        return nnx.Linear(4, 5, rngs=rngs)

    params = nnx.state(build(nnx.Rngs(0)), nnx.Param)
    assert found(params) == {"kernel": Layout(stack=(0,), rows=(1,), columns=(2,))}


@pytest.mark.parametrize("name", [*LAYERS, *CELLS])
def test_the_table_agrees_with_the_report_of_a_conversion(name):
    """The same arrays, rows and number of columns, by the state's names alone."""
    build = LAYERS[name][0] if name in LAYERS else CELLS[name]
    model = build(nnx.Rngs(0))
    state = nnx.state(model, nnx.Param)
    told = {
        "einsum": Layout(rows=(1,), columns=(0, 2)),
        "einsum_batch": Layout(stack=(0,), rows=(1,), columns=(2,)),
        "transposed_valid": Layout(columns=(2,)),
    }.get(name)
    table = chip.table(state, layout=told)
    sizes = {e.path: e.layout.sizes(e.shape) for e in table.analog}
    report = to_analog(model, [Rule(".*")]).report.analog
    assert {f"{r.path}/kernel".strip("/") for r in report} == set(sizes)
    for r in report:
        layers, rows, columns = sizes[f"{r.path}/kernel".strip("/")]
        assert (rows, layers * columns) == (r.rows, r.groups * r.columns)


@pytree
class Linear:
    """As Equinox has it: `[out, in]`, and a function among the leaves."""

    weight: jax.Array
    bias: jax.Array
    activation: object = jax.nn.relu


def test_modules_of_equinox_hold_outputs_first():
    layer = Linear(weight=jnp.ones((3, 5)), bias=jnp.ones(3))
    assert found({"a": layer}) == {"a/weight": OUT_IN.on(2)}
    stack = Linear(weight=jnp.ones((4, 3, 5)), bias=jnp.ones((4, 3)))
    assert found(stack) == {"weight": Layout(stack=(0,), rows=(2,), columns=(1,))}
    conv = Linear(weight=jnp.ones((8, 3, 5, 5)), bias=jnp.ones((8, 1, 1)))
    assert found(conv) == {"weight": OUT_IN.on(4)}
    norm = Linear(weight=jnp.ones((4, 6)), bias=jnp.ones((4, 6)))
    assert found({"a": norm, "b": layer}) == {"b/weight": OUT_IN.on(2)}


def test_an_equinox_network():
    eqx = pytest.importorskip("equinox")
    net = eqx.nn.MLP(3, 2, width_size=8, depth=1, key=jr.key(0))
    assert found(net) == dict.fromkeys(
        ["layers/0/weight", "layers/1/weight"], OUT_IN.on(2)
    )
    noisy = chip.perturb(net, PCM, LSP, t=DAY, key=jr.key(1), scope="column")
    assert noisy(jnp.ones(3)).shape == (2,)
    assert isinstance(chip.table(eqx.nn.Embedding(5, 4, key=jr.key(0))).analog, tuple)


TREES = {
    "names of positions": (
        {"wte": jnp.ones((9, 4)), "wpe": jnp.ones((7, 4)), "pos_emb": jnp.ones((7, 4)),
         "cls_token": jnp.ones((1, 1, 4)), "head": shapes(kernel=(4, 2))},
        {"head/kernel": IN_OUT.on(2)},
    ),
    "patches are a product": (
        {"patch_embed": shapes(kernel=(4, 4, 3, 8), bias=(8,))},
        {"patch_embed/kernel": IN_OUT.on(4)},
    ),
    "a state dict": (
        {"embed.weight": jnp.ones((9, 4)), "conv1.weight": jnp.ones((8, 3, 5, 5)),
         "lstm.weight_ih_l0": jnp.ones((16, 4)), "ln.weight": jnp.ones(4),
         "attn.in_proj_weight": jnp.ones((12, 4)), "attn.in_proj_bias": jnp.ones(12)},
        {"conv1.weight": OUT_IN.on(4), "lstm.weight_ih_l0": OUT_IN.on(2),
         "attn.in_proj_weight": OUT_IN.on(2)},
    ),
    "weights beside biases": (
        {"a": shapes(w=(3, 5), b=(5,)), "c": shapes(w=(5, 3), b=(5,)),
         "d": shapes(w=(4, 4), b=(4,))},
        {"a/w": IN_OUT.on(2), "c/w": OUT_IN.on(2), "d/w": Layout()},
    ),
    "a stack without biases": (
        {"blocks": {"ln": shapes(scale=(3, 4)), "up": shapes(kernel=(3, 4, 8)),
                    "gain": jnp.ones((3, 4))}},
        {"blocks/up/kernel": Layout(stack=(0,), rows=(1,), columns=(2,))},
    ),
    "heads without biases": (
        {"attn": {n: shapes(kernel=(6, 2, 3)) for n in ("query", "key", "value")}
         | {"out": shapes(kernel=(2, 3, 6))}},
        {f"attn/{n}/kernel": Layout(rows=(0,), columns=(1, 2))
         for n in ("query", "key", "value")}
        | {"attn/out/kernel": IN_OUT.on(3)},
    ),
    "batch statistics": (
        {"params": {"Conv_0": shapes(kernel=(3, 3, 1, 4))},
         "batch_stats": {"bn": shapes(mean=(2, 4), var=(2, 4))}},
        {"Conv_0/kernel": IN_OUT.on(4)},
    ),
    "letters that are no biases": (
        shapes(a=(2, 3), b=(3, 4)), {"a": Layout(), "b": Layout()},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TREES)
def test_names_and_shapes_tell_weights_and_axes(name):
    params, expected = TREES[name]
    assert found(params) == expected


@pytest.mark.parametrize(
    "shape", [(5, 3, 4), (3, 4, 5, 6)], ids=["stack or heads", "stack or convolution"]
)
def test_what_may_be_a_stack_is_asked_for(shape, key):
    params = {"net": {"kernel": jr.normal(key, shape)}}
    assert "pass `layout`" in str(chip.table(params))
    with pytest.raises(ValueError, match="`layout`.*net/kernel.*Pass layout="):
        chip.perturb(params, PCM, LSP, t=1.0, key=key)
    for layout in ("in_out", {"net/kernel": Layout(stack=(0,), columns=(-1,))}):
        chip.perturb(params, PCM, LSP, t=1.0, key=key, layout=layout)


@pytest.mark.parametrize("how", [{"normalize": "column"}, {"scope": "column"}])
def test_columns_that_are_not_known_are_asked_for(how, key):
    params = {"a": {"w": jr.normal(key, (4, 6))}}
    with pytest.raises(ValueError, match="`layout`.*outputs.*'a/w'.*in_out.*out_in"):
        chip.perturb(params, PCM, LSP, t=1.0, key=key, **how)
    chip.perturb(params, PCM, LSP, t=1.0, key=key, layout=lambda p, w: OUT_IN, **how)


@pytest.mark.parametrize(
    ("layout", "match"),
    [
        ("inout", "`layout`.*'inout'.*in_out"),
        ({"kernl": "in_out"}, "`layout`.*kernl.*Known.*kernel"),
        ({"kernel": Layout(columns=(3,))}, "2 axes of 'kernel'"),
    ],
)
def test_bad_layouts_are_named(layout, match):
    with pytest.raises(ValueError, match=match):
        chip.table(shapes(kernel=(2, 3)), layout=layout)


# --- what is refused ----------------------------------------------------------------


def test_the_state_of_an_optimizer_is_refused(key):
    params = {"d": {"kernel": jr.normal(key, (3, 4))}}
    state = TrainState.create(apply_fn=len, params=params, tx=optax.adam(1e-3))
    model = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
    nnx_state = nnx.state(nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param))
    moments = {"mu": params, "nu": params}
    for tree in (state, state.opt_state, nnx_state, moments, {"opt_state": params}):
        with pytest.raises(ValueError, match="`params`.*optimizer.*state.params"):
            chip.perturb(tree, PCM, LSP, t=1.0, key=key)
    chip.perturb(state.params, PCM, LSP, t=1.0, key=key)


def test_two_arrays_of_one_path_are_refused(key):
    a, b = jr.normal(key, (2, 3, 4))
    for tree, names in (
        ({"params": {"w": a}, "w": b}, r"\['params'\]\['w'\] and \['w'\]"),
        ({"a/b": a, "a": {"b": b}}, r"\['a'\]\['b'\] and \['a/b'\]"),
    ):
        with pytest.raises(ValueError, match=f"`params`.*path.*{names}"):
            chip.perturb(tree, PCM, LSP, t=1.0, key=key)


# --- what layouts change ------------------------------------------------------------


def test_each_layer_of_a_stack_is_a_layer(key):
    """Range and factor of its own, whatever the size of the others."""
    w = jr.normal(key, (80, 30)) * jnp.array([1.0, 0.01, 100.0])[:, None, None]
    params = {"kernel": w, "bias": jnp.zeros((3, 30))}
    for how in ({}, {"normalize": "column", "scope": "column"}):
        noisy = chip.perturb(params, PCM, LSP, t=DAY, key=key, **how)
        error = np.std(noisy["kernel"] - w, (1, 2)) / np.max(np.abs(w), (1, 2))
        np.testing.assert_allclose(error / error[0], 1, rtol=0.1)
    layer = chip.encode_weights(params, LSP)["kernel"]
    np.testing.assert_array_equal(layer.w_max, np.max(np.abs(w), (1, 2), keepdims=True))
    chipped = chip.program(PCM, {"kernel": layer}, key=key)
    late = {"kernel": chipped.first["kernel"] * jnp.array([0.5, 1, 2])[:, None, None]}
    alpha = chip.compensation(chipped.first, late, {"kernel": layer}, "layer")
    np.testing.assert_allclose(np.ravel(alpha["kernel"]), [2, 1, 0.5], rtol=1e-5)


@pytest.mark.parametrize("how", ["normalize", "scope"])
def test_columns_are_outputs_in_either_order(key, how):
    """`[out, in]` is programmed as `[in, out]` is: equal error of each output."""
    w = jr.normal(key, (1600, 6)) * jnp.array([1.0, 0.1, 0.3, 1.0, 2.0, 0.05])
    options = {"t": DAY, "key": key, how: "column"}
    flax = chip.perturb({"kernel": w}, PCM, LSP, **options)["kernel"]
    torch = chip.perturb({"weight": w.T}, PCM, LSP, **options)["weight"].T
    one, two = (np.std(v - w, 0) for v in (flax, torch))
    np.testing.assert_allclose(two, one, rtol=0.1)
    layer = chip.encode_weights({"weight": w.T}, LSP, normalize="column")["weight"]
    np.testing.assert_allclose(layer.unit[:, 0], np.max(np.abs(w), 0), rtol=1e-6)


def test_dead_lines_follow_the_layout(key):
    """A dead row silences one input of all outputs."""
    device = replace(IDEAL, faults=devices.Faults(dead_rows=0.3))
    w = jnp.ones((20, 30))
    strategy = strategies.lsp_first(IDEAL)
    off = chip.perturb({"weight": w}, device, strategy, t=0.0, key=key, scope="none")
    silent = np.asarray(off["weight"]) == 0
    assert (silent.all(0) == silent.any(0)).all() and 0 < silent[0].mean() < 1
    with pytest.raises(ValueError, match="`layout`.*outputs"):
        chip.perturb({"w": w}, device, strategy, t=0.0, key=key)


@pytest.mark.parametrize("scope", ["network", "layer", "column"])
def test_compensation_has_no_scale_of_its_own(key, scope):
    """Weights of 1e-14 and 1e14 are as compensated as those of 1."""
    w = jr.normal(key, (20, 10))
    one, small, large = (
        chip.perturb({"kernel": s * w}, PCM, LSP, t=DAY, key=key, scope=scope)["kernel"]
        / s
        for s in (1.0, 1e-14, 1e14)
    )
    np.testing.assert_allclose(small, one, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(large, one, rtol=1e-4, atol=1e-5)


def test_dtypes_stay_and_a_scan_goes_on(key):
    w = jr.normal(key, (3, 8, 8)).astype(jnp.bfloat16)
    params = {"kernel": w, "bias": jnp.zeros((3, 8), jnp.bfloat16)}
    noisy = chip.perturb(params, PCM, LSP, t=DAY, key=key)
    assert jax.tree.map(lambda v: v.dtype, noisy) == jax.tree.map(
        lambda v: v.dtype, params
    )
    h, _ = jax.lax.scan(
        lambda h, p: (h @ p["kernel"] + p["bias"], None),
        jnp.ones(8, jnp.bfloat16),
        noisy,
    )
    assert h.dtype == jnp.bfloat16
    exact = chip.perturb(
        jax.tree.map(lambda v: v.astype(jnp.float32), params), PCM, LSP, t=DAY, key=key
    )
    np.testing.assert_array_equal(noisy["kernel"], exact["kernel"].astype(jnp.bfloat16))


def test_a_vector_is_a_matrix_of_one_column():
    """As the products of `x @ w` with one output say."""
    w = jnp.arange(1.0, 7.0)
    layout = Layout(rows=(0,))
    assert layout.sizes(w.shape) == (1, 6, 1)
    assert layout.matrices(w).shape == (1, 6, 1)
    assert jnp.array_equal(layout.restored(layout.matrices(w), w.shape), w)
    assert layout.per_column(jnp.max, w).tolist() == [6.0]
    stacked = Layout(stack=(0,), rows=(1,))
    assert stacked.sizes((3, 6)) == (3, 6, 1)
    with pytest.raises(ValueError, match="name rows and columns among the 2 axes"):
        Layout(rows=(0, 1)).on(2)
