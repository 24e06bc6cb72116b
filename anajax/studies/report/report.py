"""The report of a study: its figures and one self-contained page, from disk."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from anajax.studies.kinds import (
    devices_page,
    sensitivity_page,
    strategies_page,
    sweep_page,
)
from anajax.studies.report import results
from anajax.studies.store import lock
from anajax.studies.store.folder import Folder, require_study

if TYPE_CHECKING:  # costs a second to import
    import xarray as xr
else:
    xr = Any

PAGE = "report.html"
PAGES: dict[str, Any] = {
    "strategies": strategies_page,
    "devices": devices_page,
    "sensitivity": sensitivity_page,
    "sweep": sweep_page,
}
"""Modules that show a kind of study."""


def write_report(path: Path) -> Path:
    """Draw the figures and the page of a finished study from what is on disk.

    Args:
        path: folder of a study.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: if the folder holds no finished study.
        ValueError: if a file in it is foreign, truncated or changed, or another process
            works there.
        WriteError: an OSError, if the disk does not take a file.
    """
    require_study(path)
    with lock.held(path):
        folder = Folder.read(path)
        data = results.read_results(path)
        drawn, html = page_of(data).build(data, path)
        for name, content in drawn.items():
            folder.write(f"figures/{name}", content)
        return folder.write(PAGE, html)


def page_of(data: "xr.Dataset") -> Any:
    """The module that shows studies of this kind.

    It has `build(data, folder)`, which gives figures by file name and the page, and
    `tables(data)`, which gives the blocks that a terminal shows.
    """
    return PAGES[data.attrs["study"]]
