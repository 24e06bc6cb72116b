"""Results of a study on disk: labeled arrays in one layout for all kinds of studies.

Attributes of a dataset describe it: `study`, `metric`, its `unit`, which of its values
are `better` ("higher" or "lower"), `digital_metric`, and the identity of the study as
JSON, including its config. The last dimensions of a measured metric are chip and time,
those of `item_*` time and item. `extrapolated` is 1 at times that the source of a
device does not cover.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from anajax.analysis.workload import Workload
from anajax.devices.base import Device
from anajax.studies.config.study import StudyConfig
from anajax.studies.store.versions import git_state

RESULTS = "results.nc"
LAYOUT = 2
"""Version of the layout of arrays and attributes."""


def measures(
    work: Workload, arrays: Mapping[str, np.ndarray], dims: Sequence[str]
) -> xr.Dataset:
    """Results of an engine, with names and units.

    Args:
        work: workload that names the metric.
        arrays: `metric`, `loss` and `weight_rms_error` `[*dims chips times]`,
            `item_metric` `[*dims times items]` and `subset_metric`
            `[*dims subsets chips times]`; NaN for chips that were not needed.
        dims: names of the leading dimensions.
    """
    chips, unit = (*dims, "chip", "time"), {"units": unit_of(work)}
    share = {"units": "1", "long_name": "rms weight error as a fraction of w_max"}
    about = "of the digital from the analog outputs"
    loss = {"units": work.loss_unit, "comment": about}
    of_item = unit | {"comment": "of a test item, mean over chips"}
    of_subset = unit | {"comment": "mean over the items of a subset"}
    name = work.metric
    return xr.Dataset(
        {
            name: (chips, arrays["metric"], unit | {"comment": "mean over items"}),
            "loss": (chips, arrays["loss"], loss),
            "weight_rms_error": (chips, arrays["weight_rms_error"], share),
            f"item_{name}": ((*dims, "time", "item"), arrays["item_metric"], of_item),
            f"subset_{name}": (
                (*dims, "subset", "chip", "time"), arrays["subset_metric"], of_subset,
            ),
        },
        coords={
            "chip": np.arange(arrays["metric"].shape[-2]),
            "subset": np.array(list(work.subsets), dtype=str),
        },
    )  # fmt: skip


def unit_of(work: Workload) -> str:
    """The unit of a workload's metric in results."""
    return work.unit


def times(seconds: np.ndarray, outside: np.ndarray, *dims: str) -> xr.Dataset:
    """The times of results, and which of them are not covered by a source.

    Args:
        seconds: `[times]`.
        outside: `[*dims times]`.
        dims: names of the leading dimensions.
    """
    comment = {"units": "1", "comment": "1: beyond what the device's source covers"}
    outside = np.asarray(outside).astype(np.int8)
    return xr.Dataset(
        {"extrapolated": ((*dims, "time"), outside, comment)},
        coords={"time": ("time", np.asarray(seconds, float), {"units": "s"})},
    )


def devices(models: Mapping[str, Device]) -> xr.Dataset:
    """Descriptions of devices for the report, by their labels."""
    micro = {"units": "uS"}
    each = list(models.values())
    levels = [0 if d.levels is None else d.levels.size for d in each]
    return xr.Dataset(
        {
            "device_source": ("device", [d.source for d in each]),
            "range_low": ("device", [float(d.g_min) for d in each], micro),
            "range_high": ("device", [float(d.g_max) for d in each], micro),
            "levels": ("device", levels, {"comment": "0: analog"}),
        },
        coords={"device": list(models)},
    )


def finished(
    data: xr.Dataset,
    config: StudyConfig,
    work: Workload,
    digital: np.ndarray,
    identity: Mapping[str, Any],
) -> xr.Dataset:
    """Results of a study of any kind, with the attributes common to all.

    Args:
        data: results of the study.
        config: config of the study.
        work: the network.
        digital: metric of the digital network `[items]`.
        identity: identity of the study.
    """
    masks = np.array(list(work.subsets.values()), bool).reshape(-1, len(digital))
    unit, recalibrate = unit_of(work), config.compensation.recalibrate
    data = data.assign(
        {
            f"digital_item_{work.metric}": ("item", digital, {"units": unit}),
            "in_subset": (("subset", "item"), masks.astype(np.int8)),
        }
    )
    return data.assign_attrs(
        {k: json.dumps(v, sort_keys=True) for k, v in identity.items()},
        layout=LAYOUT,
        study=config.study,
        metric=work.metric,
        unit=unit,
        better=work.better,
        loss_unit=work.loss_unit,
        digital_metric=float(digital.mean()),
        seed=config.seed,
        workload=work.name,
        items=int(work.x.shape[0]),
        data_source=work.source["data"],
        weights=work.source["weights"],
        compensation=config.compensation.scope,
        stop_at_se=config.stop_at_se or 0.0,
        git=git_state(),
        **({} if recalibrate is None else {"recalibrated": recalibrate}),
    )


def to_netcdf(data: xr.Dataset) -> bytes:
    """The content of a netCDF file, made in memory: HDF5 crashes on a full disk."""
    return bytes(data.to_netcdf(engine="h5netcdf"))


def read_results(path: Path) -> xr.Dataset:
    """The results in a study's folder, or in a file.

    Raises:
        FileNotFoundError: if there are none.
        ValueError: if the file is truncated, not from a study, or of an earlier
            version.
    """
    file = path / RESULTS if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"`DIR` must hold results: got {path} without {RESULTS}. Finish the study "
            "with `anajax run CONFIG --out DIR --resume`."
        )
    try:
        _read_through(file)
        data = xr.load_dataset(file, engine="h5netcdf")
        layout = int(data.attrs.get("layout", 1 if "study" in data.attrs else 0))
        if layout == LAYOUT:
            _ = data.attrs["better"], data.attrs["unit"], data.attrs["metric"]
    except _DAMAGED as error:
        raise ValueError(
            f"`{file}` must be the complete results of a study: got "
            f"{type(error).__name__} ({error!s:.200}). Delete it and run with --resume."
        ) from None
    if layout != LAYOUT:
        raise ValueError(
            f"`{file}` must be results that this anajax wrote: got those of another "
            "version, with other names. Run the study again with another --out."
        )
    return data


_DAMAGED = (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError)
"""What the readers of HDF5 raise on files that are not whole."""


def _read_through(file: Path) -> None:
    """Read all of a file: h5netcdf leaves half-open files where HDF5 is damaged."""

    def look(_: str, item: Any) -> None:
        dict(item.attrs)
        if isinstance(item, h5py.Dataset):
            item[()]

    with h5py.File(file, "r") as opened:
        opened.visititems(look)
