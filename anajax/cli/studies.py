"""Commands of studies: run them, draw their reports, compare them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from anajax.cli.base import (
    Changes,
    Data,
    app,
    fail,
    mistakes,
    require_folder,
    working,
    writes,
)
from anajax.studies.store import stopping

if TYPE_CHECKING:  # costs seconds to import
    from jax.sharding import Mesh

    from anajax.studies.run import Prepared
    from anajax.studies.store.folder import Resume


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


@app.command(cls=_Run)
def run(
    config: Annotated[Path, typer.Argument(help="A YAML file, see configs/.")],
    changes: Changes = None,
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
    with mistakes():
        going_on = _resume(resume)
        mesh = _mesh(devices, parts, cluster)
        from anajax.studies.load import load_config

        asked = load_config(config, changes or [])
        require_folder(data)
        with working("loading JAX and the network"):
            from anajax.studies.run import prepare

            study = prepare(asked, out=folder, data=data, resume=going_on, mesh=mesh)
    _work(study)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
) -> None:
    """Write a config, a network of your own and a README to start from."""
    with mistakes():
        from anajax.studies.begin import init as begin

        for path in begin(folder):
            typer.echo(f"Written: {path}")


@app.command()
def check(
    config: Annotated[Path, typer.Argument(help="A YAML file of a study.")],
    changes: Changes = None,
    data: Data = None,
) -> None:
    """Check CONFIG and say what would run: layers, tiles, memory, parts."""
    with mistakes():
        from anajax.studies.begin import check as told

        require_folder(data)
        typer.echo(told(config, changes or [], data))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Of a study.")],
) -> None:
    """Draw the figures and the page of a finished study again, from its files."""
    with mistakes():
        from anajax.studies.report.report import write_report

        typer.echo(f"Report: {write_report(folder)}")


@app.command()
def results(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Of a study.")],
    csv: Annotated[bool, typer.Option("--csv", help="Tables as CSV.")] = False,
    parquet: Annotated[
        bool, typer.Option("--parquet", help="Tables as Parquet.")
    ] = False,
    pdf: Annotated[bool, typer.Option("--pdf", help="Figures as PDF.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for them; out/tables by default.")
    ] = None,
) -> None:
    """Write the results of a study as tables, and its figures as PDF."""
    with mistakes():
        from anajax.studies.report import tables

        asked = {"csv": csv, "parquet": parquet, "pdf": pdf}
        forms: Any = [name for name, wanted in asked.items() if wanted]
        for path in tables.write(folder, out or Path("out/tables"), forms):
            typer.echo(f"Written: {path}")


@app.command()
def overview(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIRS", help="Of studies, one a network.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for both.")] = Path("out/overview"),
) -> None:
    """Draw networks in columns and devices in rows, and a table of what they lose."""
    with mistakes():
        from anajax.studies.report.overview import write_overview

        for path in write_overview(folders, out):
            typer.echo(f"Overview: {path}")


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="Folder of a study.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Folder of another.")],
) -> None:
    """Print results of B minus those of A, chip by chip where both have the same."""
    with mistakes():
        from anajax.studies.report import blocks, comparison, results, terminal

        first, second = (results.read_results(path) for path in (a, b))
        difference = comparison.compare(first, second)
        terminal.show(terminal.comparison(difference, blocks.format_of(first)))


def _mesh(devices: str, parts: int, cluster: str | None) -> "Mesh | None":
    if devices != "all" and not devices.isdecimal():
        fail(f"`--devices` must be a number or all: got {devices!r}. Write all.")
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
        fail(f"`--resume` must stand alone or before auto: got {word!r}. Write auto.")
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
        with writes(), lock.held(folder):
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
