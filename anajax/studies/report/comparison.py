"""Two results of studies of strategies, one minus the other."""

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from anajax.studies.report.results import mean_and_error

if TYPE_CHECKING:  # costs a second to import
    import xarray as xr
else:
    xr = Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Results B minus results A, for the strategies and times that both have."""

    strategies: list[str]
    times: np.ndarray
    difference: np.ndarray
    """Mean difference of the metric `[strategies times]`."""
    error: np.ndarray
    """Its standard error over chips `[strategies times]`."""
    unlike: list[str]
    """Why differences are not chip by chip: each thing that is not the same in both,
    with what A and B have. Empty where they are."""

    @property
    def paired(self) -> bool:
        """Whether chips, network and test items are the same: chip by chip."""
        return not self.unlike


def compare(a: "xr.Dataset", b: "xr.Dataset") -> Comparison:
    """Differences of two results; paired where chips, network and test items agree.

    Raises:
        ValueError: if the results are of other kinds, have different metrics or nothing
            in common.
    """
    kinds = [d.attrs["study"] for d in (a, b)]
    if kinds != ["strategies", "strategies"]:
        raise ValueError(
            f"`A` and `B` must be studies of strategies: got {' and '.join(kinds)}. "
            "Compare runs of configs with `study: strategies`."
        )
    name = a.attrs["metric"]
    if b.attrs["metric"] != name:
        raise ValueError(
            f"`A` and `B` must have the same metric: got {name} and "
            f"{b.attrs['metric']}. Compare results of the same workload."
        )
    labels = [str(s) for s in a.strategy.values if s in b.strategy.values]
    times = np.intersect1d(a.time.values, b.time.values)
    if not labels or not times.size:
        raise ValueError(
            "`A` and `B` must have strategies and times in common: got "
            f"{[*map(str, a.strategy.values)]} and {[*map(str, b.strategy.values)]} at "
            f"{a.time.values} and {b.time.values} s. Compare others."
        )
    first, second = (d[name].sel(strategy=labels, time=times) for d in (a, b))
    unlike = _unlike(a, b)
    if unlike:
        (mean_a, error_a), (mean_b, error_b) = (
            mean_and_error(d.values) for d in (first, second)
        )
        mean, error = mean_b - mean_a, np.hypot(error_a, error_b)
    else:
        mean, error = mean_and_error(second.values - first.values)
    return Comparison(
        strategies=labels, times=times, difference=mean, error=error, unlike=unlike
    )


def _unlike(a: "xr.Dataset", b: "xr.Dataset") -> list[str]:
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


def _items(data: "xr.Dataset") -> str:
    """Which test items a study has: how many of what."""
    split = json.loads(data.attrs.get("source", "{}")).get("split")
    of = [data.attrs["data_source"], *([split] if split else [])]
    return f"{data.attrs['items']} of {', '.join(of)}"
