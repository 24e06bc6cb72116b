"""A network on a chip: any pytree, keys by path, drift compensation, many chips."""

import chex
import flax.linen
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from flax import nnx

from anajax import chip, devices
from anajax._core.tree import replace
from anajax.analysis.evaluate import evaluate
from anajax.mapping import hand as strategies
from anajax.mapping.layout import Layout
from anajax.programming import fisher_information, optimize_targets
from anajax.programming.targets_file import from_bytes, to_bytes

PCM, IDEAL = devices.pcm(), devices.ideal()
LSP = strategies.lsp_first(PCM)
DAY = 86400.0
STEADY = devices.state_independent(nu=0.06, nu_sd=0.0).drift


def plain(key):
    return {
        "a": {"kernel": jr.normal(jr.fold_in(key, 1), (8, 6)), "bias": jnp.ones(6)},
        "b": {"kernel": jr.normal(jr.fold_in(key, 2), (6, 3))},
        "embedding": jnp.ones((5, 4)),
    }


def trees(key):
    model = nnx.Linear(8, 6, rngs=nnx.Rngs(0))
    linen = flax.linen.Dense(6).init(key, jnp.ones((1, 8)))
    return {"dict": plain(key), "nnx": nnx.state(model, nnx.Param), "linen": linen}


@pytest.mark.parametrize("kind", ["dict", "nnx", "linen"])
def test_any_pytree_comes_back_with_its_structure(key, kind):
    params = trees(key)[kind]
    same = chip.perturb(params, IDEAL, strategies.lsp_first(IDEAL), t=DAY, key=key)
    chex.assert_trees_all_equal_structs(params, same)
    chex.assert_trees_all_close(params, same, rtol=1e-5, atol=1e-6)
    noisy = chip.perturb(params, PCM, LSP, t=DAY, key=key)
    before, after = jax.tree.leaves(params), jax.tree.leaves(noisy)
    changed = [bool(jnp.any(a != b)) for a, b in zip(before, after, strict=True)]
    kernels = [p for p in chip.weights(params)]
    assert sum(changed) == len(kernels) and all("kernel" in p for p in kernels)


def test_another_layer_changes_no_other_noise(key):
    params = plain(key)
    more = params | {"aa": {"kernel": jnp.eye(4)}}
    one, two = (chip.perturb(p, PCM, LSP, t=DAY, key=key) for p in (params, more))
    for name in ("a", "b"):
        np.testing.assert_array_equal(one[name]["kernel"], two[name]["kernel"])


@pytest.mark.parametrize("scope", ["network", "layer", "column"])
def test_compensation_restores_a_uniform_loss(key, scope):
    """With one exponent for all cells, any scope restores the weights exactly."""
    device = replace(IDEAL, drift=STEADY)
    back = chip.perturb(plain(key), device, LSP, t=DAY, key=key, scope=scope)
    chex.assert_trees_all_close(back, plain(key), rtol=1e-5, atol=1e-6)
    lost = chip.perturb(plain(key), device, LSP, t=DAY, key=key, scope="none")
    shrunk = lost["a"]["kernel"] / plain(key)["a"]["kernel"]
    np.testing.assert_allclose(shrunk, (1 + DAY / 20) ** -0.06, rtol=1e-4)


def test_column_factors_are_one_per_output(key):
    first = {"a": jnp.array([[1.0, 2.0], [3.0, 4.0]])}
    layers = chip.encode_weights({"a": first["a"]}, LSP, layout="in_out")
    now = {"a": first["a"] * jnp.array([0.5, 0.25])}
    alpha = chip.compensation(first, now, layers, "column")["a"]
    np.testing.assert_allclose(alpha, [2.0, 4.0])
    alpha = chip.compensation(first, now, layers, "layer")["a"]
    np.testing.assert_allclose(alpha, 10 / 3.5)


def test_columns_that_fill_the_range_are_noisy_in_proportion(key):
    """Whatever its scale, a column is programmed the same, and scaled digitally."""
    w = jr.normal(key, (3, 8, 6)).at[..., 4].set(0.0)
    scale = jnp.array([1.0, 0.1, 0.01, 3.0, 1.0, 0.5])
    how = {"t": DAY, "key": key, "normalize": "column", "layout": "in_out"}
    one, two = (
        chip.perturb({"kernel": v}, PCM, LSP, **how)["kernel"] for v in (w, scale * w)
    )
    assert np.all(np.std(np.asarray(one - w), (0, 1)) > 0.01)
    shown = np.arange(6) != 4  # zeros keep the scale of their layer
    np.testing.assert_allclose(two[..., shown], (one * scale)[..., shown], rtol=1e-4)
    same = chip.perturb(
        {"kernel": w}, IDEAL, strategies.lsp_first(IDEAL), **how | {"t": 0.0}
    )
    np.testing.assert_allclose(same["kernel"], w, rtol=1e-5, atol=1e-6)


def test_a_network_factor_weighs_columns_in_its_units(key):
    layers = chip.encode_weights(
        {"a": jnp.array([[2.0, 0.2], [-2.0, 0.2]])},
        LSP,
        normalize="column",
        layout="in_out",
    )
    np.testing.assert_allclose(layers["a"].unit, [2.0, 0.2])
    first, now = ({"a": jnp.array([[1.0, a], [1.0, a]])} for a in (1.0, 0.5))
    alpha = chip.compensation(first, now, layers, "network")["a"]
    np.testing.assert_allclose(alpha, 2.2 / 2.1, rtol=1e-6)


def test_held_factors_are_those_of_the_last_recalibration(key):
    """Drift alone, of equal exponents: what is left is the drift since then."""
    device = replace(IDEAL, drift=STEADY)
    part = chip.program(device, chip.encode_weights(plain(key), LSP), key=key)
    held = chip.recalibrate(device, part, jnp.array([3600.0, DAY]))
    for t, since in ((60.0, 0.0), (3600.0, 3600.0), (8e4, 3600.0), (9e5, DAY)):
        now = chip.read(device, part, t=t, index=1, held=held)["a/kernel"]
        expected = ((t + 20) / (since + 20)) ** -0.06
        np.testing.assert_allclose(now / plain(key)["a"]["kernel"], expected, rtol=1e-4)
    fresh = chip.read(device, part, t=DAY, index=1)
    chex.assert_trees_all_close(
        fresh, chip.read(device, part, t=DAY, index=1, held=held), rtol=1e-5
    )


def test_each_recalibration_has_noise_of_its_own(key):
    part = chip.program(PCM, chip.encode_weights(plain(key), LSP), key=key)
    held = chip.recalibrate(PCM, part, jnp.array([DAY, DAY + 60]), scope="column")
    _, first, second = held.factors["a/kernel"]
    assert jnp.all(first != second)
    np.testing.assert_allclose(first, second, rtol=0.15)


def test_strategies_by_path_and_offset_devices(key):
    params = plain(key)
    by_path = {"a/kernel": LSP, "b/kernel": strategies.offset_device(IDEAL)}
    same = chip.perturb(params, IDEAL, by_path, t=1.0, key=key)
    chex.assert_trees_all_close(params, same, rtol=1e-5, atol=1e-6)


def test_chips_are_the_same_in_any_number_and_chunk(key):
    def metric(p):
        return jnp.sum(p["a"]["kernel"])

    def run(chips, chunk=1):
        return evaluate(
            metric, plain(key), PCM, LSP, [1.0, DAY], chips=chips, key=key, chunk=chunk
        )

    eight, few = run(8), run(np.array([7, 2]))
    np.testing.assert_array_equal(eight.metric[jnp.array([7, 2])], few.metric)
    np.testing.assert_array_equal(run(8).metric, eight.metric)
    np.testing.assert_allclose(run(8, chunk=4).metric, eight.metric, rtol=1e-5)


def test_weight_error_on_chips_is_the_expected_one(key):
    """RMS over 40 chips of 2,000 weights within 2 % of the exact expectation."""
    from anajax.mapping import density
    from anajax.mapping.weight_error import moment_table, tabulated_error, with_factors

    params = {"kernel": 0.3 * jr.normal(key, (100, 20))}
    times = jnp.array([1.0, DAY])
    result = evaluate(
        lambda p: jnp.zeros(()), params, PCM, LSP, times, chips=40, key=key
    )
    points = density.from_weights(params["kernel"])
    exact = tabulated_error(LSP, moment_table(PCM, times), points)
    rms = np.sqrt(np.mean(np.asarray(result.weight_rms_error) ** 2, 0))
    np.testing.assert_allclose(rms, exact.rms, rtol=0.02)
    late = evaluate(
        lambda p: jnp.zeros(()), params, PCM, LSP, times, chips=40, key=key,
        recalibrate=[1.0],
    )  # fmt: skip
    rms = np.sqrt(np.mean(np.asarray(late.weight_rms_error) ** 2, 0))
    held = with_factors(exact, exact.alpha[:1].repeat(2), LSP, points)
    np.testing.assert_allclose(rms, held.rms, rtol=0.02)
    assert held.rms[1] > 1.5 * exact.rms[1]


def test_one_trace_for_keys_times_devices_and_dual_pair_strategies(key):
    traces = []

    def metric(p):
        traces.append(1)
        return jnp.sum(p["a"]["kernel"])

    params = plain(key)
    for i, device in enumerate((PCM, devices.pcm(g_max=20.0))):
        for s in (strategies.lsp_first(device), strategies.msp_first(device, f=3.0)):
            evaluate(
                metric, params, device, s, [1.0 + i, 9.0], chips=2,
                key=jr.fold_in(key, i),
            )  # fmt: skip
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (dict(t=-1.0), "`t` must not be negative"),
        (dict(params={"kernel": jnp.array([[1.0, jnp.nan]])}), "kernel.*finite"),
        (dict(params={"kernel": jnp.zeros((0, 3))}), "kernel.*not be empty"),
        (dict(params={"bias": jnp.ones(3)}), "select.*none of.*bias"),
        (dict(strategy={"other": LSP}), "strategy.*no entry for 'kernel'"),
    ],
)
def test_bad_input_is_named(key, change, match):
    args = dict(params={"kernel": jnp.ones((2, 2))}, strategy=LSP, t=1.0) | change
    with pytest.raises(ValueError, match=match):
        chip.perturb(args["params"], PCM, args["strategy"], t=args["t"], key=key)


def test_bad_studies_are_named(key):
    params = {"kernel": jnp.ones((2, 2))}
    for change, match in (
        (dict(times=[2.0, 1.0]), "times.*increase"),
        (dict(times=[-1.0]), "times.*negative"),
        (dict(chips=0), "chips.*at least 1"),
        (dict(recalibrate=[2.0, 1.0]), "recalibrate.*increase"),
    ):
        args = dict(times=[1.0], chips=1) | change
        with pytest.raises(ValueError, match=match):
            evaluate(
                lambda p: jnp.zeros(()), params, PCM, LSP, args["times"],
                chips=args["chips"], key=key, recalibrate=args.get("recalibrate"),
            )  # fmt: skip


MIXED = {"act": jax.nn.relu, "name": "net", "depth": 2, "none": None}


def mixed(key):
    return {"layer": {"kernel": jr.normal(key, (4, 3)), "bias": jnp.ones(3)}} | MIXED


def apply_mixed(p, x):
    assert p["name"] == "net" and p["depth"] == 2 and p["none"] is None
    return p["act"](x @ p["layer"]["kernel"] + p["layer"]["bias"])


def test_leaves_that_are_no_arrays_pass_through(key):
    params, x = mixed(key), jnp.ones((5, 4))
    noisy = chip.perturb(params, PCM, LSP, t=DAY, key=key)
    assert {k: noisy[k] for k in MIXED} == MIXED
    metric = jax.jit(lambda w: jnp.mean(w), inline=True)
    found = evaluate(
        lambda p: metric(apply_mixed(p, x)), params, PCM, LSP, [DAY], chips=1, key=key
    )
    np.testing.assert_allclose(found.metric, apply_mixed(params, x).mean(), rtol=0.2)
    learned = optimize_targets(
        apply_mixed, params, PCM, LSP, x, [DAY], key=key, steps=1, chips=1, batch=2,
        learn=("strategy", "columns", "weights", "digital"),
    )  # fmt: skip
    assert {k: learned.params[k] for k in MIXED} == MIXED
    weights = fisher_information(apply_mixed, params, x[:2], key=key)
    assert weights["layer/kernel"].shape == (4, 3)


def test_a_network_that_is_one_array(key):
    """Its path is empty."""
    w, x = jr.normal(key, (4, 3)), jnp.ones((5, 4))
    noisy = chip.perturb(w, PCM, LSP, t=DAY, key=key)
    assert noisy.shape == w.shape and jnp.any(noisy != w)
    found = optimize_targets(
        lambda p, x: x @ p, w, PCM, LSP, x, [DAY], key=key, steps=1, chips=1, batch=2
    )
    again, digital = from_bytes(to_bytes(found.layers, w))
    assert digital == {}
    results = [
        evaluate(lambda p: p.sum(), w, PCM, layers, [DAY], chips=1, key=key)
        for layers in (found.layers, again)
    ]
    chex.assert_trees_all_equal(*results)


def test_layouts_are_kept_in_files(key):
    params = {"weight": jr.normal(key, (3, 4)), "bias": jnp.ones(3, jnp.bfloat16)}
    layers = chip.encode_weights(params, LSP, normalize="column")
    again, digital = from_bytes(to_bytes(layers, params))
    back = chip.insert(params, digital)["bias"]
    assert back.dtype == jnp.bfloat16 and jnp.all(back == 1)
    assert again["weight"].layout == layers["weight"].layout == Layout((), (1,), (0,))
