"""Energy in objectives: gradients, budgets, and what it does to a search."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import anajax
from anajax import chip, devices, strategies, training
from anajax._core.tree import replace
from anajax.costs import Energy, array_energy, full_energy, spending
from anajax.costs.array import mean_conductances
from anajax.costs.objective import layers_share, strategy_share
from anajax.mapping import density
from anajax.mapping.weight_error import moment_table
from anajax.programming import make_objective, optimize_strategy, optimize_targets
from anajax.programming.end_to_end.descent import chip_loss
from anajax.programming.end_to_end.learnable import start_from
from anajax.programming.end_to_end.targets import distillation
from anajax.programming.end_to_end.task import make_task
from anajax.programming.search.parameters import from_strategy, to_strategy

DEVICE = devices.state_independent()
TIMES = jnp.array([3600.0, 30 * 86400.0])
NORMAL = density.gaussian(0.3, points=41)


def linear(params, x):
    return x @ params["w"]


def slopes_agree(f, x, key, tolerance=1e-4):
    """The gradient along three directions against central differences."""
    flat, back = jax.flatten_util.ravel_pytree(x)
    value, slope = (
        jax.jit(lambda v: f(back(v))),
        jax.jit(jax.grad(lambda v: f(back(v)))),
    )
    for k in jr.split(key, 3):
        way, step = jr.normal(k, flat.shape), 1e-5
        difference = (value(flat + step * way) - value(flat - step * way)) / (2 * step)
        assert float(slope(flat) @ way) == pytest.approx(
            float(difference), rel=tolerance
        )


def double():
    """Device and times in double precision."""
    return devices.state_independent(), jnp.array([3600.0, 30 * 86400.0])


def test_gradients_of_energy_and_of_error_with_energy(x64, key):
    device, times = double()
    normal = density.gaussian(0.3, points=41)
    table = moment_table(device, times)
    begin = from_strategy(strategies.lsp_first(device, k=1.3), device, 6)
    spread = begin.log_width + jnp.linspace(0.0, 0.1, 5)  # knots between the points
    begin = replace(begin, y=0.05 + 0.9 * begin.y, log_width=spread)  # off the bounds
    cell = anajax.pairs(2)
    weights = jnp.ones(2)

    def share(x):
        s = to_strategy(x, device, cell)
        return strategy_share(s, table, normal, weights)

    slopes_agree(share, begin, key)
    for energy in (Energy(weight=1e-3), Energy(budget=0.05), Energy(budget=0.9)):
        objective = make_objective(device, normal, times, energy=energy)
        slopes_agree(lambda x, o=objective: o(to_strategy(x, device, cell)), begin, key)


def test_gradient_of_a_chips_loss_with_energy(x64, key):
    device, times = double()
    params = {"w": 0.3 * jr.normal(key, (6, 4))}
    x = jr.normal(key, (5, 6))
    plan = strategies.lsp_first(device)
    begin = start_from(plan, device, params)
    soft = {p: replace(v, y=0.05 + 0.9 * v.y) for p, v in begin.unknowns.items()}
    shift = {p: v - 0.013 for p, v in begin.shift.items()}  # off the last knot
    begin = replace(begin, unknowns=soft, shift=shift)
    task = make_task(
        params, chip.normalized_weights(params), device, x, None, times, ["weights"],
        key,
    )  # fmt: skip
    met = {"w": jnp.abs(jr.normal(key, (6, 4)))}
    for weight in (0.0, 0.3):
        task = replace(task, energy=Energy(weight=weight, loads=met))

        def loss(program, task=task):
            return chip_loss(program, task, x, x @ params["w"], key, apply=linear,
                             loss=distillation, cell=plan.cell)  # fmt: skip

        slopes_agree(loss, begin, key)


def test_share_is_the_energy_over_that_of_full_devices(key):
    params = {"w": 0.3 * jr.normal(key, (6, 4))}
    met = {"w": jnp.abs(jr.normal(key, (6, 4)))}
    layers = chip.encode_weights(params, strategies.lsp_first(DEVICE))
    table = moment_table(DEVICE, TIMES)
    given = {"voltage": 0.2, "pulse": 1e-7}
    exact = array_energy(met, mean_conductances(layers, table, 2), **given)["w"]
    full = full_energy(met, 4, DEVICE.g_max, **given)
    share = layers_share(layers, table, 2, met)
    assert float(share * full) == pytest.approx(float(exact), rel=1e-5)


def test_searches_trade_error_for_energy(key):
    """A weight lowers the energy, a budget is kept, and the error pays for it."""
    options = {"key": key, "starts": 1, "steps": 40, "knots": 5}
    table, weights = moment_table(DEVICE, TIMES), jnp.ones(2)
    found = {
        name: optimize_strategy(DEVICE, NORMAL, TIMES, energy=energy, **options)
        for name, energy in {
            "none": Energy(weight=0.0), "weight": Energy(weight=0.05),
            "budget": Energy(budget=0.05),
        }.items()
    }  # fmt: skip
    share = {
        name: float(strategy_share(f.strategy, table, NORMAL, weights))
        for name, f in found.items()
    }
    error = {
        name: float(anajax.weight_error(DEVICE, f.strategy, NORMAL, TIMES).mse.mean())
        for name, f in found.items()
    }
    assert share["weight"] < 0.9 * share["none"] and share["budget"] < 0.051
    assert error["none"] < min(error["weight"], error["budget"])
    value = float(found["weight"].value)
    assert value == pytest.approx(error["weight"] + 0.05 * share["weight"], rel=0.02)


def test_targets_learn_to_spare_energy(key):
    params = {"w": 0.3 * jr.normal(key, (6, 4))}
    x = jr.normal(key, (32, 6))
    plan = strategies.lsp_first(DEVICE, k=0.8)
    table = moment_table(DEVICE, TIMES)
    shares = {}
    for weight in (0.0, 3.0):
        got = optimize_targets(
            linear, params, DEVICE, plan, x, TIMES, key=key, steps=25, batch=8,
            chips=1, energy=Energy(weight=weight),
        )  # fmt: skip
        shares[weight] = float(layers_share(got.layers, table, 2, None))
    assert shares[3.0] < 0.9 * shares[0.0]


def test_gradient_of_what_training_spends(x64, key):
    """Of each weight but the largest, which sets the scale of its layer."""
    device, times = double()
    params = {"w": 0.3 * jr.normal(key, (6, 4))}
    met = {"w": jnp.abs(jr.normal(key, (6, 4)))}
    plan = strategies.lsp_first(device, f=3.0)
    for energy in (Energy(weight=0.3, loads=met), Energy(budget=0.01, steep=2.0)):
        spend = spending(device, plan, times, energy)
        slopes_agree(lambda w, s=spend: s({"w": w}, jnp.ones(())), params["w"], key)
    layers = chip.encode_weights(params, plan)
    table = moment_table(device, times)
    each = [float(layers_share(layers, table, i, met)) for i in (1, 2)]
    found = spending(device, plan, times, Energy(weight=0.3, loads=met))
    wanted = 0.3 * sum(each) / 2
    assert float(found(params, jnp.ones(()))) == pytest.approx(wanted, rel=1e-6)


def test_training_spares_energy(key):
    params = {"w": 0.3 * jr.normal(key, (6, 4))}
    x, plan = jr.normal(key, (32, 6)), strategies.lsp_first(DEVICE)
    options = training.TrainOptions(steps=30, chips=1, batch=8, rate=0.02)
    table, shares = moment_table(DEVICE, TIMES), {}
    for weight in (0.0, 3.0):
        spend = spending(DEVICE, plan, TIMES, Energy(weight=weight))
        noise = training.device_noise(DEVICE, plan, TIMES)
        loop = training.trainer(linear, params, x, noise, options, energy=spend)
        layers = chip.encode_weights(loop(key), plan)
        shares[weight] = float(layers_share(layers, table, 2, None))
    assert shares[3.0] < 0.9 * shares[0.0]


def test_bad_input_is_named(key):
    with pytest.raises(ValueError, match="`energy` must have a weight or a budget"):
        Energy()
    with pytest.raises(ValueError, match="`budget` must be positive"):
        Energy(budget=0.0)
    with pytest.raises(ValueError, match="`energy` must be an Energy record: got 0.1"):
        optimize_strategy(DEVICE, NORMAL, TIMES, key=key, energy=0.1)
    with pytest.raises(ValueError, match="`energy` must be an Energy record: got 0.1"):
        spending(DEVICE, strategies.lsp_first(DEVICE), TIMES, 0.1)
    few = devices.mram_stt()
    with pytest.raises(ValueError, match="`energy` must be None for a device with lev"):
        optimize_strategy(few, NORMAL, TIMES, key=key, energy=Energy(weight=1.0))
    params = {"w": np.ones((3, 2), np.float32)}
    with pytest.raises(ValueError, match=r"`energy.loads` must have all.*\['w'\]"):
        optimize_targets(
            linear, params, DEVICE, strategies.lsp_first(DEVICE), np.ones((2, 3)),
            TIMES, key=key, energy=Energy(weight=1.0, loads={}),
        )  # fmt: skip
