"""A network behind its periphery, and studies of strategies there."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_study
from flax import nnx

import anajax
from anajax import chip, devices
from anajax.analysis.hardware import Periphery
from anajax.analysis.network import AnalogNetwork
from anajax.analysis.point import one_chip
from anajax.analysis.points import chip_keys, filled, over_points
from anajax.analysis.workload import Splits, workload
from anajax.mapping import hand as strategies
from anajax.nn.norm import recalibrate_norms
from anajax.studies import run
from anajax.studies.report import report

PERIPHERY = {
    "dac_bits": 6, "adc_bits": 9, "output_noise": 0.02, "wires": 2.0, "rows": 5,
}  # fmt: skip


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    tiny_study.use(monkeypatch)


@pytest.mark.slow
def test_a_study_behind_a_periphery_is_the_system_on_that_hardware(
    tmp_path, monkeypatch
):
    """As one chip after the other, item by item and in parts of chips."""
    calls, original = [], AnalogNetwork._calibrated
    monkeypatch.setattr(
        AnalogNetwork, "_calibrated", lambda s, p: calls.append(1) or original(s, p)
    )
    asked = {"strategies": ["lsp_first"], "periphery": PERIPHERY, "save_every": 2}
    data = run.run(tiny_study.prepared(tmp_path / "a", **asked))
    assert len(calls) == 1  # ranges are set once
    network = AnalogNetwork(
        work=tiny_study.tiny_workload("digits"), periphery=Periphery(**PERIPHERY)
    )
    device = devices.state_independent()
    hardware = network.hardware(device)
    layers = chip.encode_weights(network.work.params, strategies.lsp_first(device))
    times = filled(jnp.asarray(data.time.values, float))
    point = network.point(hardware, layers, times, network.items)
    found = over_points(
        lambda key, _: one_chip(point, key), chip_keys(anajax.key(0), jnp.arange(3))
    )
    found = {name: v[:, :2] for name, v in found.items()}
    one = data.sel(strategy="lsp_first").isel(device=0)
    metric, loss = (found[n][..., :64].mean(-1) for n in ("metric", "loss"))
    np.testing.assert_allclose(one.loss, loss, rtol=2e-5)
    np.testing.assert_allclose(one.accuracy, metric, atol=1e-6)
    error = found["weight_rms_error"]
    np.testing.assert_allclose(one.weight_rms_error, error, rtol=1e-4)
    mean = one.item_accuracy.mean("item")
    np.testing.assert_allclose(mean, one.accuracy.mean("chip"), atol=1e-6)
    parts = sorted(p.name for p in (tmp_path / "a/parts").iterdir())
    assert parts == ["state_independent-lsp_first.npz"]
    page = report.write_report(tmp_path / "a").read_text(encoding="utf-8")
    assert "6-bit DAC, 9-bit ADC, output noise of 0.02" in page
    plain = run.run(tiny_study.prepared(tmp_path / "b", strategies=["lsp_first"]))
    assert float(plain.accuracy.mean()) > float(data.accuracy.mean())


@pytest.mark.slow
def test_ranges_follow_the_trained_weights():
    """Twice the weights call for twice the range; fine converters change nothing."""
    work = tiny_study.tiny_workload("digits")
    network = AnalogNetwork(work=work, periphery=Periphery(dac_bits=16, adc_bits=16))
    twice = jax.tree.map(lambda v: 2 * v, work.params)
    a, b = (network.ios(p)["kernel"] for p in (work.params, twice))
    np.testing.assert_allclose(b.adc.bound, 2 * a.adc.bound, rtol=1e-6)
    found = network.metric(twice)(twice, jax.random.key(0))
    np.testing.assert_array_equal(found, 1)


@pytest.mark.slow
def test_a_rare_large_input_need_not_set_the_range():
    """One input of a thousand is 300 times the others: it leaves them no steps."""
    work = tiny_study.tiny_workload("digits")
    rare = work.calibration.at[0, 0].set(300.0)
    work = dataclasses.replace(work, calibration=rare)
    fits = {
        share: AnalogNetwork(
            work=work, periphery=Periphery(dac_bits=8, inputs=share)
        ).metric(work.params)
        for share in (1.0, 0.99)
    }
    key = jax.random.key(0)
    all_of_it, most = (float(m(work.params, key).mean()) for m in fits.values())
    assert most == 1 and all_of_it < 0.95


class Normed(nnx.Module):
    """Two convolutions with norms, and a classifier."""

    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Conv(1, 4, (3, 3), rngs=rngs)
        self.one = nnx.BatchNorm(4, use_running_average=True, rngs=rngs)
        self.second = nnx.Conv(4, 4, (3, 3), strides=2, rngs=rngs)
        self.two = nnx.BatchNorm(4, use_running_average=True, rngs=rngs)
        self.classes = nnx.Linear(4, 10, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.one(self.first(x)))
        return self.classes(nnx.relu(self.two(self.second(x))).mean((1, 2)))


@pytest.fixture(scope="module")
def normed():
    """A network with batch norms whose averages are those of its inputs."""
    random = np.random.default_rng(0)
    x = random.normal(size=(160, 8, 8, 1)).astype(np.float32)
    net = Normed(nnx.Rngs(0))
    net = recalibrate_norms(net, [jnp.asarray(x[:64])])
    y = random.integers(0, 10, 160).astype(np.int32)
    splits = Splits(
        x=x[64:], y=y[64:], train_x=x[:64], train_y=y[:64], place="", split=""
    )
    return workload(
        net, splits, name="normed", modality="image", metric="accuracy", items=32,
        weights="", batch=64,
    )  # fmt: skip


def gained(params, factor=3.0):
    """All kernels of convolutions times a factor that norms can take out."""
    return jax.tree_util.tree_map_with_path(
        lambda path, v: factor * v if v.ndim == 4 else v, params
    )


@pytest.mark.parametrize(
    "periphery",
    [Periphery(), pytest.param(Periphery(adc_bits=16), marks=pytest.mark.slow)],
)
def test_norms_measured_on_the_chip_take_out_the_gain_of_layers(normed, periphery):
    """Up to the epsilon of the norms; without them the network is another one."""
    key, more, x = jax.random.key(0), gained(normed.params), normed.calibration
    exact = normed.apply(normed.params, x)
    distance = {}
    for norms in (True, False):
        network = AnalogNetwork(work=normed, periphery=periphery, norms=norms)
        ios, onto = network.ios(more), jax.jit(network.apply)
        found = onto(ios, more, x, key)
        distance[norms] = float(jnp.abs(found - exact).max())
        metric = jax.jit(network.metric(more))(more, key)
        found = onto(ios, more, normed.x, key)
        np.testing.assert_array_equal(metric, normed.metric_fn(found, normed.y))
    assert distance[True] < 2e-3 < 0.1 < distance[False]


def test_training_sees_the_statistics_of_each_batch(normed):
    """As on the chip; the digital network keeps its own."""
    learner = AnalogNetwork(work=normed, norms=True)
    x = normed.calibration
    exact = normed.apply(normed.params, x)
    found = learner.learned(gained(normed.params), x)
    np.testing.assert_allclose(found, exact, atol=2e-3)
    assert AnalogNetwork(work=normed).learned is normed.apply


@pytest.mark.slow
def test_training_goes_behind_the_converters_of_the_study(normed):
    """Coarse ones, with the ranges of the digital network; gradients go through."""
    work, x = tiny_study.tiny_workload("digits"), jnp.linspace(-2, 2, 64).reshape(8, 8)
    noisy = Periphery(dac_bits=3, adc_bits=4, output_noise=0.5)
    learner = AnalogNetwork(work=work, periphery=noisy)
    quiet = dataclasses.replace(noisy, output_noise=0.0)
    network = AnalogNetwork(work=work, periphery=quiet)
    found = learner.learned(work.params, x)
    expected = network.apply(network.ios(work.params), work.params, x, None)
    np.testing.assert_array_equal(found, expected)
    assert float(jnp.abs(found - work.apply(work.params, x)).max()) > 0.05
    slopes = jax.grad(lambda p: learner.learned(p, x).sum())(work.params)
    assert float(jnp.abs(slopes["kernel"]).min()) > 0
    one = AnalogNetwork(work=normed, periphery=Periphery(adc_bits=16), norms=True)
    more = gained(normed.params, 0.5)  # within the range of the ADC
    plain = AnalogNetwork(work=normed, norms=True).learned
    inputs = normed.calibration
    np.testing.assert_allclose(
        one.learned(more, inputs), plain(more, inputs), atol=5e-3
    )


def test_norms_need_a_network_that_has_some():
    work = tiny_study.tiny_workload("digits")
    with pytest.raises(
        ValueError, match=r"compensation.norms` must be false .* digits"
    ):
        AnalogNetwork(work=work, norms=True)


def test_gap_to_digital_has_the_error_of_chips_and_of_items():
    import xarray as xr

    from anajax.studies.report.statistics import lost

    random = np.random.default_rng(0)
    right = random.random((40, 1, 300)) < 0.8  # [chips times items]
    exact = np.ones(300)
    data = xr.Dataset(
        {
            "accuracy": (
                ("strategy", "chip", "time"),
                np.stack([np.ones((40, 1)), right.mean(-1)]),
            ),
            "item_accuracy": (
                ("strategy", "time", "item"),
                np.stack([exact[None], right.mean(0)]),
            ),
            "digital_item_accuracy": ("item", exact),
        },
        coords={"strategy": ["digital", "a"]},
        attrs={"metric": "accuracy", "better": "higher"},
    )
    found = lost(data).sel(strategy="a")
    loss, error = float(found["value"][0]), float(found["error"][0])
    assert loss == pytest.approx(1 - right.mean())
    chips = right.mean(-1).std(ddof=1) / np.sqrt(40)
    items = right.mean(0).std(ddof=1) / np.sqrt(300)
    assert error == pytest.approx(np.hypot(chips, items))
