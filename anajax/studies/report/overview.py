"""Several networks on several devices: the gap to digital, all curves, one table."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anajax._core.disk import write_atomically, writing
from anajax.studies import names
from anajax.studies.kinds.strategies_figures import (
    ERRORS,
    Look,
    compare,
    every_look,
    metric_panel,
)
from anajax.studies.report import gaps, plots, results
from anajax.studies.report.blocks import (
    format_of,
)
from anajax.studies.report.statistics import (
    DIGITAL,
    gains,
    lost,
    of_device,
    sign,
    spread,
    strategies,
    taken,
)

FIELDS = (
    "network", "items_of", "device", "strategy", "time_s", "metric", "digital", "mean",
    "sd_over_chips", "loss", "loss_error", "gain", "gain_error", "chips", "items",
    "seed",
)  # fmt: skip
"""Columns of the table: loss relative to digital on the same items, positive if the
chips are worse, and its standard error over chips and items; gain of an optimized
strategy over the best hand-designed strategy at that time on the same chips and items
(all of them), positive if it is better, and its standard error likewise."""


PANEL = 3.1, 1.7
"""Size of a panel in inches: two of them are as wide as a printed page."""


def write_overview(paths: Sequence[Path], out: Path) -> list[Path]:
    """Draw the gap of all networks and their curves over time, and write a table.

    Args:
        paths: folders of finished studies of strategies or devices, one per network.
        out: folder for `overview` (the gap with intervals, one column wide in print),
            `slide` (the same for a slide) and `curves` (the metric over time) as PNG
            and SVG, and for `overview.csv`, which includes all programs.

    Returns:
        The paths of the files.

    Raises:
        FileNotFoundError: if a folder does not hold a finished study.
        ValueError: if results are damaged, of another kind, or two of one network.
        WriteError: an OSError, if a file cannot be written.
    """
    tables = [_read(path) for path in paths]
    names = [t.attrs["workload"] for t in tables]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(
            f"`DIRS` must be studies of different networks: got {twice} twice. Name "
            "one of each."
        )
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    found = [gap for data in tables for gap in gaps.gaps(data)]
    drawn = {
        "overview": lambda: gaps.figure(found),
        "slide": lambda: gaps.figure(found, slide=True),
        "curves": lambda: figure(tables),
    }
    contents = {
        f"{name}.{kind}": content
        for name, draw in drawn.items()
        for kind, content in plots.render(draw).items()
    }
    contents["overview.csv"] = table(tables).encode()
    for name, content in contents.items():
        write_atomically(out / name, content)
    return [out / name for name in contents]


def _read(path: Path) -> xr.Dataset:
    data = results.read_results(path)
    if "strategy" not in data.dims:
        raise ValueError(
            f"`DIRS` must be studies of strategies or devices: got {path}, a study of "
            f"kind {data.attrs['study']}. Leave it out."
        )
    return data


def figure(tables: Sequence[xr.Dataset]) -> Figure:
    """The metric over time with standard errors, and the digital network as a line.

    Networks are rows, memories columns; two memories are as wide as a printed page.

    Args:
        tables: results of strategy studies, one per network.
    """
    devices = list(dict.fromkeys(str(d) for t in tables for d in t.device.values))
    look = every_look(*tables)
    drawn = plots.panels(
        [
            (
                _title(data, device, first=(not i, not k)),
                partial(_panel, data=data, device=device, look=look),
            )
            for i, data in enumerate(tables)
            for k, device in enumerate(devices)
        ],
        columns=len(devices),
        size=PANEL,
        xlabel="time after programming",
        note=ERRORS,
        legend=3 if len(devices) > 1 else 2,
    )
    for row, data in enumerate(tables):
        axes = drawn.axes[row * len(devices) :][: len(devices)]
        own = {d: axis for d, axis in zip(devices, axes, strict=True) if axis.axison}
        compare([*own.values()], [of_device(data, device) for device in own])
    return drawn


def _title(data: xr.Dataset, device: str, *, first: tuple[bool, bool]) -> str:
    """The network above its first panel, and the memory above its column."""
    above = f"{names.device(device)}\n" * first[0]
    return above + names.upper(names.network(data.attrs["workload"])) * first[1]


def _panel(axis: Axes, data: xr.Dataset, device: str, look: Look) -> None:
    if device not in data.device.values:
        axis.set_axis_off()
        return
    one, show = of_device(data, device), format_of(data)
    metric_panel(axis, one, look)
    outside = one["extrapolated"].values == 1
    plots.time_axis(axis, one.time.values, outside, width=PANEL[0])
    axis.set(ylabel=show.label)


def table(tables: Sequence[xr.Dataset]) -> str:
    """All numbers of the figure as CSV with the columns `FIELDS`."""
    rows = [
        _rows(of_device(data, device), subset)
        for data in tables
        for device in data.device.values
        for subset in (None, *map(str, data.subset.values))
    ]
    return ",".join(FIELDS) + "\n" + "".join(rows)


def _rows(data: xr.Dataset, subset: str | None) -> str:
    """A row for each strategy and time of one device."""
    name, loss = data.attrs["metric"], lost(data, subset)
    of_all, items = data[name], int(data.attrs["items"])
    if subset is not None:
        of_all = data[f"subset_{name}"].sel(subset=subset)
        items = int(data.in_subset.sel(subset=subset).sum())
    found, gain = spread(of_all), np.nan * loss[["value", "error"]]
    for trained in (False, True) if subset is None else ():
        one = gains(data, trained=trained)
        if one is not None:
            error = np.hypot(one["error"], one["of_items"])
            value = sign(data) * one["value"]
            gain = xr.Dataset({"value": value, "error": error}).combine_first(gain)
    columns = xr.Dataset(
        {
            "mean": found["value"],
            "sd_over_chips": found["sd"],
            "loss": loss["value"],
            "loss_error": loss["error"],
            "gain": gain["value"],
            "gain_error": gain["error"],
            "chips": taken(data),
            "digital": found["value"].sel(strategy=DIGITAL, drop=True),
        }
    )
    columns = columns.sel(strategy=list(strategies(data))).reset_coords(drop=True)
    frame = columns.to_dataframe(["strategy", "time"]).reset_index()
    frame = frame.assign(
        network=data.attrs["workload"],
        device=data.device.item(),
        items_of=subset or "all",
        time_s=[f"{t:g}" for t in frame["time"]],
        metric=name,
        items=items,
        seed=data.attrs["seed"],
    )
    return frame[list(FIELDS)].to_csv(
        index=False, header=False, float_format="%.5f", lineterminator="\n"
    )
