"""Results of a strategy study as labeled arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from anajax import chip
from anajax.analysis.engine import Arrays
from anajax.analysis.network import AnalogNetwork
from anajax.analysis.tolerance import Requirement
from anajax.analysis.workload import Workload
from anajax.devices.report import device_curves
from anajax.studies.bill import ARRAYS, Bill, labelled
from anajax.studies.config.study import ProgrammedConfig
from anajax.studies.kinds import tolerance
from anajax.studies.plan import Case
from anajax.studies.report import results
from anajax.studies.report.statistics import DIGITAL


def of_case(
    config: ProgrammedConfig,
    work: Workload,
    case: Case,
    parts: Mapping[str, Arrays],
    exact: Mapping[str, Any],
) -> xr.Dataset:
    """The results of one device.

    Args:
        config: config of the study.
        work: the network.
        case: the device and its times.
        parts: by strategy label, in order.
        exact: the digital network, which becomes the first strategy.
    """
    every = {DIGITAL: exact, **parts}
    names = [n for n in exact if n not in ("strategies", *ARRAYS)]
    arrays = {n: np.stack([p[n] for p in every.values()]) for n in names}
    expected = {"units": "1", "comment": "from exact moments, without samples"}
    data = results.measures(work, arrays, ("strategy",)).assign(
        expected_rms_error=(
            ("strategy", "time"), arrays["expected_rms_error"], expected,
        ),
    )  # fmt: skip
    entries = config.strategies
    return data.merge(results.times(case.times, case.extrapolated)).assign_coords(
        strategy=list(every),
        family=("strategy", [DIGITAL, *(e.family for e in entries)]),
        trained=("strategy", [False, *(e.trained for e in entries)]),
    )


def with_costs(
    data: xr.Dataset,
    made: Bill | None,
    parts: Mapping[str, Arrays],
    exact: Mapping[str, Any],
) -> xr.Dataset:
    """The results with the costs of each program, if the study names a chip."""
    if made is None:
        return data
    every = [exact, *parts.values()]
    found = {name: np.stack([part[name] for part in every]) for name in ARRAYS}
    return labelled(data, made, found, "strategy")


def with_required(
    data: xr.Dataset,
    found: Mapping[tuple[str, str], Requirement],
    work: Workload,
) -> xr.Dataset:
    """The results with device requirements, if there are any.

    Args:
        data: results of one device.
        found: by strategy label and parameter.
        work: workload that names the metric.
    """
    if not found:
        return data
    by_label: dict[str, list[Requirement]] = {}
    for (label, _), one in found.items():
        by_label.setdefault(label, []).append(one)
    unit = results.unit_of(work)
    tables = [
        tolerance.dataset(some, [r.gaps for r in some], some[0].factors, unit=unit)
        for some in by_label.values()
    ]
    every = xr.concat(tables, dim="required_strategy", coords="minimal")
    return data.merge(every.assign_coords(required_strategy=list(by_label)))


def combine(
    config: ProgrammedConfig,
    work: Workload,
    cases: Sequence[Case],
    tables: Sequence[xr.Dataset],
) -> xr.Dataset:
    """The results of all devices, with their descriptions for the report.

    Args:
        config: config of the study.
        work: the network.
        cases: the devices and their times.
        tables: results by device.
    """
    data = xr.concat(tables, dim="device", join="outer", coords="minimal")
    data = data.assign_coords(device=[c.label for c in cases])
    data = data.merge(results.devices({c.label: c.device for c in cases}))
    if len(cases) == 1:
        data = data.merge(_curves(cases[0]))
    if config.required is not None:
        data.attrs["gap"] = config.required.gap
    weight, share = _density(work)
    return data.assign_coords(weight=("weight", weight, {"units": "w / w_max"})).assign(
        weight_share=("weight", share, {"units": "1"})
    )


def _curves(case: Case) -> xr.Dataset:
    """Curves of the model of a device."""
    curves = device_curves(case.device)
    axes = {"conductance": {"units": "uS"}, "device_time": {"units": "s"}}
    coords = {name: (name, curves.pop(name), unit) for name, unit in axes.items()}
    return xr.Dataset(
        {n: (tuple(axes)[: v.ndim], v, {"units": "uS"}) for n, v in curves.items()},
        coords=coords,
    )


def _density(work: Workload) -> tuple[np.ndarray, np.ndarray]:
    """Share of the normalized weights in bins of -1..1, and the bins' centers."""
    report = AnalogNetwork(work=work).report
    found = chip.normalized_weights(work.params, select=report).values()
    u = np.concatenate([np.ravel(w.u) for w in found])
    count, edges = np.histogram(u, bins=201, range=(-1, 1))
    return (edges[:-1] + edges[1:]) / 2, count / count.sum()
