"""A memory of your own: a class and a function, then everything works with it.

The cells of this memory lose their charge by a stretched exponential, which no model
of the package does. What you write is the law twice, as samples and as quadrature
nodes, and a preset. To be fitted it needs nothing more.
"""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import tiny_study
from typer.testing import CliRunner

import anajax
from anajax import devices
from anajax._core.tree import replace
from anajax.cli import app
from anajax.devices import quadrature, records
from anajax.devices.curves import Constant, Polynomial
from anajax.devices.moments import conductance_moments
from anajax.mapping.hand import lsp_first
from anajax.studies.run import run

TIMES = (1e4, 1e5, 1e6, 5e6)


@devices.pytree
class StretchedLoss(devices.AbstractDrift):
    """g(t) = g_P exp(-(t / tau)^stretch), tau = median exp(spread z), z ~ N(0, 1).

    Device-to-device: each cell draws z once, with its programming.
    """

    median: Any = devices.within(0.0)
    """Lifetime of the middle cell, s."""
    spread: Any = devices.within(0.0)
    """Of ln tau between cells."""
    stretch: Any = devices.within(0.0, 1.0)

    def init(self, target, programmed, *, key):
        return jr.normal(key, jnp.shape(target), jnp.result_type(target))

    def evolve(self, target, programmed, state, *, t):
        return programmed * self._kept(state, t)

    def nodes(self, target, programmed, *, t):
        z = quadrature.standard_normal(target)
        value = programmed[..., None] * self._kept(z.value, t)
        return devices.Nodes(value=value, weight=z.weight)

    def _kept(self, z, t):
        tau = self.median * jnp.exp(self.spread * z)
        return jnp.exp(-((t / tau) ** self.stretch))


def my_memory(*, g_max=30.0, spread=0.8):
    """The preset: a range, the three stages, and where the numbers are from."""
    return devices.Device(
        name="my_memory",
        g_min=0.0,
        g_max=g_max,
        programming=devices.GaussianProgramming(
            sd=Polynomial(coefficients=[0.3, 0.9]), g_max=g_max
        ),
        drift=StretchedLoss(median=5e6, spread=spread, stretch=0.6),
        read=devices.GaussianRead(sd_curve=Constant(value=0.1), g_max=g_max),
        source="Measured in our laboratory",
        valid_times=(0.0, 1e7),
    )


@pytest.fixture(autouse=True, scope="module")
def quickly_compiled():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """For one test: a program says `devices.register(...)` once and for all."""
    monkeypatch.setattr(records, "_records", records.records())
    monkeypatch.setattr(records, "_presets", records.presets())
    devices.register(StretchedLoss, my_memory)


def test_the_sampler_has_the_moments(key):
    device, target = my_memory(), 20.0
    cells = devices.program(device, jnp.full(20000, target), key=key)
    for t in TIMES:
        aged = devices.age(device, cells, t=t)
        g = np.asarray(devices.read(device, aged, t=t, key=jr.fold_in(key, 1)))
        exact = conductance_moments(device, jnp.asarray(target), t=t)
        assert abs(g.mean() - exact.mean) < 4 * g.std() / np.sqrt(g.size)
        assert abs(g.std() / np.sqrt(exact.var) - 1) < 4 / np.sqrt(2 * g.size)


def test_a_strategy_is_searched_for_it(key):
    device, weights = my_memory(), 0.4 * jr.normal(key, (64,)).clip(-2, 2)
    found = anajax.optimize_strategy(
        device, weights, TIMES[:2], key=key, starts=1, steps=30, knots=5
    )
    assert found.info["history"][-1] < found.info["history"][0]


def test_any_weights_lie_on_it(key):
    """`evaluate` is the same, over chips and times: the study below runs it."""
    device, params = my_memory(), {"w": jr.normal(key, (8, 4))}
    worn = anajax.perturb(params, device, lsp_first(device), t=1e6, key=key)
    error = np.std(worn["w"] - params["w"]) / np.std(params["w"])
    assert 0.01 < error < 0.5


def test_device_files_hold_it(tmp_path):
    device = my_memory(spread=0.5)
    devices.save_device(device, tmp_path / "mine.json")
    back = devices.load_device(tmp_path / "mine.json")
    assert jax.tree.structure(back) == jax.tree.structure(device)
    assert float(back.drift.spread) == 0.5


@pytest.mark.slow
def test_it_is_fitted_to_its_own_draws(key):
    """Its likelihood is made from its nodes."""
    truth = my_memory()
    targets = 30.0 * np.random.default_rng(7).uniform(0.1, 1.0, 200)
    table = devices.measure(truth, targets, TIMES[1:3], key=key)
    start = devices.vary(truth, {"drift": 0.1}, key=jr.key(1))
    found = devices.fit_device(table, form=start, free=["drift"])
    assert found.converged and not found.form_rejected
    for name in ("median", "spread", "stretch"):
        value = found[f"drift.{name}"]
        true = float(getattr(truth.drift, name))
        assert abs(value.value - true) < 3 * value.se < 0.3 * true, value


def test_a_study_runs_on_it(tmp_path, monkeypatch):
    tiny_study.use(monkeypatch)
    device = {"name": "my_memory", "options": {"spread": 0.5}}
    study = tiny_study.prepared(tmp_path, device=device, strategies=["lsp_first"])
    data = run(study)
    assert np.all(data.weight_rms_error.sel(strategy="lsp_first") > 0)


def test_it_is_listed():
    result = CliRunner().invoke(app, ["devices"])
    assert "my_memory" in result.output and "our laboratory" in result.output


def test_without_registration_its_file_is_named(tmp_path, monkeypatch):
    """In a config `device: {python: ...}`, and `anajax devices FILE.py:FUNCTION`."""
    tiny_study.use(monkeypatch)
    device = {"python": f"{__file__}:my_memory"}
    study = tiny_study.prepared(tmp_path, device=device)
    assert "test_extend_memory.py" in study.folder.identity["device_files"]
    result = CliRunner().invoke(app, ["devices", device["python"]])
    assert result.exit_code == 0 and "our laboratory" in result.output


def test_registering_twice_changes_nothing():
    before = records.records(), records.presets()
    devices.register(my_memory, StretchedLoss)
    assert (records.records(), records.presets()) == before


def like(name, thing):
    thing.__name__ = name
    return thing


def test_what_cannot_be_registered_is_named():
    @devices.pytree
    class OtherLoss(StretchedLoss):
        pass

    @devices.pytree
    class Copy(StretchedLoss):
        pass

    @devices.pytree
    class Half(devices.AbstractDrift):
        pass

    def unknown():
        return replace(
            my_memory(), drift=OtherLoss(median=1.0, spread=1.0, stretch=0.5)
        )

    for thing, match in (
        (like("PowerLawDrift", Copy), "`PowerLawDrift` must have a name of its own"),
        (like("pcm", lambda: my_memory()), "`pcm` must have a name of its own.*models"),
        (Half, r"`Half` must define its methods.*evolve"),
        (like("Bare", type("Bare", (), {})), "`Bare` must be a record"),
        (unknown, "`unknown` must be made of registered records.*Loss"),
        (like("none", lambda: None), "`none` must return a Device: got NoneType"),
        (like("some", lambda g: my_memory()), r"`some` must have defaults.*'g'"),
        ("my_memory", "must be a record or a function with a name"),
    ):
        with pytest.raises(ValueError, match=match):
            devices.register(thing)


def test_python_files_with_a_mistake_are_named(tmp_path, monkeypatch):
    tiny_study.use(monkeypatch)
    (tmp_path / "bad.py").write_text("1 / 0\n")
    (tmp_path / "good.py").write_text("def wrong(): return 3\n")
    for place, error, match in (
        ("bad.py:f", ValueError, "file that runs.*bad.py: got ZeroDivisionError"),
        ("good.py:f", ValueError, "function of good.py: got no such name"),
        ("good.py:wrong", ValueError, "`device` must be a Device: got 3"),
        ("none.py:f", FileNotFoundError, "none.py"),
        ("good.json", ValueError, "`device.python` must name a Python file"),
    ):
        with pytest.raises(error, match=match):
            tiny_study.prepared(
                tmp_path / "out", device={"python": f"{tmp_path}/{place}"}
            )
