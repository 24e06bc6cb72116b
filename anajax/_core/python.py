"""What a Python file of the user's defines: a memory, a way to program, a workload."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

from anajax._core import checks


def names_a_place(text: str) -> bool:
    """Whether a text names a Python file and what it defines, as in "my.py:thing"."""
    file, _, name = text.rpartition(":")
    return Path(file).suffix == ".py" and name.isidentifier()


def split(place: str, example: str) -> tuple[Path, str]:
    """The file of a place such as "my_memory.py:my_device", and the name in it.

    Args:
        place: the file and the name of what it defines.
        example: of a place, for messages.

    Raises:
        ValueError: if it is not of that form.
    """
    if not names_a_place(place):
        rule = "name a Python file and what it defines"
        checks.fail("python", rule, place, f"Write {example}.")
    file, _, name = place.rpartition(":")
    return Path(file), name


def load(place: str, example: str) -> Any:
    """The function or class that a Python file defines; this runs the file.

    Args:
        place: the file and the name of what it defines.
        example: of a place, for messages.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it does not run, or defines no such function or class.
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
            why = f"{type(error).__name__}: {error}"
            checks.fail("python", f"be a file that runs, {path}", why, "Correct it.")
        _files[kept] = module
    return _files[kept]
