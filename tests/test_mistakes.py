"""Forty typical mistakes: each is told with the remedy, and before any work is done."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_study
import yaml
from typer.testing import CliRunner

import anajax
from anajax import devices, strategies
from anajax.cli import app

TABLE = "cell,target,programmed,time,read\n1,10,10.1,0,10.1\n"
COMMANDS = {  # words of the command line, and what the message must say
    "run": "`CONFIG` must be given: got nothing. See `anajax run --help`.",
    "rn CONFIG": "No such command 'rn'. Did you mean 'run'?",
    "run CONFIG --chips 3": "key of the config: write --set chips=3.",
    "run CONFIG --items=7": "key of the config: write --set workload.items=7.",
    "run CONFIG --seed 3": "key of the config: write --set seed=3.",
    "run CONFIG --adc-bits 8": "write --set periphery.adc_bits=8.",
    "run CONFIG --resum": "`--resum` must be an option of `anajax run`: got it on the "
    "command line. Did you mean --resume?",
    "check CONFIG chips=3": "must follow --set: got it alone. Write --set chips=3.",
    "run CONFIG --out": "`--out` must have a value: got none.",
    "run CONFIG --parts two": "`--parts` must be a whole number: got 'two'.",
    "run CONFIG --devices two": "be a number or all: got 'two'. Write all.",
    "run CONFIG --data nowhere": "must be a folder: got nowhere. Name the folder with",
    "run nowhere.yaml": "must be a file: got nowhere.yaml. Give the path of a YAML",
    "run FOLDER": "Give the path of a YAML config",
    "run BROKEN": "`CONFIG` must be YAML: got broken.yaml, ",
    "run CONFIG --resume --out EMPTY": "Leave out --resume",
    "run CONFIG --set chips": "must be key=value: got 'chips'. Write for example --set",
    "run CONFIG --set chipz=3": "a known key: got 3. Did you mean `chips`?",
    "run CONFIG --set adc_bits=8": "Did you mean `periphery.adc_bits`?",
    "run CONFIG --set chips=two": "`chips` must be a whole number: got 'two'. Give 2",
    "run CONFIG --set device=pcm": "section of keys: got 'pcm'. Write device.name=pcm",
    "run CONFIG --set device.name=PCM": "got 'PCM'. Did you mean 'pcm'? Known: ideal",
    "run CONFIG --set strategies=optimized": "as in strategies=[optimized].",
    "run CONFIG --set strategies=[optimised]": "Did you mean 'optimized'?",
    "run CONFIG --set times=[1day,1mon]": "got '1mon'. Units: s, min, h, d, week",
    "run CONFIG --set optimizer.learning_rate=1e-3": "got '1e-3'. Write 1.0e-3",
    "run CONFIG --set study=stategies": "got 'stategies'. Did you mean 'strategies'?",
    "devices PCM": "must be a preset: got PCM. Did you mean 'pcm'?",
    "devices pcm --plot a.jpg": "end in .png or .svg or .pdf: got a.jpg. Rename it",
    "devices nowhere.json": "must be a device file: got no file. Give its path.",
    "fit-device TABLE": "`--out` must be given: got nothing.",
    "fit-device book.xlsx --out a.json": "got .xlsx. Export it as CSV.",
    "fit-device TABLE --out a.json --form pmc": "got 'pmc'. Did you mean 'pcm'?",
    "fit-device TABLE --out a.json --units us": "S, mS, uS, nS, ohm: got 'us'. Did you",
    "costs CONFIG --chip hermez": "got hermez. Did you mean 'hermes'?",
    "export CONFIG --out image --tiles 512": "got '512'. Write 512x512.",
    "export CONFIG --out image --format npz": "or hdf5: got npz. Write --format csv",
    "report EMPTY": "without study.json",
    "results EMPTY --csv": "Finish the study with `anajax run CONFIG --out",
    "init FOLDER": "hold none of these files: got config.yaml in",
    "measured TABLE --image EMPTY": "of an image that `anajax export` wrote",
}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A right config, a broken one, a table, a folder in use, and an empty one."""
    top = tmp_path_factory.mktemp("mistakes")
    full, empty = top / "full", top / "empty"
    full.mkdir()
    empty.mkdir()
    (full / "config.yaml").write_text("")
    (top / "right.yaml").write_text(yaml.safe_dump(tiny_study.CONFIG))
    (top / "broken.yaml").write_text("study: strategies\n\tchips: 3\n")
    (top / "table.csv").write_text(TABLE)
    return top, {
        "CONFIG": top / "right.yaml", "BROKEN": top / "broken.yaml", "FOLDER": full,
        "TABLE": top / "table.csv", "EMPTY": empty,
    }  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS)
def test_a_mistake_of_a_command_is_told_with_its_remedy(words, places, monkeypatch):
    tiny_study.use(monkeypatch)
    folder, names = places
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    asked = [str(names.get(word, word)) for word in words.split()]
    result = CliRunner().invoke(app, asked)
    said = " ".join(result.output.replace("│", " ").split())
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit), said
    assert COMMANDS[words] in said and "Traceback" not in said, said
    assert sorted(folder.rglob("*")) == before


PARAMS = {"w": jnp.ones((4, 3))}
DEVICE, KEY = devices.pcm(), jax.random.key(0)
PAIR = strategies.single_pair(DEVICE)
CALLS = {  # calls from Python, and what the message must say
    "device": (
        lambda: anajax.perturb(PARAMS, "pcm", PAIR, t=1.0, key=KEY),
        "Pass anajax.devices.pcm()",
    ),
    "strategy": (
        lambda: anajax.perturb(PARAMS, DEVICE, "lsp_first", t=1.0, key=KEY),
        "anajax.strategies.lsp_first(device)",
    ),
    "time": (
        lambda: anajax.perturb(PARAMS, DEVICE, PAIR, t="1 d", key=KEY),
        "Write 30 * 86400.0 for a month.",
    ),
    "times": (
        lambda: anajax.perturb(PARAMS, DEVICE, PAIR, t=[1.0, 2.0], key=KEY),
        "use evaluate, which takes times=[...]",
    ),
    "key": (
        lambda: anajax.perturb(PARAMS, DEVICE, PAIR, t=1.0, key=0),
        "jax.random.key(0)",
    ),
    "not finite": (
        lambda: anajax.perturb({"w": np.full((2, 2), np.nan)}, DEVICE, PAIR, t=1.0,
                               key=KEY),
        "Find the layer whose training diverged.",
    ),
    "word": (
        lambda: anajax.perturb(PARAMS, DEVICE, PAIR, t=1.0, key=KEY,
                               scope="colums"),
        'Use "column".',
    ),
    "former name": (
        lambda: anajax.certify,
        "anajax.certify is gone since 2026-11-27: use anajax.certify_strategy(",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_a_mistake_of_a_call_is_told_with_its_remedy(name):
    call, text = CALLS[name]
    with pytest.raises((ValueError, TypeError, AttributeError)) as caught:
        call()
    assert text in str(caught.value)


def test_there_are_forty():
    assert len(COMMANDS) >= 40
