"""Commands of chips: what they cost."""

from pathlib import Path
from typing import Annotated

import typer

from anajax.cli.base import Data, app, mistakes, require_folder


@app.command()
def costs(
    config: Annotated[Path, typer.Argument(help="A YAML file of a study.")],
    chip: Annotated[str, typer.Option(help="A name, or a .yaml file.")] = "hermes",
    data: Data = None,
) -> None:
    """Print energy, latency and area of the network of CONFIG on a chip."""
    with mistakes():
        from anajax.studies.costs import text

        require_folder(data)
        typer.echo(text(config, chip, data))
