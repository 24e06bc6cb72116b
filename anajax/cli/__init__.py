"""The command `anajax`: run studies, draw reports, look at devices."""

# In the order of `anajax --help`:
# isort: off
from anajax.cli.base import app as app
from anajax.cli import studies as studies
from anajax.cli import devices as devices
from anajax.cli import chips as chips
from anajax.cli import forecast as forecast

# isort: on
from anajax.studies.store import stopping


def main() -> None:
    """The entry point of the command."""
    stopping.listen()
    app()
