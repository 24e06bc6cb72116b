"""What all commands share: the command itself, its exit codes, and messages.

Mistakes of the user (config, options, files) end with a message and exit code 2; all
of them are looked for before any work is done. A disk that does not take a file ends
with 4, Ctrl-C with 130, SIGTERM with 143: what was saved is whole, and goes on.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NoReturn

import typer

import anajax
from anajax._core.cache import turn_on
from anajax._core.disk import WriteError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Neural networks on analog memory: how to program them, and how well they do.",
    epilog="Exit codes: 0 done; 2 a mistake in what was given; 4 a file could not be "
    "written; 130 Ctrl-C; 143 SIGTERM.",
)
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a value, dotted key."),
]
Data = Annotated[Path | None, typer.Option(help="Folder with local data sets.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"anajax {anajax.__version__}")
        raise typer.Exit


_VERSION = typer.Option("--version", callback=_version, is_eager=True, help="Show it.")


@app.callback()
def options(
    version: Annotated[bool, _VERSION] = False,
    cache: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|off",
            envvar="ANAJAX_CACHE",
            help="Where compiled programs are kept; your cache folder by default.",
        ),
    ] = None,
) -> None:
    """Options of the command itself."""
    turn_on(cache)


def require_folder(data: Path | None) -> None:
    """Refuse an option `--data` that is no folder."""
    if data is not None and not data.is_dir():
        remedy = "Name the folder with the data sets, or leave it out."
        raise FileNotFoundError(f"`--data` must be a folder: got {data}. {remedy}")


@contextlib.contextmanager
def mistakes() -> Iterator[None]:
    """What is wrong in what the user gave: a message, exit code 2, no traceback."""
    try:
        with writes():
            yield
    except (ValueError, OSError, ImportError) as error:
        fail(str(error))


@contextlib.contextmanager
def writes() -> Iterator[None]:
    """What the disk does not take: a message, exit code 4, no traceback."""
    try:
        yield
    except WriteError as error:
        fail(str(error), code=4)


@contextlib.contextmanager
def working(text: str) -> Iterator[None]:
    """Say what is done while it is."""
    from anajax.studies.report import terminal

    with terminal.console(error=True).status(text):
        yield


def fail(text: str, *, code: int = 2) -> NoReturn:
    """End with a message and a code; indented lines belong to the one before."""
    for line in text.splitlines():
        typer.echo(line if line.startswith("  ") else f"Error: {line}", err=True)
    raise typer.Exit(code)


def require_place(option: str, path: Path, kinds: tuple[str, ...]) -> None:
    """Refuse a file of another kind, or in a folder that is not there."""
    if path.suffix.lstrip(".") not in kinds:
        wanted = " or ".join(f".{kind}" for kind in kinds)
        fail(f"`{option}` must end in {wanted}: got {path}. Rename it.")
    if not path.parent.is_dir():
        fail(f"`{option}` must be in a folder that exists: got {path}. Make it first.")
