"""Results of a sweep as labelled arrays."""

import json
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # costs a second to import
    import xarray as xr

else:
    xr = Any


def dataset(
    study: Any, found: dict[str, np.ndarray], about: dict[str, Any]
) -> "xr.Dataset":
    """The results of a sweep: measures over (point, chip, time), keys as coordinates.

    Args:
        study: a `Sweep`.
        found: measures `[points chips times]` by name, NaN for chips not needed.
        about: attributes.
    """
    import xarray as xr

    metric = study.work.metric
    dims = ("point", "chip", "time")
    better = "higher" if study.work.higher_is_better else "lower"
    unit = "1" if metric == "accuracy" else "bit"
    taken = {"comment": "NaN for chips that were not needed"}
    data = xr.Dataset(
        {
            metric: (dims, found["metric"], {"units": unit, "better": better} | taken),
            "loss": (dims, found["loss"], {"units": "nat"} | taken),
            "weight_rms_error": (
                dims,
                found["weight_rms_error"],
                {"units": "1"} | taken,
            ),
            f"item_{metric}": (
                ("point", "time", "item"),
                found["item_metric"],
                {"units": unit, "better": better, "comment": "mean over chips"},
            ),
            f"digital_item_{metric}": ("item", found["digital"], {"units": unit}),
            f"subset_{metric}": (
                ("subset", *dims),
                found["subset_metric"],
                {"units": unit, "better": better} | taken,
            ),
            "seconds": (
                ("point", "time"),
                np.stack([v.times for v in study.variants]),
                {"units": "s"},
            ),
            "extrapolated": (
                ("point", "time"),
                np.stack([v.extrapolated for v in study.variants]).astype(np.int8),
            ),
            "group": ("point", _group_of(study), {"comment": "one trace each"}),
        },
        coords={
            "point": np.arange(len(study.points)),
            "chip": np.arange(study.config.chips),
            "subset": np.array(list(study.work.subsets), dtype=str),
            "time": ("time", np.asarray(study.config.times, float), {"units": "s"}),
        },
    )
    for key in study.points[0]:
        data[f"set:{key}"] = ("point", column([p[key] for p in study.points]))
    axes = study.config.sweep.axes
    shape = [] if axes is None else [[a.keys, len(a.values)] for a in axes]
    return data.assign_attrs(
        about
        | {
            "keys": json.dumps(list(study.points[0])),
            "axes": json.dumps(shape),
        }
    )


def column(values: list[Any]) -> np.ndarray:
    """Values of a key as numbers, or as texts where one is no number."""
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return np.asarray(values, float)
    return np.asarray([v if isinstance(v, str) else json.dumps(v) for v in values])


def _group_of(study: Any) -> np.ndarray:
    group = np.empty(len(study.points), int)
    for i, g in enumerate(study.groups):
        group[g.members] = i
    return group
