"""What all commands share: the command itself, its exit codes, and messages.

Mistakes of the user (config, options, files) end with a message and exit code 2; all
of them are looked for before any work is done. A fit that is not right ends with 3, a
disk that does not take a file with 4, Ctrl-C with 130, SIGTERM with 143: what was saved
is whole, and goes on. What is told besides results goes to the standard error.
"""

import contextlib
import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

import anajax
from anajax._core.cache import turn_on
from anajax._core.disk import WriteError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Neural networks on analog memory: how to program them, and how well they do.",
    epilog="Exit codes: 0 done; 1 a fault of anajax; 2 a mistake in what was given; 3 "
    "a fit that is not right; 4 a file could not be written; 130 Ctrl-C; 143 SIGTERM. "
    "For scripts: --json prints results as JSON, --quiet prints errors alone; colors "
    "need a terminal, and no NO_COLOR in the environment.",
)
Config = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="A YAML file of a study, see configs/.")
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a value, dotted key."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors alone.")]
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
def working(text: str, *, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Say what is done while it is; in the body a function says something else."""
    from anajax.studies.report import terminal

    if quiet:
        yield lambda text: None
        return
    with terminal.console(error=True).status(text) as status:
        yield status.update


def tell(text: str, *, quiet: bool = False) -> None:
    """Print a line of results, unless asked to be quiet."""
    if not quiet:
        typer.echo(text)


def document(value: Any) -> None:
    """Print JSON; what is not finite is null."""
    typer.echo(json.dumps(_plain(value), indent=1, allow_nan=False))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    listed = getattr(value, "tolist", None)  # of arrays
    if listed is not None:
        return _plain(listed())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    known = value is None or isinstance(value, bool | int | str)
    return value if known else str(value)


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
