"""Pages of text: their blocks of code, run as a reader would, from top to bottom."""

import re
import shlex
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
import yaml

from anajax.cli import app
from anajax.studies.load import load_config, validate

ROOT = Path(__file__).parents[1]
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w+)(?P<about>[^\n]*)\n"
    r"(?P<code>.*?)^(?P=indent)```"
    r"|^<!-- setup\n(?P<setup>.*?)^-->",
    re.M | re.S,
)
BASE = {
    "study": "strategies", "workload": {"name": "digits"}, "device": {"name": "pcm"},
    "times": ["1 h"], "strategies": ["single_pair"],
}  # fmt: skip
"""What a fragment of a config is a part of."""


OTHERS = ("equinox", "haiku")
"""Libraries whose blocks are left out where they are not installed."""


class Block(NamedTuple):
    """A block of code, and the file that it is, if it has a title."""

    language: str
    title: str
    code: str
    line: int


def blocks(page):
    """The blocks of a page in order; what comments set up is Python, too."""
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        line = text[: found.start()].count("\n") + 1
        if found["setup"] is not None:
            yield Block("python", "", found["setup"], line)
        else:
            title = re.search(r'title="([^"]+)"', found["about"])
            code = textwrap.dedent(found["code"])
            yield Block(found["language"], title[1] if title else "", code, line)


def run(page, folder):
    """Run a page in a folder of its own, the working directory."""
    names = {"__name__": "page"}
    for block in blocks(page):
        if block.title:
            (folder / block.title).write_text(block.code)
        if block.language == "python":
            own = {"__name__": "file"} if block.title else names
            place = "\n" * block.line + block.code  # errors name the line of the page
            try:
                exec(compile(place, str(page), "exec"), own)
            except ModuleNotFoundError as error:
                if error.name == "onnx":  # the rest of the page builds on it
                    pytest.skip("onnx is not installed")
                if error.name not in OTHERS:
                    raise
        elif block.language == "yaml":
            check_yaml(block, folder)
        elif block.language == "bash":
            for words in commands(block.code):
                check_command(words, folder)
        else:
            assert block.language in ("text", "csv"), f"{page}: {block}"


def check_yaml(block, folder):
    """A config, or keys of one."""
    asked = yaml.safe_load(block.code)
    whole = asked if "study" in asked else BASE | asked
    if "devices" in asked:
        whole = {k: v for k, v in whole.items() if k != "device"}
    if block.title and "study" not in asked:
        return  # a file of another kind, which a later block reads
    validate(whole, folder=folder)


def commands(code):
    """The words of every `anajax` command in a block of shell."""
    for line in code.replace("\\\n", " ").splitlines():
        for part in line.split("&&"):
            words = shlex.split(part, comments=True)
            if words[:1] == ["srun"]:
                words = words[1:]
            if words[:1] == ["anajax"]:
                yield words[1:]


def check_command(words, folder):
    """That a command exists with these options, and its config is one."""
    group = typer.main.get_command(app)
    name, command, rest = group.resolve_command(
        group.make_context("anajax", [], resilient_parsing=True), words
    )
    context = command.make_context(name, list(rest))
    config = context.params.get("config")
    if config is None:
        return
    places = [p / config for p in (folder, ROOT) if (p / config).is_file()]
    if places:
        load_config(places[0], context.params.get("changes") or [])
    else:
        assert str(config).isupper() or "my_study" in str(config), words
