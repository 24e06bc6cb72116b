"""Commands of devices: list and draw them, fit them to measurements."""

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
        metavar="[.png|.svg|.pdf]", help="Draw it into this file; alone: a .png here."
    ),
]


@command()
def devices(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="A preset, a device file .json, or FILE.py:FUNCTION; all presets by "
            "default.",
        ),
    ] = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """List device presets with source and valid range, or show one."""
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
    out: Annotated[Path, typer.Option(help="The device file to write, .json.")],
    form: Annotated[
        str,
        typer.Option(
            help="A preset or FILE.py:FUNCTION whose form is fitted, tables, or auto: "
            "the form that the data choose."
        ),
    ] = "auto",
    knots: Annotated[
        int, typer.Option(help="Points of each of the tables, at most.")
    ] = 6,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=COLUMN,...",
            help="What the columns of the file are: cell=die,read=G; an id of two "
            "columns: cell=row+column.",
        ),
    ] = None,
    units: Annotated[
        str | None,
        typer.Option(
            metavar="S|mS|uS|nS|ohm",
            help="Of target, programmed and read; ohm for resistances. Those of the "
            "header by default, or uS.",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Write the file of a fit that is not right, too."),
    ] = False,
    plot: Plot = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit a device to measurements: columns cell, target, programmed, time, read.

    Comments, semicolons, tabs and decimal commas are read as they are; a table may
    have a column for each time. Empty reads are dropped and counted. Without a column
    programmed, the first read of a cell stands for it.

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
    """What was made of the file, the forms, the parameters, and what is not known."""
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
        typer.echo("The form is not tested: that takes 80 cells.")
    for sentence in made.notes[len(made.readings.notes) :]:
        typer.echo(sentence)


def _draw_device(name: str, device: Any, path: Path, *, quiet: bool) -> None:
    from anajax.devices.report import device_curves
    from anajax.studies.report.figures import device_figure

    curves = device_curves(device)
    _draw(lambda: device_figure(curves, name), path, quiet=quiet)


def _place(plot: Path, stem: str) -> Path:
    """Where a figure goes: as asked for, or a file here of that name."""
    path = Path(f"{stem}.png") if str(plot) == "auto" else plot
    require_place("--plot", path, tuple(kind.lstrip(".") for kind in PLOTS))
    return path


def _draw(figure: Callable[[], Any], path: Path, *, quiet: bool) -> None:
    from anajax.studies.report.plots import render

    kind = path.suffix.lstrip(".")
    write_atomically(path, render(figure, (kind,))[kind])
    tell(f"Figure: {path}", quiet=quiet)
