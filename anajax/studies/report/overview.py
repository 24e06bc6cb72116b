"""Several networks on several devices in one figure and one table."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anajax._core.disk import write_atomically, writing
from anajax.studies.kinds.devices_page import of_device
from anajax.studies.report import figures, results

if TYPE_CHECKING:  # costs a second to import
    import xarray as xr
    from matplotlib.figure import Figure
else:
    xr = Figure = Any

FIELDS = (
    "network", "items_of", "device", "strategy", "time_s", "metric", "digital", "mean",
    "sd_over_chips", "loss", "loss_error", "gain", "gain_error", "chips", "items",
    "seed",
)  # fmt: skip
"""Columns of the table: loss against digital on the same items, positive where the
chips are worse, and its standard error over chips and items; gain of an optimized
strategy over the best hand strategy of that time on the same chips and items (all of
them), positive where it is better, and its standard error likewise."""


def write_overview(paths: Sequence[Path], out: Path) -> list[Path]:
    """Draw networks in columns and devices in rows, and write the table of losses.

    Args:
        paths: folders of finished studies of strategies or devices, one per network.
        out: folder for `overview.png`, `overview.svg` and `overview.csv`.

    Returns:
        The paths of the files.

    Raises:
        FileNotFoundError: if a folder holds no finished study.
        ValueError: if results are damaged, of another kind, or two of one network.
        WriteError: an OSError, if the disk does not take a file.
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
    contents = figures.render(lambda: figure(tables))
    contents |= {"csv": table(tables).encode()}
    written = [out / f"overview.{kind}" for kind in contents]
    for path, content in zip(written, contents.values(), strict=True):
        write_atomically(path, content)
    return written


def _read(path: Path) -> "xr.Dataset":
    data = results.read_results(path)
    if data.attrs["study"] not in results.OF_STRATEGIES:
        raise ValueError(
            f"`DIRS` must be studies of strategies or devices: got {path}, a study of "
            f"kind {data.attrs['study']}. Leave it out."
        )
    if "device" not in data.dims:
        data = data.expand_dims(device=[data.attrs["device"]])
    return data


def figure(tables: Sequence["xr.Dataset"]) -> "Figure":
    """The metric over time: mean and band (sd over chips), the digital network a line.

    Args:
        tables: results with a dimension `device`, one of each network.
    """
    import matplotlib.pyplot as plt

    devices = list(dict.fromkeys(str(d) for t in tables for d in t.device.values))
    chart, axes = plt.subplots(
        len(devices),
        len(tables),
        figsize=(3.1 * len(tables) + 0.9, 2.5 * len(devices) + 1.2),
        squeeze=False,
    )
    styles = _styles(tables)
    for column, data in zip(axes.T, tables, strict=True):
        for axis, device in zip(column, devices, strict=True):
            if device in data.device.values:
                _panel(axis, of_device(data, device), styles)
            else:
                axis.set_axis_off()
        column[0].set_title(data.attrs["workload"])
    for row, device in zip(axes, devices, strict=True):
        row[0].annotate(
            device, (-0.32, 0.5), xycoords="axes fraction", rotation=90, va="center",
            ha="right", fontweight="bold",
        )  # fmt: skip
    for axis in axes[:-1].flat:
        axis.set_xlabel("")
    shown = {}
    for axis in axes.flat:
        shown |= dict(zip(*axis.get_legend_handles_labels()[::-1], strict=True))
    ncols = min(6, 2 * len(tables))
    chart.legend(shown.values(), shown, loc="outside lower center", ncols=ncols)
    chart.suptitle("bands: ± sd over chips", fontsize=9)
    return chart


def _styles(tables: Sequence["xr.Dataset"]) -> dict[str, dict[str, Any]]:
    """One style for a label in all panels."""
    import xarray as xr

    ways = {results.DIGITAL: (results.DIGITAL, False)}
    for data in tables:
        about = zip(data.family.values, data.trained.values, strict=True)
        ways = dict(zip(map(str, data.strategy.values), about, strict=True)) | ways
    family, trained = zip(*ways.values(), strict=True)
    of_all = xr.Dataset(
        coords={
            "strategy": list(ways),
            "family": ("strategy", list(family)),
            "trained": ("strategy", list(trained)),
        }
    )
    return figures.styles(of_all)


def _panel(axis: Any, data: "xr.Dataset", styles: dict[str, dict[str, Any]]) -> None:
    name = data.attrs["metric"]
    show = results.shown(name)
    digital = show.factor * data.attrs["digital_metric"]
    axis.axhline(digital, color="black", lw=1, label=results.DIGITAL)
    x, means = figures.places(data.time.values), []
    for label in map(str, data.strategy.values):
        if label == results.DIGITAL:
            continue
        values = show.factor * data[name].sel(strategy=label)
        mean, sd = values.mean("chip").values, values.std("chip").values
        figures.banded(axis, x, mean, sd, label, styles[label])
        means.append(mean)
    _focus(axis, digital, means, data[name].attrs["better"] == "higher")
    figures.time_axis(axis, data)
    for text in axis.get_xticklabels():
        text.set(rotation=50, ha="right", rotation_mode="anchor")
    axis.set_ylabel(f"{show.title} ({show.unit})")


def _focus(axis: Any, digital: float, means: list[np.ndarray], higher: bool) -> None:
    """The range of all strategies but the worst one, if that is far behind.

    It spans a hundredth of the digital metric at least.
    """
    losses = np.sort([np.max((digital - m) * (1 if higher else -1)) for m in means])
    loss = losses[-1]
    if len(losses) > 2 and loss > 2.5 * losses[-2] > 0:
        loss = 1.5 * losses[-2]
    gain = max(np.max((m - digital) * (1 if higher else -1)) for m in means)
    loss = max(1.15 * loss, 0.008 * abs(digital))
    gain = max(1.15 * gain, 0.15 * loss, 0.002 * abs(digital))
    down, up = (loss, gain) if higher else (gain, loss)
    axis.set_ylim(digital - down, digital + up)


def table(tables: Sequence["xr.Dataset"]) -> str:
    """All numbers of the figure as CSV with the columns `FIELDS`."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, FIELDS, lineterminator="\n")
    writer.writeheader()
    for data in tables:
        for device in map(str, data.device.values):
            one = of_device(data, device)
            for subset in (None, *map(str, data.subset.values)):
                for label in map(str, data.strategy.values):
                    if label != results.DIGITAL:
                        writer.writerows(_rows(one, device, label, subset))
    return buffer.getvalue()


def _rows(
    data: "xr.Dataset", device: str, label: str, subset: str | None
) -> list[dict[str, Any]]:
    name = data.attrs["metric"]
    if subset is None:
        of_all, items = data[name], int(data.attrs["items"])
    else:
        of_all = data[f"subset_{name}"].sel(subset=subset)
        items = int(data.in_subset.sel(subset=subset).sum())
    values = of_all.sel(strategy=label).values.astype(float)
    values = values[~np.isnan(values).all(1)]
    digital = of_all.sel(strategy=results.DIGITAL).values[0]
    loss, error = results.gap_to_digital(data, label, subset=subset)
    gain, gain_error = _gain(data, label) if subset is None else ([""] * len(loss),) * 2
    return [
        {
            "network": data.attrs["workload"],
            "items_of": subset or "all",
            "device": device,
            "strategy": label,
            "time_s": f"{t:g}",
            "metric": name,
            "digital": f"{digital[i]:.5f}",
            "mean": f"{values[:, i].mean():.5f}",
            "sd_over_chips": f"{values[:, i].std(ddof=1):.5f}",
            "loss": f"{loss[i]:.5f}",
            "loss_error": f"{error[i]:.5f}",
            "gain": gain[i],
            "gain_error": gain_error[i],
            "chips": len(values),
            "items": items,
            "seed": data.attrs["seed"],
        }
        for i, t in enumerate(data.time.values)
    ]


def _gain(data: "xr.Dataset", label: str) -> tuple[list[str], list[str]]:
    """Over the best hand strategy, with the error of both chips and items; or blank."""
    sign = 1 if data[data.attrs["metric"]].attrs["better"] == "higher" else -1
    for gain in (g for found in results.gains(data) for g in found):
        if gain.label == label:
            error = np.hypot(gain.error, gain.error_of_items)
            return (
                [f"{g:.5f}" for g in sign * gain.difference],
                [f"{e:.5f}" for e in error],
            )
    blank = [""] * data.sizes["time"]
    return blank, blank
