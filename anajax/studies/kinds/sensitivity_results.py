"""Results of a study of sensitivity as labelled arrays."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from anajax.analysis import designs
from anajax.analysis.elasticities import OUTPUTS
from anajax.analysis.hardware import NON_IDEALITIES, value
from anajax.analysis.tolerance import requirement

if TYPE_CHECKING:  # costs a second to import
    import xarray as xr

else:
    xr = Any


def dataset(study: Any, found: dict[str, Any], about: dict[str, Any]) -> "xr.Dataset":
    """The results of a study of sensitivity.

    Args:
        study: a `Sensitivity`.
        found: arrays by analysis, as its parts gave them.
        about: attributes.
    """
    import xarray as xr

    tables = [_design(study, name, y) for name, y in found["designs"].items()]
    if found["one_at_a_time"]:
        tables.append(_one_at_a_time(study, found["one_at_a_time"]))
    if found["gradients"] is not None:
        tables.append(_gradients(found["gradients"]))
    if found["layers"] is not None:
        tables.append(_layers(study, found["layers"]))
    data = xr.merge(
        tables, compat="no_conflicts", join="outer", combine_attrs="no_conflicts"
    )
    extrapolated = bool(study.deployed.extrapolated[-1])
    more = about | {
        "time": float(study.config.times[-1]),
        "extrapolated": int(extrapolated),
        "better": "higher" if study.work.higher_is_better else "lower",
    }
    return data.assign_attrs(more)


def _one_at_a_time(study: Any, found: dict[str, Any]) -> "xr.Dataset":
    import xarray as xr

    section = study.config.one_at_a_time
    assert section is not None
    names, chips = list(found), study.config.chips
    gaps = np.full((len(names), len(section.factors), chips), np.nan)
    errors = np.full(gaps.shape[:2], np.nan)
    limits, amounts = np.empty((len(names), 3)), np.empty((len(names), 4))
    w_max = next(iter(study.deployed.w_max.values()))
    for i, (name, arrays) in enumerate(found.items()):
        gaps[i, : len(arrays["gaps"])] = arrays["gaps"]
        errors[i, : len(arrays["gaps"])] = arrays["item_error"]
        r = requirement(name, arrays["factors"], arrays["gaps"], section.gap)
        limits[i] = [float(r.factor), float(r.low), float(r.high)]
        amounts[i] = [
            _amount(study.deployed.hardware, name, f, w_max) for f in (1.0, *limits[i])
        ]
    dims = ("imperfection",)
    factor = {"units": "1", "comment": "0 or infinite: beyond the factors tried"}
    more: dict[str, Any] = {}
    for k, end in enumerate(("factor", "low", "high")):
        more[f"largest_{end}"] = (dims, limits[:, k], factor)
    for k, end in enumerate(("nominal", "factor", "low", "high")):
        more[f"amount_{end}"] = (dims, amounts[:, k])
    return xr.Dataset(
        {
            "gap": (
                ("imperfection", "factor", "chip"),
                gaps,
                {"units": _unit(study), "comment": "loss; NaN where not tried"},
            ),
            "gap_item_error": (
                ("imperfection", "factor"),
                errors,
                {"units": _unit(study), "comment": "standard error of gap over items"},
            ),
            **more,
        },
        coords={
            "imperfection": names,
            "factor": ("factor", np.asarray(section.factors), {"units": "1"}),
            "chip": np.arange(chips),
            "title": (dims, [NON_IDEALITIES[n].title for n in names]),
            "unit": (dims, [NON_IDEALITIES[n].unit for n in names]),
        },
        attrs={"gap": section.gap, "against": section.against},
    )


def _amount(hardware: Any, name: str, factor: float, w_max: float) -> float:
    if factor == 0 or not np.isfinite(factor):
        return np.nan
    return value(hardware, name, factor, w_max)


def _gradients(found: dict[str, np.ndarray]) -> "xr.Dataset":
    import xarray as xr

    one = {"units": "1", "comment": "d ln output / d ln parameter"}
    dims = ("output", "parameter")
    return xr.Dataset(
        {
            "elasticity": (dims, found["elasticity"], one),
            "elasticity_error": (dims, found["error"], {"units": "1"}),
            "parameter_value": ("parameter", found["value"]),
            "output_value": (("output", "gradient_chip"), found["output"]),
        },
        coords={"output": list(OUTPUTS), "parameter": found["parameters"]},
    )


def _design(study: Any, name: str, outputs: dict[str, np.ndarray]) -> "xr.Dataset":
    import xarray as xr

    design = study.designs[name]
    factor, point = f"{name}_imperfection", f"{name}_point"
    found = {n: designs.indices(design, y) for n, y in outputs.items()}
    arrays: dict[str, Any] = {
        f"{name}_{part}": (
            (f"{name}_output", factor),
            np.stack([getattr(i, part) for i in found.values()]),
        )
        for part in ("first", "first_error", "total", "total_error", "spread")
    }
    return xr.Dataset(
        {
            **arrays,
            f"{name}_factors": (
                (point, factor),
                2.0**design.points,
                {"units": "1"},
            ),
            f"{name}_values": (
                (f"{name}_output", point),
                np.stack(list(outputs.values())),
                {"comment": "means over chips, the same chips at all points"},
            ),
        },
        coords={factor: list(design.names), f"{name}_output": list(outputs)},
    )


def _layers(study: Any, found: dict[str, np.ndarray]) -> "xr.Dataset":
    import xarray as xr

    section = study.config.layers
    assert section is not None
    units = {"units": _unit(study)}
    alone, order = ("layer", "layer_chip"), ("digital_layers", "layer_chip")
    sizes = [math.prod(p.shape) for p in study.deployed.network.report.analog]
    return xr.Dataset(
        {
            "alone_metric": (alone, found["alone_metric"], units),
            "alone_loss": (alone, found["alone_loss"], {"units": "nat"}),
            "order_metric": (order, found["order_metric"], units),
            "order_loss": (order, found["order_loss"], {"units": "nat"}),
            "order": ("place", found["order"]),
            "weights": ("layer", sizes, {"units": "1"}),
        },
        coords={
            "layer": list(study.deployed.layers),
            "digital_layers": np.arange(len(found["order_metric"])),
        },
        attrs={"order": section.order},
    )


def _unit(study: Any) -> str:
    return "1" if study.work.metric == "accuracy" else "bit"
