"""Targets that a device does not have, and times that its source does not cover."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import anajax
from anajax import chip, devices, mapping
from anajax._core.tree import replace
from anajax.analysis.evaluate import evaluate
from anajax.analysis.tolerance import required_device
from anajax.devices.base import check_targets, check_time, check_times
from anajax.mapping import density
from anajax.mapping import hand as strategies
from anajax.mapping.weight_error import moment_table, tabulated_error
from anajax.programming import (
    Policy,
    ProductDescent,
    closed_loop_layers,
    device_elasticities,
    enumerate_levels,
    follow_open,
    make_objective,
    optimize_closed_loop,
    optimize_layers,
    optimize_strategy,
    optimize_targets,
    program_by_products,
    program_closed_loop,
)
from anajax.programming.end_to_end.layer_by_layer import Unit, optimize_layer_by_layer
from anajax.training import device_noise

YEAR = 365.25 * 86400.0
CENTURY = 100 * YEAR
PCM = replace(devices.ideal(), name="pcm", valid_times=(0.0, YEAR))
"""Range and times of PCM; without its errors, the tests are fast."""
OTHER = strategies.single_pair(devices.reram_milo())
"""Targets up to 225 uS, on a device of 25."""
OWN = strategies.single_pair(PCM)
LEVELS = replace(PCM, levels=[0.0, 10.0, 25.0])
PARAMS = {"w": jnp.array([[0.3, -1.0], [0.7, 0.2]])}
DENSITY = density.uniform(points=11)
KEY = jr.key(0)
LAYERS = chip.encode_weights(PARAMS, OWN)
CELLS = devices.program(PCM, jnp.array([1.0, 20.0]), key=KEY)
CHIP = chip.program(PCM, LAYERS, key=KEY)
X = jnp.ones((3, 2))


def metric(params):
    return jnp.sum(params["w"])


def apply(params, x):
    return x @ params["w"]


STRATEGY = {
    "perturb": lambda s: anajax.perturb(PARAMS, PCM, s, t=1.0, key=KEY),
    "perturb, traced": lambda s: jax.jit(
        lambda p: anajax.perturb(p, PCM, s, t=1.0, key=KEY)
    )(PARAMS),
    "perturb, by path": lambda s: anajax.perturb(PARAMS, PCM, {"w": s}, t=1.0, key=KEY),
    "evaluate": lambda s: evaluate(metric, PARAMS, PCM, s, [1.0], chips=2, key=KEY),
    "evaluate, layers": lambda s: evaluate(
        metric, PARAMS, PCM, chip.encode_weights(PARAMS, s), [1.0], chips=2, key=KEY
    ),
    "required_device": lambda s: required_device(
        metric, PARAMS, PCM, s, gap=0.1, t=1.0, key=KEY, chips=2
    ),
    "chip.program": lambda s: chip.program(
        PCM, chip.encode_weights(PARAMS, s), key=KEY
    ),
    "chip.read": lambda s: chip.read(
        PCM,
        replace(CHIP, layers=chip.encode_weights(PARAMS, s)),
        t=1.0,
        index=1,
    ),
    "program": lambda s: devices.program(PCM, s.targets, key=KEY),
    "moments": lambda s: anajax.conductance_moments(PCM, s.targets, t=1.0),
    "weight_error": lambda s: anajax.weight_error(PCM, s, DENSITY, [1.0]),
    "tabulated": lambda s: tabulated_error(s, moment_table(PCM, [1.0]), DENSITY),
    "certify": lambda s: anajax.certify_strategy(PCM, s, DENSITY, [1.0], grid=3),
    "warm": lambda s: optimize_strategy(
        PCM, DENSITY, [1.0], cell=mapping.pairs(1), key=KEY, warm=[s], steps=1
    ),
    "optimize_targets": lambda s: optimize_targets(
        apply, PARAMS, PCM, s, X, [1.0], key=KEY, steps=1
    ),
    "layer by layer": lambda s: optimize_layer_by_layer(
        [Unit(prefixes=("",), outputs=apply)], PARAMS, PCM, s, X, [1.0], key=KEY
    ),
    "optimize_closed_loop": lambda s: optimize_closed_loop(
        PCM, DENSITY, [1.0], start=s, key=KEY, steps=1
    ),
    "follow_open": lambda s: follow_open(s, PCM),
    "products": lambda s: program_by_products(
        ProductDescent(pulse=0.1), PCM, s, PARAMS["w"], key=KEY
    ),
    "elasticities": lambda s: device_elasticities(
        apply, PARAMS, PCM, chip.encode_weights(PARAMS, s), X, 1.0, key=KEY
    ),
    "device_noise": lambda s: device_noise(PCM, s, [1.0]),
}


@pytest.mark.parametrize("name", STRATEGY)
def test_targets_of_another_device_are_refused(name):
    with pytest.raises(ValueError, match=r"0 to 25 uS.*225 uS.*for this device"):
        STRATEGY[name](OTHER)


def test_a_policy_of_another_device_is_refused():
    milo = devices.reram_milo()
    policy = follow_open(strategies.lsp_first(milo), milo)
    assert isinstance(policy, Policy)
    with pytest.raises(ValueError, match="0 to 25 uS"):
        program_closed_loop(policy, PCM, PARAMS["w"], key=KEY)
    layers = closed_loop_layers(PARAMS, policy)
    with pytest.raises(ValueError, match="0 to 25 uS"):
        evaluate(metric, PARAMS, PCM, layers, [1.0], chips=2, key=KEY)


def test_pcm_targets_do_not_fit_on_hermes():
    with pytest.raises(ValueError, match=r"0 to 10.35 uS.*25 uS"):
        anajax.perturb(PARAMS, devices.pcm_hermes(), OWN, t=1.0, key=KEY)


@settings(max_examples=40, deadline=None)
@given(
    st.floats(0.0, 100.0), st.floats(1.0, 300.0), st.floats(0.0, 1.0),
    st.sampled_from(["float32", "bfloat16", "float16"]),
    st.floats(0.02, 10.0),
)  # fmt: skip
def test_any_range_holds_its_own_targets_in_any_type(low, span, share, dtype, beyond):
    device = replace(devices.ideal(), g_min=low, g_max=low + span)
    inside = jnp.asarray([low, low + share * span, low + span], dtype)
    check_targets(device, inside)
    outside = low + span + beyond * (low + span)
    with pytest.raises(ValueError, match="range of 'ideal'"):
        check_targets(device, jnp.asarray([outside], dtype))
    below = low - 0.02 * (low + span)
    if below > 0:
        with pytest.raises(ValueError, match="range of 'ideal'"):
            check_targets(device, jnp.asarray([below], dtype))


TIMES = {
    "perturb": lambda t, **k: anajax.perturb(PARAMS, PCM, OWN, t=t, key=KEY, **k),
    "chip.read": lambda t, **k: chip.read(PCM, CHIP, t=t, index=1, **k),
    "age": lambda t, **k: devices.age(PCM, CELLS, t=t, **k),
    "read": lambda t, **k: devices.read(PCM, CELLS, t=t, key=KEY, **k),
    "moments": lambda t, **k: anajax.conductance_moments(PCM, jnp.ones(2), t=t, **k),
    "elasticities": lambda t, **k: device_elasticities(
        apply, PARAMS, PCM, LAYERS, X, t, key=KEY, chips=2, **k
    ),
    "required": lambda t, **k: required_device(
        metric, PARAMS, PCM, OWN, gap=0.1, t=t, key=KEY, chips=2, factors=(1.0, 2.0),
        parameters=("read",), **k,
    ),
}  # fmt: skip
SEVERAL = {
    "evaluate": lambda t, **k: evaluate(
        metric, PARAMS, PCM, OWN, t, chips=2, key=KEY, **k
    ),
    "evaluate, recalibrated": lambda t, **k: evaluate(
        metric, PARAMS, PCM, OWN, [1.0], chips=2, key=KEY, recalibrate=t, **k
    ),
    "recalibrate": lambda t, **k: chip.recalibrate(PCM, CHIP, t, **k),
    "tabulate": lambda t, **k: anajax.moments.tabulate(PCM, t, points=5, **k),
    "moment_table": lambda t, **k: moment_table(PCM, t, points=5, **k),
    "tuned": lambda t, **k: strategies.tune_strategy(
        PCM, DENSITY, t, build=strategies.lsp_first, points=2, rounds=1, **k
    ),
    "optimize_strategy": lambda t, **k: optimize_strategy(
        PCM, DENSITY, t, cell=mapping.pairs(1), key=KEY, starts=1, steps=1, **k
    ),
    "optimize_layers": lambda t, **k: optimize_layers(
        PCM, {"": DENSITY}, t, warm={"": [OWN]}, cell=mapping.pairs(1), key=KEY,
        hops=0, steps=1, **k,
    ),
    "make_objective": lambda t, **k: make_objective(PCM, DENSITY, t, **k),
    "enumerate_levels": lambda t, **k: enumerate_levels(
        LEVELS, DENSITY, t, cell=mapping.pairs(1), **k
    ),
    "optimize_targets": lambda t, **k: optimize_targets(
        apply, PARAMS, PCM, OWN, X, t, key=KEY, steps=1, chips=1, batch=1, **k
    ),
    "layer by layer": lambda t, **k: optimize_layer_by_layer(
        [Unit(prefixes=("",), outputs=apply)], PARAMS, PCM, OWN, X, t, key=KEY,
        steps=1, chips=1, batch=1, **k,
    ),
    "closed loop": lambda t, **k: optimize_closed_loop(
        PCM, DENSITY, t, start=strategies.lsp_first(PCM),
        key=KEY, steps=1, samples=1, **k
    ),
    "device_noise": lambda t, **k: device_noise(PCM, OWN, t, **k),
}  # fmt: skip


@pytest.mark.parametrize("name", [*TIMES, *SEVERAL])
def test_a_century_is_refused(name):
    """The source covers a year."""
    call = TIMES.get(name) or (lambda t: SEVERAL[name]([1.0, t]))
    with pytest.raises(ValueError, match=r"covered by the source .*extrapolate=True"):
        call(CENTURY)


@pytest.mark.parametrize("name", ["perturb", "age", "read", "moments", "chip.read"])
def test_a_century_may_be_asked_for(name):
    found = TIMES[name](CENTURY, extrapolate=True)
    assert all(np.all(np.isfinite(v)) for v in jax.tree.leaves(found))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["elasticities", "required", *SEVERAL])
def test_a_century_may_be_asked_for_of_searches(name):
    if name in TIMES:
        TIMES[name](CENTURY, extrapolate=True)
    else:
        SEVERAL[name]([1.0, CENTURY], extrapolate=True)


@pytest.mark.parametrize("name", TIMES)
def test_several_times_where_one_belongs_are_refused(name):
    """Two times would broadcast over the two devices of a pair."""
    for several in ([1.0, 2.0], np.array([1.0, 2.0]), jnp.array([1.0, 2.0])):
        with pytest.raises(ValueError, match=r"`t` must be one time.*jax.vmap"):
            TIMES[name](several)


@pytest.mark.parametrize("name", [n for n in SEVERAL if n != "tabulate"])
def test_one_time_where_several_belong_is_refused(name):
    with pytest.raises(ValueError, match=r"list of times in s: got 1.0. Write \w+=\[1"):
        SEVERAL[name](1.0)


@pytest.mark.parametrize("name", [*TIMES, *SEVERAL])
def test_texts_for_times_are_refused(name):
    call = TIMES.get(name) or SEVERAL[name]
    with pytest.raises(ValueError, match=r"in seconds: got '1 month'. Write 30 \* 86"):
        call("1 month")


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e7))
def test_the_rule_for_one_time_is_that_for_several(a, b, t):
    low, high = sorted((a, b))
    device = replace(devices.ideal(), valid_times=(low, high))
    covered = low * (1 - 1e-6) <= t <= high * (1 + 1e-6)
    assert check_times(device, [t], extrapolate=True) == [not covered]
    check_time(device, t, extrapolate=True)
    for check in (lambda: check_times(device, [t]), lambda: check_time(device, t)):
        if covered:
            check()
        else:
            with pytest.raises(ValueError, match="extrapolate=True"):
                check()


def test_mapping_over_times_is_the_way_to_have_several():
    several = jnp.array([1.0, 100.0])
    found = jax.vmap(
        lambda t: anajax.conductance_moments(PCM, jnp.array([5.0, 20.0]), t=t).mean
    )(several)
    one = anajax.conductance_moments(PCM, jnp.array([5.0, 20.0]), t=100.0).mean
    np.testing.assert_allclose(found[1], one, rtol=1e-6)
