"""A network on hardware: equal to `evaluate` without a periphery, digital if masked."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_study
from flax import nnx

from anajax import chip, devices
from anajax._core.tree import replace
from anajax.analysis import point
from anajax.analysis.engine import Engine
from anajax.analysis.evaluate import evaluate
from anajax.analysis.hardware import Periphery, bare, impair, present, value
from anajax.analysis.impaired import ImpairedModel, numbers
from anajax.analysis.network import AnalogNetwork
from anajax.analysis.point import of_point
from anajax.analysis.points import chip_keys, filled, over_points
from anajax.analysis.workload import Splits, workload
from anajax.crossbar.tiling import TileRule, through_wires
from anajax.devices.faults import Faults
from anajax.mapping import hand as strategies

WORK = tiny_study.tiny_workload("digits")
DEVICE = bare(devices.state_independent())
LAYERS = chip.encode_weights(WORK.params, strategies.lsp_first(DEVICE))
FULL = Periphery(dac_bits=8, adc_bits=8, output_noise=0.02, wires=1.0)


def put(periphery, device=DEVICE):
    network = AnalogNetwork(work=WORK, periphery=periphery)
    return network, network.hardware(device)


def test_noise_and_ranges_follow_columns_that_fill_their_conductances():
    weights = np.asarray(chip.weights(WORK.params)["kernel"])
    found = {}
    for normalize in ("layer", "column"):
        network = AnalogNetwork(work=WORK, periphery=FULL, normalize=normalize)
        found[normalize] = network.ios(WORK.params)["kernel"]
    layer, column = found["layer"], found["column"]
    largest = np.abs(weights).max(0)
    np.testing.assert_allclose(layer.noise.sd, 0.02 * largest.max(), rtol=1e-6)
    np.testing.assert_allclose(column.noise.sd[0, :, 0], 0.02 * largest, rtol=1e-6)
    ranges = column.adc.bound[0, :, 0] / largest
    np.testing.assert_allclose(ranges, ranges[0], rtol=1e-5)
    sums = np.abs(np.asarray(WORK.calibration[: WORK.batch]) @ weights)
    fill = np.max(sums / largest) / float(column.scaling.value)
    np.testing.assert_allclose(ranges, fill, rtol=1e-4)
    assert np.min(ranges) * largest.max() >= layer.adc.bound * (1 - 1e-5)


def measure(network, hardware, points, key, chips=3, t=1e5):
    return Engine().measure(
        ImpairedModel(network), points, chip_keys(key, np.arange(chips)),
        (LAYERS, None, network.items, hardware, filled(jnp.asarray([t])), None),
        times=1, items=64,
    )  # fmt: skip


@pytest.mark.slow
def test_without_a_periphery_it_is_evaluate_bit_by_bit(key, monkeypatch):
    """The weights; their error is a sum, whose order the compiler chooses (1 ulp)."""
    read, original = [], point._measure

    def spy(at, weights, noise):
        jax.debug.callback(lambda w: read.append(np.asarray(w)), weights["kernel"])
        return original(at, weights, noise)

    monkeypatch.setattr(point, "_measure", spy)
    network, hardware = put(Periphery())
    found = measure(network, hardware, numbers(1, {"read": np.ones(1)}), key)
    jax.effects_barrier()
    same = evaluate(
        tiny_study.METRICS[False], WORK.params, DEVICE, LAYERS, [1e5], chips=3, key=key
    )
    jax.effects_barrier()
    assert len(read) == 6
    bits = [{w.tobytes() for w in some} for some in (read[:3], read[3:])]
    assert bits[0] == bits[1] and len(bits[0]) == 3
    np.testing.assert_array_equal(found.metric[0], same.metric)
    errors = found.weight_rms_error[0], np.asarray(same.weight_rms_error)
    np.testing.assert_array_max_ulp(*errors, maxulp=1)


@pytest.mark.slow
def test_one_trace_for_all_points_and_a_digital_layer_is_digital(key, monkeypatch):
    """Factors of every kind and masks; the first mask leaves nothing analog."""
    traces, original = [], AnalogNetwork.at
    monkeypatch.setattr(
        AnalogNetwork, "at", lambda s, *a: traces.append(1) or original(s, *a)
    )
    network, hardware = put(FULL)
    digital = measure(network, hardware, numbers(1, {}, np.zeros((1, 1))), key)
    assert np.all(digital.metric == 1) and np.all(digital.loss < 1e-6)
    quiet = {n: np.zeros(2) for n in ("programming", "drift_mean", "read")}
    grown = {"adc": 16, "dac": 16, "output_noise": 4, "wires": 1e3, "programming": 20}
    for name, factor in grown.items():
        factors = quiet | {name: np.array([0.0 if name in quiet else 1.0, factor])}
        losses = measure(network, hardware, numbers(1, factors), key, chips=2).loss
        assert losses[1].mean() > 1.5 * losses[0].mean(), name
    assert len(traces) == 1


@pytest.mark.slow
def test_wires_act_on_the_array_of_every_device(key):
    network, hardware = put(Periphery(wires=3.0, rows=5, columns=3))
    g = jax.random.uniform(key, (8, 4, 4)) * 25
    rule = TileRule(rows=5, columns=3)
    through = network.through(hardware.wires)
    np.testing.assert_allclose(
        through("kernel", g), through_wires(g, rule, hardware.wires), rtol=1e-5
    )


def test_impair_multiplies_what_is_there_and_names_what_is_not():
    device = replace(DEVICE, faults=Faults(stuck_low=0.02))
    _, hardware = put(FULL, device)
    assert set(present(hardware)) == {
        "programming", "drift_mean", "drift_spread", "read", "stuck_low", "dac", "adc",
        "output_noise", "wires",
    } - ({"drift_mean", "drift_spread"} - set(present(hardware)))  # fmt: skip
    worse = impair(hardware, {"stuck_low": 100.0, "wires": 2.0, "adc": 2.0})
    assert float(worse.device.faults.stuck_low) == 1.0
    assert float(worse.wires.row) == 2.0
    np.testing.assert_allclose(worse.ios["kernel"].adc.codes, 127 / 2)
    np.testing.assert_allclose(value(hardware, "adc", 127 / 63, 1.0), 7.0)
    with pytest.raises(ValueError, match="`factors` must name imperfections"):
        impair(hardware, {"size": 2.0})


class Odd(nnx.Module):
    def __init__(self):
        self.kernel = nnx.Param(jnp.ones((8, 4)))

    def __call__(self, x):
        return x @ self.kernel[...]


def test_a_network_need_not_be_made_of_known_layers():
    x, y = np.ones((4, 8), np.float32), np.zeros(4, int)
    data = Splits(x=x, y=y, train_x=x, train_y=y, place="", split="")
    odd = workload(
        Odd(), data, metric="accuracy", items=None, weights="", name="odd",
        modality="image",
    )  # fmt: skip
    network = AnalogNetwork(work=odd, periphery=Periphery(adc_bits=4))
    np.testing.assert_allclose(network.ios(odd.params)["kernel"].adc.bound, 8.0)
    y = network.apply(network.ios(odd.params), odd.params, jnp.ones((1, 8)) / 3, None)
    np.testing.assert_allclose(y, 8 * np.round(7 / 3) / 7, rtol=1e-6)
    assert AnalogNetwork(work=odd).ios(odd.params) == {}  # only devices


def test_numbers_of_chips_times_and_items_share_a_trace(key, monkeypatch):
    """Calls are filled up: another number of each compiles nothing anew."""
    traces, original = [], AnalogNetwork.at
    monkeypatch.setattr(
        AnalogNetwork, "at", lambda s, *a: traces.append(1) or original(s, *a)
    )
    work = dataclasses.replace(WORK, batch=16)
    network, found = AnalogNetwork(work=work), {}
    for chips, times, items in ((4, 3, 64), (3, 1, 48), (2, 2, 17)):
        point = network.point(
            network.hardware(DEVICE), LAYERS,
            filled(jnp.asarray([1.0, 1e5, 1e7][:times])), network.first_items(items),
        )  # fmt: skip
        found[items] = Engine(chunk=2).measure(
            of_point, np.zeros(1), chip_keys(key, np.arange(chips)), point,
            times=times, items=items,
        )  # fmt: skip
    assert len(traces) == 1
    whole, some = found[64], found[17]
    np.testing.assert_array_equal(
        some.weight_rms_error, whole.weight_rms_error[:, :2, :2]
    )
    assert some.item_metric.shape == (1, 2, 17)


def test_any_number_of_points_shares_a_trace():
    double = chex.assert_max_traces(lambda point, shared: shared * point, n=1)
    for count in (2, 3, 7):
        points = jnp.arange(float(count))
        found = over_points(double, points, jnp.asarray(2.0), chunk=2)
        np.testing.assert_array_equal(found, 2 * np.arange(count))
