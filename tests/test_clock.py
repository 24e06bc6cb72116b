"""The time left of a study: within 30 % from the second part on."""

import io

import numpy as np
import pytest
import tiny_study
from rich.console import Console
from test_every_kind import KINDS

from anajax.cli import progress
from anajax.studies import run
from anajax.studies.load import validate
from anajax.studies.report import terminal
from anajax.studies.store.clock import Ahead, Clock


class Study:
    """A study on a clock of its own: parts that search, learn in steps, measure chips.

    Args:
        parts: seconds of each: before anything is told, of its steps, and of its chips.
        chips: that are told of one by one.
        compiles: seconds before the first chip of the first part.
    """

    def __init__(self, parts, *, chips=10, compiles=20.0, seed=0, ahead=()):
        self.time, self.parts, self.chips = 0.0, parts, chips
        self.compiles, self.random = compiles, np.random.default_rng(seed)
        self.clock = Clock(len(parts), lambda: self.time, ahead)

    def run(self):
        """Times, and what the clock says is left at them, from the second part on."""
        told = []
        for i, (once, steps, chips) in enumerate(self.parts):
            self.time += once
            for k in range(5 if steps else 0):
                self.time += steps / 5 * self.random.uniform(0.9, 1.1)
                self.clock.within("steps", (k + 1) / 5)
                told.append((i, self.time, self.clock.left()))
            self.time += self.compiles * (i == 0)
            for k in range(self.chips):
                self.time += chips / self.chips * self.random.uniform(0.8, 1.2)
                self.clock.within("chips", (k + 1) / self.chips)
                told.append((i, self.time, self.clock.left()))
            self.clock.finish()
            told.append((i, self.time, self.clock.left()))
        return [(self.time - t, left) for i, t, left in told if i]


ALIKE = {
    "chips alone": [(0.0, 0.0, 30.0)] * 5,
    "searches": [(12.0, 0.0, 30.0)] * 5,
    "steps": [(0.0, 40.0, 30.0)] * 4,
    "many short": [(0.1, 0.0, 1.0)] * 40,
}


@pytest.mark.parametrize("name", ALIKE)
@pytest.mark.parametrize("compiles", [0.0, 5.0, 60.0])
def test_the_time_left_is_right_from_the_second_part_on(name, compiles):
    for seed in range(5):
        for true, left in Study(ALIKE[name], compiles=compiles, seed=seed).run():
            whole = sum(map(sum, ALIKE[name]))
            assert abs(left - true) < 0.3 * true + 0.02 * whole, (true, left)


LEARNED, FOUND, HAND = (1.0, 200.0, 30.0), (10.0, 0.0, 30.0), (0.5, 0.0, 30.0)
UNLIKE = {
    "a learned one first": [LEARNED, *[HAND] * 4],
    "several learned": [*[LEARNED] * 3, FOUND, HAND, HAND],
    "devices": [LEARNED, FOUND, HAND] * 6,
}


@pytest.mark.parametrize("name", UNLIKE)
def test_parts_of_other_kinds_do_not_blur_it(name):
    """What takes long is done first, as studies of strategies have it."""
    parts = UNLIKE[name]
    kinds = [Ahead(str(part)) for part in parts]
    for seed in range(5):
        study = Study(parts, compiles=5.0, seed=seed, ahead=kinds)
        for true, left in study.run():
            assert abs(left - true) < 0.3 * true + 0.02 * sum(map(sum, parts))
    alike = Study(parts, compiles=5.0).run()  # told nothing of kinds, it errs
    assert any(abs(left - true) > 0.3 * true + 50 for true, left in alike)


def test_the_search_of_one_kind_is_not_expected_of_the_next():
    """As in the quickstart: it learns, it searches, and then there are only chips."""
    parts = [(2.0, 40.0, 1.0), (14.0, 0.0, 1.0), *[(0.0, 0.0, 1.0)] * 4]
    kinds = ("learned", "searched", "", "", "", "")
    study = Study(parts, ahead=[Ahead(kind) for kind in kinds])
    for left, told in study.run()[10:]:  # from the end of the search on
        assert told == pytest.approx(left, rel=0.3, abs=0.3)


def test_a_first_search_and_the_chips_of_a_choice_are_expected():
    """As in the quickstart: its second kind searches, its third compares programs."""
    parts = [(24.0, 6.0, 0.5), (7.0, 0.0, 0.5), (1.5, 0.0, 1.0), *[(0, 0, 0.5)] * 3]
    ahead = [
        Ahead("learned"), Ahead("searched", begins=0.3),
        Ahead("chosen", chips=2.0, begins=0.05), *[Ahead("hand")] * 3,
    ]  # fmt: skip
    study = Study(parts, compiles=0.0, ahead=ahead)
    told = study.run()
    assert told[0][0] < told[-1][0] + 12.1  # from the second part on
    for left, said in told:
        assert said == pytest.approx(left, rel=0.3, abs=0.5)
    unaware = Study(parts, compiles=0.0, ahead=[Ahead(a.kind) for a in ahead])
    assert any(said < 0.5 * left for left, said in unaware.run())


def test_a_study_does_what_takes_long_first(tmp_path, monkeypatch):
    """Results keep the order of the config: `test_cli` has that."""
    tiny_study.use(monkeypatch)
    every = ["single_pair", "targets", "optimized", {"name": "single_pair",
             "label": "t", "trained": True}]  # fmt: skip
    asked = {"strategies": every, "training": {"steps": 2}}
    study = tiny_study.prepared(tmp_path / "b", **asked).study
    assert [way.title for way in study.order] == [
        "t", "targets", "optimized", "single_pair"
    ]  # fmt: skip
    assert len({part.kind for part in study.ahead}) == 4
    asked = {"strategies": ["optimized", {"name": "recommended", "chips": 2}]}
    found, chosen = tiny_study.prepared(tmp_path / "c", **asked).study.ahead
    assert found.kind != chosen.kind  # one searches, the other compares what was found
    assert found.begins > chosen.begins > 0 and found.chips == 1
    assert chosen.chips == pytest.approx(2 / 3)  # one rival on 2 chips, not on 3


@pytest.mark.parametrize("kind", ["strategies", "devices", "sweep", "sensitivity"])
def test_the_clock_of_a_study_knows_its_parts(kind, tmp_path, monkeypatch):
    if kind == "sensitivity":
        pytest.importorskip("SALib")
    tiny_study.use(monkeypatch)
    study = run.prepare(validate(KINDS[kind]), out=tmp_path / "out")
    assert len(study.ahead) == study.parts > 0


def test_nothing_is_said_before_anything_is_known():
    study = Study(ALIKE["searches"])
    assert study.clock.left() is None and study.clock.share == 0
    study.time += 30
    study.clock.within("chips", 0.1)
    assert study.clock.left() is None  # what came before may not come again
    study.time += 3
    study.clock.within("chips", 0.2)
    assert study.clock.left() == pytest.approx(30 * 0.8 + 4 * 30)
    assert study.clock.share == pytest.approx(0.2 / 5)


def test_parts_that_were_there_tell_nothing():
    study = Study([(0.0, 0.0, 10.0)] * 4)
    for _ in range(2):
        study.time += 0.01
        study.clock.finish()
    assert study.clock.left() is None
    study.time += 10
    study.clock.finish()
    assert study.clock.left() == pytest.approx(10)
    study.time += 4
    assert study.clock.left() == pytest.approx(6)


def test_a_stage_that_ends_early_is_expected_to_do_so_again():
    """Chips that stop at a standard error: 5 s of 10 chips, not of 20."""
    study = Study([(0.0, 0.0, 0.0)] * 4)
    for _ in range(2):
        for k in range(11):  # 10 of 20 chips after the first, at .5 s each
            study.time += 0.5
            study.clock.within("chips", k / 20)
        study.clock.finish()
    assert study.clock.left() == pytest.approx(2 * 5.0, rel=0.15)


def test_work_that_a_kind_begins_with_is_not_expected_again():
    """Points of a sweep: 30 % of the program's 20 s to begin with, then 1 s a point."""
    points = [Ahead("points", n, 0.3) for n in (4, 4, 2)]
    study = Study([(0.0, 0.0, 0.0)] * 4, ahead=[Ahead("program", 0.0), *points])
    study.time += 20
    study.clock.finish()
    study.time += 6
    for k in range(5):
        study.time += 1
        study.clock.within("chips", k / 4)
    study.clock.finish()
    assert study.clock.left() == pytest.approx(4 + 2, rel=0.01)


def test_the_first_part_on_a_new_memory_compiles_anew():
    """10 s on the first memory, 4 s on each with another structure, then 1 s a way."""
    new = Ahead("searched", 1.0, 0.4, anew=True)
    old = Ahead("searched", 1.0, 0.1)
    study = Study([(0.0, 0.0, 0.0)] * 9, ahead=[old, old, old, new, old, old] * 2)

    def part(once):
        study.time += once
        for k in range(11):
            study.time += 0.1
            study.clock.within("chips", k / 10)
        study.clock.finish()

    for once in (10.0, 0.0, 0.0):
        part(once)
    assert study.clock.left() == pytest.approx(4.0 + 6.0, rel=0.15)


def test_the_report_counts_as_time_left():
    """5 s after the last part, which are left while it is written."""
    study = Study([(0.0, 0.0, 10.0)] * 2)
    study.clock.after = 5.0
    for _ in range(2):
        study.time += 10
        study.clock.finish()
        left = 15 if study.clock.done == 1 else 5
        assert study.clock.left() == pytest.approx(left)
    study.time += 4
    assert progress.remaining(study.clock) == "about 1 s left"
    study.time += 4
    assert progress.remaining(study.clock) == ""


def test_words_for_the_time_left():
    clock = Clock(2, lambda: 0.0)
    for left, words in (
        (None, ""),
        (0.2, "1 s"),
        (80, "80 s"),
        (1e3, "17 min"),
        (1e4, "2.8 h"),
    ):
        clock.left = lambda left=left: left
        assert progress.remaining(clock) == (f"about {words} left" if words else "")


def test_a_study_tells_its_chips_and_a_log_has_a_line_a_part(
    tmp_path, monkeypatch, capsys
):
    tiny_study.use(monkeypatch)
    plain = Console(file=io.StringIO(), width=150)
    monkeypatch.setattr(terminal, "console", lambda error=False: plain)
    study, told = tiny_study.prepared(tmp_path / "out", strategies=["single_pair"]), []
    with progress.follow(1) as (notify, within):

        def note(text, done):
            told.append((text, done))
            notify(text, done)

        run.run(study, notify=note, within=within)
    name = "state_independent: single_pair"
    chips = [(f"{name}, {i} of 3 chips", False) for i in (1, 2, 3)]
    assert told == [(name, False), *chips, (name, True)]
    assert capsys.readouterr().err.splitlines() == [f"1/1 {name}"]
    with progress.follow(1, quiet=True) as (notify, within):
        notify(name, True)
    assert capsys.readouterr().err == ""
