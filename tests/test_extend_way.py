"""A way to program of your own: a class, then studies, results and reports know it.

This one is a single pair that leaves the ends of the range alone, where conductances
are programmed worst. What you write is a name, what it is compared as, its options, and
what goes on the chips.
"""

import jax.numpy as jnp
import numpy as np
import pytest
import tiny_study
from pydantic import Field

from anajax import chip
from anajax.mapping.hand import single_pair
from anajax.studies.load import validate
from anajax.studies.report.report import write_report
from anajax.studies.run import prepare, run
from anajax.studies.ways import catalog
from anajax.studies.ways.base import Table, Way
from anajax.studies.ways.site import Program, Site


class Careful(Table):
    """A table of targets over weight values, the same one for all layers."""

    name: str = "careful"
    family = "hand"
    room: float = Field(
        default=0.2, ge=0, lt=1, description="a share of the range, 0 up to 1"
    )

    def strategies(self, site: Site):
        return single_pair(site.device, k=1 - self.room)


class Halved(Way):
    """No table: every weight has targets of its own, here those of half the weight."""

    name: str = "halved"
    family = "optimized"

    def build(self, site: Site) -> Program:
        strategy = single_pair(site.device)
        layers = chip.encode_weights(site.params, strategy)
        far = jnp.asarray(site.device.g_min)
        halves = {
            path: chip.replace(layer, targets=far + (layer.targets - far) / 2)
            for path, layer in layers.items()
        }
        return site.of_layers(halves, {})


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """For one test: a program says `catalog.register(...)` once and for all."""
    tiny_study.use(monkeypatch)
    monkeypatch.setattr(catalog, "_ways", catalog.ways())
    catalog.register(Careful, Halved)


def test_a_study_compares_them_with_the_others(tmp_path):
    ways = ["single_pair", {"name": "careful", "room": 0.5}, "halved"]
    data = run(tiny_study.prepared(tmp_path / "a", strategies=ways))
    assert data.family.values.tolist() == ["digital", "hand", "hand", "optimized"]
    error = data.weight_rms_error.mean("chip").sel(time=1.0)
    assert error.sel(strategy="halved") > 0.1 > error.sel(strategy="single_pair") > 0
    measured, exact = data.weight_rms_error.mean("chip"), data.expected_rms_error
    np.testing.assert_allclose(measured[1:], exact[1:], rtol=0.5)


@pytest.mark.slow
def test_a_report_says_how_they_do(tmp_path):
    run(tiny_study.prepared(tmp_path / "a", strategies=["careful", "halved"]))
    page = write_report(tmp_path / "a").read_text(encoding="utf-8")
    assert (
        "Optimized minus the best hand-designed strategy" in page and "careful" in page
    )
    assert "No table over weights describes halved" in page


def test_it_is_also_a_way_of_sweeps(tmp_path):
    """A key of its own on an axis; and one that is no table."""
    one = {k: tiny_study.CONFIG[k] for k in ("workload", "device", "times", "chips")}
    points = {"sweep": {"points": [{"strategy.room": 0.0}, {"strategy.room": 0.8}]}}
    asked = one | {"study": "sweep", "strategy": "careful"} | points
    data = run(prepare(validate(asked), out=tmp_path / "a"))
    noise = data.weight_rms_error.mean("chip").isel(time=0)
    assert noise[1] > 1.1 * noise[0]
    halved = asked | {"strategy": "halved", "sweep": {"points": [{"seed": 1}]}}
    once = run(prepare(validate(halved), out=tmp_path / "b"))
    assert np.all(once.weight_rms_error > 0)


class Roomy(Careful):
    """Another strategy with an option of the same name."""

    name: str = "roomy"
    room: float = Field(default=0.5, lt=1, description="quite another room")


def test_each_strategy_explains_its_own_options(tmp_path):
    """Also one in a file, and one that another strategy chooses among."""
    catalog.register(Roomy)
    (tmp_path / "own.py").write_text(
        "from pydantic import Field\n"
        "from anajax.studies.ways.tables import SinglePair\n\n"
        "class Own(SinglePair):\n"
        '    name: str = "own"\n'
        '    room: float = Field(default=0.1, lt=1, description="a room in a file")\n'
    )
    for entry, text in (
        ({"name": "careful", "room": 1}, "Give a share of the range, 0 up to 1."),
        ({"name": "roomy", "room": 1}, "Give quite another room."),
        ({"python": "own.py:Own", "room": 1}, "Give a room in a file."),
        ({"name": "lsp_first", "k": -1}, "Give the digital scale relative to the full"),
    ):
        with pytest.raises(ValueError, match=r"must be") as error:
            validate(tiny_study.CONFIG | {"strategies": [entry]}, folder=tmp_path)
        assert text in str(error.value)


def test_its_options_are_checked_with_the_others():
    for entry, match in (
        (
            {"name": "careful", "room": 1},
            r"`strategies.0.room` must be below 1.*share",
        ),
        ({"name": "careful", "rom": 0}, "no `rom` for careful.*Did you mean 'room'"),
        ({"name": "single_pair", "room": 0}, "no `room` for single_pair.*only careful"),
        ({"name": "carefull"}, "Did you mean 'careful'"),
    ):
        with pytest.raises(ValueError, match=match):
            validate(tiny_study.CONFIG | {"strategies": [entry]})


def test_without_registration_its_file_is_named(tmp_path, monkeypatch):
    """Relative to the config; the file is part of the study."""
    monkeypatch.setattr(catalog, "_ways", dict(list(catalog.ways().items())[:-2]))
    own = "from tests.test_extend_way import Careful as Base\nclass Own(Base):\n"
    (tmp_path / "mine.py").write_text(own + "    name: str = 'own'\n")
    entry = {"python": "mine.py:Own", "room": 0.1}
    config = validate(tiny_study.CONFIG | {"strategies": [entry]}, folder=tmp_path)
    study = prepare(config, out=tmp_path / "a")
    assert "mine.py" in study.folder.identity["device_files"]
    asked = study.folder.identity["config"]["strategies"][0]
    assert asked["python"] == "mine.py:Own" and asked["room"] == 0.1
    for place, error, match in (
        ("none.py:Own", FileNotFoundError, "none.py"),
        ("mine.py:Other", ValueError, "class or function of mine.py: got no such name"),
        ("mine.json", ValueError, "name a Python file"),
    ):
        with pytest.raises(error, match=match):
            asked = {"strategies": [{"python": place}]}
            validate(tiny_study.CONFIG | asked, folder=tmp_path)


def test_what_cannot_be_registered_is_named():
    class Unnamed(Halved):
        name: str

    class Half(Way):
        name: str = "half"
        family = "hand"

    class Strange(Halved):
        name: str = "strange"
        family = "mine"

    class Taken(Halved):
        name: str = "lsp_first"

    for thing, match in (
        (int, "must be a class below Way: got int"),
        (Unnamed, "`Unnamed` must have a name"),
        (Half, r"`Half` must define its methods.*build"),
        (Strange, "`Strange` must have a family of .*'hand'"),
        (Taken, "`lsp_first` must have a name of its own.*tables.LspFirst"),
    ):
        with pytest.raises(ValueError, match=match):
            catalog.register(thing)
    catalog.register(Careful, Halved)
