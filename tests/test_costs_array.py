"""Loads of weights and the energy of the array, against sums by hand and over cells."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from test_costs_counts import lstm, strided

from anajax import Rule, analog, chip, devices, strategies
from anajax.costs.array import array_energy, loads, mean_conductances
from anajax.crossbar import periphery
from anajax.crossbar.converters import uniform
from anajax.crossbar.periphery import IO, BitSlices, ConstantScale
from anajax.crossbar.tiling import TileRule
from anajax.mapping.weight_error import moment_table


def linear(params, x):
    return x @ params["w"]


def test_loads_of_a_matrix_are_second_moments_of_its_inputs(key):
    x, w = jr.normal(key, (9, 12)), jr.normal(key, (12, 5))
    f = analog(linear, Rule("w", tiles=TileRule(rows=5)))
    found = loads(f, {"w": w}, x)["w"]
    np.testing.assert_allclose(found, np.tile((x**2).mean(0)[:, None], 5), rtol=1e-5)
    found = loads(f, {"w": w}, x, drive="width")["w"]
    wanted = np.tile(np.abs(x).mean(0)[:, None], 5)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_loads_see_scales_steps_and_slices(key):
    """Codes of 7 bits of magnitude, bit-serial: the ones of each code count."""
    x, w = jr.uniform(key, (6, 4), minval=-2), jr.normal(key, (4, 3))
    io = IO(
        scaling=ConstantScale(value=2.0), dac=uniform(8, 1.0), slicing=BitSlices(bits=1)
    )
    code = np.abs(np.round(np.asarray(x) / 2 * 127)).astype(int)
    ones = np.vectorize(lambda c: bin(c).count("1"))(code)
    for drive in ("amplitude", "width"):
        found = loads(analog(linear, Rule("w", io=io)), {"w": w}, x, drive=drive)["w"]
        np.testing.assert_allclose(found[:, 0], ones.mean(0), rtol=1e-5)


def test_loads_of_a_convolution_are_counted_window_by_window(key):
    x, k = jr.normal(key, (2, 9, 9, 16)), jr.normal(key, (3, 3, 4, 32))
    rule = Rule("k", tiles=TileRule(rows=20), patches=2000)  # one item at a time
    found = loads(analog(strided, rule), {"k": k}, x)["k"]
    padded = np.pad(np.asarray(x) ** 2, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for dy, dx, c, out in ((0, 0, 1, 3), (2, 1, 3, 17), (1, 2, 0, 31)):
        channel = 4 * (out // 8) + c
        seen = padded[:, dy : dy + 9 : 2, dx : dx + 9 : 2, channel]
        assert float(found[dy, dx, c, out]) == pytest.approx(seen.sum() / 2, rel=1e-5)


def test_loads_of_recurrent_and_joined_weights_add_up(key):
    params = {
        "in": jr.normal(key, (6, 20)), "hidden": jr.normal(key, (5, 20)),
        "head": jr.normal(key, (5, 3)),
    }  # fmt: skip
    x = jr.normal(key, (7, 12, 6))
    found = loads(analog(lstm), params, x)
    wanted = np.sum(np.asarray(x) ** 2, axis=(0, 1)) / 7
    np.testing.assert_allclose(found["in"][:, 3], wanted, rtol=1e-5)

    def joined(params, x):
        w = jnp.concatenate([params["in"][:5], params["hidden"]], axis=0)
        return x @ w

    x = jr.normal(key, (7, 10))
    found = loads(analog(joined), params, x)
    power = np.mean(np.asarray(x) ** 2, 0)
    np.testing.assert_allclose(found["hidden"][:, 7], power[5:], rtol=1e-5)
    np.testing.assert_allclose(found["in"][:, 7], [*power[:5], 0.0], rtol=1e-5)


def test_energy_is_that_of_the_cells_of_drawn_chips(key):
    """Exact sum over one chip's cells; its mean over chips within a standard error."""
    device = devices.pcm()
    params = {"w": 0.3 * jr.normal(key, (40, 12))}
    x = jr.uniform(key, (16, 40))
    f = analog(linear, Rule("w", io=periphery.bits(8, 8)))
    met = loads(f, params, x)
    layers = chip.encode_weights(params, strategies.lsp_first(device))
    table = moment_table(device, jnp.array([86400.0]))
    expected = [
        float(array_energy(met, mean_conductances(layers, table, i),
                           voltage=0.2, pulse=1e-7)["w"]) for i in (0, 1)
    ]  # fmt: skip
    assert expected[1] < expected[0]  # drift

    def drawn(key):
        part = chip.program(device, layers, key=key)
        cells = devices.age(device, part.cells["w"], t=86400.0)
        g = devices.read(device, cells, t=86400.0, key=key)
        return array_energy(met, {"w": g}, voltage=0.2, pulse=1e-7)["w"], g

    energies, g = jax.vmap(drawn)(jr.split(key, 64))
    by_hand = sum(
        0.2**2 * 1e-7 * float(u) ** 2 * float(g[0, i].sum()) / 16
        for row in np.asarray(periphery.uniform(8, 1.0)(x / jnp.max(x, 1)[:, None]))
        for i, u in enumerate(row)
    )
    assert float(energies[0]) == pytest.approx(by_hand, rel=1e-4)
    error = np.std(energies) / np.sqrt(64)
    assert abs(np.mean(energies) - expected[1]) < 3 * error < 0.05 * expected[1]


def test_bad_input_is_named(key):
    f, params, x = analog(linear), {"w": jnp.ones((4, 3))}, jnp.ones((2, 4))
    with pytest.raises(ValueError, match="`drive` must be one of"):
        loads(f, params, x, drive="pulse")
    met = loads(f, params, x)
    with pytest.raises(ValueError, match=r"`conductances` must have all.*\['w'\]"):
        array_energy(met, {}, voltage=0.2, pulse=1e-7)
    with pytest.raises(ValueError, match="`voltage` must be positive"):
        array_energy(met, {"w": jnp.ones((4, 3, 2))}, voltage=0.0, pulse=1e-7)
    masked = analog(lambda p, x: x @ (p["w"] * 2), Rule("w", fold=True))
    with pytest.raises(ValueError, match="`rules` must put parameters themselves"):
        loads(masked, params, x)
