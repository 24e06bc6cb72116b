"""Strategies of all layers by one program: hops between minima, and steps into them."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from anajax import devices
from anajax._core.threads import each
from anajax._core.tree import replace
from anajax.analysis.expected import table_error
from anajax.mapping import density
from anajax.mapping import hand as strategies
from anajax.mapping.layout import Layout
from anajax.mapping.output_density import output_density
from anajax.mapping.strategy import normalized, pairs
from anajax.mapping.weight_error import moment_table
from anajax.programming import optimize_layers, optimize_strategy
from anajax.programming.search import layers as searched
from anajax.programming.search.descent import descend

PCM = devices.pcm()
TIMES = np.array([1.0, 3600.0, 30 * 86400.0])
PAIR = strategies.single_pair(PCM)
FEW = {"cell": pairs(1), "knots": 3, "hops": 1, "steps": 4, "key": jr.key(0)}


def draws(name, scale, shape=2000):
    """Weights of a layer, by the name of their distribution in jax."""
    return density.from_weights(scale * getattr(jr, name)(jr.key(1), (shape,)))


def test_a_descent_ends_in_the_minimum_of_a_box():
    """Rosenbrock's valley, alone and with the minimum cut off, and a corner."""

    @jax.jit
    def least(curved, low, high):
        def function(x):
            valley = jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
            return 1 + curved * valley + (1 - curved) * (jnp.sum(x) + 8)

        return descend(function, jnp.full(4, -0.5), (low, high), evaluations=200)

    low, high = jnp.full(4, -2.0), jnp.full(4, 2.0)
    x, value, count = least(1.0, low, high)
    np.testing.assert_allclose(x, 1, atol=5e-3)
    assert value < 1 + 1e-5 and count < 200
    x, value, _ = least(1.0, low, high.at[1].set(0.5))
    np.testing.assert_allclose(x, [0.7086, 0.5, 0.2574, 0.0663], atol=5e-3)
    assert abs(value - 1.8922912) < 1e-5  # of scipy.optimize
    x, value, count = least(0.0, low, high)
    assert x.tolist() == [-2.0] * 4 and value == 1 and count < 200


@pytest.mark.slow
def test_a_layer_has_the_same_strategy_among_any_others(monkeypatch):
    layers = {"a": draws("normal", 0.2), "b": draws("uniform", 1.0)}
    warm = {path: [PAIR] for path in layers}
    both = optimize_layers(PCM, layers, TIMES, warm=warm, **FEW)
    alone = optimize_layers(PCM, {"b": layers["b"]}, TIMES, warm={"b": [PAIR]}, **FEW)
    assert both["b"].value == alone["b"].value < both["b"].info["per_start"][0] * 1.01
    assert both["a"].info["evaluations"] <= 2 * FEW["steps"]
    np.testing.assert_array_equal(
        both["b"].strategy.targets, alone["b"].strategy.targets
    )
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(searched, "TOGETHER", 3)
    together = optimize_layers(PCM, layers, TIMES, warm=warm, **FEW)
    for path in layers:
        np.testing.assert_allclose(together[path].value, both[path].value, rtol=1e-3)


def test_threads_keep_order_and_precision():
    config: Any = jax.config
    with jax.default_matmul_precision("highest"):
        found = each(lambda x: (x, config.jax_default_matmul_precision), range(9))
    assert found == [(i, "highest") for i in range(9)] and each(abs, []) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"warm": {"b": [PAIR]}}, "`warm` must have one entry per density"),
        ({"ceilings": {}}, "`ceilings` must have one entry per density"),
        ({"warm": {"a": []}}, "`starts` must leave at least one start"),
        ({"hops": -1}, "`hops` must be at least 0"),
        ({"cell": pairs(2)}, "`warm` must be strategies of the cell"),
    ],
)
def test_what_does_not_fit_is_refused(change, said):
    asked = FEW | {"warm": {"a": [PAIR]}} | change
    with pytest.raises(ValueError, match=said):
        optimize_layers(PCM, {"a": draws("normal", 0.2)}, TIMES, **asked)


def test_levels_are_enumerated_elsewhere():
    device = replace(PCM, levels=jnp.array([0.0, 25.0]))
    with pytest.raises(ValueError, match="`device` must have no levels"):
        optimize_layers(device, {"a": draws("normal", 0.2)}, TIMES, warm={}, **FEW)


@pytest.mark.slow
@pytest.mark.parametrize("ceiling", [False, True])
def test_layers_are_as_good_as_by_the_long_search(ceiling):
    """To 1e-4 of eight random starts of 1,200 steps each, in a tenth of the work."""
    layers = {
        "normal": draws("normal", 0.2), "laplace": draws("laplace", 0.2),
        "uniform": draws("uniform", 1.0), "logistic": draws("logistic", 1.0, 50_000),
    }  # fmt: skip
    table, by_hand, least = moment_table(PCM, jnp.asarray(TIMES)), {}, {}
    for path, own in layers.items():
        tuned = strategies.tune_strategy(PCM, own, TIMES, build=strategies.lsp_first)
        plain = [strategies.lsp_first(PCM, f=f) for f in (2.0, 4.0)]
        by_hand[path] = [tuned.strategy, *plain]
        errors = [table_error(table, s, own, "mean_abs").mse for s in by_hand[path]]
        least[path] = jnp.min(jnp.stack(errors), 0)
    key, limits = jr.key(0), least if ceiling else None
    found = optimize_layers(PCM, layers, TIMES, warm=by_hand, key=key, ceilings=limits)
    for path, own in layers.items():
        long = optimize_strategy(
            PCM, own, TIMES, key=key, warm=by_hand[path],
            ceiling=least[path] if ceiling else None,
        )  # fmt: skip
        assert found[path].value <= long.value * (1 + 1e-4)
        assert found[path].info["evaluations"] < 0.3 * 1200 * 11


@pytest.mark.slow
def test_errors_of_outputs_are_searched_too():
    w = jr.normal(jr.key(0), (40, 30))
    x = jr.normal(jr.key(1), (200, 40)) * jnp.linspace(0.2, 2, 40)
    own = normalized(w, layout=Layout(rows=(0,), columns=(1,)))
    layer = output_density(own, (x.T @ x)[None] / 200)
    tuned = strategies.tune_strategy(PCM, layer, TIMES, build=strategies.lsp_first)
    warm = [tuned.strategy]
    found = optimize_layers(PCM, {"": layer}, TIMES, warm={"": warm}, key=jr.key(0))
    long = optimize_strategy(PCM, layer, TIMES, warm=warm, key=jr.key(0))
    assert found[""].value <= long.value * (1 + 1e-4)
