"""Errors of outputs from second moments of inputs, against chips that are drawn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import anajax
from anajax import chip, devices, strategies
from anajax.analysis.expected import ExpectedError, OutputError
from anajax.mapping import weight_error
from anajax.mapping.output_density import output_density
from anajax.mapping.weight_table import weight_table
from anajax.transformation import analog, second_moments

DEVICE = devices.pcm()
TIMES = np.array([3600.0, 2.6e6])
RANDOM = np.random.default_rng(0)


def params():
    """A layer whose rare large weights see an input that is always large."""
    w = RANDOM.normal(size=(48, 40)).astype("f4")
    w[0] = 4 + np.abs(w[0])
    return {"kernel": jnp.asarray(w)}


PARAMS = params()
X = RANDOM.normal(size=(400, 48)).astype("f4")
X[:, 0] += 5


def function(params, x):
    return x @ params["kernel"]


@functools.cache
def table():
    with jax.ensure_compile_time_eval():  # also where a trace asks for it first
        return weight_error.moment_table(DEVICE, TIMES)


@functools.cache
def density():
    return output_error().density()


def output_error(**changes):
    report = analog(function).report(PARAMS, X)
    moments = second_moments(analog(function), PARAMS, np.split(X, 4))
    given = {
        "params": PARAMS, "layouts": report.layouts, "device": DEVICE, "times": TIMES,
        "moments": moments, "columns": None,
    }  # fmt: skip
    return OutputError(**given | changes)


def test_moments_are_those_of_the_inputs():
    found = second_moments(analog(function), PARAMS, np.split(X, 4))["kernel"]
    np.testing.assert_allclose(found[0], X.T @ X / len(X), rtol=1e-4, atol=1e-4)


def test_moments_of_a_stack_are_layer_by_layer():
    kernels = jnp.asarray(RANDOM.normal(size=(3, 5, 5)), "f4")
    x = RANDOM.normal(size=(20, 5)).astype("f4")

    def whole(stack, x):
        return jax.lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, stack["w"])[0]

    def parts(blocks, x):
        return whole({"w": jnp.stack([b["w"] for b in blocks])}, x)

    blocks = [{"w": w} for w in kernels]
    one = second_moments(analog(whole), {"w": kernels}, [x])["w"]
    many = second_moments(analog(parts), blocks, [x])
    h = x
    for i, w in enumerate(kernels):
        np.testing.assert_allclose(one[i], h.T @ h / len(h), atol=1e-5)
        np.testing.assert_allclose(many[f"{i}/w"][0], one[i], atol=1e-6)
        h = np.tanh(h @ w)


@pytest.mark.parametrize(
    ("k", "normalize"),
    [(1.4, "layer"), pytest.param(1.0, "column", marks=pytest.mark.slow)],
)
def test_expected_error_is_that_of_drawn_chips(k, normalize):
    way = strategies.lsp_first(DEVICE, f=2.0, k=k)
    expected = output_error(normalize=normalize)(way)
    ideal = X @ PARAMS["kernel"]

    def error(part):
        return jnp.mean((function(part, X) - ideal) ** 2) / jnp.mean(ideal**2)

    how = {
        "chips": 24,
        "key": anajax.key(0),
        "normalize": normalize,
        "layout": "in_out",
    }
    drawn = np.asarray(
        anajax.evaluate(error, PARAMS, DEVICE, way, TIMES, **how).metric, float
    )
    se = drawn.std(0, ddof=1) / np.sqrt(len(drawn))
    assert np.all(np.abs(expected**2 - drawn.mean(0)) < 4 * se + 0.02 * expected**2)


@pytest.mark.slow
def test_bins_give_what_all_weights_give_one_by_one():
    way = strategies.lsp_first(DEVICE, f=2.0, k=1.3)
    w = chip.normalized_weights(PARAMS, layout="in_out")["kernel"]
    moments = X.T @ X / len(X)
    fine = output_density(w, moments[None], bins=200)
    found = weight_error.tabulated_error(way, table(), fine)
    u = np.asarray(w.u)
    flat = anajax.density.WeightDensity(
        u=u.ravel(), probability=np.full(u.size, 1 / u.size)
    )
    each = weight_error.tabulated_error(way, table(), flat)
    unit = float(w.w_max)
    signed = np.sign(u) * np.asarray(each.bias[-1]).reshape(u.shape)
    square = np.sum(signed * (moments @ signed))
    square += np.sum(
        np.diag(moments)[:, None] * np.asarray(each.var[-1]).reshape(u.shape)
    )
    output = np.sum((X @ np.asarray(PARAMS["kernel"])) ** 2) / len(X)
    assert float(found.mse[-1]) == pytest.approx(unit**2 * square / output, rel=5e-3)


def test_clipping_is_poison_for_outputs_and_not_for_weights():
    report = analog(function).report(PARAMS, X)
    weights = ExpectedError(
        params=PARAMS, layouts=report.layouts, device=DEVICE, times=TIMES
    )
    found = {}
    for name, own in (("weights", weights.density()), ("outputs", density())):
        tuned = anajax.tune_strategy(
            DEVICE, own, TIMES, build=strategies.lsp_first, points=5, rounds=3
        )
        found[name] = float(tuned.info["k"])
    assert found["outputs"] < found["weights"] - 0.05


def test_error_of_outputs_has_a_gradient():
    @jax.jit
    def loss(k):
        way = strategies.lsp_first(DEVICE, f=2.0, k=k)
        return weight_error.tabulated_error(way, table(), density()).mse[-1]

    slope = jax.grad(loss)(1.1)
    step = 1e-2
    expected = (loss(1.1 + step) - loss(1.1 - step)) / (2 * step)
    assert float(slope) == pytest.approx(float(expected), rel=0.1)


def test_searches_by_single_weights_refuse_outputs():
    way = strategies.offset_device(DEVICE)
    with pytest.raises(ValueError, match="density.*be one of weights"):
        weight_error.tabulated_error(way, table(), density())


def test_moments_of_other_inputs_are_refused():
    w = chip.normalized_weights(PARAMS, layout="in_out")["kernel"]
    with pytest.raises(ValueError, match="moments.*have shape"):
        output_density(w, np.ones((1, 3, 3)))


def test_tabulated_weights_have_the_moments_of_drawn_chips():
    way = strategies.lsp_first(DEVICE, f=2.0)
    w = chip.normalized_weights(PARAMS, layout="in_out")["kernel"]
    density = anajax.density.from_weights(np.asarray(w.u))
    moments = weight_table(way, table(), density)
    keys = jax.random.split(jax.random.key(0), 300)
    drawn = jax.vmap(lambda k: moments.draw(w.u, time=1, key=k))(keys)
    error = drawn - w.u
    expected = weight_error.tabulated_error(way, table(), density)
    assert float(jnp.mean(error**2)) == pytest.approx(float(expected.mse[-1]), rel=0.02)
