"""Elasticities of loss and weight error: finite differences with common keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from anajax import chip, devices
from anajax._core.tree import replace
from anajax._core.units import unit_at
from anajax.analysis.elasticities import Elasticities, _together, elasticities, per_chip
from anajax.analysis.hardware import Periphery, bare, impair
from anajax.analysis.network import AnalogNetwork
from anajax.analysis.points import chip_keys
from anajax.analysis.workload import Splits, workload
from anajax.crossbar.periphery import NoNoise
from anajax.devices import presets
from anajax.devices.faults import Faults
from anajax.mapping import hand as strategies

MONTH = 30 * 86400.0
AT = jnp.asarray([MONTH]), None


class Two(nnx.Module):
    def __init__(self):
        self.first = nnx.Linear(6, 8, rngs=nnx.Rngs(0), param_dtype=jnp.float64)
        self.last = nnx.Linear(8, 4, rngs=nnx.Rngs(1), param_dtype=jnp.float64)

    def __call__(self, x):
        return self.last(jnp.tanh(self.first(x)))


def setup(model, section, device):
    x = np.random.default_rng(0).normal(size=(48, 6))
    data = Splits(x=x, y=np.zeros(48, int), train_x=x, train_y=x, place="", split="")
    work = workload(
        model, data, metric="accuracy", items=None, weights="", name="", modality=""
    )
    network = AnalogNetwork(work=work, periphery=section)
    hardware = network.hardware(device)
    layers = chip.encode_weights(work.params, strategies.lsp_first(device))
    return network, hardware, layers, jnp.asarray(x)


def central(network, hardware, layers, x, name, keys, step=1e-4):
    """d ln of the mean loss and of the mean weight error / d ln of a factor."""

    def means(factor):
        changed = impair(hardware, {name: factor})
        return per_chip(network, changed, layers, x, AT, keys)[0].mean(0)

    return (means(1 + step) - means(1 - step)) / (2 * step) / means(1.0)


@pytest.mark.slow
def test_elasticities_are_finite_differences(key, x64):
    """Device, faults, output noise and wires of one layer; 1 %, common keys."""
    device = bare(replace(devices.pcm(), faults=Faults(stuck_low=0.02)))
    section = Periphery(output_noise=0.05, wires=20.0)
    model = nnx.Linear(6, 4, rngs=nnx.Rngs(0), param_dtype=jnp.float64)
    network, hardware, layers, x = setup(model, section, device)
    found = elasticities(network, hardware, layers, x, MONTH, key=key, chips=3)
    keys = chip_keys(key, jnp.arange(3))
    together = {
        "programming": ["device/programming/scale"],
        "drift_spread": ["device/drift/spread_scale"],
        "read": ["device/read/scale"],
        "stuck_low": ["device/faults/stuck_low"],
        "output_noise": ["periphery/noise/sd"],
        "wires": ["wires/row", "wires/column"],
    }
    for name, paths in together.items():
        numeric = central(network, hardware, layers, x, name, keys)
        columns = [found.parameters.index(p) for p in paths]
        np.testing.assert_allclose(
            found.elasticity[:, columns].sum(1), numeric, rtol=1e-2, atol=1e-6,
            err_msg=name,
        )  # fmt: skip
        assert np.all(found.error[0, columns] > 0)
    assert not any("g_max" in p or "levels" in p for p in found.parameters)


@pytest.mark.slow
def test_layers_count_together(key, x64):
    """Bounds of both ADCs grow by the same share; without steps the slope is exact."""
    from anajax.crossbar.converters import Clip

    device = bare(devices.state_independent())
    network, hardware, layers, x = setup(Two(), Periphery(adc_bits=8), device)
    ios = {
        p: replace(io, adc=Clip(bound=0.5 * io.adc.bound), noise=NoNoise())
        for p, io in hardware.ios.items()
    }
    hardware = replace(hardware, ios=ios)
    keys = chip_keys(key, jnp.arange(3))
    found = elasticities(network, hardware, layers, x, MONTH, key=key, chips=3)
    i = found.parameters.index("periphery/adc/bound")

    def loss(factor):
        wider = {
            p: replace(io, adc=Clip(bound=factor * io.adc.bound))
            for p, io in ios.items()
        }
        changed = replace(hardware, ios=wider)
        return per_chip(network, changed, layers, x, AT, keys)[0].mean(0)[0]

    step = 1e-5
    numeric = (loss(1 + step) - loss(1 - step)) / (2 * step) / loss(1.0)
    np.testing.assert_allclose(found.elasticity[0, i], numeric, rtol=1e-2)
    assert abs(numeric) > 0.1


def test_columns_of_layers_of_any_width_count_together():
    """Bounds by column: one factor on all of them, in layers of 2 and of 3 columns."""
    bounds = {"a": jnp.asarray([[0.0, 2.0]]), "b": jnp.asarray([[1.0, 4.0, 0.5]])}
    slopes = {"a": jnp.ones((7, 2, 1, 2)), "b": 3 * jnp.ones((7, 2, 1, 3))}

    def made(values):
        return {"ios": {p: {"adc": {"bound": v}} for p, v in values.items()}}

    ((name, value, product),) = _together(made(bounds), made(slopes))
    assert name == "periphery/adc/bound" and value == 2.0
    np.testing.assert_allclose(product, np.full((7, 2), 2.0 + 3 * 5.5))


@pytest.mark.slow
def test_the_slope_through_steps_is_that_of_their_noise(key, x64):
    """The secant of the mean loss over a factor 1.5 of steps, against mean slopes.

    Single steps make the loss jump, so that only the mean over a range compares; 10 %.
    """
    device = bare(devices.ideal())
    network, hardware, layers, x = setup(Two(), Periphery(adc_bits=5), device)
    x = jax.random.normal(key, (4096, 6), jnp.float64)
    keys = chip_keys(key, jnp.arange(2))
    factors = np.geomspace(1 / 1.5, 1.5, 41)

    def at(factor):
        changed = impair(hardware, {"adc": factor})
        value, slope = per_chip(network, changed, layers, x, AT, keys)
        ios = zip(changed.ios.values(), slope.ios.values(), strict=True)
        slopes = [io.adc.codes * s.adc.codes[0, 0] for io, s in ios]
        return float(value[0, 0]), -float(sum(slopes))  # d / d ln step

    losses, slopes = np.array([at(f) for f in factors]).T
    secant = losses[-1] - losses[0]
    mean = np.trapezoid(slopes, np.log(factors))
    np.testing.assert_allclose(mean, secant, rtol=0.1)


@pytest.mark.slow
def test_elasticities_are_zero_where_nothing_is_lost_yet(key):
    """Drift alone at 0 s; and a device without any number has no elasticity."""
    device = bare(
        replace(
            devices.state_independent(nu=0.0),
            programming=devices.NoProgrammingError(),
            read=devices.NoReadNoise(),
        )
    )
    model = nnx.Linear(6, 4, rngs=nnx.Rngs(0))
    network, hardware, layers, x = setup(model, Periphery(), device)
    x = x.astype(jnp.float32)
    found = elasticities(network, hardware, layers, x, 0.0, key=key, chips=2)
    drift = [p.startswith("device/drift") for p in found.parameters]
    assert sum(drift) > 3 and np.all(found.elasticity[:, drift] == 0)
    assert np.all(np.isfinite(found.elasticity)) and np.all(np.isfinite(found.error))


@pytest.mark.parametrize(
    ("changes", "match"), [(dict(chips=1), "chips"), (dict(t=-1.0), "t")]
)
def test_bad_arguments_are_named(key, changes, match):
    args = dict(t=1.0, key=key, chips=2) | changes
    with pytest.raises(ValueError, match=match):
        elasticities(None, None, {}, np.ones(2), args.pop("t"), **args)


def test_elasticities_are_a_table():
    """Numbers with an effect, the largest on the loss first, with units."""
    found = Elasticities(
        parameters=("a", "b", "none"),
        value=np.array([0.5, 2.0, 1.0]),
        units=("", "uS", ""),
        elasticity=np.array([[0.1, -1.5, 0.0], [0.3, 0.2, 0.0]]),
        error=np.array([[0.01, 0.2, 0.0], [0.03, 0.04, 0.0]]),
        output=np.ones((2, 4)),
    )
    head, first, second = found.table().splitlines()
    assert head.split()[:4] == ["parameter", "value", "loss", "(%/%)"]
    assert first.split() == ["b", "2", "uS", "-1.500", "0.200", "+0.200", "0.040"]
    assert second.split()[0] == "a"


@pytest.mark.parametrize(
    ("name", "path", "unit"),
    [
        ("pcm", "g_max", "uS"),
        ("pcm", "programming/sd/coefficients/1", "uS"),
        ("pcm", "drift/nu_mean/low", ""),
        ("pcm", "drift/t0", "s"),
        ("pcm", "read/q/exponent", ""),
        ("pcm_hermes", "read/q/below/coefficients/0", ""),
        ("flash_sonos", "read/sd_curve/width", ""),
        ("flash_sonos", "drift/spread/total/amplitude/2", "uS"),
        ("flash_sonos", "drift/shift/loss_exponent", ""),
        ("flash_sonos", "drift/shift/loss", "uS"),
        ("flash_floating_gate", "programming/swing", "V"),
        ("mram_stt", "programming/scale", ""),
    ],
)
def test_values_have_the_units_of_their_classes(name, path, unit):
    assert unit_at(presets()[name](), path) == unit


def test_units_are_those_of_fields_that_exist():
    """A field that is renamed must not lose its unit without notice."""
    for make in presets().values():
        records = [make()]
        while records:
            record = records.pop()
            fields = getattr(record, "__dataclass_fields__", {})
            assert set(getattr(type(record), "UNITS", {})) <= set(fields)
            records += [getattr(record, field) for field in fields]
