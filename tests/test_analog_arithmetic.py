"""Adapters, arithmetic on weights, and what passes through untouched."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from analog_list import (
    QUICK,
    assert_equal,
    close,
    everything,
    norm,
    on_tiles,
    vectors,
    weights,
)

import anajax
from anajax import devices
from anajax._core.tree import replace
from anajax.crossbar import periphery
from anajax.crossbar.converters import uniform
from anajax.crossbar.periphery import IO
from anajax.transformation import Layout, Rule, analog

PCM = devices.pcm()
QUIET = replace(PCM, read=devices.NoReadNoise())
LSP = anajax.strategies.lsp_first(PCM)


def test_an_adapter_stays_digital_and_its_base_goes_on_the_chip():
    def apply(p, x):
        return jnp.einsum("bi,oi->bo", x, (p["w"] + 0.5 * (p["a"] @ p["b"])).T)

    params = weights(w=(4, 5), a=(4, 2), b=(2, 5))
    report = assert_equal(apply, params, vectors(3, 4))
    assert [p.path for p in report.analog] == ["w"]
    assert {p.why for p in report.parameters if p.path != "w"} == {
        "is added to 'w', digitally"
    }


def test_adapters_in_a_stack():
    def apply(p, x):
        def block(x, q):
            frozen = jax.lax.stop_gradient(q["w"])
            return jnp.tanh(x @ (frozen + q["a"] @ q["b"])), None

        return jax.lax.scan(block, x, p)[0]

    params = weights(w=(3, 4, 4), a=(3, 4, 2), b=(3, 2, 4))
    x = vectors(2, 4)
    assert [p.path for p in assert_equal(apply, params, x).analog] == ["w"]
    rules = Rule("a|b", digital=True), Rule("w")
    report = analog(apply, rules).report(params, x)
    assert [(p.path, p.groups) for p in report.analog] == [("w", 3)]
    together = on_tiles(apply, Rule("[wab]", fold=True))
    assert {p.sites for p in together.report(params, x).analog} == {("w+a+b",)}
    close(together(params, x), apply(params, x))


def test_noise_of_the_chip_meets_the_base_alone(key):
    """The adapter's part of the product is exact."""

    def apply(p, x):
        return x @ (p["w"] + p["a"] @ p["b"])

    params, x = weights(w=(4, 5), a=(4, 2), b=(2, 5)), vectors(3, 4)
    rule = Rule("w", io=periphery.standard())
    alone = analog(lambda p, x: x @ p["w"], rule)(params, x, key=key)
    got = on_tiles(apply, (rule, Rule(".*")))(params, x, key=key)
    close(got, alone + x @ (params["a"] @ params["b"]))


def weight_norm(p, x):
    return x @ (p["v"] / jnp.linalg.norm(p["v"], axis=0) * p["g"])


def test_arithmetic_on_a_weight_keeps_it_digital_unless_a_rule_folds_it():
    params, x = weights(v=(4, 5), g=(5,)), vectors(3, 4)
    report = assert_equal(weight_norm, params, x)
    assert not report.analog
    assert report.parameters[1].why.startswith("goes through `")
    folded = analog(weight_norm, Rule("v", fold=True)).report(params, x).analog
    assert [(p.path, p.groups, p.rows, p.columns) for p in folded] == [("v", 1, 4, 5)]
    assert_equal(weight_norm, params, x, Rule("v", fold=True))


def quantized(w):
    """Straight through to seven levels."""
    steps = jnp.clip(jnp.round(w * 3), -3, 3) / 3
    return w + jax.lax.stop_gradient(steps - w)


MASK = jnp.asarray(np.arange(12).reshape(4, 3) % 3 > 0, jnp.float32)


def compressed(p, x):
    """A mask in each layer of a stack, a quantizer twice, weight norm, and a bias."""

    def layer(h, w):
        return jnp.tanh(h @ (w * jnp.eye(4)[::-1])), None

    h = jax.lax.scan(layer, x, p["stack"])[0] @ (p["m"] * MASK)
    q = quantized(p["q"])
    h = jnp.tanh(h @ q) @ q + p["b"]
    return h @ (p["v"] / jnp.linalg.norm(p["v"], axis=0) * p["g"])


SHAPES = {"stack": (2, 4, 4), "m": (4, 3), "q": (3, 3), "b": (3,), "v": (3, 5)}
FOLD = Rule("stack|m|q|v", fold=True)


def test_folded_arrays_are_parameters_that_are_programmed(key):
    params, x = weights(g=(5,), **SHAPES), vectors(3, 4)
    why = {p.path: p.why for p in analog(compressed).report(params, x).parameters}
    assert all(why[path].startswith("goes through `") for path in ("stack", "m", "v"))
    both, plain = analog(compressed, FOLD).folded(params, x)
    assert {p: a.shape for p, a in both["folded"].items()} == {
        "stack": (2, 4, 4), "m": (4, 3), "q": (3, 3), "v": (3, 5),
    }  # fmt: skip
    np.testing.assert_array_equal(both["folded"]["m"], params["m"] * MASK)
    close(plain(both, x), compressed(params, x))
    hardware = on_tiles(plain, Rule("folded/.*"))
    report = hardware.report(both, x)
    layouts = report.layouts
    assert layouts["folded/stack"] == Layout(stack=(0,), rows=(1,), columns=(2,))
    assert {p.path: len(p.sites) for p in report.analog} == {
        "folded/m": 1, "folded/q": 2, "folded/stack": 1, "folded/v": 1,
    }  # fmt: skip
    close(hardware(both, x), compressed(params, x))


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_chip_holds_the_folded_array(whole, key):
    """`perturb` of the report, and the cells of a chip; what is folded is untouched."""
    if whole:
        apply, params, rule = compressed, weights(g=(5,), **SHAPES), FOLD
    else:
        apply, params = lambda p, x: x @ (p["m"] * MASK), weights(m=(4, 3))
        rule = Rule("m", fold=True)
    x = vectors(3, 4)
    both, plain = analog(apply, rule).folded(params, x)
    hardware = on_tiles(plain, Rule("folded/.*"))
    report = hardware.report(both, x)

    @functools.partial(jax.jit, compiler_options=QUICK)
    def run(key):
        noisy = anajax.perturb(both, PCM, LSP, t=9e4, key=key, select=report)
        part = hardware.put_on_chip(both, x, device=PCM, strategy=LSP, key=key)
        return noisy, hardware(part.at(9e4), x, key=key)

    noisy, y = run(key)
    jax.tree.map(np.testing.assert_array_equal, noisy["params"], params)
    for path, array in noisy["folded"].items():
        error = jnp.std(array - both["folded"][path])
        assert 1e-3 < error / jnp.std(array) < 0.3, path
    exact = apply(params, x)
    assert 0.01 < jnp.std(y - exact) / jnp.std(exact) < 1


def test_folds_that_are_not_there_are_refused():
    params, x = weights(w=(4, 4)), vectors(2, 4)
    with pytest.raises(ValueError, match="`rules` must fold a weight: got none of 1"):
        analog(lambda p, x: x @ p["w"]).folded(params, x)

    def branch(p, x):
        masked = lambda x: x @ (2 * p["w"])  # noqa: E731
        return jax.lax.cond(x[0, 0] > 0, masked, lambda x: x, x)

    with pytest.raises(ValueError, match="'w' in a branch or a loop of unknown"):
        analog(branch, Rule("w", fold=True)).folded(params, x)


def test_adapters_stay_digital_where_their_base_is_programmed(key):
    """Also in a stack; `perturb` and a chip change the base alone."""

    def apply(p, x):
        def block(x, q):
            return jnp.tanh(x @ (q["w"] + q["a"] @ q["b"])), None

        x = jax.lax.scan(block, x, p["layers"])[0]
        return x @ p["w"] + (x @ p["a"]) @ p["b"]

    params = weights(w=(4, 5), a=(4, 2), b=(2, 5))
    params["layers"] = weights(w=(3, 4, 4), a=(3, 4, 2), b=(3, 2, 4))
    x = vectors(3, 4)
    rules = Rule("(layers/)?w"), Rule("(layers/)?[ab]", digital=True)
    f = analog(apply, rules)
    report = f.report(params, x)
    assert [p.path for p in report.analog] == ["layers/w", "w"]

    @functools.partial(jax.jit, compiler_options=QUICK)
    def run(key):
        noisy = anajax.perturb(
            params, QUIET, LSP, t=9e4, key=key, select=report, scope="layer"
        )
        part = f.put_on_chip(params, x, device=QUIET, strategy=LSP, key=key)
        return noisy, f(part.at(9e4), x), apply(noisy, x)

    noisy, y, expected = run(key)
    for tree, trained in ((noisy, params), (noisy["layers"], params["layers"])):
        for name in "ab":
            np.testing.assert_array_equal(tree[name], trained[name])
        assert 1e-3 < jnp.std(tree["w"] - trained["w"]) / jnp.std(trained["w"]) < 0.3
    assert jnp.std(y - apply(params, x)) > 1e-3
    assert y.shape == expected.shape


def test_a_product_of_parameters_alone_is_digital():
    def apply(p, x):
        latents = norm(p["latents"]) @ p["q"]
        return jax.nn.softmax(latents @ (x @ p["k"]).T) @ x

    report = assert_equal(
        apply, weights(latents=(3, 4), q=(4, 2), k=(5, 2)), vectors(6, 5)
    )
    why = {p.path: p.why for p in report.parameters}
    assert why["q"] == "its product does not depend on an input"
    assert [p.path for p in report.analog] == ["k"]


def test_custom_derivatives_stay():
    @jax.custom_vjp
    def clip(x):
        return jnp.clip(x, -0.1, 0.1)

    clip.defvjp(lambda x: (clip(x), None), lambda _, g: (7 * g,))

    def apply(p, x):
        return clip(x @ p["w"]) @ clip(p["v"])

    params, x = weights(w=(4, 3), v=(3, 2)), vectors(2, 4)
    report = analog(apply).report(params, x)
    assert report.parameters[0].why == "goes through `custom_vjp_call` first"
    got, expected = (
        jax.grad(lambda p, f=f: jnp.sum(f(p, x)))(params)
        for f in (on_tiles(apply), apply)
    )
    close(got, expected)


def test_callbacks_pass_through_untouched():
    seen = []

    def apply(p, x):
        jax.debug.callback(lambda y: seen.append(float(y)), jnp.sum(x))
        y = jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)
        return y @ p["w"]

    params, x = weights(w=(4, 3)), vectors(2, 4)
    close(jax.jit(on_tiles(apply))(params, x), jnp.sin(x) @ params["w"])
    jax.effects_barrier()
    assert seen == [pytest.approx(float(jnp.sum(x)))]


def test_leaves_that_are_no_arrays_stay_what_they_are(key):
    def apply(p, x, mode, *, train=False):
        assert p["kind"] == "dense" and mode == "sum" and train is True
        return x @ p["w"] if p["bias"] is None else None

    params = {"kind": "dense", "bias": None, **weights(w=(4, 3))}
    f = on_tiles(apply)
    x = vectors(2, 4)
    close(f(params, x, "sum", train=True), x @ params["w"])


def test_inputs_that_the_function_closes_over():
    params, x = weights(w=(4, 3)), vectors(2, 4)
    f = on_tiles(lambda p: x @ p["w"])
    close(f(params), x @ params["w"])
    assert f.report(params).analog


def test_an_equinox_model(key):
    eqx = pytest.importorskip("equinox")
    model = eqx.nn.MLP(4, 2, 5, 2, key=key)
    apply = lambda m, x: jax.vmap(m)(x)  # noqa: E731
    arrays, rest = eqx.partition(model, eqx.is_array)
    report = assert_equal(
        lambda p, x: apply(eqx.combine(p, rest), x), arrays, vectors(3, 4)
    )
    assert report.layouts["layers/0/weight"] == Layout(rows=(1,), columns=(0,))
    assert len(report.analog) == 3
    close(on_tiles(apply)(model, vectors(3, 4)), apply(model, vectors(3, 4)))


def test_a_haiku_model(key):
    hk = pytest.importorskip("haiku")

    def network(x):
        core = hk.LSTM(3)
        y, _ = hk.dynamic_unroll(core, x, core.initial_state(2))
        return hk.nets.MLP([4, 2])(y)

    pure = hk.without_apply_rng(hk.transform(network))
    x = vectors(5, 2, 3)
    params = pure.init(key, x)
    report = assert_equal(pure.apply, params, x)
    assert len(report.analog) == 3


def with_jvp(body):
    ruled = jax.custom_jvp(body)
    ruled.defjvp(lambda values, tangents: (body(*values), 7 * body(*tangents)))
    return ruled


def with_vjp(body):
    ruled = jax.custom_vjp(body)
    ruled.defvjp(lambda *v: (body(*v), v), lambda kept, g: (7 * kept[0], kept[1] * 0))
    return ruled


@pytest.mark.parametrize("rule", [with_jvp, with_vjp])
def test_a_product_within_custom_derivatives_is_a_site(rule):
    """The derivatives are then those of what is computed."""

    def body(w, x):
        return jnp.tanh(x @ w) @ jnp.ones((3, 2))

    ruled, params, x = rule(body), weights(w=(4, 3)), vectors(5, 4)
    apply = lambda p, x: ruled(p["w"], x)  # noqa: E731
    [entry] = analog(apply).report(params, x).analog
    assert (entry.path, entry.rows, entry.columns) == ("w", 4, 3)
    found, expected = (
        everything(f, params, x)
        for f in (on_tiles(apply), lambda p, x: body(p["w"], x))
    )
    close(found, expected)
    coarse = analog(apply, Rule("w", io=IO(dac=uniform(2, 1.0))))
    rounded = jnp.clip(jnp.round(x), -1, 1)
    close(coarse(params, x), body(params["w"], rounded))


def test_custom_derivatives_of_activations_stay():
    ruled = with_vjp(lambda w, x: x @ w)
    apply = lambda p, x: ruled(x, x @ p["w"])  # noqa: E731
    params, x = weights(w=(4, 5)), vectors(5, 4)
    got, expected = (
        jax.grad(lambda p, f=f: jnp.sum(f(p, x) ** 2))(params)
        for f in (on_tiles(apply), apply)
    )
    close(got, expected)
