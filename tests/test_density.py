"""Densities of networks: the predicted weight error is the measured one."""

from pathlib import Path

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from safetensors.numpy import load_file

import anajax
from anajax import chip, devices, programming
from anajax.mapping import hand as strategies
from anajax.mapping.layout import Layout
from anajax.mapping.weight_error import moment_table, tabulated_error

PCM = devices.pcm()
LSP = strategies.lsp_first(PCM)
DAY = 86400.0
WEIGHTS = Path(anajax.__file__).parent / "workloads" / "weights"
FEW = ("mlp", "digits")
MANY = ("fsdd_lstm", "fashion_resnet8", "tinyshakespeare_lstm")


def network(name):
    if name != "mlp":
        return load_file(WEIGHTS / f"{name}.safetensors")
    sizes = zip((30, 100, 80), (100, 80, 10), strict=True)
    keys = jr.split(jr.key(3), 3)
    return [
        {"w": s * jr.laplace(k, shape), "b": jnp.zeros(shape[1])}
        for k, shape, s in zip(keys, sizes, (1.0, 0.03, 5.0), strict=True)
    ]


def predicted(params, normalize, k=1.0, device=PCM):
    strategy = strategies.lsp_first(device, k=k)
    density = anajax.weight_density(params, normalize=normalize)
    error = tabulated_error(strategy, moment_table(device, jnp.array([DAY])), density)
    return float(error.rms[0])


def measured(params, normalize, k=1.0):
    found = anajax.evaluate(
        lambda p: jnp.zeros(()), params, PCM, strategies.lsp_first(PCM, k=k), [DAY],
        chips=2, key=jr.key(11), normalize=normalize,
    )  # fmt: skip
    return float(np.sqrt(np.mean(np.square(found.weight_rms_error))))


@pytest.mark.parametrize("normalize", ["layer", "column"])
@pytest.mark.parametrize(
    "name", [*FEW, *(pytest.param(n, marks=pytest.mark.slow) for n in MANY)]
)
def test_the_predicted_error_is_the_measured_one(name, normalize):
    params = network(name)
    for k in (1.0, 1.5):  # the second clips
        expected = predicted(params, normalize, k)
        np.testing.assert_allclose(measured(params, normalize, k), expected, rtol=0.02)


def test_columns_and_layers_count_in_the_largest_weight_of_their_layer(key):
    """Errors of a column of a tenth count a hundredth, and stacks are layers."""
    w = jnp.array([[1.0, 0.1], [-0.5, 0.02], [0.0, 0.0]])
    density = anajax.weight_density({"kernel": w}, normalize="column")
    np.testing.assert_allclose(density.unit, np.sqrt((1 + 0.01) / 2), rtol=1e-6)
    u, p = np.asarray(density.u), np.asarray(density.probability)
    for value, share in ((1.0, 1.01), (-0.5, 1.0), (0.2, 0.01), (0.0, 1.01)):
        np.testing.assert_allclose(p[np.argmin(np.abs(u - value))], share / 3.03, 1e-5)
    stack = {"kernel": jnp.stack([w, 10 * w]), "bias": jnp.zeros((2, 2))}
    one, two = (anajax.weight_density(p) for p in ({"kernel": w}, stack))
    np.testing.assert_allclose(two.probability, one.probability, rtol=1e-6)
    whole = anajax.weight_density(stack, layout={"kernel": Layout(rows=(0, 1))})
    assert np.abs(whole.probability - one.probability).max() > 0.05


def test_importance_by_path_weighs_a_density():
    params = {"a": {"kernel": jnp.ones((2, 2))}, "b": {"kernel": -jnp.ones((2, 2))}}
    given = {"a/kernel": 3.0, "b/kernel": jnp.ones((2, 2))}
    density = anajax.weight_density(params, importance=given)
    np.testing.assert_allclose(density.probability[-1], 0.75)
    with pytest.raises(ValueError, match="`importance`.*b/kernel"):
        anajax.weight_density(params, importance={"a/kernel": 1.0})


def test_a_network_is_no_density(key):
    """All searches say what to pass."""
    params, levels = {"kernel": jnp.ones((3, 3))}, devices.reram_milo()
    times = [1.0]
    searches = {
        "tuned": lambda: strategies.tune_strategy(
            PCM, params, times, build=strategies.lsp_first
        ),
        "optimize": lambda: anajax.optimize_strategy(PCM, params, times, key=key),
        "levels": lambda: programming.enumerate_levels(
            levels, params, [0.0], cell=anajax.pairs(1)
        ),
        "loop": lambda: programming.optimize_closed_loop(
            PCM, params, times, start=LSP, key=key
        ),
        "objective": lambda: programming.make_objective(PCM, params, times),
        "error": lambda: anajax.weight_error(PCM, LSP, params, [1.0]),
        "certify": lambda: anajax.certify_strategy(PCM, LSP, params, [1.0]),
    }
    for search in searches.values():
        with pytest.raises(
            ValueError, match=r"must be a density.*weight_density\(params"
        ):
            search()


def test_from_weights_takes_each_layer_by_its_own_maximum():
    a = np.array([1.0, -0.5])
    both, one = (anajax.density.from_weights(*v) for v in ((a, 0.01 * a), (a,)))
    np.testing.assert_allclose(both.probability, one.probability)


def test_searches_by_column_do_not_clip_what_fills_the_range(key):
    """K of 1.5 that suits layers of few large weights is wrong by column."""
    params = network("digits")
    by_layer, by_column = (
        strategies.tune_strategy(
            PCM,
            anajax.weight_density(params, normalize=how),
            [DAY],
            build=strategies.lsp_first,
        )
        for how in ("layer", "column")
    )
    assert by_column.info["k"] < by_layer.info["k"]
    assert predicted(params, "column", float(by_column.info["k"])) < predicted(
        params, "column", float(by_layer.info["k"])
    )
    assert chip.weights(params).keys() == {
        "conv1/kernel",
        "conv2/kernel",
        "linear/kernel",
    }
