"""The report of a study: its figures and one self-contained page, from files."""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import markupsafe
import xarray as xr
import yaml

from anajax._core.units import counted, human
from anajax.chip import Strategies
from anajax.programming import strategy_file
from anajax.studies.kinds.catalog import kind_of
from anajax.studies.report import choices, results
from anajax.studies.report.assumptions import config_of
from anajax.studies.report.blocks import Block, format_of
from anajax.studies.report.plots import render
from anajax.studies.store import lock
from anajax.studies.store.folder import Folder, require_study

PAGE = "report.html"


def write_report(path: Path) -> Path:
    """Draw the figures and the report of a finished study from its files.

    Args:
        path: folder of a study.

    Returns:
        The path of the report.

    Raises:
        FileNotFoundError: if the folder does not hold a finished study.
        ValueError: if a file in it is foreign, truncated or changed, or another process
            is using it.
        WriteError: an OSError, if a file cannot be written.
    """
    require_study(path)
    with lock.held(path):
        folder = Folder.read(path)
        data = results.read_results(path)
        file, tables = path / strategy_file.FILE, {}
        if file.is_file():
            tables = strategy_file.load_strategies(file)
        blocks = every_block(data, tables)
        drawn = draw(blocks)
        page = build(data, blocks, drawn)
        for name, content in drawn.items():
            folder.write(f"figures/{name}", content)
        return folder.write(PAGE, page)


def every_block(data: xr.Dataset, tables: Mapping[str, Strategies]) -> list[Block]:
    """The sections of a kind of study, including recommendations."""
    return [*kind_of(data).blocks(data, tables), *choices.blocks(data)]


def draw(blocks: Sequence[Block]) -> dict[str, bytes]:
    """The figures of blocks as PNG and SVG, some dark as well, by file name."""
    made = {}
    for drawing in (d for block in blocks for d in block.drawings):
        for kind, content in render(drawing.draw).items():
            made[f"{drawing.name}.{kind}"] = content
        if drawing.dark:
            dark = render(drawing.draw, ["png"], dark=True)
            made[f"{drawing.name}_dark.png"] = dark["png"]
    return made


def build(
    data: xr.Dataset, blocks: Sequence[Block], drawn: Mapping[str, bytes]
) -> bytes:
    """The report of a study of any kind."""
    kind = kind_of(data)
    assumed = Block(title="Assumptions", points=kind.assumptions(data))
    return html(
        title=kind.title(data),
        lead=lead(data),
        warnings=warnings(data),
        blocks=[*blocks, assumed, *provenance(data)],
        drawn=drawn,
    )


def html(
    *,
    title: str,
    lead: str,
    warnings: Sequence[str],
    blocks: Sequence[Block],
    drawn: Mapping[str, bytes],
) -> bytes:
    """A self-contained page; `drawn` has the figures by file name."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("anajax.studies.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["code"] = _code
    template = environment.get_template("report.html.j2")
    code = {d.name: _image(d.name, drawn) for block in blocks for d in block.drawings}
    return template.render(
        title=title, lead=lead, warnings=warnings, blocks=blocks, drawn=code
    ).encode()


def _code(text: str) -> markupsafe.Markup:
    """Text with the words in backticks as code."""
    return markupsafe.Markup(
        re.sub(r"`([^`]+)`", r"<code>\1</code>", str(markupsafe.escape(text)))
    )


LARGEST = 300_000
"""Largest SVG in bytes; larger drawings are included as PNG, to stay below 2 MB."""


def _image(name: str, drawn: Mapping[str, bytes]) -> str:
    """A figure as embedded in the page: as SVG, or as PNG if that is too large."""
    kind, mime = "svg", "svg+xml"
    if len(drawn[f"{name}.svg"]) > LARGEST:
        kind = mime = "png"
    content = base64.b64encode(drawn[f"{name}.{kind}"]).decode()
    return f"data:image/{mime};base64,{content}"


def summary(data: xr.Dataset) -> list[Block]:
    """The part of a report that the terminal shows, for any kind of study."""
    return [block for block in every_block(data, {}) if block.summary]


def lead(data: xr.Dataset) -> str:
    """Numbers of chips and test items, the seed, and the digital metric."""
    show, most = format_of(data), "Up to " if data.attrs["stop_at_se"] else ""
    return (
        f"{most}{counted(config_of(data)['chips'], 'chip')} each, "
        f"{counted(data.attrs['items'], 'test item')}, seed {data.attrs['seed']}. "
        f"Digital {show.title}: {show.text(data.attrs['digital_metric'])}."
    )


def warnings(data: xr.Dataset) -> list[str]:
    """Warnings at the top: times that the source does not cover."""
    outside = data["extrapolated"] == 1
    others = [d for d in outside.dims if d != "time"]
    if others in ([], ["device"]):
        said = []
        for device in map(str, data.device.values):
            one = outside.sel(device=device) if others else outside
            times = ", ".join(human(t) for t in data.time.values[one.values])
            where = f"the source of {device} does not cover {times}."
            said += [f"Extrapolated: {where}"] if times else []
        return said
    count = int(outside.any("time").sum())
    where = "the source of the device does not cover some of the times."
    return [f"Extrapolated: at {count} {others[0]}s {where}"] if count else []


def provenance(data: xr.Dataset) -> list[Block]:
    """Provenance of the results: config, versions, sources."""
    names = ("versions", "source", "device_files", "backend")
    versions, sources, files, backend = (json.loads(data.attrs[n]) for n in names)
    facts = [
        ", ".join(f"{name} {version}" for name, version in versions.items()),
        f"git: {data.attrs['git']}",
        f"computed on: {backend}",
        *(f"{name}: {text}" for name, text in sources.items()),
        *(f"device file {name}: SHA-256 {digest}" for name, digest in files.items()),
    ]
    return [
        Block(title="Config", code=yaml.safe_dump(config_of(data), sort_keys=False)),
        Block(title="Versions and sources", points=facts),
    ]
