"""Chips and items that a standard error takes, known beforehand."""

import numpy as np
import pytest
import tiny_study

from anajax.studies import run
from anajax.studies.load import validate
from anajax.studies.power import Variances, pilot
from anajax.studies.report.statistics import lost

KNOWN = Variances(chips=8, items=200, of_chips=0.02, of_items=0.1, most=10_000)


def test_the_least_work_for_an_error_is_found():
    chips, items = KNOWN.needed(0.004)
    assert KNOWN.error(chips, items) <= 0.004 < KNOWN.error(chips - 1, items - 1)
    work = [
        c * n
        for c in range(2, 200)
        for n in (10 ** np.linspace(1, 4, 2000)).astype(int)
        if KNOWN.error(c, int(n)) <= 0.004
    ]
    assert chips * items <= 1.02 * min(work)


def test_more_chips_make_up_for_few_items_but_not_for_all():
    few = Variances(chips=8, items=200, of_chips=0.02, of_items=0.1, most=700)
    chips, items = few.needed(0.004)
    assert items == 700 and few.error(chips, items) <= 0.004
    assert few.error(chips - 1, items) > 0.004
    with pytest.raises(ValueError, match="`error` must be above 0.0038: got 0.003"):
        few.needed(0.003)


@pytest.mark.slow
def test_a_pilot_says_what_the_study_then_has(monkeypatch, tmp_path):
    tiny_study.use(monkeypatch)
    asked = tiny_study.CONFIG | {"device": {"name": "pcm", "noise": {"programming": 4}}}
    asked |= {"strategies": ["single_pair"], "chips": 30}
    seen = pilot(validate(asked), chips=10)
    assert (seen.chips, seen.items, seen.most) == (10, 64, 64)
    data = run.run(run.prepare(validate(asked), out=tmp_path / "a"))
    found = lost(data).sel(strategy="single_pair").isel(time=-1)
    assert float(found["error"].item()) == pytest.approx(seen.error(30, 64), rel=0.3)
    with pytest.raises(ValueError, match="`time` must be one of `times`: got 5"):
        pilot(validate(asked), time=5.0)
    sweep = {k: v for k, v in tiny_study.CONFIG.items() if k != "strategies"}
    sweep |= {"study": "sweep", "sweep": {"points": [{"seed": 1}]}}
    with pytest.raises(ValueError, match="`study` must be of kind strategies"):
        pilot(validate(sweep))
