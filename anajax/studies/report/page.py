"""The parts of a report's page, and their HTML in one self-contained file."""

import base64
import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from anajax.analysis.network import NORM_INPUTS
from anajax.studies.config.durations import human
from anajax.studies.report.results import shown

if TYPE_CHECKING:  # costs a second to import
    import xarray as xr
else:
    xr = Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of a table, with a smaller note behind."""

    text: str
    small: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a table."""

    cells: Sequence[Cell]
    kind: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Image:
    """One figure, base64 of SVG."""

    data: str
    alt: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
    """One section of the page; what is empty is left out."""

    title: str
    text: str = ""
    header: Sequence[str] = ()
    rows: Sequence[Row] = ()
    images: Sequence[Image] = ()
    points: Sequence[str] = ()
    code: str = ""


def image(svg: bytes, alt: str) -> Image:
    """A figure from the content of an SVG file."""
    return Image(data=base64.b64encode(svg).decode(), alt=alt)


def render(
    *, title: str, lead: str, warnings: Sequence[str], blocks: Sequence[Block]
) -> bytes:
    """The page as HTML that needs no other file."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("anajax.studies.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    template = environment.get_template("report.html.j2")
    html = template.render(title=title, lead=lead, warnings=warnings, blocks=blocks)
    return html.encode()


def mapping(data: "xr.Dataset") -> str:
    """How weights share the range of conductances."""
    if json.loads(data.attrs["config"])["normalize"] == "layer":
        return "Weights are normalized by the largest |weight| of their layer."
    return (
        "Weights are normalized by the largest |weight| of their column, and columns "
        "are scaled digitally behind their ADCs, whose range a layer shares."
    )


def physics(data: "xr.Dataset") -> str:
    """What stands in the products: weights as read, or the cells."""
    given = json.loads(data.attrs["config"])["compensation"].get("through")
    if given == "periphery":
        return (
            "Products meet the cells themselves, with fresh read noise for each input "
            "vector; drift compensation is measured through the converters, of each "
            "weight by itself."
        )
    return (
        "The noise of devices is in the weights, read once per chip and time for all "
        "test items."
    )


def compensation(data: "xr.Dataset") -> str:
    """What drift compensation there is, and when it is measured."""
    scope = data.attrs["compensation"]
    shared = {
        "none": "There is no drift compensation.",
        "network": "One drift compensation factor for the network",
        "layer": "One drift compensation factor per layer",
        "column": "One drift compensation factor per output column",
    }[scope]
    if scope != "none":
        shared += ": mean |weight| of the first read over that of the present one."
    measured = np.atleast_1d(data.attrs.get("recalibrated", []))
    if measured.size:
        when = ", ".join(human(t) for t in measured)
        shared += f" It is measured at {when} and held in between; before, it is 1."
        shared += " Searches assume one that is measured at every time."
    return shared


def faults(data: "xr.Dataset") -> list[str]:
    """What is broken on every chip, where a study says so."""
    given = json.loads(data.attrs["config"]).get("faults") or {}
    said = [f"{100 * v:g} % {_FAULTS[name]}" for name, v in given.items() if v]
    if not said:
        return []
    return [f"Every chip has faults of its own: {', '.join(said)}."]


_FAULTS = {
    "stuck_low": "of the cells stuck at the least conductance",
    "stuck_high": "of the cells stuck at the largest",
    "dead_rows": "of the rows dead",
    "dead_columns": "of the columns dead",
}


def chips(data: "xr.Dataset") -> str:
    """How many chips there are, or at most."""
    most = "up to " if data.attrs.get("stop_at_se", 0) else ""
    return f"{most}{data.sizes['chip']} chips"


def taken(data: "xr.Dataset", label: str) -> str:
    """How many chips a strategy took, where studies stop early."""
    if not data.attrs.get("stop_at_se", 0):
        return ""
    values = data[data.attrs["metric"]].sel(strategy=label)
    return f"{int(values.notnull().any('time').sum())} chips"


def stopping(data: "xr.Dataset", what: str) -> str:
    """When no more chips are taken, where that is decided by the standard error.

    Args:
        data: results.
        what: takes chips.
    """
    wanted = data.attrs.get("stop_at_se", 0)
    if not wanted:
        return ""
    show = shown(data.attrs["metric"])
    return (
        f"A {what} takes no more chips once its standard error is at most "
        f"{show.factor * wanted:g} {show.unit.replace('%', 'points')} at all times; "
        "stopped so, errors are on average a little too small."
    )


def norms(data: "xr.Dataset") -> list[str]:
    """What is assumed of batch norms, where chips measure them."""
    if not json.loads(data.attrs["config"])["compensation"]["norms"]:
        return []
    return [
        f"Batch norms are measured on each chip at every read-out, on {NORM_INPUTS} "
        "inputs without labels that are not among the test items; the digital network "
        "keeps those of its training."
    ]


def provenance(data: "xr.Dataset") -> list[Block]:
    """How the results came about: config, versions, sources."""
    config = json.loads(data.attrs["config"])
    versions = json.loads(data.attrs["versions"])
    sources = json.loads(data.attrs["source"])
    files = json.loads(data.attrs["device_files"])
    facts = [
        ", ".join(f"{name} {version}" for name, version in versions.items()),
        f"git: {data.attrs['git']}",
        f"computed on: {json.loads(data.attrs['backend'])}",
        *(f"{name}: {text}" for name, text in sources.items()),
        *(f"device file {name}: SHA-256 {digest}" for name, digest in files.items()),
    ]
    return [
        Block(title="Config", code=yaml.safe_dump(config, sort_keys=False)),
        Block(title="Versions and sources", points=facts),
    ]
