"""The best strategy in the data, its ties, and what can be concluded."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from anajax._core.units import human
from anajax.studies.report.blocks import MetricFormat
from anajax.studies.report.statistics import lost, over, programmed, sign

TIMES = 4
"""Most times that are listed individually; otherwise their number is given."""


def ranking(data: xr.Dataset) -> xr.Dataset:
    """The best strategy for each device and time, and those tied with it.

    Args:
        data: results of strategies.

    Returns:
        `best [device strategy time]`, true for the best mean over chips; and `tied`,
        true for others that are worse by at most one standard error of the paired
        difference, chip by chip.
    """
    some = programmed(data)
    values = sign(data) * some[data.attrs["metric"]]
    mean = over(values)["value"]
    first = mean.fillna(-np.inf).argmax("strategy")
    of_best = values.isel(strategy=first).drop_vars(("strategy", "family", "trained"))
    behind, there = over(of_best - values), mean.notnull()
    place = xr.DataArray(np.arange(some.sizes["strategy"]), dims="strategy")
    best = there & (place == first)
    tied = there & ~best & (behind["value"] <= behind["error"].fillna(0.0))
    return xr.Dataset({"best": best, "tied": tied})


def sentences(data: xr.Dataset, show: MetricFormat) -> list[str]:
    """Conclusions for each device: the best strategy, ties, and the loss.

    Args:
        data: results of strategies.
        show: format of the metric.
    """
    found, losses, said = ranking(data), lost(data), []
    for device in map(str, found.device.values):
        one = found.sel(device=device)
        one = one.sel(time=one["best"].any("strategy"))
        if not one.sizes["time"]:
            continue
        where = f" on {device}" if found.sizes["device"] > 1 else ""
        best = _with_times(one["best"])
        text = f"Best {show.title}{where} by the data: {best}. {_ties(one)}"
        last = one.isel(time=-1)
        label = str(last.strategy.values[int(last["best"].argmax("strategy"))])
        loss = losses.sel(device=device, strategy=label, time=last.time)
        text += f" At {human(float(last.time))}, {_loss(label, loss, show)}"
        said.append(text)
    return said


def _ties(one: xr.Dataset) -> str:
    if not bool(one["tied"].any()):
        return "No other strategy is within one standard error of it, chip by chip."
    others = _with_times(one["tied"])
    return f"Within one standard error of it, chip by chip: {others}."


def _loss(label: str, loss: xr.Dataset, show: MetricFormat) -> str:
    value, error = float(loss["value"]), float(loss["error"])
    amount = f"{show.number(abs(value))} ± {show.number(error)} {show.points}"
    what = "loses" if value > 0 else "gains"
    text = f"{label} {what} {amount.removesuffix(' 1')} relative to the digital network"
    clear = abs(value) > 2 * error
    return f"{text}." if clear else f"{text}: less than two standard errors."


def _with_times(where: xr.DataArray) -> str:
    """Strategies with the times at which something is true of them."""
    many, parts = where.sizes["time"], []
    for label in map(str, where.strategy.values):
        times = where.time.values[where.sel(strategy=label).values]
        if times.size:
            parts.append(f"{label} at {_times(times, many)}")
    return "; ".join(parts)


def _times(times: Sequence[float] | np.ndarray, many: int) -> str:
    if len(times) == many:
        return "all times" if many > 1 else human(float(times[0]))
    if len(times) > TIMES:
        return f"{len(times)} of {many} times"
    words = [human(float(t)) for t in times]
    if len(words) > 2:
        return f"{', '.join(words[:-1])}, and {words[-1]}"
    return " and ".join(words)
