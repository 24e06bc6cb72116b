import builtins
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from anajax import workloads
from anajax.analysis import metrics, workload
from anajax.workloads import weights
from anajax.workloads.digits import DigitsNet, digits_data


@pytest.fixture(scope="module")
def digits():
    pytest.importorskip("sklearn")
    return workloads.load("digits")


def test_digits_is_the_network_that_was_trained(digits):
    _, notes = weights.read("digits")
    accuracy = float(workloads.evaluate(digits).mean())
    assert digits.x.shape == (360, 8, 8, 1)
    assert accuracy == pytest.approx(float(notes["test_accuracy"]), abs=1e-4)
    assert accuracy > 0.98
    assert digits.source["data"].startswith("package: scikit-learn")


def test_apply_is_the_model(digits):
    x = digits.x[:5]
    chex.assert_trees_all_close(digits.apply(digits.params, x), digits.model(x))


def test_params_are_a_plain_dict_by_path(digits):
    assert set(digits.params) == {"conv1", "conv2", "linear"}
    assert isinstance(digits.params["linear"]["kernel"], jax.Array)
    grads = jax.grad(
        lambda p: digits.loss_fn(digits.apply(p, digits.x[:4]), digits.y[:4]).sum()
    )(digits.params)
    assert all(jnp.any(g != 0) for g in jax.tree.leaves(grads))


def test_digits_split_is_disjoint_and_stratified():
    pytest.importorskip("sklearn")
    s = digits_data()
    train_x, train_y, x, y = s.train_x, s.train_y, s.x, s.y
    assert (len(train_y), len(y)) == (1437, 360)
    share = np.bincount(y) / (np.bincount(train_y) + np.bincount(y))
    assert np.all(np.abs(share - 0.2) < 0.01)
    whole = np.sort(np.concatenate([train_x, x]).reshape(1797, -1).sum(axis=1))
    from sklearn.datasets import load_digits

    assert np.array_equal(whole, np.sort(load_digits()["data"].sum(axis=1) / 16))


def test_fewer_items_are_the_first_ones(digits):
    few = workloads.load("digits", items=50)
    assert jnp.array_equal(few.x, digits.x[:50])
    assert jnp.array_equal(few.y, digits.y[:50])
    with pytest.raises(ValueError, match=r"`items` must be in 1\.\.360: got 361"):
        workloads.load("digits", items=361)
    with pytest.raises(ValueError, match="`items`"):
        workloads.load("digits", items=0)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'digit'.*digits"):
        workloads.load("digit")


def test_missing_package_names_the_remedy(monkeypatch):
    real = builtins.__import__

    def without_sklearn(name, *args, **kwargs):
        if name.startswith("sklearn"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_sklearn)
    for name in [m for m in sys.modules if m.startswith("sklearn")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ModuleNotFoundError, match=r"anajax\[quickstart\]"):
        workloads.load("digits")


def test_cross_entropy_is_the_mean_over_scored_positions():
    logits = jnp.log(jnp.array([[[0.5, 0.5], [0.25, 0.75], [0.1, 0.9]]]))
    y = jnp.array([[0, 0, metrics.IGNORE]])
    expected = -(np.log(0.5) + np.log(0.25)) / 2
    chex.assert_trees_all_close(
        metrics.cross_entropy(logits, y), jnp.array([expected]), rtol=1e-6
    )
    chex.assert_trees_all_close(
        metrics.bits_per_character(logits, y), jnp.array([1.5]), rtol=1e-6
    )


def test_correct_counts_the_largest_logit():
    logits = jnp.array([[0.0, 1.0], [2.0, 1.0]])
    assert metrics.correct(logits, jnp.array([1, 1])).tolist() == [1.0, 0.0]


def test_weights_round_trip(tmp_path, monkeypatch, digits):
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    weights.write("net", digits.model, {"seed": 3})
    arrays, notes = weights.read("net")
    model = weights.restore(lambda: DigitsNet(rngs=nnx.Rngs(1)), arrays)
    assert notes == {"seed": "3"}
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]
    chex.assert_trees_all_equal(model(digits.x[:3]), digits.model(digits.x[:3]))


def test_weights_of_another_network_are_refused():
    arrays, _ = weights.read("digits")
    arrays["linear/kernel"] = arrays["linear/kernel"][:-1]
    with pytest.raises(ValueError, match="linear/kernel"):
        weights.restore(lambda: DigitsNet(rngs=nnx.Rngs(0)), arrays)


def test_metric_must_be_known(digits):
    with pytest.raises(ValueError, match="`metric` must be one of"):
        workload.workload(
            digits.model, digits_data(), metric="loss", items=None, weights=""
        )
