"""What all commands share: the app itself, its exit codes, and messages.

User mistakes (config, options, files) end with a message and exit code 2, before any
work is done. A fit that is not acceptable ends with 3, a file that cannot be written
with 4, Ctrl-C with 130, SIGTERM with 143; saved files are complete then, and a run can
be resumed. Everything except results is printed to standard error.
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
    help="Neural networks on analog memory: how to program them, and how accurate they "
    "are.",
    epilog="Exit codes: 0 done; 1 a bug in anajax; 2 a mistake in the input; 3 a fit "
    "that is not acceptable; 4 a file could not be written; 130 Ctrl-C; 143 SIGTERM. "
    "For scripts: --json prints results as JSON, --quiet prints only errors; colors "
    "are off without a terminal or with NO_COLOR in the environment.",
)
Config = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="A YAML file of a study, see configs/.")
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set a dotted key of CONFIG."),
]
Json = Annotated[bool, typer.Option("--json", help="Print results as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]
Data = Annotated[Path | None, typer.Option(help="Folder with local data sets.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"anajax {anajax.__version__}")
        raise typer.Exit


_HELP = "Print the version."
_VERSION = typer.Option("--version", callback=_version, is_eager=True, help=_HELP)


@app.callback()
def options(
    version: Annotated[bool, _VERSION] = False,
    cache: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|off",
            envvar="ANAJAX_CACHE",
            help="Where compiled code is kept; your cache folder by default.",
        ),
    ] = None,
) -> None:
    """Global options of the command."""
    turn_on(cache)


def require_folder(data: Path | None) -> None:
    """Refuse an option `--data` that is not a folder."""
    if data is not None and not data.is_dir():
        remedy = "Name the folder with the data sets, or leave it out."
        raise FileNotFoundError(f"`--data` must be a folder: got {data}. {remedy}")


@contextlib.contextmanager
def mistakes() -> Iterator[None]:
    """Turn a user mistake into a message and exit code 2, without a traceback."""
    try:
        with writes():
            yield
    except (ValueError, OSError, ImportError) as error:
        fail(str(error))


@contextlib.contextmanager
def writes() -> Iterator[None]:
    """Turn a failed write into a message and exit code 4, without a traceback."""
    try:
        yield
    except WriteError as error:
        fail(str(error), code=4)


@contextlib.contextmanager
def working(text: str, *, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Show what is being done; the body can change the text."""
    from anajax.studies.report import terminal

    if quiet:
        yield lambda text: None
        return
    with terminal.console(error=True).status(text) as status:
        yield status.update


def tell(text: str, *, quiet: bool = False) -> None:
    """Print a line of results, unless --quiet is set."""
    if not quiet:
        typer.echo(text)


def document(value: Any) -> None:
    """Print JSON; numbers that are not finite become null."""
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
    """End with a message and an exit code; indented lines belong to the line before."""
    for line in text.splitlines():
        typer.echo(line if line.startswith("  ") else f"Error: {line}", err=True)
    raise typer.Exit(code)


def require_place(option: str, path: Path, kinds: tuple[str, ...]) -> None:
    """Refuse a file with another ending, or in a folder that does not exist."""
    if path.suffix.lstrip(".") not in kinds:
        wanted = " or ".join(f".{kind}" for kind in kinds)
        fail(f"`{option}` must end in {wanted}: got {path}. Rename it.")
    if not path.parent.is_dir():
        fail(f"`{option}` must be in an existing folder: got {path}. Create it first.")
