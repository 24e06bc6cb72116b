"""Tables in the terminal."""

from collections.abc import Mapping
from typing import Any

import xarray as xr
from rich.console import Console
from rich.table import Table

from anajax.devices.base import Device
from anajax.devices.fitting.fit import FitResult
from anajax.studies.config.durations import human
from anajax.studies.report import report
from anajax.studies.report.blocks import Block, MetricFormat
from anajax.studies.report.comparison import Comparison


def console(*, error: bool = False) -> Console:
    """Where tables go; wide enough for them where there is no terminal."""
    made = Console(stderr=error)
    return made if made.is_terminal else Console(stderr=error, width=150)


def show(table: Table) -> None:
    """Print a table."""
    console().print(table)


def summary(data: xr.Dataset) -> list[Table]:
    """What the results of a study of any kind say in short."""
    return [_plain(block) for block in report.summary(data)]


def comparison(found: Comparison, show: MetricFormat) -> Table:
    """Differences of two results with their standard errors."""
    how = "paired, chip by chip"
    if not found.paired:
        how = f"unpaired; {'; '.join(found.unlike)}"
    table = _table(f"B - A, {show.title} ({show.points}), {how}", found.times)
    for row, label in enumerate(found.rows):
        numbers = zip(found.difference[row], found.error[row], strict=True)
        cells = (show.cell(d, e, signed=True) for d, e in numbers)
        table.add_row(label, *(f"{c.text} {c.small}" for c in cells))
    return table


def devices(models: Mapping[str, Device]) -> Table:
    """Devices with their range, the times that their source covers, and the source."""
    table = Table(title="Device presets")
    for column in ("name", "range (µS)", "valid times", "source"):
        table.add_column(column)
    for name, device in models.items():
        low, high = (float(v) for v in (device.g_min, device.g_max))
        table.add_row(name, f"{low:g} to {high:g}", _range(device), device.source)
    return table


def parameters(found: FitResult) -> Table:
    """Estimates of a fitted device with standard errors and 95 % intervals."""
    table = Table(title=f"Device {found.device.name}: parameters")
    for column in ("parameter", "value", "standard error", "95 % interval"):
        table.add_column(column, justify="left" if column == "parameter" else "right")
    for p in found.parameters:
        low, high = p.interval
        interval = f"{low:.4g} to {high:.4g}"
        table.add_row(p.name, f"{p.value:.5g}", f"{p.se:.2g}", interval)
    return table


def form_tests(found: FitResult) -> Table:
    """Tests of whether the form of a fitted device explains the data."""
    verdict = "rejected" if found.form_rejected else "not rejected"
    table = Table(title=f"Tests of the form: {verdict} at 1 % for all together")
    for column in ("test", "statistic", "p"):
        table.add_column(column, justify="left" if column == "test" else "right")
    for test in found.tests:
        table.add_row(test.name, f"{test.statistic:.4g}", f"{test.p:.3g}")
    return table


def _plain(block: Block) -> Table:
    """The table of a block of a report."""
    table = Table(title=block.title)
    for i, name in enumerate(block.header):
        table.add_column(name, justify="right" if i else "left", overflow="fold")
    for row in block.rows:
        table.add_row(*(f"{c.text} {c.small}".strip() for c in row))
    return table


def _table(title: str, times: Any) -> Table:
    table = Table(title=title)
    table.add_column("")
    for t in times:
        table.add_column(human(float(t)), justify="right", overflow="fold")
    return table


def _range(device: Device) -> str:
    low, high = device.valid_times
    if high == low:
        return f"{human(low)} only"
    end = "any time" if high == float("inf") else human(high)
    return f"{human(low)} to {end}"
