"""Networks of plain JAX on ideal hardware equal themselves."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from analog_list import assert_equal, close, norm, on_tiles, vectors, weights

from anajax.transformation import Layout, analog


def attention(q, k, v):
    """Grouped queries: several heads of queries for each of keys; causal."""
    q = q.reshape(*q.shape[:2], k.shape[2], -1, q.shape[-1])
    scores = jnp.einsum("bqhgd,bkhd->bhgqk", q, k)
    mask = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    attended = jax.nn.softmax(jnp.where(mask, scores, -1e9))
    out = jnp.einsum("bhgqk,bkhd->bqhgd", attended, v)
    return out.reshape(*out.shape[:2], -1)


def language_model(params, tokens):
    def block(x, p):
        h = norm(x)
        q, kv = h @ p["q"], jnp.einsum("btd,cdhk->cbthk", h, p["kv"])
        q = q.reshape(*q.shape[:2], 4, 2)
        x = x + attention(q, *kv) @ p["o"]
        gate, up = jnp.split(norm(x) @ p["mlp"], 2, axis=-1)
        return x + (jax.nn.silu(gate) * up) @ p["down"].T, None

    x, _ = jax.lax.scan(jax.checkpoint(block), params["emb"][tokens], params["layers"])
    return norm(x) @ params["emb"].T


def stack(layers):
    n = layers
    shapes = {"q": (n, 8, 8), "kv": (n, 2, 8, 2, 2), "o": (n, 8, 8)}
    shapes |= {"mlp": (n, 8, 12), "down": (n, 8, 6)}
    return {**weights(emb=(11, 8)), "layers": weights(**shapes)}


TOKENS = jnp.array([[3, 1, 4, 1], [5, 9, 2, 6]])


def test_a_stack_in_a_scan_of_checkpoints():
    report = assert_equal(language_model, stack(3), TOKENS)
    found = {p.path: (p.groups, p.rows, p.columns) for p in report.analog}
    assert found == {
        "emb": (1, 8, 11),  # the tied head; the look-up stays digital
        "layers/q": (3, 8, 8),
        "layers/kv": (3, 8, 8),
        "layers/o": (3, 8, 8),
        "layers/mlp": (3, 8, 12),
        "layers/down": (3, 6, 8),
    }
    layouts = report.layouts
    assert layouts["emb"] == Layout(rows=(1,), columns=(0,))
    assert layouts["layers/down"] == Layout(stack=(0,), rows=(2,), columns=(1,))
    assert layouts["layers/kv"] == Layout(stack=(0,), rows=(2,), columns=(1, 3, 4))


def test_thirty_layers_are_traced_as_one():
    params = stack(30)
    f, start = on_tiles(language_model), time.process_time()
    traced = jax.jit(f).trace(params, TOKENS).jaxpr
    assert time.process_time() - start < 3
    assert "scan" in str(traced) and str(traced).count("length=30") == 1
    shallow = jax.jit(f).trace(stack(2), TOKENS).jaxpr
    assert str(traced).count(" = ") == str(shallow).count(" = ")


@pytest.mark.parametrize("way", ["gather", "scalar", "cond"])
def test_experts(way):
    def apply(p, x):
        best = jnp.argmax(x @ p["router"], -1)
        if way == "gather":
            return jnp.einsum("bi,bio->bo", x, p["experts"][best])
        if way == "scalar":
            return x @ p["experts"][best[0]]
        branches = [lambda x, i=i: x @ p["experts"][i] for i in range(3)]
        return jax.lax.switch(best[0], branches, x)

    params = weights(router=(4, 3), experts=(3, 4, 5))
    report = assert_equal(apply, params, vectors(6, 4))
    experts = report.analog[0]
    assert (experts.path, experts.rows, experts.columns) == ("experts", 4, 5)
    assert experts.groups == 3
    assert experts.layout == Layout(stack=(0,), rows=(1,), columns=(2,))


def test_a_recurrence_by_hand_and_a_loop_that_stops():
    def apply(p, x):
        def step(h, x):
            h = jnp.tanh(jnp.concatenate([x, h], -1) @ p["w"] + p["b"])
            return h, h @ p["out"]

        h, ys = jax.lax.scan(step, jnp.zeros((2, 4)), x)
        going = lambda s: (s[0] < 3) & (jnp.sum(s[1] @ p["stop"]) < 1e3)  # noqa: E731
        _, h = jax.lax.while_loop(
            going, lambda s: (s[0] + 1, jnp.tanh(s[1] @ p["again"])), (0, h)
        )
        return ys, h

    params = weights(w=(7, 4), b=(4,), out=(4, 2), stop=(4, 1), again=(4, 4))
    x = vectors(5, 2, 3)
    f = on_tiles(apply)
    close(jax.jit(f)(params, x), apply(params, x))
    assert {p.path for p in f.report(params, x).analog} == {"w", "out", "stop", "again"}


def test_a_weight_carried_by_a_loop_as_it_is():
    def apply(p, x):
        body = lambda i, s: (s[0], jnp.tanh(s[1] @ s[0]))  # noqa: E731
        return jax.lax.fori_loop(0, 3, body, (p["w"], x))[1]

    assert assert_equal(apply, weights(w=(4, 4)), vectors(2, 4)).analog


def test_layers_chosen_by_the_step_of_a_loop():
    def apply(p, x):
        body = lambda i, x: jnp.tanh(x @ p["w"][i] + p["b"][i])  # noqa: E731
        return jax.lax.fori_loop(0, 3, body, x)

    report = assert_equal(apply, weights(w=(3, 4, 4), b=(3, 4)), vectors(2, 4))
    assert report.layouts == {"w": Layout(stack=(0,), rows=(1,), columns=(2,))}
    assert report.analog[0].groups == 3


def test_models_under_vmap():
    def one(p, x):
        return jnp.tanh(x @ p["a"]) @ p["b"]

    many = jax.vmap(one, in_axes=(0, None))
    report = assert_equal(many, weights(a=(3, 4, 5), b=(3, 5, 2)), vectors(6, 4))
    assert report.layouts["b"] == Layout(stack=(0,), rows=(1,), columns=(2,))


def test_a_weight_repeated_for_each_item_is_one_weight():
    def apply(p, x):
        w = jnp.broadcast_to(p["w"], (x.shape[0], *p["w"].shape))
        return jnp.einsum("bti,bio->tbo", x, w)

    report = assert_equal(apply, weights(w=(4, 5)), vectors(3, 2, 4))
    assert report.analog[0][5:9] == (1, 4, 5, 1)


def test_a_u_net():
    def conv(x, w, **options):
        numbers = ("NCHW", "OIHW", "NCHW")
        options = {"padding": "SAME", "window_strides": (1, 1)} | options
        return jax.lax.conv_general_dilated(x, w, dimension_numbers=numbers, **options)

    def apply(p, x):
        first = jax.nn.silu(conv(x, p["in"]))
        down = jax.nn.silu(conv(first, p["down"], window_strides=(2, 2)))
        up = jax.lax.conv_transpose(
            down, p["up"], (2, 2), "SAME", dimension_numbers=("NCHW", "HWIO", "NCHW")
        )
        large = jax.image.resize(down, first.shape[:1] + (3,) + (4, 4), "linear")
        joined = jnp.concatenate([first, up, large], axis=1)
        return conv(joined, p["out"])

    params = weights(
        **{"in": (2, 1, 3, 3), "down": (3, 2, 3, 3), "up": (2, 2, 3, 2)},
        out=(1, 7, 1, 1),
    )
    report = assert_equal(apply, params, vectors(1, 1, 4, 4))
    assert report.layouts["down"] == Layout(rows=(1, 2, 3), columns=(0,))
    assert report.layouts["up"] == Layout(rows=(0, 1, 2), columns=(3,))


def test_a_graph_network():
    senders, receivers = jnp.array([0, 1, 2, 2]), jnp.array([1, 2, 0, 1])

    def apply(p, nodes):
        pairs = jnp.concatenate([nodes[senders], nodes[receivers]], -1)
        messages = jax.nn.relu(pairs @ p["edge"])
        sums = jax.ops.segment_sum(messages, receivers, num_segments=3)
        return jnp.concatenate([nodes, sums], -1) @ p["node"]

    assert len(
        assert_equal(apply, weights(edge=(4, 3), node=(5, 2)), vectors(3, 2)).analog
    )


def test_fused_weights_cut_and_joined():
    def apply(p, x):
        q, k = jnp.split(p["qk"], 2, axis=1)
        both = jnp.concatenate([p["a"], p["b"].T], axis=1)
        return (x @ q) * (x @ k), x @ both, x @ p["qk"][:, ::-1]

    params = weights(qk=(4, 6), a=(4, 2), b=(3, 4))
    report = assert_equal(
        lambda p, x: jnp.concatenate(apply(p, x), -1), params, vectors(2, 4)
    )
    assert (
        report.layouts["qk"] == report.layouts["a"] == Layout(rows=(0,), columns=(1,))
    )
    assert report.layouts["b"] == Layout(rows=(1,), columns=(0,))
    sites = {p.path: p.sites for p in report.analog}
    assert sites["qk"] == ("qk", "qk#1", "qk#2")
    assert sites["a"] == sites["b"] == ("a+b",)


def test_matrices_cut_out_of_one_long_vector():
    def apply(theta, x):
        a, b = theta[:12].reshape(4, 3), theta[12:18].reshape(3, 2)
        return jnp.tanh(x @ a) @ b

    report = assert_equal(apply, weights(t=(18,))["t"], vectors(2, 4))
    assert not report.analog[0].layout.known
    assert len(report.analog[0].sites) == 2


def test_rows_in_another_order_and_a_column_without_its_axis():
    def apply(p, x):
        y = x @ p["w"][np.array([2, 0, 3, 1])] @ p["v"]
        return y * (y @ p["one"].reshape(-1))[:, None]

    params = weights(w=(4, 5), v=(5, 3), one=(3, 1))
    report = assert_equal(apply, params, vectors(2, 4))
    assert report.layouts["w"] == Layout(rows=(0,), columns=(1,))
    assert report.layouts["one"] == Layout(rows=(0,), columns=(1,))


def test_a_row_looked_up_step_by_step_is_an_input():
    def apply(p, tokens):
        def step(h, token):
            return jnp.tanh(p["emb"][token] @ p["w"] + h), None

        return jax.lax.scan(step, jnp.zeros(3), tokens)[0]

    report = assert_equal(apply, weights(emb=(7, 4), w=(4, 3)), TOKENS[0])
    assert [p.path for p in report.analog] == ["w"]


def test_a_product_that_tiles_do_not_do_says_so():
    def apply(p, x):
        return jax.lax.ragged_dot(x, p["experts"], jnp.array([2, 1, 1]))

    report = analog(apply).report(weights(experts=(3, 4, 5)), vectors(4, 4))
    assert "stays as it is" in report.parameters[0].why


def test_products_within_a_gradient_of_the_function():
    """Forces as the gradient of an energy: the weight is used backwards, too."""

    def apply(p, x):
        energy = lambda x: jnp.sum(jnp.tanh(x @ p["w"]) @ p["v"])  # noqa: E731
        return -jax.grad(energy)(x)

    report = assert_equal(apply, weights(w=(4, 3), v=(3, 1)), vectors(2, 4))
    sites = {p.path: p.sites for p in report.analog}
    assert sites == {"v": ("v", "v#1"), "w": ("w", "w#1")}


def test_a_key_cache():
    def apply(p, x):
        def step(cache, xt):
            cache = (
                jax.lax.dynamic_update_slice(
                    cache[0], (xt @ p["k"])[None], (cache[1], 0)
                ),
                cache[1] + 1,
            )
            return cache, jax.nn.softmax(xt @ p["q"] @ cache[0].T) @ cache[0]

        return jax.lax.scan(step, (jnp.zeros((5, 3)), 0), x)[1]

    report = assert_equal(apply, weights(q=(4, 3), k=(4, 3)), vectors(5, 4))
    assert len(report.analog) == 2


def test_half_precision_keeps_its_dtypes():
    def apply(p, x):
        y = jnp.tanh(x.astype(jnp.bfloat16) @ p["w"].astype(jnp.bfloat16))
        return jnp.matmul(y, p["v"], preferred_element_type=jnp.float32)

    params = weights(w=(4, 5)) | {"v": jnp.ones((5, 2), jnp.bfloat16)}
    got, expected = (f(params, vectors(3, 4)) for f in (on_tiles(apply), apply))
    assert got.dtype == expected.dtype == jnp.float32
    close(got, expected, 2e-2)


def test_double_precision(x64):
    params = {"w": jnp.asarray(np.random.default_rng(0).normal(size=(4, 5)))}
    x = jnp.asarray(np.random.default_rng(1).normal(size=(3, 4)))
    got = on_tiles(lambda p, x: x @ p["w"])(params, x)
    assert got.dtype == jnp.float64
    np.testing.assert_allclose(got, x @ params["w"], rtol=1e-13)
