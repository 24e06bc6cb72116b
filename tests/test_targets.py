"""Targets from the network's own loss."""

import chex
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from anajax import chip, devices
from anajax._core.tree import Arrays, replace
from anajax.analysis.evaluate import evaluate
from anajax.devices.models.ideal import only_range
from anajax.mapping import density
from anajax.mapping import hand as strategies
from anajax.mapping.strategy import normalized
from anajax.mapping.weight_error import moment_table
from anajax.programming import Bounds
from anajax.programming.end_to_end import task
from anajax.programming.end_to_end.descent import _step, chip_loss
from anajax.programming.end_to_end.learnable import chain, learned, start_from
from anajax.programming.end_to_end.targets import (
    distillation,
    finish,
    optimize_targets,
)
from anajax.programming.end_to_end.task import (
    Task,
    layer_moments,
    make_task,
    noisy_weights,
)

TIMES = jnp.array([1.0, 30 * 86400.0])
NOISY = devices.scale_noise(devices.pcm(), programming=3, drift_spread=3, read=3)


def apply(params, x):
    return jnp.tanh(x @ params["a"]["kernel"]) @ params["b"]["kernel"]


def network(key):
    a, b = (
        0.6 * jr.normal(jr.fold_in(key, i), s) for i, s in ((0, (6, 12)), (1, (12, 4)))
    )
    return {"a": {"kernel": a}, "b": {"kernel": b}}


@pytest.mark.slow
def test_moment_matched_draws_equal_the_sampler_in_mean_and_spread(key):
    """Over 4,000 draws of each weight, within 5 standard errors."""
    u = jnp.linspace(-1, 1, 41)[:, None]
    params = {"kernel": u}
    layer = chip.encode_weights(params, strategies.lsp_first(NOISY))["kernel"]
    table = moment_table(NOISY, TIMES)
    n = 4000

    def draw(k):
        return noisy_weights(layer, table, jnp.asarray(2), key=k)

    w = jax.jit(jax.vmap(draw))(jr.split(key, n))[..., 0]

    def sample(k):
        c = chip.program(NOISY, {"kernel": layer}, key=k)
        return chip.read(NOISY, c, t=TIMES[1], index=1, scope="none")["kernel"]

    s = jax.jit(jax.vmap(sample))(jr.split(jr.fold_in(key, 1), n))[..., 0]
    mean, sd = np.mean(s, 0), np.std(s, 0)
    alpha = float(np.sum(np.mean(w, 0) * mean) / np.sum(mean**2))
    error = alpha * sd * np.sqrt(2 / n)
    assert np.all(np.abs(np.mean(w, 0) - alpha * mean) < 5 * error)
    np.testing.assert_allclose(np.std(w, 0), alpha * sd, rtol=5 * np.sqrt(2 / n))


@pytest.mark.slow
def test_moments_of_large_layers_part_by_part(key, monkeypatch):
    """The same moments and slopes as all at once; 21 weights are no multiple of 8."""
    table = moment_table(NOISY, TIMES)
    layer = chip.encode_weights(
        {"w": jr.normal(key, (7, 3))}, strategies.lsp_first(NOISY)
    )["w"]

    def size(targets):
        found, alpha = layer_moments(replace(layer, targets=targets), table, TIMES)
        return jnp.sum(alpha * (found.mean + found.var)), found

    results = []
    for most in (100, 8):
        monkeypatch.setattr(task, "_PART", most)
        results.append(jax.value_and_grad(size, has_aux=True)(layer.targets))
    chex.assert_trees_all_close(*results, rtol=1e-5, atol=1e-7)


def test_a_search_begins_with_the_targets_of_its_strategy(key):
    strategy, params = strategies.lsp_first(NOISY), network(key)
    for how in ("layer", "column"):
        expected = chip.encode_weights(params, strategy, normalize=how)
        ideal = chip.normalized_weights(params, normalize=how)
        begin = start_from(strategy, NOISY, params)
        found = begin.layers(ideal, NOISY, strategy.cell)
        for path, layer in expected.items():
            np.testing.assert_allclose(found[path].targets, layer.targets, atol=1e-3)
            np.testing.assert_allclose(found[path].unit, layer.unit, rtol=1e-6)


def test_a_scheduled_correction_counts_in_the_time_of_its_device(key):
    """A drift exponent shared by all cells is undone by itself, whatever its t0."""
    params = {"w": jnp.array([[0.3, -1.0], [0.7, 0.2]])}
    ideal = {"w": normalized(params["w"])}
    for t0 in (1.0, 20.0, 300.0):
        steady = replace(
            devices.state_independent(nu=0.06, nu_sd=0.0).drift, t0=jnp.asarray(t0)
        )
        device = replace(devices.ideal(), drift=steady)
        begin = start_from(strategies.lsp_first(device), device, params)
        begin = replace(begin, drift={"w": jnp.asarray(0.06)})
        task = make_task(
            params, ideal, device, jnp.ones((1, 2)), None, TIMES, ("drift",), key
        )
        _, layers = finish(task, begin, strategies.lsp_first(device).cell)
        part = chip.program(device, layers, key=key)
        found = chip.read(device, part, t=TIMES[1], index=1, scope="none")
        np.testing.assert_allclose(found["w"], params["w"], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_gradients_match_central_differences_with_common_keys(key, x64):
    """Knots, F, K, shifts of weights, and three parameters of the device, to 1e-5."""
    device = devices.scale_noise(devices.pcm(), programming=2.0)
    params = jax.tree.map(lambda v: v.astype(jnp.float64), network(key))
    strategy = strategies.lsp_first(device, f=2.3, k=1.1)
    ideal = chip.normalized_weights(params)
    begin = start_from(strategy, device, params)
    nudge = jax.tree.map(lambda y: 0.05 + 0.9 * y, begin.unknowns)
    begin = replace(
        begin,
        unknowns={
            p: replace(u, log_f=begin.unknowns[p].log_f, log_k=begin.unknowns[p].log_k,
                       log_width=begin.unknowns[p].log_width)
            for p, u in nudge.items()
        },
    )  # fmt: skip
    x = jr.normal(jr.fold_in(key, 7), (16, 6))

    @jax.jit
    def f(program, scales):
        noisy = replace(
            device,
            programming=replace(device.programming, scale=scales[0]),
            drift=replace(device.drift, spread_scale=scales[1]),
            read=replace(device.read, scale=scales[2]),
        )
        task = Task(
            params=Arrays(params),
            ideal=ideal,
            inputs=x,
            labels=None,
            times=TIMES,
            table=moment_table(noisy, TIMES, points=65),
            device=noisy,
            key=key,
        )
        return chip_loss(
            program, task, x, apply(params, x), key,
            apply=apply, loss=distillation, cell=strategy.cell,
        )  # fmt: skip

    args = (begin, jnp.array([2.0, 1.0, 1.0]))
    grads = jax.tree.leaves(jax.jit(jax.grad(f, argnums=(0, 1)))(*args))
    leaves, tree = jax.tree.flatten(args)
    rng = np.random.default_rng(0)
    for i, (leaf, grad) in enumerate(zip(leaves, grads, strict=True)):
        flat = [tuple(rng.integers(0, n) for n in leaf.shape) for _ in range(3)]
        for index in flat:

            def at(step, i=i, index=index, leaf=leaf):
                new = [*leaves[:i], leaf.at[index].add(step), *leaves[i + 1 :]]
                return f(*jax.tree.unflatten(tree, new))

            numeric = (at(1e-6) - at(-1e-6)) / 2e-6
            np.testing.assert_allclose(grad[index], numeric, rtol=1e-2, atol=1e-7)


@pytest.mark.slow
def test_memory_of_a_step_does_not_grow_with_chips(key):
    """Temporary memory as the compiler plans it: the same for 8 and 64 chips."""
    params = network(key)
    strategy = strategies.lsp_first(NOISY)
    begin = start_from(strategy, NOISY, params)
    optimizer = chain(strategy.cell, Bounds(), rate=0.01, weight_rate=0.01, steps=10)
    ideal = chip.normalized_weights(params)
    task = Task(
        params=Arrays(params), ideal=ideal, inputs=jnp.ones((2000, 6)), labels=None,
        times=TIMES, table=moment_table(NOISY, TIMES),
        device=only_range(NOISY), key=key, parts=learned(("weights",)),
    )  # fmt: skip

    def temporary(chips):
        lowered = _step.lower(
            task, (begin, optimizer.init(begin)), jnp.asarray(0), apply=apply,
            loss=distillation, cell=strategy.cell, optimizer=optimizer, chips=chips,
            batch=1000, jitter=0.0, digital=apply,
        )  # fmt: skip
        return lowered.compile().memory_analysis().temp_size_in_bytes

    few, many = temporary(8), temporary(64)
    assert few > 1000 * 12 * 4  # the activations of one chip
    assert many < 1.1 * few


@pytest.mark.slow
def test_learned_targets_beat_the_tuned_hand_strategy_in_the_sampler(key):
    """Chips and inputs of the report are not those of the search."""
    params = network(key)
    train, test = jr.normal(jr.fold_in(key, 1), (2, 256, 6))
    points = density.weight_density(params)
    hand = strategies.tune_strategy(
        NOISY, points, TIMES, build=strategies.lsp_first
    ).strategy
    digital = apply(params, test)

    def metric(p):
        return distillation(apply(p, test), digital)

    found = optimize_targets(
        apply, params, NOISY, hand, train, TIMES, key=key, steps=150, weight_rate=0.01
    )
    assert found.history.shape == (150,)
    losses = {}
    for name, program in (("hand", hand), ("learned", found.layers)):
        result = evaluate(
            metric, params, NOISY, program, TIMES, chips=32, key=jr.fold_in(key, 2)
        )
        losses[name] = np.asarray(result.metric).mean(1)
    gain = losses["hand"] - losses["learned"]
    assert gain.mean() > 4 * gain.std() / np.sqrt(gain.size)


@pytest.mark.slow
def test_the_network_to_be_met_may_be_another_one(key):
    """Without noise the first loss is the distance of the two networks."""
    params, x = network(key), jr.normal(key, (16, 6))
    exact = devices.scale_noise(NOISY, programming=0.0, drift_spread=0.0, read=0.0)
    found = optimize_targets(
        lambda p, x: apply(p, 1.5 * x), params, exact, strategies.lsp_first(exact),
        x, [1.0], key=key, steps=1, batch=512, digital=apply,
    )  # fmt: skip
    expected = distillation(apply(params, 1.5 * x), apply(params, x))
    assert expected > 0.01
    np.testing.assert_allclose(found.history[0], expected, rtol=0.1)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (dict(learn=()), "learn"),
        (dict(learn=("bias",)), "learn"),
        (dict(steps=0), "steps"),
        (
            dict(
                device=devices.mram_stt(),
                strategy=strategies.lsp_first(devices.mram_stt()),
            ),
            "learn.*few levels",
        ),
        (dict(strategy=strategies.offset_device(NOISY)), "strategy.*mirrored"),
        (dict(labels=jnp.ones(3)), "labels.*one entry per input"),
        (dict(chips=0), "chips"),
        (dict(times=[2.0, 1.0]), "times"),
        (dict(inputs=jnp.full((4, 6), jnp.nan)), "inputs.*finite"),
    ],
)
def test_bad_input_is_named(key, changes, match):
    args = (
        dict(
            inputs=jnp.ones((4, 6)),
            times=[1.0],
            device=NOISY,
            strategy=strategies.lsp_first(NOISY),
        )
        | changes
    )
    with pytest.raises(ValueError, match=match):
        optimize_targets(
            apply, network(key), args.pop("device"), args.pop("strategy"),
            args.pop("inputs"), args.pop("times"), key=key, **args,
        )  # fmt: skip
