"""Results of a study of strategies as labelled arrays."""

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from anajax import chip
from anajax.analysis.network import AnalogNetwork
from anajax.analysis.periphery import Periphery
from anajax.analysis.tolerance import Requirement
from anajax.analysis.workload import Workload
from anajax.studies.config.study import DevicesConfig, ProgrammedConfig
from anajax.studies.plan import Case
from anajax.studies.report import results
from anajax.studies.report.results import Part
from anajax.studies.store.versions import git_state

if TYPE_CHECKING:  # costs a second to import
    import xarray as xr
else:
    xr = Any


def of_case(
    config: ProgrammedConfig,
    work: Workload,
    case: Case,
    parts: dict[str, Part],
    digital: np.ndarray,
) -> "xr.Dataset":
    """The results of one device.

    Args:
        config: of the study.
        work: the network.
        case: the device.
        parts: by strategy label.
        digital: metric of the digital network `[items]`.
    """
    return results.dataset(
        parts,
        config.strategies,
        work=work,
        digital=digital,
        times=case.times,
        extrapolated=case.extrapolated,
    )


def add_required(
    data: "xr.Dataset", found: dict[tuple[str, str], Requirement], unit: str
) -> "xr.Dataset":
    """The results with the loosest devices that would do, where there are any.

    Args:
        data: results of one device.
        found: by strategy label and parameter.
        unit: of the metric.
    """
    if not found:
        return data
    labels, names = (list(dict.fromkeys(k)) for k in zip(*found, strict=True))
    own = {"units": "1", "comment": "relative to the device's own"}
    data = data.assign_coords(
        required_strategy=labels,
        parameter=names,
        factor=("factor", found[labels[0], names[0]].factors, own),
    )
    dims = ("required_strategy", "parameter")
    for end in ("factor", "low", "high"):
        values = [[float(getattr(found[s, p], end)) for p in names] for s in labels]
        data[f"required_{end}"] = (dims, values, own)
    data["required_gap"] = (
        (*dims, "factor", "chip"),
        np.array([[found[s, p].gaps for p in names] for s in labels]),
        {"units": unit, "comment": "loss against the digital network"},
    )
    return data


def combine(
    config: ProgrammedConfig,
    work: Workload,
    cases: list[Case],
    tables: list["xr.Dataset"],
    digital: float,
    identity: dict[str, Any],
) -> "xr.Dataset":
    """The results of all devices, with what a report says of them.

    Args:
        config: of the study.
        work: the network.
        cases: the devices.
        tables: results by device.
        digital: metric of the digital network.
        identity: of the study.
    """
    if isinstance(config, DevicesConfig):
        data = _of_devices(cases, tables)
    else:
        data = _of_device(cases[0], tables[0])
    data = data.assign_attrs(_about(config))
    recalibrated = config.compensation.recalibrate
    density = _density(work)
    data = data.assign_coords(weight=("weight", density[0], {"units": "w / w_max"}))
    data["weight_share"] = ("weight", density[1], {"units": "1"})
    return data.assign_attrs(
        results.attributes(
            identity,
            study=config.study,
            metric=work.metric,
            digital_metric=digital,
            seed=config.seed,
            workload=work.name,
            items=int(work.x.shape[0]),
            data_source=work.source["data"],
            weights=work.source["weights"],
            compensation=config.compensation.scope,
            stop_at_se=config.stop_at_se or 0.0,
            git=git_state(),
            json=json.dumps(["config", "versions", "source", "device_files"]),
            **({} if recalibrated is None else {"recalibrated": recalibrated}),
        )
    )


def _about(config: Any) -> dict[str, Any]:
    """What a report says of sections that a study may have."""
    about = {}
    if config.periphery is not None:
        about["periphery"] = in_words(config.periphery.record)
    if config.training is not None:
        about["training"] = json.dumps(config.training.model_dump())
    if getattr(config, "required", None) is not None:
        about["required_gap"] = config.required.gap
    return about


def in_words(around: Periphery) -> str:
    """What stands around the arrays, as a sentence."""
    said = [
        f"{bits:g}-bit {name.upper()}"
        for name, bits in (("dac", around.dac_bits), ("adc", around.adc_bits))
        if bits is not None
    ]
    if around.output_noise:
        said.append(f"output noise of {around.output_noise:g} w_max at full input")
    if around.wires:
        said.append(f"wires of {around.wires:g} Ohm per segment")
    rows, columns = (n or "any number of" for n in (around.rows, around.columns))
    return (
        f"Products go through {', '.join(said) or 'an ideal periphery'} on tiles of at "
        f"most {rows} x {columns} lines; ranges hold {100 * around.inputs:g} % of the "
        f"calibration inputs of a layer and {100 * around.outputs:g} % of their sums."
    )


def _of_devices(cases: list[Case], tables: list["xr.Dataset"]) -> "xr.Dataset":
    import xarray as xr

    data = xr.concat(tables, dim="device", join="outer", coords="minimal")
    data = data.assign_coords(device=[c.label for c in cases])
    models = [c.device for c in cases]
    data["device_source"] = ("device", [d.source for d in models])
    for name, of in (("range_low", "g_min"), ("range_high", "g_max")):
        values = [float(getattr(d, of)) for d in models]
        data[name] = ("device", values, {"units": "uS"})
    levels = [0 if d.levels is None else d.levels.size for d in models]
    data["levels"] = ("device", levels, {"comment": "0: analog"})
    return data


def _of_device(case: Case, data: "xr.Dataset") -> "xr.Dataset":
    from anajax.devices.report import device_curves

    curves = device_curves(case.device)
    data = data.assign_coords(
        conductance=("conductance", curves.pop("conductance"), {"units": "uS"}),
        device_time=("device_time", curves.pop("device_time"), {"units": "s"}),
    )
    for name, values in curves.items():
        dims = ("conductance", "device_time")[: values.ndim]
        data[name] = (dims, values, {"units": "uS"})
    data.attrs["device_source"] = case.device.source
    data.attrs["device"] = case.label
    return data


def _density(work: Workload) -> tuple[np.ndarray, np.ndarray]:
    """Share of the normalized weights in bins of -1..1, and the bins' centers."""
    report = AnalogNetwork(work=work).report
    found = chip.normalized_weights(work.params, select=report).values()
    u = np.concatenate([np.ravel(w.u) for w in found])
    count, edges = np.histogram(u, bins=201, range=(-1, 1))
    return (edges[:-1] + edges[1:]) / 2, count / count.sum()
