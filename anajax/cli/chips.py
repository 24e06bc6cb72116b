"""Commands for chips: costs, chip images, measured conductances."""

from pathlib import Path
from typing import Annotated

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
)
from anajax.cli.command import command


@command()
def costs(
    config: Config,
    chip: Annotated[str | None, typer.Option(help="Chip name or .yaml file.")] = None,
    changes: Changes = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Print energy, latency and area of the network of CONFIG on a chip."""
    with mistakes():
        from anajax.studies import costs as priced

        require_folder(data)
        found = priced.of_config(config, chip, data, changes or [])
        if as_json:
            document(priced.summary(found))
        else:
            typer.echo(priced.text(found))


@command()
def export(
    place: Annotated[
        Path, typer.Argument(metavar="RUN|CONFIG", help="Folder or config of a study.")
    ],
    out: Annotated[Path, typer.Option(help="New folder for the image.")],
    strategy: Annotated[
        str | None, typer.Option(help="Its label in the study.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Its label, if the study has several.")
    ] = None,
    tiles: Annotated[
        str | None,
        typer.Option(
            metavar="ROWSxCOLUMNS", help="Largest tile; by default as in the study."
        ),
    ] = None,
    storage: Annotated[
        str,
        typer.Option("--format", metavar="safetensors|csv|hdf5", help="Array files."),
    ] = "safetensors",
    data: Data = None,
    files: Annotated[
        Path, typer.Option(help="Folder with the files named in the config of RUN.")
    ] = Path(),
    quiet: Quiet = False,
) -> None:
    """Write the chip image of a strategy: target conductances and a manifest."""
    with mistakes():
        size = None if tiles is None else _tiles(tiles)
        if storage not in ("safetensors", "csv", "hdf5"):
            remedy = "Write --format csv."
            fail(
                f"`--format` must be safetensors, csv or hdf5: got {storage}. {remedy}"
            )
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            fail(f"`--out` must be an empty folder: got {out}. Name another.")
        require_folder(data)
        with working("loading JAX and the network", quiet=quiet):
            from anajax.interop import image
            from anajax.studies.export import export as image_of

            found = image_of(
                place, strategy, device=device, tiles=size, data=data, files=files
            )
        tell(f"Image: {image.write(found, out, storage)}", quiet=quiet)


def _tiles(text: str) -> tuple[int, int]:
    rows, _, columns = text.partition("x")
    if not (rows.isdecimal() and columns.isdecimal() and int(rows) * int(columns)):
        fail(f"`--tiles` must be ROWSxCOLUMNS: got {text!r}. Write 512x512.")
    return int(rows), int(columns)


@command()
def measured(
    place: Annotated[
        Path, typer.Argument(metavar="DIR_OR_CSV", help="Measured conductances.")
    ],
    image: Annotated[
        Path | None, typer.Option(help="Chip image; by default in the same folder.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Config of the network, to compute its accuracy."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for maps, tables and the next image.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Evaluate measured conductances: accuracy of this chip, errors, model fit."""
    with mistakes():
        require_folder(data)
        with working("loading JAX and the network", quiet=quiet or as_json):
            from anajax.interop.image import measured as chips
            from anajax.interop.image import read
            from anajax.studies import measured as reports
            from anajax.studies.load import load_config
            from anajax.studies.run import workload_of

            where = place if place.is_dir() else place.parent
            found = read(where if image is None else image)
            values = chips.read(place, found)
            work = None
            if config is not None:
                work = workload_of(load_config(config).workload, data)
            said = reports.look(found, values, work)
        if as_json:
            document(said)
        else:
            tell(reports.text(said, work), quiet=quiet)
        if out is not None:
            for path in reports.write(said, found, values, out):
                tell(f"Written: {path}", quiet=quiet or as_json)
