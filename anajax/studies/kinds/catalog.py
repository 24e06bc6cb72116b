"""The kinds of studies: built in, and registered by users."""

import xarray as xr

from anajax._core import checks
from anajax.studies.kinds import sensitivity, strategies, sweep
from anajax.studies.kinds.base import Kind
from anajax.studies.kinds.costs import pareto, upkeep

KINDS = (
    strategies.KIND,
    strategies.DEVICES,
    sensitivity.KIND,
    sweep.KIND,
    pareto.KIND,
    upkeep.KIND,
)
_kinds = {kind.name: kind for kind in KINDS}


def kinds() -> dict[str, Kind]:
    """Every kind that a config may name as its `study`."""
    return dict(_kinds)


def register(kind: Kind) -> None:
    """Make your own kind of study known to configs, runs and reports.

    Registering a kind again, for example in a notebook cell, replaces it.

    Raises:
        ValueError: if a built-in kind has that name.
    """
    if kind.name in {known.name for known in KINDS}:
        checks.fail("name", "be one of your own", repr(kind.name), "Choose another.")
    _kinds[kind.name] = kind


def kind_of(data: xr.Dataset) -> Kind:
    """The kind of study that results come from.

    Raises:
        ValueError: if it is not registered.
    """
    name = str(data.attrs["study"])
    if name not in _kinds:
        remedy = "Register yours with anajax.studies.kinds.catalog.register."
        checks.fail("study", f"be one of {', '.join(_kinds)}", repr(name), remedy)
    return _kinds[name]
