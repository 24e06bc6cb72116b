"""Results of a study on disk: labelled arrays, and the statistics that tables show."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anajax.analysis.workload import Workload
from anajax.studies.ways.base import DIGITAL, Way

if TYPE_CHECKING:  # costs a second to import
    import xarray as xr
else:
    xr = Any

RESULTS = "results.nc"
OF_STRATEGIES = ("strategies", "devices")
"""Kinds of studies whose results are those of `dataset`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """What one strategy on one device gave; the unit in which a study is saved."""

    metric: np.ndarray
    """`[chips times]`, the mean over test items; NaN for chips that were not needed."""
    loss: np.ndarray
    """`[chips times]`, divergence of the digital from the analog outputs."""
    item_metric: np.ndarray
    """`[times items]`, the mean over chips."""
    subset_metric: np.ndarray
    """`[subsets chips times]`, the mean over the items of a subset."""
    weight_rms_error: np.ndarray
    """`[chips times]`, measured, fraction of w_max."""
    expected_rms_error: np.ndarray
    """`[times]`, without samples, fraction of w_max."""
    strategies: str
    """The strategy as the text of a strategy file."""

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> "Part":
        """The part whose fields were saved as arrays."""
        return cls(**{**arrays, "strategies": str(arrays["strategies"])})  # pyright: ignore


def dataset(
    parts: dict[str, Part],
    ways: Iterable[Way],
    *,
    work: Workload,
    digital: np.ndarray,
    times: np.ndarray,
    extrapolated: np.ndarray,
) -> "xr.Dataset":
    """The results of one network on one device.

    Args:
        parts: by strategy label, in order; the digital network is added.
        ways: that the strategies are, in the same order.
        work: names the metric.
        digital: metric of the digital network `[items]`.
        times: seconds `[times]`.
        extrapolated: which times the source of the device does not cover `[times]`.
    """
    import xarray as xr

    metric = np.stack([p.metric for p in parts.values()])
    same = np.full((1, *metric.shape[1:]), np.mean(digital), metric.dtype)
    items = np.stack([p.item_metric for p in parts.values()])
    exact = np.broadcast_to(digital, items.shape[1:])[None].astype(items.dtype)
    dims = ("strategy", "chip", "time")
    in_subset = np.array(list(work.subsets.values()), bool).reshape(-1, len(digital))
    subset = np.stack([p.subset_metric for p in parts.values()])
    share = {"units": "1", "long_name": "rms weight error as a fraction of w_max"}
    return xr.Dataset(
        {
            work.metric: (dims, np.concatenate([same, metric]), _metric_attrs(work)),
            f"item_{work.metric}": (
                ("strategy", "time", "item"),
                np.concatenate([exact, items]),
                _metric_attrs(work) | {"comment": "of a test item, mean over chips"},
            ),
            "loss": (dims, _with_zero(parts, "loss"), _LOSS),
            "weight_rms_error": (dims, _with_zero(parts, "weight_rms_error"), share),
            "expected_rms_error": (
                ("strategy", "time"),
                _with_zero(parts, "expected_rms_error"),
                share | {"comment": "from exact moments, without samples"},
            ),
            f"subset_{work.metric}": (
                ("strategy", "subset", "chip", "time"),
                np.concatenate([_exact(digital, in_subset, subset), subset]),
                _metric_attrs(work) | {"comment": "mean over the items of a subset"},
            ),
            "in_subset": (("subset", "item"), in_subset.astype(np.int8)),
            "extrapolated": (
                "time",
                extrapolated.astype(np.int8),
                {"units": "1", "comment": "1: beyond what the device's source covers"},
            ),
        },
        coords={
            "strategy": [DIGITAL, *parts],
            "subset": np.array(list(work.subsets), dtype=str),
            "chip": np.arange(metric.shape[1]),
            "time": ("time", np.asarray(times, float), {"units": "s"}),
            "family": ("strategy", [DIGITAL, *(way.family for way in ways)]),
            "trained": ("strategy", [False, *(way.trained for way in ways)]),
        },
    )


_LOSS = {"units": "nat", "comment": "of the digital from the analog outputs"}


def _with_zero(parts: dict[str, Part], name: str) -> np.ndarray:
    """A field of all parts, 0 for the digital network in front of them."""
    found = np.stack([getattr(part, name) for part in parts.values()])
    return np.concatenate([np.zeros_like(found[:1]), found])


def programmed(data: "xr.Dataset") -> "xr.Dataset":
    """The results of strategies that are on chips, without those of digital networks.

    Args:
        data: results of one device or many.
    """
    return data.isel(strategy=np.flatnonzero(data.family.values != DIGITAL))


def _exact(digital: np.ndarray, subsets: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The digital network in every subset, shaped as the chips of one strategy."""
    means = [digital[mask].mean() for mask in subsets]
    shape = (1, *like.shape[1:])
    return np.broadcast_to(np.array(means)[:, None, None], shape).astype(like.dtype)


def _metric_attrs(work: Workload) -> dict[str, str]:
    unit = "1" if work.metric == "accuracy" else "bit"
    better = "higher" if work.higher_is_better else "lower"
    return {"units": unit, "better": better, "comment": "mean over test items"}


def to_netcdf(data: "xr.Dataset") -> bytes:
    """The content of a netCDF file; made in memory, since HDF5 dies of a full disk."""
    return bytes(data.to_netcdf(engine="h5netcdf"))


def read_results(path: Path) -> "xr.Dataset":
    """The results in a study's folder, or in a file.

    Raises:
        FileNotFoundError: if there are none.
        ValueError: if the file is truncated or not of a study.
    """
    import xarray as xr

    file = path / RESULTS if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"`DIR` must hold results: got {path} without {RESULTS}. Finish the study "
            "with `anajax run CONFIG --out DIR --resume`."
        )
    try:
        _read_through(file)
        data = xr.load_dataset(file, engine="h5netcdf")
        if data.attrs["study"] in OF_STRATEGIES:
            data[data.attrs["metric"]].attrs["better"]
            _ = data.family, data.trained
    except _DAMAGED as error:
        raise ValueError(
            f"`{file}` must be the complete results of a study: got "
            f"{type(error).__name__} ({error!s:.200}). Delete it and run with --resume."
        ) from None
    return data


_DAMAGED = (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError)
"""What the readers of HDF5 raise on files that are not whole."""


def _read_through(file: Path) -> None:
    """Read all of a file: h5netcdf leaves half-open files where HDF5 is damaged."""
    import h5py

    def look(_: str, item: Any) -> None:
        dict(item.attrs)
        if isinstance(item, h5py.Dataset):
            item[()]

    with h5py.File(file, "r") as opened:
        opened.visititems(look)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetricFormat:
    """How a metric is printed: `factor * value` with `digits`, in `unit`."""

    factor: float
    unit: str
    digits: int
    title: str

    def text(self, value: float) -> str:
        """A value as people read it: 0.9833 of an accuracy is "98.33 %"."""
        return f"{self.factor * value:.{self.digits}f} {self.unit}"


def shown(metric: str) -> MetricFormat:
    """How to show a metric: an accuracy in percent, others as they are."""
    title = metric.replace("_", " ")
    if metric == "accuracy":
        return MetricFormat(factor=100, unit="%", digits=2, title=title)
    return MetricFormat(factor=1, unit="bit", digits=4, title=title)


def mean_and_error(values: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean over chips and its standard error; chips are the second last axis.

    Chips that were not needed are NaN and do not count.
    """
    values = np.asarray(values, float)
    there = ~np.isnan(values)
    count = there.sum(-2)
    with np.errstate(invalid="ignore", divide="ignore"):  # NaN where there are none
        mean = np.where(there, values, 0).sum(-2) / count
        square = np.where(there, (values - mean[..., None, :]) ** 2, 0).sum(-2)
        return mean, np.sqrt(square / (count - 1) / count)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gain:
    """An optimized strategy minus the best hand strategy, chip by chip."""

    label: str
    """The optimized strategy."""
    best_hand: list[str]
    """At each time the hand strategy of the best mean."""
    difference: np.ndarray
    """Mean paired difference of the metric `[times]`."""
    error: np.ndarray
    """Its standard error over chips `[times]`."""
    error_of_items: np.ndarray
    """The standard error of the paired difference over items `[times]`."""
    trained: bool
    """Whether both are on trained weights."""


def gains(data: "xr.Dataset") -> list[list[Gain]]:
    """Every optimized strategy against the best hand strategy of each time.

    Those on trained weights are compared among themselves: a list of their own.
    """
    return [found for trained in (False, True) if (found := _gains(data, trained))]


def _gains(data: "xr.Dataset", trained: bool) -> list[Gain]:
    name = data.attrs["metric"]
    of = data.isel(strategy=np.flatnonzero(data.trained.values == trained))
    hands = [str(s) for s in of.strategy.values[of.family.values == "hand"]]
    if not hands:
        return []
    sign = 1 if data[name].attrs["better"] == "higher" else -1
    by_hand = data[name].sel(strategy=hands).values  # [strategy chip time]
    best = [hands[b] for b in np.argmax(sign * mean_and_error(by_hand)[0], 0)]

    def against_best(values: "xr.DataArray", label: str) -> np.ndarray:
        pairs = [
            values.isel(time=t).sel(strategy=[label, hand]).values
            for t, hand in enumerate(best)
        ]
        return np.stack([of_label - of_hand for of_label, of_hand in pairs], -1)

    def gain(label: str) -> Gain:
        mean, error = mean_and_error(against_best(data[name], label))
        _, of_items = mean_and_error(against_best(data[f"item_{name}"], label))
        return Gain(
            label=label,
            best_hand=best,
            difference=mean,
            error=error,
            error_of_items=of_items,
            trained=trained,
        )

    return [gain(str(s)) for s in of.strategy.values[of.family.values == "optimized"]]


def gap_to_digital(
    data: "xr.Dataset", label: str, *, subset: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Loss against the digital network on the same items, with its standard error.

    Positive where the chips are worse. The error has both parts: of the mean over
    chips, and of the paired difference over items.

    Args:
        data: results of one device.
        label: of a strategy.
        subset: of the items; all by default.

    Returns:
        Loss and error `[times]`.
    """
    name = data.attrs["metric"]
    sign = 1 if data[name].attrs["better"] == "higher" else -1
    per_chip, per_item = data[name], data[f"item_{name}"]
    if subset is not None:
        per_chip = data[f"subset_{name}"].sel(subset=subset)
        per_item = per_item[..., data.in_subset.sel(subset=subset).values > 0]
    digital = per_item.sel(strategy=DIGITAL).values
    difference = digital - per_item.sel(strategy=label).values
    of_items = difference.std(-1, ddof=1) / np.sqrt(difference.shape[-1])
    mean, of_chips = mean_and_error(per_chip.sel(strategy=label).values)
    return sign * (digital.mean(-1) - mean), np.hypot(of_items, of_chips)


def attributes(identity: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Attributes of a dataset: the identity of its study as JSON, and what else."""
    return {k: json.dumps(v, sort_keys=True) for k, v in identity.items()} | more
