"""The command that estimates what a study takes."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from anajax.cli.base import (
    Changes,
    Config,
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
    config: Config,
    changes: Changes = None,
    sizes: Annotated[
        Path | None, typer.Option(help="config.json of a Llama model, for its shapes.")
    ] = None,
    error: Annotated[
        float | None,
        typer.Option(help="Find chips and items for this standard error of the loss."),
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Estimate the devices, memory and time that the study of CONFIG takes."""
    with mistakes():
        from anajax.studies.forecast import forecast
        from anajax.studies.load import load_config

        asked = load_config(config, changes or [])
        require_folder(data)
        with working("measuring this machine", quiet=as_json):
            found = forecast(asked, data=data, sizes=sizes)
        seen = None
        if error is not None:
            from anajax.studies.power import pilot

            with working("measuring a few chips", quiet=as_json):
                seen = pilot(asked, data=data)
        if as_json:
            about = dataclasses.asdict(found) | {"seconds": found.seconds}
            document(about if seen is None else about | {"pilot": seen.needed(error)})
            return
        typer.echo(str(found))
        if seen is not None:
            chips, items = seen.needed(error)
            typer.echo(
                f"standard error      {error:g} needs {chips} chips and {items} of "
                f"{seen.most} items (pilot: {seen.of_chips:.2g} from chip to chip, "
                f"{seen.of_items:.2g} from item to item)"
            )
