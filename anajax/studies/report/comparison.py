"""Difference of two results."""

import dataclasses
import json
from typing import Any

import numpy as np
import xarray as xr

from anajax.studies.report.statistics import over


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Results B minus results A, for common rows and times."""

    found: xr.Dataset
    """Mean difference of the metric `value [row time]` and its standard `error` over
    chips; rows are strategies, device/strategy for many devices, points of a sweep, or
    imperfections and their factors.
    """
    unlike: list[str]
    """Why differences are not chip by chip: everything that differs, with the values in
    A and B. Empty if nothing does."""

    @property
    def paired(self) -> bool:
        """Whether chips, network and test items are the same: chip by chip."""
        return not self.unlike


def compare(a: xr.Dataset, b: xr.Dataset) -> Comparison:
    """Differences of two results; paired where chips, network and test items agree.

    Raises:
        ValueError: if the results have no rows, have different metrics or nothing in
            common.
    """
    name = a.attrs["metric"]
    if b.attrs["metric"] != name:
        raise ValueError(
            f"`A` and `B` must have the same metric: got {name} and "
            f"{b.attrs['metric']}. Compare results of the same workload."
        )
    first, second = (_by_row(d) for d in (a, b))
    if first is None or second is None:
        kinds = " and ".join(d.attrs["study"] for d in (a, b))
        raise ValueError(
            "`A` and `B` must be studies with rows (strategies, points, or one "
            f"imperfection at a time): got {kinds}. Compare runs of such configs."
        )
    rows = [r for r in first.row.values if r in second.row.values]
    times = np.intersect1d(a.time.values, b.time.values)
    if not rows or not times.size:
        raise ValueError(
            "`A` and `B` must have rows and times in common: got "
            f"{[*map(str, first.row.values)]} and {[*map(str, second.row.values)]} at "
            f"{a.time.values} and {b.time.values} s. Compare others."
        )
    first, second = (d.sel(row=rows, time=times) for d in (first, second))
    unlike = _unlike(a, b)
    if unlike:
        one, other = over(first), over(second)
        found = other - one
        found["error"] = np.hypot(one["error"], other["error"])
    else:
        found = over(second - first)
    return Comparison(found=found, unlike=unlike)


def summary(difference: Comparison) -> dict[str, Any]:
    """Differences as plain values, for JSON."""
    found = difference.found
    return {
        "paired": difference.paired,
        "unlike": difference.unlike,
        "times_s": found.time.values,
        "rows": [
            {
                "name": str(row),
                "mean": one["value"].values,
                "error": one["error"].values,
            }
            for row in found.row.values
            for one in [found.sel(row=row)]
        ],
    }


def _by_row(data: xr.Dataset) -> xr.DataArray | None:
    """The metric `[row chip time]`, up to a constant; None for studies without rows."""
    values = data.get(data.attrs["metric"])
    if values is None:
        return None if "gap" not in data else _grown(data)
    if "point" in values.dims:
        sets = {k: data[k].values for k in map(str, data.data_vars) if k[:4] == "set:"}
        names = [
            ", ".join(f"{k[4:]} {v[i]}" for k, v in sets.items())
            for i in range(values.sizes["point"])
        ]
        return values.rename(point="row").assign_coords(row=names)
    labels, names = list(map(str, data.strategy.values)), []
    for device in data.device.values:
        names += [f"{device}/{s}" if data.sizes["device"] > 1 else s for s in labels]
    values = values.reset_coords(drop=True).stack(row=("device", "strategy"))
    return values.drop_vars(("row", "device", "strategy")).assign_coords(row=names)


def _grown(data: xr.Dataset) -> xr.DataArray:
    """The metric as imperfections grow, less what it is where nothing is lost."""
    sign = -1.0 if data.attrs["better"] == "higher" else 1.0
    names = [
        f"{name} x {factor:g}, from {data.attrs['against']}"
        for name in data.imperfection.values
        for factor in data.factor.values
    ]
    values = (sign * data.gap).reset_coords(drop=True)
    values = values.stack(row=("imperfection", "factor"))
    values = values.drop_vars(("row", "imperfection", "factor"))
    return values.expand_dims(time=data.time.values[-1:]).assign_coords(row=names)


def _unlike(a: xr.Dataset, b: xr.Dataset) -> list[str]:
    """What keeps chips from being compared one by one, in words."""
    found = []
    for what, values in {
        "networks": [d.attrs["workload"] for d in (a, b)],
        "weights": [d.attrs["weights"] for d in (a, b)],
        "test items": [_items(d) for d in (a, b)],
        "chips (seeds)": [d.attrs["seed"] for d in (a, b)],
        "numbers of chips": [d.sizes["chip"] for d in (a, b)],
    }.items():
        if values[0] != values[1]:
            found.append(f"other {what}: {values[0]} and {values[1]}")
    return found


def _items(data: xr.Dataset) -> str:
    """Which test items a study has: how many of what."""
    split = json.loads(data.attrs.get("source", "{}")).get("split")
    of = [data.attrs["data_source"], *([split] if split else [])]
    return f"{data.attrs['items']} of {', '.join(of)}"
