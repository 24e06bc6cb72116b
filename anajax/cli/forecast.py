"""The command that says beforehand what a study takes."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from anajax.cli.base import (
    Changes,
    Data,
    Json,
    document,
    mistakes,
    require_folder,
    working,
)
from anajax.cli.command import command


@command()
def plan(
    config: Annotated[Path, typer.Argument(help="A YAML file of a study.")],
    changes: Changes = None,
    sizes: Annotated[
        Path | None, typer.Option(help="config.json of a Llama, for its shapes.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Say how many devices, how much memory and how long the study of CONFIG takes."""
    with mistakes():
        from anajax.studies.forecast import forecast
        from anajax.studies.load import load_config

        asked = load_config(config, changes or [])
        require_folder(data)
        with working("measuring this machine", quiet=as_json):
            found = forecast(asked, data=data, sizes=sizes)
        if as_json:
            about = dataclasses.asdict(found)
            document(about | {"seconds": found.seconds})
        else:
            typer.echo(str(found))
