"""Networks of Flax on the cells of a chip, through the converters of their rules."""

import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from flax import nnx

from anajax import chip, crossbar, devices
from anajax._core.tree import replace
from anajax.crossbar.converters import uniform
from anajax.crossbar.periphery import IO, LearnedRange, OutputNoise
from anajax.crossbar.product import TileRule
from anajax.devices.base import age
from anajax.devices.curves import Constant
from anajax.mapping import hand as strategies
from anajax.nn.convert import functional
from anajax.nn.norm import recalibrate_norms
from anajax.transformation import Rule, analog


class Net(nnx.Module):
    """A grouped convolution with a norm, and a linear layer."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.conv = nnx.Conv(2, 4, (2, 2), feature_group_count=2, rngs=rngs)
        self.norm = nnx.BatchNorm(4, use_running_average=True, rngs=rngs)
        self.linear = nnx.Linear(4, 30, rngs=rngs)

    def __call__(self, x):
        return self.linear(jax.nn.relu(self.norm(self.conv(x))).mean((1, 2)))


X = jr.normal(jr.key(5), (3, 4, 4, 2))
RULE = Rule(".*", tiles=TileRule(rows=3, columns=20))


QUIET = replace(devices.pcm(), read=devices.NoReadNoise())
T = 3600.0


def put(model=None, rule=RULE, device=QUIET, build=strategies.lsp_first, **how):
    """The model as an analog function, and a chip of it."""
    params, apply = functional(Net() if model is None else model)
    f = analog(apply, rule)
    how = {"key": jr.key(3), "scope": "none"} | how
    x = X if model is None else jnp.ones((1, 4))
    return f, f.put_on_chip(params, x, device=device, strategy=build(device), **how)


@functools.cache
def read(build=strategies.lsp_first, scope="none", device=QUIET):
    """The weights of the chip by `chip.read`."""

    @jax.jit
    def make():
        part = put(build=build, device=device)[1].programmed
        return chip.read(device, part, t=T, index=1, scope=scope)

    return make()


@pytest.mark.parametrize(
    "build",
    [
        strategies.lsp_first,
        pytest.param(strategies.offset_device, marks=pytest.mark.slow),
    ],
)
def test_aged_chip_without_read_noise_equals_chip_read(build):
    weights = read(build)

    @jax.jit
    def run(x):
        f, part = put(build=build)
        return f(part.at(T), x), part.weights(part.at(T))

    got, held = run(X)
    params, digital = functional(Net())
    expected = jax.jit(digital)(chip.insert(params, weights), X)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=2e-5)
    assert np.max(np.abs(got - jax.jit(digital)(params, X))) > 0.1  # it has drifted
    np.testing.assert_allclose(
        held["linear/kernel"], weights["linear/kernel"], atol=2e-6
    )


@pytest.mark.parametrize(
    "combine", [(0, 0, 1, 1), pytest.param("digital", marks=pytest.mark.slow)]
)
def test_pairs_converted_apart_add_up_to_the_weights(combine):
    @jax.jit
    def run(x):
        noisy = [put(device=devices.pcm(), combine=c)[1] for c in ("analog", combine)]
        quiet = [put(combine=c) for c in ("analog", combine)]
        outputs = [f(part.at(T), x) for f, part in quiet]
        return [part.at(T) for part in noisy], outputs

    (whole, apart), outputs = run(X)
    for path in ("conv/kernel", "linear/kernel"):
        one, several = whole.held[path], apart.held[path]
        digital = apart.digital[path]
        assert len(one.parts) == 1 and len(several.parts) == digital.size > 1
        total = np.tensordot(digital, several.parts, 1)
        np.testing.assert_allclose(total, one.parts[0], atol=2e-6)
        variance = np.tensordot(digital**2, several.variance, 1)
        np.testing.assert_allclose(variance, one.variance[0], rtol=1e-5)
    np.testing.assert_allclose(*outputs[::-1], rtol=1e-4, atol=2e-5)


LINEAR = nnx.Linear(4, 30, rngs=nnx.Rngs(2))


def test_pairs_converted_apart_meet_an_adc_each(key):
    """As the crossbar does it with the conductances themselves."""
    io, tiles, combine = IO(adc=uniform(5, 2.0)), TileRule(rows=3, columns=20), PAIRS
    rule = Rule(".*", io=io, tiles=tiles, normalize="column")
    x = jr.normal(key, (5, 4))

    @jax.jit
    def run(x):
        f, part = put(LINEAR, rule, combine=combine)
        layer = part.programmed.layers["kernel"]
        cut = crossbar.from_planes(
            age(QUIET, part.programmed.cells["kernel"], t=T).g,
            tiles,
            coefficients=layer.coefficients,
            combine=combine,
            scale=layer.w_max,
            normalize="column",
            bias=LINEAR.bias[...],
        )
        exact, expected = crossbar.mvm(cut, x), crossbar.mvm(cut, x, io)
        return f(part.at(T), x), expected, exact

    got, expected, exact = run(x)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=2e-5)
    assert np.max(np.abs(got - exact)) > 0.01


PAIRS = (0, 0, 1, 1)


def test_digital_offset_meets_inputs_as_the_dac_applies_them(key):
    io = IO(scaling=LearnedRange(range=0.7), dac=uniform(4, 1.0))
    rule = Rule(".*", io=io, tiles=TileRule(rows=3, columns=20))
    x = jr.normal(key, (5, 4))  # clips

    @jax.jit
    def run(x):
        f, part = put(LINEAR, rule, build=strategies.offset_device)
        weights = chip.read(QUIET, part.programmed, t=T, index=1, scope="none")
        return f(part.at(T), x) - LINEAR.bias[...], weights["kernel"]

    got, weights = run(x)
    applied = io.dac(x / 0.7) * 0.7
    np.testing.assert_allclose(got, applied @ weights, atol=2e-5)


def test_compensation_leaves_the_digital_offset_alone(key):
    x = jr.normal(key, (5, 4))

    @jax.jit
    def run(x):
        f, part = put(LINEAR, build=strategies.offset_device, scope="layer")
        weights = chip.read(QUIET, part.programmed, t=T, index=1, scope="layer")
        return f(part.at(T), x) - LINEAR.bias[...], weights["kernel"]

    got, weights = run(x)
    np.testing.assert_allclose(got, x @ weights, atol=2e-5)


def test_read_noise_at_the_product_has_the_spread_of_drawn_reads(key):
    device, t = devices.pcm(), 86400.0
    x = jr.normal(key, (4,))

    @jax.jit
    def run(x):
        f, part = put(LINEAR, device=device)
        one = lambda i: chip.read(device, part.programmed, t=t, index=i, scope="none")  # noqa: E731
        drawn = jax.lax.map(lambda i: x @ one(i)["kernel"], jnp.arange(60))
        return drawn, f(part.at(t), jnp.tile(x, (400, 1)), key=key)

    drawn, product = run(x)
    ratio = np.std(product, 0).mean() / np.std(drawn, 0, ddof=1).mean()
    assert abs(ratio - 1) < 5 / np.sqrt(2 * 60 * 30)


@pytest.mark.parametrize("scope", ["layer", "column", "tile"])
def test_compensation_undoes_a_common_drift_exactly(scope):
    curves = {"nu_mean": Constant(value=0.05), "nu_sd": Constant(value=0.0)}
    drift = devices.PowerLawDrift(**curves, g_max=25.0, t0=20.0)
    device = replace(devices.ideal(), drift=drift)

    @jax.jit
    def run(x):
        f, part = put(device=device, build=strategies.single_pair, scope=scope)
        raw = put(device=device, build=strategies.single_pair)[1]
        return f(part.at(9e4), x), f(raw.at(9e4), x)

    restored, drifted = run(X)
    expected = jax.jit(Net())(X)
    np.testing.assert_allclose(restored, expected, rtol=2e-4, atol=1e-5)
    assert np.max(np.abs(drifted - expected)) > 0.1


def test_factors_are_held_between_recalibrations():
    @jax.jit
    def run(times):
        _, part = put(scope="layer")
        schedule = part.recalibrate(jnp.array([60.0, 9e4]))
        of = lambda t: part.at(t, held=schedule).held["linear/kernel"].factor[0, 0]  # noqa: E731
        fresh = part.at(9e4, index=2).held["linear/kernel"].factor[0, 0]
        return jnp.stack([of(t) for t in times]), fresh

    held, fresh = run(jnp.array([0.0, 59.0, 60.0, 8e4, 9e4, 1e7]))
    assert np.all(held[:2] == 1) and held[2] == held[3]
    assert held[4] == held[5] and 1 < held[2] < held[4]
    np.testing.assert_allclose(held[5], fresh, rtol=1e-5)


@pytest.mark.parametrize("scope", ["column", "tile"])
def test_each_recalibration_draws_its_own_noise(scope):
    rule = Rule(".*", io=IO(noise=OutputNoise(sd=0.1)))
    device = devices.ideal()

    @jax.jit
    def run():
        build = strategies.single_pair
        part = put(LINEAR, rule, device=device, build=build, scope=scope)[1]
        return part.recalibrate(jnp.array([1.0, 2.0, 3.0])).factors["kernel"]

    factors = run()
    assert np.all(factors[0] == 1)
    assert np.unique(factors[1:, 0, 0]).size == 3


def test_compensation_meets_the_noise_of_the_periphery():
    rule = Rule(".*", io=IO(noise=OutputNoise(sd=0.05)))
    part = put(LINEAR, rule, scope="layer")[1]
    answers = jax.jit(lambda: [part._answers(0.0, i)["kernel"] for i in (0, 1)])()
    difference = np.ravel(answers[0] - answers[1])
    expected, n = 0.05 * np.sqrt(2), difference.size
    assert abs(np.std(difference) - expected) < 5 * expected / np.sqrt(2 * n)


def test_recalibrated_norms_hold_the_statistics_of_the_batches():
    net = Net()
    batches = [X, X + 1]
    new = recalibrate_norms(net, batches)
    h = [net.conv(x) for x in batches]
    mean = np.mean([np.mean(v, (0, 1, 2)) for v in h], 0)
    np.testing.assert_allclose(new.norm.mean[...], mean, rtol=1e-4, atol=1e-6)
    assert new.norm.use_running_average and jnp.all(net.norm.mean[...] == 0)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="`combine` must give each device a group"):
        put(LINEAR, combine=(0, 1))
    with pytest.raises(ValueError, match="`batches`"):
        recalibrate_norms(Net(), [])
    with pytest.raises(ValueError, match="`times`"):
        put(LINEAR)[1].recalibrate(jnp.array([2.0, 1.0]))
