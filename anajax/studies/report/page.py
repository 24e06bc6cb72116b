"""The parts of a report's page, and their HTML in one self-contained file."""

import base64
import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import yaml

from anajax.analysis.network import NORM_INPUTS

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
