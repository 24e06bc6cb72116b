"""What the network minds: Fisher information, elasticities, and required devices."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from anajax import chip, devices
from anajax._core.tree import Arrays, replace
from anajax.analysis.evaluate import evaluate
from anajax.analysis.point import rms_error
from anajax.analysis.tolerance import crossing, required_device
from anajax.devices import scale_noise
from anajax.mapping import density
from anajax.mapping import hand as strategies
from anajax.programming.end_to_end.fisher import (
    _device_gradients,
    device_elasticities,
    fisher_information,
)
from anajax.programming.end_to_end.targets import distillation

MONTH = 30 * 86400.0


def apply(params, x):
    return x @ params["kernel"]


def test_fisher_of_a_linear_classifier_is_its_closed_form(key):
    """E[(d log p / dw_ic)^2] = E[x_i^2 p_c (1 - p_c)], within 5 standard errors."""
    w = jr.normal(key, (4, 3))
    x = jr.normal(jr.fold_in(key, 1), (4000, 4))
    found = fisher_information(apply, {"kernel": w}, x, key=key)["kernel"]
    p = jax.nn.softmax(x @ w)
    per_input = x[:, :, None] ** 2 * (p * (1 - p))[:, None, :]
    square = x[:, :, None] ** 4 * (p * (1 - p) * (1 - 3 * p * (1 - p)))[:, None, :]
    expected = per_input.mean(0)
    error = jnp.sqrt(jnp.mean(square - per_input**2, 0) / len(x))
    scale = jnp.max(jnp.abs(w)) ** 2
    assert np.all(np.abs(found / scale - expected) < 5 * error)


def test_importance_weighs_the_density():
    a, b = np.array([0.5, -1.0]), np.array([0.25, 0.75])
    both = density.from_weights(a, b, importance=[1.0, 3.0])
    u, p = np.asarray(both.u), np.asarray(both.probability)
    for value, share in ((0.5, 1 / 8), (-1.0, 1 / 8), (1 / 3, 3 / 8), (1.0, 3 / 8)):
        np.testing.assert_allclose(p[np.argmin(np.abs(u - value))], share)
    equal = density.from_weights(a, b, importance=[2.0, np.full(2, 2.0)])
    plain = density.from_weights(a, b)
    np.testing.assert_allclose(equal.probability, plain.probability, rtol=1e-12)
    np.testing.assert_allclose(equal.u, plain.u, rtol=1e-12)


@pytest.mark.parametrize("importance", [[1.0], [1.0, -1.0], [0.0, 0.0]])
def test_bad_importance_is_named(importance):
    with pytest.raises(ValueError, match="importance"):
        density.from_weights(np.ones(2), np.ones(2), importance=importance)


@pytest.mark.slow
def test_elasticities_are_central_differences_of_the_loss(key, x64):
    """With common keys, for the scales of three stages, to 1 %."""
    device = scale_noise(devices.pcm(), programming=2.0)
    params = {"kernel": jr.normal(key, (6, 4), dtype=jnp.float64)}
    layers = chip.encode_weights(params, strategies.lsp_first(device))
    x = jr.normal(jr.fold_in(key, 1), (32, 6), dtype=jnp.float64)

    def run(scaled):
        return device_elasticities(
            apply, params, scaled, layers, x, MONTH, key=key, chips=3
        )

    found = run(device)
    names = {
        "programming/scale": "programming",
        "drift/spread_scale": "drift_spread",
        "read/scale": "read",
    }

    def losses(**factor):
        scaled = scale_noise(device, **factor)
        return jnp.mean(
            _device_gradients(
                scaled, Arrays(params), layers, x, jnp.asarray([MONTH]), key,
                apply=apply, loss=distillation, chips=3,
            )[0]
        )  # fmt: skip

    middle = losses()
    for path, name in names.items():
        step = 1e-4
        numeric = (losses(**{name: 1 + step}) - losses(**{name: 1 - step})) / (2 * step)
        np.testing.assert_allclose(found[path].value, numeric / middle, rtol=1e-2)
        assert found[path].error > 0
    assert "g_max" not in found


def test_elasticities_are_zero_where_nothing_is_lost_yet(key):
    """Drift alone at 0 s: no error but rounding, which no parameter changes."""
    device = replace(
        devices.state_independent(nu=0.0),
        programming=devices.NoProgrammingError(),
        read=devices.NoReadNoise(),
    )
    w = jnp.array([[1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
    layers = chip.encode_weights({"kernel": w}, strategies.single_pair(device))
    x = jnp.eye(3)

    def loss(outputs, reference):
        return jnp.sum((outputs - reference) ** 2)

    first, later = (
        device_elasticities(
            apply, {"kernel": w}, device, layers, x, t, key=key, chips=2, loss=loss
        )
        for t in (0.0, 1.0)
    )
    assert all(np.all(np.asarray(e.value) == 0) for e in first.values())
    assert all(np.all(np.asarray(e.error) == 0) for e in first.values())
    assert later["drift/spread_scale"].value == pytest.approx(2.0, abs=0.05)


def test_the_rms_error_has_no_slope_at_zero():
    w = jnp.array([[0.5, 1.0]])
    layers = chip.encode_weights({"w": w}, strategies.single_pair(devices.ideal()))
    slope = jax.grad(lambda v: rms_error({"w": v}, {"w": w}, layers))
    np.testing.assert_array_equal(slope(w), 0)
    assert np.all(np.isfinite(slope(w + 1e-3)))
    broken = rms_error({"w": w * jnp.nan}, {"w": w}, layers)
    assert np.isnan(broken)


def test_crossing_is_linear_in_the_logarithm():
    factors, gaps = np.array([1.0, 2.0, 4.0]), np.array([0.0, 1.0, 3.0])
    np.testing.assert_allclose(crossing(factors, gaps, 2.0), 2 * np.sqrt(2))
    assert crossing(factors, gaps, 5.0) == np.inf
    assert crossing(factors, gaps + 1, 0.5) == 0.0


def test_required_device_keeps_the_gap_on_other_chips(key):
    """The metric is an exact function of the weight error, linear in its size."""
    params = {"kernel": jr.uniform(key, (100, 50), minval=-1.0)}
    device = devices.pcm()
    program = strategies.lsp_first(device)

    def metric(p):
        return 1 - jnp.sqrt(jnp.mean((p["kernel"] - params["kernel"]) ** 2))

    def gap_at(factor, k):
        result = evaluate(
            metric, params, scale_noise(device, programming=factor), program,
            [MONTH], chips=8, key=k,
        )  # fmt: skip
        return float(1 - np.mean(result.metric))

    goal = gap_at(2.0, key)
    found = required_device(
        metric, params, device, lambda _: program, gap=goal, t=MONTH,
        key=jr.fold_in(key, 1), parameters=("programming",), chips=8,
        factors=np.geomspace(0.5, 8, 9),
    )[0]  # fmt: skip
    assert found.low <= found.factor <= found.high
    assert abs(np.log(found.factor / 2.0)) < 0.1
    assert found.gaps.shape == (9, 8)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (dict(gap=0.0), "gap"),
        (dict(factors=[2.0, 1.0]), "factors"),
        (dict(parameters=("size",)), "parameters"),
        (dict(chips=1), "chips"),
    ],
)
def test_bad_requirements_are_named(key, changes, match):
    args = dict(gap=0.1, t=1.0, key=key) | changes
    with pytest.raises(ValueError, match=match):
        required_device(
            lambda p: p["kernel"].sum(), {"kernel": jnp.ones((2, 2))}, devices.pcm(),
            strategies.lsp_first(devices.pcm()), **args,
        )  # fmt: skip
