"""Where data come from: first a local folder, then a package, then an extra."""

import os
from pathlib import Path
from typing import NoReturn

VARIABLE = "ANAJAX_DATA"


def local(data: Path | None, name: str) -> Path | None:
    """`name` in the user's data folder, or `None` if it is not there.

    Args:
        data: the folder; by default the environment variable `ANAJAX_DATA`.
        name: a file or subfolder in it, such as `"fsdd/fsdd_8k.npz"`.

    Raises:
        FileNotFoundError: if the given folder does not exist.
    """
    folder = data or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if folder is None:
        return None
    if not folder.is_dir():
        raise FileNotFoundError(
            f"The data folder {folder} does not exist. Name another one with --data "
            f"DIR or {VARIABLE}=DIR."
        )
    path = folder / name
    return path if path.exists() else None


def require(data: Path | None, name: str, *, remedy: str) -> Path:
    """`name` in the user's data folder; otherwise an error that says how to get it.

    Raises:
        FileNotFoundError: if it is not there.
    """
    path = local(data, name)
    if path is None:
        missing(name, remedy)
    return path


def missing(name: str, remedy: str) -> NoReturn:
    """Raise an error that `name` is in none of the places."""
    raise FileNotFoundError(
        f"The data {name} was not found. Put it in a folder and name that folder with "
        f"--data DIR or {VARIABLE}=DIR. {remedy}"
    )


def place(name: str, data: Path | None) -> str:
    """The `source` entry of a local file: its name, and the setting that led to it."""
    setting = "--data" if data is not None else VARIABLE
    return f"local folder ({setting}): {name}"
