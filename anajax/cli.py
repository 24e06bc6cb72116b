"""The command `anajax`: run studies, draw reports, look at devices.

Mistakes of the user (config, options, files) end with a message and exit code 2; all
of them are looked for before any work is done. A disk that does not take a file ends
with 4, Ctrl-C with 130, SIGTERM with 143: what was saved is whole, and goes on.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

import anajax
from anajax._core.disk import WriteError, write_atomically
from anajax.studies.store import stopping

if TYPE_CHECKING:  # costs seconds to import
    from jax.sharding import Mesh

    from anajax.studies.run import Prepared
    from anajax.studies.store.folder import Resume

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Neural networks on analog memory: how to program them, and how well they do.",
    epilog="Exit codes: 0 done; 2 a mistake in what was given; 4 a file could not be "
    "written; 130 Ctrl-C; 143 SIGTERM.",
)
Data = Annotated[Path | None, typer.Option(help="Folder with local data sets.")]


def main() -> None:
    """The entry point of the command."""
    stopping.listen()
    app()


class _Run(TyperCommand):
    """Lets `--resume` stand alone or before `auto`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = []
        for word in args:
            if word == "auto" and words[-1:] == ["--resume=yes"]:
                words[-1] = "--resume=auto"
            else:
                words.append("--resume=yes" if word == "--resume" else word)
        return super().parse_args(ctx, words)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"anajax {anajax.__version__}")
        raise typer.Exit


_VERSION = typer.Option("--version", callback=_version, is_eager=True, help="Show it.")


@app.callback()
def options(version: Annotated[bool, _VERSION] = False) -> None:
    """Options of the command itself."""


@app.command(cls=_Run)
def run(
    config: Annotated[Path, typer.Argument(help="A YAML file, see configs/.")],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Replace a value, dotted key."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the results; out/NAME by default."),
    ] = None,
    data: Data = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="[auto]",
            help="Go on with the study that is in --out; auto: begin it or go on.",
        ),
    ] = None,
    devices: Annotated[
        str, typer.Option(metavar="N|all", help="Devices that share the chips.")
    ] = "1",
    parts: Annotated[
        int, typer.Option(help="How many of them share one chip and its items.")
    ] = 1,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="auto|HOST:PORT,INDEX,COUNT",
            help="This is one of several processes, see anajax.studies.store.hosts.",
        ),
    ] = None,
) -> None:
    """Run the study of CONFIG: results, figures and a report in a folder."""
    folder = Path("out") / config.stem if out is None else out
    with _mistakes():
        going_on = _resume(resume)
        mesh = _mesh(devices, parts, cluster)
        from anajax.studies.load import load_config

        asked = load_config(config, changes or [])
        _require_folder(data)
        with _working("loading JAX and the network"):
            from anajax.studies.run import prepare

            study = prepare(asked, out=folder, data=data, resume=going_on, mesh=mesh)
    _work(study)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Of a study.")],
) -> None:
    """Draw the figures and the page of a finished study again, from its files."""
    with _mistakes():
        from anajax.studies.report.report import write_report

        typer.echo(f"Report: {write_report(folder)}")


@app.command()
def overview(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIRS", help="Of studies, one a network.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for both.")] = Path("out/overview"),
) -> None:
    """Draw networks in columns and devices in rows, and a table of what they lose."""
    with _mistakes():
        from anajax.studies.report.overview import write_overview

        for path in write_overview(folders, out):
            typer.echo(f"Overview: {path}")


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="Folder of a study.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Folder of another.")],
) -> None:
    """Print results of B minus those of A, chip by chip where both have the same."""
    with _mistakes():
        from anajax.studies.report import blocks, comparison, results, terminal

        first, second = (results.read_results(path) for path in (a, b))
        difference = comparison.compare(first, second)
        terminal.show(terminal.comparison(difference, blocks.format_of(first)))


@app.command()
def devices(
    name: Annotated[
        str | None,
        typer.Argument(help="A preset, or FILE.py:FUNCTION; all presets by default."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the preset into this .png or .svg.")
    ] = None,
) -> None:
    """List device presets with source and valid range, or show one."""
    with _mistakes():
        from anajax import devices as models
        from anajax._core import python
        from anajax.studies.report import terminal

        presets = models.presets()
        if name is not None and name not in presets:
            if ".py:" not in name:
                known = ", ".join(presets)
                _fail(f"`NAME` must be a preset: got {name}. Known: {known}.")
            presets[name] = python.load(name, "my_memory.py:my_device")
        if plot is not None and name is None:
            _fail("`--plot` must have a preset to draw: got none. Write NAME.")
        chosen = [name] if name else list(presets)
        terminal.show(terminal.devices({n: presets[n]() for n in chosen}))
        if name is not None and plot is not None:
            _plot(presets[name](), plot)


@app.command()
def costs(
    config: Annotated[Path, typer.Argument(help="A YAML file of a study.")],
    chip: Annotated[str | None, typer.Option(help="A name, or a .yaml file.")] = None,
    data: Data = None,
) -> None:
    """Print energy, latency and area of the network of CONFIG on a chip."""
    with _mistakes():
        from anajax.studies.costs import text

        _require_folder(data)
        typer.echo(text(config, chip, data))


@app.command("fit-device")
def fit_device(
    data: Annotated[Path, typer.Argument(help="A .csv or .parquet of measurements.")],
    out: Annotated[Path, typer.Option(help="The device file to write, .json.")],
    form: Annotated[
        str,
        typer.Option(
            help="A preset or FILE.py:FUNCTION whose form is fitted, or tables."
        ),
    ] = "tables",
    knots: Annotated[
        int, typer.Option(help="Points of each of the tables, at most.")
    ] = 6,
    units: Annotated[
        str,
        typer.Option(
            metavar="S|mS|uS|nS|ohm",
            help="Of target, programmed and read; ohm for resistances.",
        ),
    ] = "uS",
    force: Annotated[
        bool,
        typer.Option("--force", help="Write the file of a fit that is not right, too."),
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the residuals into this .png or .svg.")
    ] = None,
) -> None:
    """Fit a device to measurements: columns cell, target, programmed, time, read.

    A fit that is not at a maximum, or whose form the data reject, writes no file and
    ends with exit code 3.
    """
    with _mistakes():
        from anajax.devices import files
        from anajax.devices.fitting import file as fitting
        from anajax.studies.report import figures, terminal

        _require_place("--out", out, ("json",))
        if plot is not None:
            _require_place("--plot", plot, ("png", "svg"))
        with _working("fitting"):
            found = fitting.fit(
                data, form=form, knots=knots, name=out.stem, units=units
            )
        terminal.show(terminal.parameters(found))
        terminal.show(terminal.form_tests(found))
        if plot is not None:
            _draw(lambda: figures.residual_figure(found), plot)
        for name, reason in found.undetermined.items():
            typer.echo(f"Not determined: {name}: {reason}.")
        if not found.tests:
            typer.echo("The form is not tested: that takes 80 cells.")
        wrong = fitting.problems(found)
        for sentence in wrong:
            typer.echo(f"Warning: {sentence}", err=True)
        if wrong and not force:
            typer.echo(f"No file is written: --force writes {out}.", err=True)
            raise typer.Exit(3)
        files.save_device(found.device, out)
        typer.echo(f"Device: {out}")


def _plot(device: Any, path: Path) -> None:
    _require_place("--plot", path, ("png", "svg"))
    from anajax.devices.report import device_curves
    from anajax.studies.report.figures import device_figure

    curves = device_curves(device)
    _draw(lambda: device_figure(curves, device.name), path)


def _draw(figure: Callable[[], Any], path: Path) -> None:
    from anajax.studies.report.plots import render

    write_atomically(path, render(figure)[path.suffix.lstrip(".")])
    typer.echo(f"Figure: {path}")


def _require_place(option: str, path: Path, kinds: tuple[str, ...]) -> None:
    if path.suffix.lstrip(".") not in kinds:
        wanted = " or ".join(f".{kind}" for kind in kinds)
        _fail(f"`{option}` must end in {wanted}: got {path}. Rename it.")
    if not path.parent.is_dir():
        _fail(f"`{option}` must be in a folder that exists: got {path}. Make it first.")


def _mesh(devices: str, parts: int, cluster: str | None) -> "Mesh | None":
    if devices != "all" and not devices.isdecimal():
        _fail(f"`--devices` must be a number or all: got {devices!r}. Write all.")
    if cluster is not None:
        from anajax.studies.store import hosts

        hosts.connect(cluster)
        stopping.listen(again=True)  # jax may have put handlers of its own
    if (devices, parts, cluster) == ("1", 1, None):
        return None
    from anajax.analysis.sharding import make_mesh

    return make_mesh("all" if devices == "all" else int(devices), parts=parts)


def _resume(word: str | None) -> "Resume":
    known: dict[str | None, Resume] = {None: False, "yes": True, "auto": "auto"}
    if word not in known:
        _fail(f"`--resume` must stand alone or before auto: got {word!r}. Write auto.")
    return known[word]


def _work(study: "Prepared") -> None:
    from anajax.studies import run
    from anajax.studies.store import hosts, lock

    if not hosts.is_main_process():
        run.run(study)
        return
    folder = study.folder.path
    how = f"Go on with --out {folder} --resume."
    stopping.say(how)
    try:
        with _writes(), lock.held(folder):
            _show(study)
    except KeyboardInterrupt:  # where nobody listens to signals
        typer.echo(f"Interrupted. {how}", err=True)
        raise typer.Exit(130) from None


def _show(study: "Prepared") -> None:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from anajax.studies.report import terminal
    from anajax.studies.report.report import write_report
    from anajax.studies.run import run as run_study

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=terminal.console(error=True)) as progress:
        task = progress.add_task("begin", total=study.parts + 1)

        def notify(text: str, done: bool) -> None:
            progress.update(task, description=text, advance=int(done))

        data = run_study(study, notify=notify)
        progress.update(task, description="figures and report")
        page = write_report(study.folder.path)
        progress.update(task, description="done", advance=1)
    for table in terminal.summary(data):
        terminal.show(table)
    typer.echo(f"Report: {page}")


def _require_folder(data: Path | None) -> None:
    if data is not None and not data.is_dir():
        remedy = "Name the folder with the data sets, or leave it out."
        raise FileNotFoundError(f"`--data` must be a folder: got {data}. {remedy}")


@contextlib.contextmanager
def _mistakes() -> Iterator[None]:
    """What is wrong in what the user gave: a message, exit code 2, no traceback."""
    try:
        with _writes():
            yield
    except (ValueError, OSError, ImportError) as error:
        _fail(str(error))


@contextlib.contextmanager
def _writes() -> Iterator[None]:
    """What the disk does not take: a message, exit code 4, no traceback."""
    try:
        yield
    except WriteError as error:
        _fail(str(error), code=4)


@contextlib.contextmanager
def _working(text: str) -> Iterator[None]:
    from anajax.studies.report import terminal

    with terminal.console(error=True).status(text):
        yield


def _fail(text: str, *, code: int = 2) -> NoReturn:
    for line in text.splitlines():
        typer.echo(f"Error: {line}", err=True)
    raise typer.Exit(code)


if __name__ == "__main__":
    sys.exit(main())
