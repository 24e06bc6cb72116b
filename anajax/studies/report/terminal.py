"""Tables in the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr
from rich.console import Console
from rich.table import Table
from rich.text import Text

from anajax._core.units import human
from anajax.devices.base import Device
from anajax.devices.fitting.choice import Trial
from anajax.devices.fitting.fit import FitResult
from anajax.studies.names import symbol
from anajax.studies.report import report
from anajax.studies.report.blocks import (
    Block,
    Cell,
    MetricFormat,
    cells,
    in_units,
    table,
)
from anajax.studies.report.comparison import Comparison


def console(*, error: bool = False) -> Console:
    """Console for tables; wide enough for them if there is no terminal."""
    made = Console(stderr=error)
    return made if made.is_terminal else Console(stderr=error, width=150)


def show(table: Table) -> None:
    """Print a table."""
    console().print(table)


def summary(data: xr.Dataset) -> list[Table]:
    """The results of a study of any kind, in short."""
    return [_plain(block) for block in report.summary(data)]


def conclusions(data: xr.Dataset) -> list[str]:
    """Conclusions from these tables, in sentences."""
    return [point for block in report.summary(data) for point in block.points]


def comparison(found: Comparison, show: MetricFormat) -> Table:
    """Differences of two results with their standard errors."""
    how = "paired, chip by chip"
    if not found.paired:
        how = f"unpaired; {'; '.join(found.unlike)}"
    rows = table(found.found, show, rows=("row",), signed=True)
    title = f"B - A, {show.title}{in_units(show.points)}, {how}"
    return _plain(Block(title=title, **rows))


def devices(models: Mapping[str, Device]) -> Table:
    """Devices with their range, the times covered by their source, and the source."""
    rows = [
        cells(n, f"{float(d.g_min):g} to {float(d.g_max):g}", _range(d), d.source)
        for n, d in models.items()
    ]
    header = ["name", "range (µS)", "valid times", "source"]
    return _plain(Block(title="Device presets", header=header, rows=rows), "left")


def parameters(found: FitResult) -> Table:
    """Estimates of a fitted device with standard errors and 95 % intervals."""
    rows = []
    for p in found.parameters:
        known = f"{p.se:.2g}", "{:.4g} to {:.4g}".format(*p.interval)
        said = ("", "not determined") if p.undetermined else known
        rows.append(cells(p.name, f"{p.value:.5g}", *said, symbol(p.unit)))
    title = f"Device {found.device.name}: parameters"
    header = ["parameter", "value", "standard error", "95 % interval", "unit"]
    return _plain(Block(title=title, header=header, rows=rows))


def forms(trials: Sequence[Trial]) -> Table:
    """All candidate forms, best first, and how well they explain the data."""
    rows, best = [], min(t.criterion for t in trials)
    for trial in trials:
        found = trial.found
        if found is None:
            rows.append(cells(trial.form, "", "", "", trial.reason))
            continue
        said = "rejected by the tests" if found.form_rejected else "not rejected"
        said = said if found.converged else "not at a maximum"
        rows.append(
            cells(
                trial.form, str(len(found.parameters)), f"{found.log_likelihood:.1f}",
                f"{trial.criterion - best:.1f}", said,
            )
        )  # fmt: skip
    header = ["form", "parameters", "log likelihood", "criterion - lowest", "verdict"]
    title = "Forms, by Schwarz's criterion (lower is better)"
    return _plain(Block(title=title, header=header, rows=rows))


def form_tests(found: FitResult) -> Table:
    """Tests of whether the form of a fitted device explains the data."""
    verdict = "rejected" if found.form_rejected else "not rejected"
    rows = [cells(t.name, f"{t.statistic:.4g}", f"{t.p:.3g}") for t in found.tests]
    title = f"Tests of the form: {verdict} at 1 % for all together"
    return _plain(Block(title=title, header=["test", "statistic", "p"], rows=rows))


def _plain(block: Block, justify: Any = "right") -> Table:
    """The table of a block; `justify` applies to all columns except the first."""
    made = Table(title=block.title)
    for i, name in enumerate(block.header):
        made.add_column(name, justify=justify if i else "left", overflow="fold")
    for i, row in enumerate(block.rows):
        made.add_row(*map(_shown, row), style="bold" if i in block.bold else None)
    return made


def _shown(cell: Cell) -> Text:
    style = "bold" if cell.bold else ""
    return Text(f"{cell.text} {cell.small}".strip(), style)


def _range(device: Device) -> str:
    low, high = device.valid_times
    if high == low:
        return f"{human(low)} only"
    end = "any time" if high == float("inf") else human(high)
    return f"{human(low)} to {end}"
