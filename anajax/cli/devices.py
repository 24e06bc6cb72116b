"""Commands of devices: list and draw them, fit them to measurements."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from anajax._core.disk import write_atomically
from anajax.cli.base import app, fail, mistakes, require_place, working


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
    with mistakes():
        from anajax import devices as models
        from anajax._core import python
        from anajax.studies.report import terminal

        presets = models.presets()
        if name is not None and name not in presets:
            if ".py:" not in name:
                known = ", ".join(presets)
                fail(f"`NAME` must be a preset: got {name}. Known: {known}.")
            presets[name] = python.load(name, "my_memory.py:my_device")
        if plot is not None and name is None:
            fail("`--plot` must have a preset to draw: got none. Write NAME.")
        chosen = [name] if name else list(presets)
        terminal.show(terminal.devices({n: presets[n]() for n in chosen}))
        if name is not None and plot is not None:
            _plot(presets[name](), plot)


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
    with mistakes():
        from anajax.devices import files
        from anajax.devices.fitting import file as fitting
        from anajax.studies.report import figures, terminal

        require_place("--out", out, ("json",))
        if plot is not None:
            require_place("--plot", plot, ("png", "svg"))
        with working("fitting"):
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
    require_place("--plot", path, ("png", "svg"))
    from anajax.devices.report import device_curves
    from anajax.studies.report.figures import device_figure

    curves = device_curves(device)
    _draw(lambda: device_figure(curves, device.name), path)


def _draw(figure: Callable[[], Any], path: Path) -> None:
    from anajax.studies.report.plots import render

    write_atomically(path, render(figure)[path.suffix.lstrip(".")])
    typer.echo(f"Figure: {path}")
