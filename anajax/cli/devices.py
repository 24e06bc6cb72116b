"""Commands for devices: list and draw them, fit them to measurements."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from anajax._core.disk import write_atomically
from anajax._core.nearest import did_you_mean
from anajax.cli.base import (
    Json,
    Quiet,
    document,
    fail,
    mistakes,
    require_place,
    tell,
    working,
)
from anajax.cli.command import PLOTS, command

Plot = Annotated[
    Path | None,
    typer.Option(
        metavar="[.png|.svg|.pdf]",
        help="File for the plot; without a name, a .png file in this folder.",
    ),
]


@command()
def devices(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="A preset, a .json device file or FILE.py:FUNCTION; all presets by "
            "default.",
        ),
    ] = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """List device presets with their sources and valid ranges, or show one."""
    with mistakes():
        from anajax import devices as models
        from anajax.studies.report import terminal

        if plot is not None and name is None:
            fail("`--plot` must have a preset to draw: got none. Write NAME.")
        place = None if plot is None or name is None else _place(plot, _stem(name))
        if name is None:
            chosen = {n: make() for n, make in models.presets().items()}
        else:
            chosen = {_stem(name): _device(name)}
        if as_json:
            document([_about(n, device) for n, device in chosen.items()])
        else:
            terminal.show(terminal.devices(chosen))
        if place is not None:
            for n, device in chosen.items():
                _draw_device(n, device, place, quiet=as_json)


def _device(name: str) -> Any:
    from anajax import devices as models
    from anajax._core import python
    from anajax.devices.files import load_device

    if name.endswith(".json"):
        return load_device(name)
    if ".py:" in name:
        return python.load(name, "my_memory.py:my_device")()
    presets = models.presets()
    if name not in presets:
        known = f"{did_you_mean(name, presets)}Known: {', '.join(presets)}."
        fail(f"`NAME` must be a preset: got {name}. {known}")
    return presets[name]()


def _stem(name: str) -> str:
    """The name of a device: of its file, or of its function."""
    return Path(name).stem if name.endswith(".json") else name.rpartition(":")[2]


def _about(name: str, device: Any) -> dict[str, Any]:
    low, high = device.valid_times
    return {
        "name": name, "g_min_uS": float(device.g_min), "g_max_uS": float(device.g_max),
        "valid_from_s": low, "valid_to_s": high, "source": device.source,
    }  # fmt: skip


@command("fit-device")
def fit_device(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="Measurements: .csv, .tsv, .txt, .dat or .parquet."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Device file to write (.json).")],
    form: Annotated[
        str,
        typer.Option(
            help="Form to fit: a preset, FILE.py:FUNCTION, tables, or auto for the "
            "form that fits best."
        ),
    ] = "auto",
    knots: Annotated[int, typer.Option(help="Most points in each table.")] = 6,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=COLUMN,...",
            help="Names of your columns, as in cell=die,read=G; for an id from two "
            "columns, cell=row+column.",
        ),
    ] = None,
    units: Annotated[
        str | None,
        typer.Option(
            metavar="S|mS|uS|nS|ohm",
            help="Unit of target, programmed and read; ohm for resistances. Default: "
            "the unit in the header, or uS.",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Write the file even if the fit is not acceptable."
        ),
    ] = False,
    plot: Plot = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit a device to measurements: columns cell, target, programmed, time, read.

    Files may have comments, semicolons, tabs, decimal commas, or one column per time.
    Empty reads are dropped and counted. Without a column `programmed`, the first read
    of each cell takes its place.

    A fit that is not at a maximum, or whose form the data reject, writes no file and
    ends with exit code 3.
    """
    with mistakes():
        from anajax.devices import files
        from anajax.devices.fitting import file as fitting

        require_place("--out", out, ("json",))
        place = None if plot is None else _place(plot, out.stem)
        with working("reading", quiet=quiet or as_json) as say:
            made = fitting.fit_file(
                data, form=form, knots=knots, name=out.stem, units=units,
                columns=columns, notify=lambda name, i: say(f"fitting {name}"),
            )  # fmt: skip
        wrong = fitting.problems(made.found)
        write = force or not wrong
        if as_json:
            document(fitting.summary(made) | {"file": out if write else None})
        elif not quiet:
            _show(made)
        if place is not None:
            from anajax.studies.report.fits import fit_figure

            _draw(lambda: fit_figure(made), place, quiet=quiet or as_json)
        for sentence in wrong:
            typer.echo(f"Warning: {sentence}", err=True)
        if not write:
            typer.echo(f"No file is written: --force writes {out}.", err=True)
            raise typer.Exit(3)
        files.save_device(made.found.device, out)
        tell(f"Device: {out}", quiet=quiet or as_json)


def _show(made: Any) -> None:
    """Show how the file was read, the forms, the parameters, and what is unknown."""
    from anajax.studies.report import terminal

    found = made.found
    for note in made.readings.notes:
        typer.echo(note)
    if len(made.trials) > 1:
        terminal.show(terminal.forms(made.trials))
    terminal.show(terminal.parameters(found))
    if found.tests:
        terminal.show(terminal.form_tests(found))
    else:
        typer.echo("The form is not tested: this needs at least 80 cells.")
    for sentence in made.notes[len(made.readings.notes) :]:
        typer.echo(sentence)


def _draw_device(name: str, device: Any, path: Path, *, quiet: bool) -> None:
    from anajax.devices.report import device_curves
    from anajax.studies.report.figures import device_figure

    curves = device_curves(device)
    _draw(lambda: device_figure(curves, name), path, quiet=quiet)


def _place(plot: Path, stem: str) -> Path:
    """The path of a figure: the requested one, or a .png file of that name here."""
    path = Path(f"{stem}.png") if str(plot) == "auto" else plot
    require_place("--plot", path, tuple(kind.lstrip(".") for kind in PLOTS))
    return path


def _draw(figure: Callable[[], Any], path: Path, *, quiet: bool) -> None:
    from anajax.studies.report.plots import render

    kind = path.suffix.lstrip(".")
    write_atomically(path, render(figure, (kind,))[kind])
    tell(f"Figure: {path}", quiet=quiet)
