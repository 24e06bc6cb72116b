"""Commands for studies: run them, draw their reports, compare them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anajax.cli.base import (
    Changes,
    Config,
    Data,
    Json,
    Quiet,
    document,
    fail,
    mistakes,
    require_folder,
    tell,
    working,
    writes,
)
from anajax.cli.command import command
from anajax.studies.store import stopping

if TYPE_CHECKING:  # takes seconds to import
    from jax.sharding import Mesh

    from anajax.studies.run import Prepared
    from anajax.studies.store.folder import Resume


@command()
def run(
    config: Config,
    changes: Changes = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the results; out/NAME by default."),
    ] = None,
    data: Data = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="[auto]",
            help="Continue the study in --out; with auto, start or continue it.",
        ),
    ] = None,
    devices: Annotated[
        str, typer.Option(metavar="N|all", help="Accelerators that share the chips.")
    ] = "1",
    parts: Annotated[
        int, typer.Option(help="Accelerators that share each chip and its items.")
    ] = 1,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="auto|HOST:PORT,INDEX,COUNT",
            help="Run as one of several processes; see anajax.studies.store.hosts.",
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run the study of CONFIG: results, figures and a report in a folder."""
    folder = Path("out") / config.stem if out is None else out
    with mistakes():
        going_on = _resume(resume)
        mesh = _mesh(devices, parts, cluster)
        from anajax.studies.load import load_config

        asked = load_config(config, changes or [])
        require_folder(data)
        with working("loading JAX and the network", quiet=quiet or as_json):
            from anajax.studies.run import prepare

            study = prepare(asked, out=folder, data=data, resume=going_on, mesh=mesh)
    _work(study, quiet=quiet, as_json=as_json)


@command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder.")],
    quiet: Quiet = False,
) -> None:
    """Write a config, a loader for your network and a README to start from."""
    with mistakes():
        from anajax.studies.begin import init as begin

        for path in begin(folder):
            tell(f"Written: {path}", quiet=quiet)


@command()
def check(
    config: Config,
    changes: Changes = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Check CONFIG and show what would run: layers, tiles, memory, strategies."""
    with mistakes():
        from anajax.studies.begin import check as told

        require_folder(data)
        found = told(config, changes or [], data)
        if as_json:
            document(found)
        else:
            typer.echo(str(found))


@command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a study.")],
    quiet: Quiet = False,
) -> None:
    """Draw the figures and the report of a finished study again, from its files."""
    with mistakes():
        from anajax.studies.report.report import write_report

        tell(f"Report: {write_report(folder)}", quiet=quiet)


@command()
def results(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a study.")],
    csv: Annotated[bool, typer.Option("--csv", help="Write tables as CSV.")] = False,
    parquet: Annotated[
        bool, typer.Option("--parquet", help="Write tables as Parquet.")
    ] = False,
    pdf: Annotated[bool, typer.Option("--pdf", help="Write figures as PDF.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the files; out/tables by default.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the results of a study as tables and its figures as PDF, or print them."""
    with mistakes():
        from anajax.studies.report import tables
        from anajax.studies.report.results import read_results

        if as_json:
            document(tables.summary(read_results(folder)))
            if not (csv or parquet or pdf):
                return
        asked = {"csv": csv, "parquet": parquet, "pdf": pdf}
        forms: Any = [name for name, wanted in asked.items() if wanted]
        for path in tables.write(folder, out or Path("out/tables"), forms):
            tell(f"Written: {path}", quiet=quiet or as_json)


@command()
def overview(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIRS", help="Folders of studies, one per network."),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for the figures and the table.")
    ] = Path("out/overview"),
    quiet: Quiet = False,
) -> None:
    """Plot the losses of networks on devices, and curves over time; write a table."""
    with mistakes():
        from anajax.studies.report.overview import write_overview

        for path in write_overview(folders, out):
            tell(f"Overview: {path}", quiet=quiet)


@command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="Folder of a study.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Folder of another study.")],
    as_json: Json = False,
) -> None:
    """Print the results of B minus those of A, chip by chip where possible."""
    with mistakes():
        from anajax.studies.report import blocks, comparison, results, terminal

        first, second = (results.read_results(path) for path in (a, b))
        difference = comparison.compare(first, second)
        if as_json:
            document(comparison.summary(difference))
        else:
            terminal.show(terminal.comparison(difference, blocks.format_of(first)))


def _mesh(devices: str, parts: int, cluster: str | None) -> "Mesh | None":
    if devices != "all" and not devices.isdecimal():
        fail(f"`--devices` must be a number or all: got {devices!r}. Write all.")
    if cluster is not None:
        from anajax.studies.store import hosts

        hosts.connect(cluster)
        stopping.listen(again=True)  # jax may have installed its own handlers
    if (devices, parts, cluster) == ("1", 1, None):
        return None
    from anajax.analysis.sharding import make_mesh

    return make_mesh("all" if devices == "all" else int(devices), parts=parts)


def _resume(word: str | None) -> "Resume":
    known: dict[str | None, Resume] = {None: False, "yes": True, "auto": "auto"}
    if word not in known:
        fail(f"`--resume` must stand alone or before auto: got {word!r}. Write auto.")
    return known[word]


def _work(study: "Prepared", *, quiet: bool = False, as_json: bool = False) -> None:
    from anajax.studies import run
    from anajax.studies.store import hosts, lock

    if not hosts.is_main_process():
        run.run(study)
        return
    folder = study.folder.path
    how = f"Continue with --out {folder} --resume."
    stopping.say(how)
    try:
        with writes(), lock.held(folder):
            data, page = _followed(study, quiet=quiet or as_json)
    except KeyboardInterrupt:  # if no handler is installed
        typer.echo(f"Interrupted. {how}", err=True)
        raise typer.Exit(130) from None
    if as_json:
        from anajax.studies.report import tables

        document(tables.summary(data) | {"report": page})
    elif not quiet:
        _print(data)
    tell(f"Report: {page}", quiet=quiet or as_json)


def _print(data: Any) -> None:
    from anajax.studies.report import terminal

    for table in terminal.summary(data):
        terminal.show(table)
    for sentence in terminal.conclusions(data):
        typer.echo(sentence)


def _followed(study: "Prepared", *, quiet: bool) -> tuple[Any, Path]:
    """Run a study and write its report, while showing the progress."""
    from anajax.cli.progress import follow
    from anajax.studies.report.report import write_report
    from anajax.studies.run import run as run_study

    after = study.report_seconds
    with follow(study.parts, ahead=study.ahead, after=after, quiet=quiet) as told:
        notify, within = told
        data = run_study(study, notify=notify, within=within)
        notify("figures and report", False)
        return data, write_report(study.folder.path)
