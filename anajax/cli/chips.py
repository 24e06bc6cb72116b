"""Commands of chips: what they cost, and what goes on them."""

from pathlib import Path
from typing import Annotated

import typer

from anajax.cli.base import Data, app, fail, mistakes, require_folder, working


@app.command()
def costs(
    config: Annotated[Path, typer.Argument(help="A YAML file of a study.")],
    chip: Annotated[str | None, typer.Option(help="A name, or a .yaml file.")] = None,
    data: Data = None,
) -> None:
    """Print energy, latency and area of the network of CONFIG on a chip."""
    with mistakes():
        from anajax.studies.costs import text

        require_folder(data)
        typer.echo(text(config, chip, data))


@app.command()
def export(
    place: Annotated[
        Path, typer.Argument(metavar="RUN|CONFIG", help="Of a study, or its config.")
    ],
    out: Annotated[Path, typer.Option(help="A new folder for the image.")],
    strategy: Annotated[str | None, typer.Option(help="Its label.")] = None,
    device: Annotated[
        str | None, typer.Option(help="Its label, where there are several.")
    ] = None,
    tiles: Annotated[
        str, typer.Option(metavar="ROWSxCOLUMNS", help="The largest tile.")
    ] = "512x512",
    storage: Annotated[
        str,
        typer.Option("--format", metavar="safetensors|csv|hdf5", help="Of the arrays."),
    ] = "safetensors",
    data: Data = None,
    files: Annotated[
        Path, typer.Option(help="Folder of the files that the config of RUN names.")
    ] = Path(),
) -> None:
    """Write the chip image of a strategy: target conductances by tile, and manifest."""
    with mistakes():
        size = _tiles(tiles)
        if storage not in ("safetensors", "csv", "hdf5"):
            fail(f"`--format` must be safetensors, csv or hdf5: got {storage!r}.")
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            fail(f"`--out` must be an empty folder: got {out}. Name another.")
        require_folder(data)
        with working("loading JAX and the network"):
            from anajax.interop import image
            from anajax.studies.export import export as image_of

            found = image_of(
                place, strategy, device=device, tiles=size, data=data, files=files
            )
        typer.echo(f"Image: {image.write(found, out, storage)}")


def _tiles(text: str) -> tuple[int, int]:
    rows, _, columns = text.partition("x")
    if not (rows.isdecimal() and columns.isdecimal() and int(rows) * int(columns)):
        fail(f"`--tiles` must be ROWSxCOLUMNS: got {text!r}. Write 512x512.")
    return int(rows), int(columns)
