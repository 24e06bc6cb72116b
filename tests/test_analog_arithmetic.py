"""Adapters, arithmetic on weights, and what passes through untouched."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from analog_list import (
    assert_equal,
    close,
    everything,
    norm,
    on_tiles,
    vectors,
    weights,
)

from anajax.crossbar import periphery
from anajax.crossbar.converters import uniform
from anajax.crossbar.periphery import IO
from anajax.transformation import Layout, Rule, analog


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
