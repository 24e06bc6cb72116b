"""A kind of study of your own: a config, a class and a record, then all works with it.

This kind asks how long a network lives: until when chips stay within `gap` of the
digital network. What you write is the section of a config, what is measured, and what
is shown; `register` makes it known. Saving, resuming, meshes, figures, the page and
tables in the terminal come with it.
"""

import dataclasses
from functools import partial
from typing import Literal

import numpy as np
import pytest
import tiny_study
import xarray as xr
from jax.sharding import Mesh

from anajax.analysis.engine import Engine
from anajax.analysis.workload import Workload
from anajax.studies import run
from anajax.studies.config.on_hardware import HardwareConfig
from anajax.studies.config.sections import Positive
from anajax.studies.kinds import catalog
from anajax.studies.kinds.base import Kind
from anajax.studies.load import validate
from anajax.studies.plan import Deployed, deploy, engine_of, measure
from anajax.studies.programs import Programs
from anajax.studies.report import assumptions, report, results, terminal
from anajax.studies.report.blocks import Block, Drawing, format_of, table
from anajax.studies.report.plots import band, log_places, panels, time_axis
from anajax.studies.report.statistics import lost
from anajax.studies.store.parts import Parts


class LifetimeConfig(HardwareConfig):
    """Keys beside those of all studies: device, strategy, times, chips and so on."""

    study: Literal["lifetime"]
    gap: Positive = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lifetime:
    """A study whose inputs are all there and valid."""

    config: LifetimeConfig
    work: Workload
    deployed: Deployed
    engine: Engine
    parts: int = 1

    def run(self, parts: Parts, digital: np.ndarray) -> xr.Dataset:
        """Measure what is not saved, and label it."""
        config, d = self.config, self.deployed

        def compute(draft):
            programs = Programs(config, d.network, d.case, parts)
            placed = d.placed(programs.of(config.strategy))
            found = measure(config, self.engine, placed, config.times, kept=draft)
            return found.of(0)

        data = results.measures(self.work, parts.get("chips", compute), ())
        worse = np.abs(digital.mean() - data[self.work.metric]) > config.gap
        times = xr.DataArray(np.asarray(config.times), dims="time")
        first = times.where(worse, np.inf).min("time")  # of being too far off
        lives = times.where(times < first, 0.0).max("time")
        return data.merge(results.times(config.times, d.case.extrapolated)).merge(
            results.devices({d.device.name: d.device})
        ).assign(lifetime=lives.assign_attrs(units="s"))  # fmt: skip


def prepare(config: LifetimeConfig, work: Workload, mesh: Mesh | None) -> Lifetime:
    """Check all inputs."""
    return Lifetime(
        config=config,
        work=work,
        deployed=deploy(config, work),
        engine=engine_of(config, mesh),
    )


def blocks(data: xr.Dataset, _) -> list[Block]:
    """A table with its figure, which the terminal shows, too."""
    middle = float(data.lifetime.median())
    return [
        Block(
            title=f"Half of the chips live for {middle:g} s",
            text="Loss against the digital network, ± standard error.",
            **table(lost(data), format_of(data), rows=()),
            drawings=[Drawing("loss", "Loss over time", partial(figure, data))],
            summary=True,
        )
    ]


def figure(data: xr.Dataset):
    """The loss over time in a band."""
    show, found = format_of(data), lost(data)

    def draw(axis):
        x = log_places(data.time.values)
        value, error = (show.factor * found[n].values for n in ("value", "error"))
        band(axis, x, value, error, "mean ± standard error")
        time_axis(axis, data.time.values, data.extrapolated.values == 1)

    label = f"loss ({show.points})"
    return panels([("", draw)], xlabel="time after programming", ylabel=label)


LIFETIME = Kind(
    name="lifetime",
    config=LifetimeConfig,
    prepare=prepare,
    title=lambda data: f"How long {data.attrs['workload']} lives",
    blocks=blocks,
    assumptions=assumptions.hardware,
)
CONFIG = {
    "study": "lifetime",
    "workload": {"name": "digits"},
    "device": {"name": "state_independent"},
    "strategy": "single_pair",
    "times": ["1 s", "1 h", "1 month"],
    "chips": 3,
    "gap": 0.1,
}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """For one test: a program says `catalog.register(...)` once and for all."""
    tiny_study.use(monkeypatch)
    monkeypatch.setattr(catalog, "_kinds", catalog.kinds())
    catalog.register(LIFETIME)


def test_a_study_runs_to_a_page_and_goes_on(tmp_path):
    data = run.run(run.prepare(validate(CONFIG), out=tmp_path))
    loss = 1 - data.accuracy.values
    for chip, lives in enumerate(data.lifetime.values):
        assert np.all(loss[chip, data.time.values <= lives] <= 0.1)
    page = report.write_report(tmp_path).read_text(encoding="utf-8")
    for text in ("How long digits lives", "3 chips", "Half of the chips", "jax 0."):
        assert text in page
    figures = {path.name for path in (tmp_path / "figures").iterdir()}
    assert figures == {"loss.png", "loss.svg"}
    (shown,) = terminal.summary(data)
    assert shown.row_count == 1
    again = run.run(run.prepare(validate(CONFIG), out=tmp_path, resume=True))
    assert again.equals(data)


def test_mistakes_in_its_config_are_named():
    with pytest.raises(ValueError, match="`gap` must be .*above 0"):
        validate(CONFIG | {"gap": -1})
    with pytest.raises(ValueError, match="gaps"):
        validate(CONFIG | {"gaps": 1})


def test_what_is_not_registered_is_named(tmp_path, monkeypatch):
    run.run(run.prepare(validate(CONFIG), out=tmp_path))
    monkeypatch.setattr(catalog, "_kinds", {})
    with pytest.raises(ValueError, match="Register yours with .*catalog.register"):
        report.write_report(tmp_path)
    with pytest.raises(ValueError, match="`study` must name a kind of study"):
        validate(CONFIG)


def test_a_kind_of_the_package_is_not_replaced():
    with pytest.raises(ValueError, match="`name` must be one of your own: got 'sweep'"):
        catalog.register(dataclasses.replace(LIFETIME, name="sweep"))
    catalog.register(LIFETIME)
    assert catalog.kinds()["lifetime"] is LIFETIME
