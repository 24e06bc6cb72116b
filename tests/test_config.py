from pathlib import Path

import pytest

from anajax._core.units import UNITS, human, parse_duration
from anajax.studies.load import load_config, validate

QUICKSTART = Path(__file__).parents[1] / "configs" / "quickstart.yaml"

MISTAKES = [
    ("chips=0", "`chips` must be at least 2: got 0. Give 2 chips or more."),
    ("chips=true", "`chips` must be a whole number: got True."),
    ("seed=1.5", "`seed` must be a whole number: got 1.5."),
    (
        "optimizer.stepz=3",
        "`optimizer.stepz` must be a known key: got 3. Did you mean `steps`?",
    ),
    ("optimizer.steps=0", "`optimizer.steps` must be at least 1: got 0. Give 1 to"),
    ("optimizer.learning_rate=1e-3", "must be a number: got '1e-3'"),
    ("times=[1 s, 3 fortnights]", "`times.1` must be a time in seconds or with a unit"),
    ("times=[5 s, 2 s]", "`times` must increase strictly: got [5.0, 2.0]. Sort"),
    ("times=[-1 s, 2 s]", "`times.0` must be at least 0: got '-1 s'"),
    ("compensation.recalibrate=[1 d, 1 h]", "increase strictly: got [86400.0, 3600"),
    (
        "compensation={scope: none, recalibrate: [1 d]}",
        "`compensation` must have no `recalibrate` without a scope: got [86400.0]",
    ),
    ("times=[]", "`times` must have entries, at least 1: got []"),
    ("times=1 s", "`times` must be a list: got '1 s'. Give a list of times"),
    ("device.name=pmc", "must be known: got 'pmc'. Did you mean 'pcm'? Known: ideal"),
    ("device.options.gmax=3", "must have options of pcm_hermes only: got 'gmax'."),
    ("device.noise.read=-1", "`device.noise.read` must be at least 0"),
    ("device.noise.read=.nan", "`device.noise.read` must be finite: got nan"),
    ("device={file: no.json}", "`device.file` must be a file: got no.json"),
    ("device={}", "`device` must have one of `name`, `file` and `python`: got none"),
    ("workload.name=digit", "must be known: got 'digit'. Did you mean 'digits'?"),
    ("workload.items=abc", "`workload.items` must be a whole number: got 'abc'"),
    ("workload=3", "`workload` must be a section of keys: got 3"),
    ("strategies=[single_pair, single_pair]", "must have distinct labels"),
    ("strategies=[{name: single_pair, f: 2}]", "must have no `f` for single_pair"),
    ("strategies=[{name: optimized, k: 2}]", "must have no `k` for optimized"),
    ("strategies=[{name: optimized, reads: 2}]", "must have no `reads` for optimized"),
    ("strategies=[{name: closed_loop, reads: 0}]", "`strategies.0.reads` must be at"),
    ("strategies=[{name: targets, learn: {parts: [bias]}}]", "`strategies.0.learn"),
    ("strategies=[{name: targets, learn: {parts: []}}]", "must have entries"),
    ("strategies=[{name: lsp_first, f: -2}]", "`strategies.0.f.0` must be above 0"),
    ("strategies=[{name: lsp_first, label: a/b}]", "must have a `label` of letters"),
    ("normalize=row", "`normalize` must be 'layer', 'column' or 'tile'"),
    ("compensation.scope=tile", "`compensation.scope` must be 'layer', 'network'"),
    (
        "optimizer.time_weights=[1, 2]",
        "`optimizer.time_weights` must have one entry per time, not all 0",
    ),
    ("study=foo", "`study` must name a kind of study: got 'foo'. Known: strategies"),
    ("chips.a=1", "`--set chips.a` must go through sections: got a value at `chips`"),
    ("chips", "`--set` must be key=value: got 'chips'"),
    ("chips=[1", "`--set chips` must have a YAML value: got '[1'"),
]


@pytest.mark.parametrize(("change", "text"), MISTAKES)
def test_mistake_is_named_with_rule_and_remedy(change, text):
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        load_config(QUICKSTART, [change])
    assert text in str(caught.value)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ValueError) as caught:
        load_config(QUICKSTART, ["chips=0", "seed=-1", "nonsense=1"])
    assert len(str(caught.value).splitlines()) == 3


def test_quickstart_is_what_it_says():
    config = load_config(QUICKSTART)
    assert config.chips == 25
    assert [human(t) for t in config.times] == ["1 s", "1 h", "1 d", "1 month", "1 y"]
    assert [s.title for s in config.strategies] == [
        "single_pair",
        "lsp_first",
        "lsp_first_tuned",
        "optimized",
        "targets",
        "recommended",
    ]
    assert config.strategies[-1].among is None


def test_set_makes_sections_and_parses_yaml():
    config = load_config(
        QUICKSTART, ["optimizer.per_layer=true", "times=[60, '2 h']", "seed=7"]
    )
    assert config.optimizer.per_layer and config.seed == 7
    assert config.times == [60.0, 7200.0]


def test_device_file_is_relative_to_the_config(tmp_path):
    (tmp_path / "my.json").write_text("{}")
    data = {
        "study": "strategies",
        "workload": {"name": "digits"},
        "times": [1],
        "device": {"file": "my.json"},
    }
    config = validate(data, folder=tmp_path)
    assert Path(config.device.file) == (tmp_path / "my.json").resolve()


def test_broken_yaml_is_named(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("a: [1")
    with pytest.raises(ValueError, match="`CONFIG` must be YAML: got c.yaml"):
        load_config(path)
    path.write_text("- 1")
    with pytest.raises(ValueError, match="`CONFIG` must be a mapping of keys: got li"):
        load_config(path)
    with pytest.raises(FileNotFoundError, match="`CONFIG` must be a file"):
        load_config(tmp_path / "none.yaml")


@pytest.mark.parametrize("unit", UNITS)
def test_times_and_their_texts_are_inverse(unit):
    assert parse_duration(f"1 {unit}") == UNITS[unit]
    assert human(UNITS[unit]) == f"1 {unit}"


def test_times_in_other_words():
    assert parse_duration("2 days") == parse_duration("48h") == 172800.0
    assert parse_duration(1.5) == 1.5
    assert human(8766 * 3600.0) == "1 y" and human(420828.0) == "4.87 d"
    with pytest.raises(ValueError, match="must be a time"):
        parse_duration(True)
