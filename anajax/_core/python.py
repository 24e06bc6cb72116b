"""Definitions from a user's Python file: a memory, a way to program, a workload."""

import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

from anajax._core import checks

_MOST_LINES = 8
"""Of the user's files that a message shows."""


def names_a_place(text: str) -> bool:
    """Whether a text names a file and a definition in it, as in "my.py:thing"."""
    file, _, name = text.rpartition(":")
    return Path(file).suffix == ".py" and name.isidentifier()


def split(place: str, example: str) -> tuple[Path, str]:
    """The file and the name in a place such as "my_memory.py:my_device".

    Args:
        place: the file and the name of the definition.
        example: example of a place, for messages.

    Raises:
        ValueError: if it does not have that form.
    """
    if not names_a_place(place):
        rule = "name a Python file and what it defines"
        checks.fail("python", rule, place, f"Write {example}.")
    file, _, name = place.rpartition(":")
    return Path(file), name


def load(place: str, example: str) -> Any:
    """The function or class defined in a Python file; this runs the file.

    Args:
        place: the file and the name of the definition.
        example: example of a place, for messages.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it does not run, or does not define such a function or class.
    """
    path, name = split(place, example)
    if not path.is_file():
        raise FileNotFoundError(
            f"`python` must name a file: got {path}. Give its path."
        )
    found = getattr(_run(path.resolve()), name, None)
    if not callable(found):
        have = "no such name" if found is None else repr(found)[:60]
        rule = f"name a class or function of {path.name}"
        checks.fail("python", rule, have, f"Define {name}.")
    return found


_files: dict[tuple[Path, bytes], Any] = {}


def _run(path: Path) -> Any:
    """The module of a file, run once for each content that it has."""
    kept = path, path.read_bytes()
    if kept not in _files:
        name = f"_anajax_python_{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            _fail(f"be a file that runs, {path}", error, path.parent)
        _files[kept] = module
    return _files[kept]


def call(place: str, example: str, options: dict[str, Any]) -> Any:
    """The result of a function in a Python file for some options.

    Args:
        place: the file and the name of the function.
        example: example of a place, for messages.
        options: its arguments by name.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it does not run; the message shows the user's lines of the
            traceback.
    """
    made, (path, name) = load(place, example), split(place, example)
    try:
        inspect.signature(made).bind(**options)
    except TypeError as error:
        known = ", ".join(inspect.signature(made).parameters) or "none"
        remedy = f"Arguments: {known}."
        got = f"{options} ({error})"
        checks.fail("options", f"be arguments of {name}", got, remedy)
    try:
        return made(**options)
    except Exception as error:
        _fail(f"name a function that runs, {name} of {path}", error, path.parent)


def _fail(rule: str, error: Exception, folder: Path) -> NoReturn:
    """Say what came, with the lines of the user's files that led to it."""
    lines = _lines(error, folder.resolve())
    remedy = "Correct it." if not lines else "Correct it:\n" + "\n".join(lines)
    checks.fail("python", rule, f"{type(error).__name__}: {error}", remedy)


def _lines(error: Exception, folder: Path) -> list[str]:
    """The lines in files of a folder that an error came through."""
    found = []
    for frame in traceback.extract_tb(error.__traceback__):
        file = Path(frame.filename)
        own = file.is_relative_to(folder) and "site-packages" not in file.parts
        if own:
            place = f"{file.name}, line {frame.lineno}, in {frame.name}"
            found.append(f"  {place}: {frame.line}")
    return found[-_MOST_LINES:]
