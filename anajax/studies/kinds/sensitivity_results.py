"""Results of a sensitivity study as labeled arrays."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from anajax.analysis import designs
from anajax.analysis.designs import Design
from anajax.analysis.elasticities import OUTPUTS
from anajax.analysis.engine import Arrays
from anajax.analysis.hardware import NON_IDEALITIES, value
from anajax.analysis.network import AnalogNetwork
from anajax.analysis.tolerance import requirement
from anajax.studies.kinds import tolerance
from anajax.studies.kinds.sensitivity_config import OneAtATimeSection
from anajax.studies.plan import Placed
from anajax.studies.report.results import unit_of


def one_at_a_time(
    section: OneAtATimeSection,
    placed: Placed,
    found: Mapping[str, Arrays],
) -> xr.Dataset:
    """The loss from each imperfection as it is scaled, and its tolerance.

    Args:
        section: section of the config.
        placed: what was on the chips.
        found: by imperfection, `factors`, `gaps`, `item_error`, `item_gap` and
            `subset_gap`.
    """
    unit = unit_of(placed.network.work)
    limits = [
        requirement(name, one["factors"], one["gaps"], section.gap)
        for name, one in found.items()
    ]
    data = tolerance.dataset(
        limits,
        [one["gaps"] for one in found.values()],
        np.asarray(section.factors),
        unit=unit,
    )
    every = {
        name: _filled([one[name] for one in found.values()], len(section.factors))
        for name in ("item_error", "item_gap", "subset_gap")
    }
    w_max = float(np.max(next(iter(placed.layers.values())).w_max))

    def amount(name: str, factor: float) -> float:
        if factor == 0 or not np.isfinite(factor):
            return np.nan
        return value(placed.hardware, name, factor, w_max)

    amounts = {
        f"amount_{end}": (
            "imperfection",
            [amount(r.parameter, float(getattr(r, end, 1.0))) for r in limits],
        )
        for end in ("nominal", "factor", "low", "high")
    }
    names = {
        "gap_item_error": ("item_error", (), "standard error of gap over items"),
        "item_gap": ("item_gap", ("item",), "loss of a test item, mean over chips"),
        "subset_gap": ("subset_gap", ("subset", "chip"), "loss of a subset"),
    }
    dims = ("imperfection", "factor")
    return (
        data.assign(
            {
                name: ((*dims, *more), every[key], {"units": unit, "comment": comment})
                for name, (key, more, comment) in names.items()
            }
        )
        .assign(amounts)
        .assign_coords(
            chip=np.arange(data.sizes["chip"]),
            subset=np.array(list(placed.network.work.subsets), dtype=str),
            unit=("imperfection", [NON_IDEALITIES[n].unit for n in found]),
        )
        .assign_attrs(gap=section.gap, against=section.against)
    )


def _filled(rows: Sequence[np.ndarray], size: int) -> np.ndarray:
    """Rows of unlike length as `[rows size ...]`; NaN where one ends before."""
    every = np.full((len(rows), size, *rows[0].shape[1:]), np.nan, rows[0].dtype)
    for i, row in enumerate(rows):
        every[i, : len(row)] = row
    return every


def gradients(found: Arrays) -> xr.Dataset:
    """Elasticities of outputs with respect to parameters."""
    one = {"units": "1", "comment": "d ln output / d ln parameter"}
    dims = ("output", "parameter")
    none = [""] * len(found["value"])  # a resumed study may have older parts
    units = np.asarray(found.get("units", none), dtype=str)
    return xr.Dataset(
        {
            "elasticity": (dims, found["elasticity"], one),
            "elasticity_error": (dims, found["error"], {"units": "1"}),
            "parameter_value": ("parameter", found["value"]),
            "parameter_unit": ("parameter", units),
            "output_value": (("output", "gradient_chip"), found["output"]),
        },
        coords={"output": list(OUTPUTS), "parameter": found["parameters"]},
    )


def design(name: str, plan: Design, outputs: Mapping[str, np.ndarray]) -> xr.Dataset:
    """Indices of a design, with its points and their results.

    Args:
        name: name of the analysis, used as a prefix of all names.
        plan: design of the points.
        outputs: means over chips `[points]` by name.
    """
    factor, point = f"{name}_imperfection", f"{name}_point"
    found = [designs.indices(plan, y) for y in outputs.values()]
    comment = {"comment": "means over chips, the same chips at all points"}
    arrays: dict[str, Any] = {
        f"{name}_{part}": (
            (f"{name}_output", factor), np.stack([getattr(i, part) for i in found]),
        )
        for part in ("first", "first_error", "total", "total_error", "spread")
    }  # fmt: skip
    values = np.stack(list(outputs.values()))
    return xr.Dataset(
        {
            **arrays,
            f"{name}_factors": ((point, factor), 2.0**plan.points, {"units": "1"}),
            f"{name}_values": ((f"{name}_output", point), values, comment),
        },
        coords={factor: list(plan.names), f"{name}_output": list(outputs)},
    )


def layers(network: AnalogNetwork, found: Arrays, how: str) -> xr.Dataset:
    """Each layer analog alone, and layers made digital in the order found by `how`."""
    alone, order = ("layer", "layer_chip"), ("digital_layers", "layer_chip")
    weights = {p.path: p for p in network.report.analog}
    metric, loss = {"units": unit_of(network.work)}, {"units": network.work.loss_unit}
    sizes = [math.prod(p.shape) for p in weights.values()]
    return xr.Dataset(
        {
            "alone_metric": (alone, found["alone_metric"], metric),
            "alone_loss": (alone, found["alone_loss"], loss),
            "order_metric": (order, found["order_metric"], metric),
            "order_loss": (order, found["order_loss"], loss),
            "order": ("place", found["order"]),
            "weights": ("layer", sizes, {"units": "1"}),
        },
        coords={
            "layer": list(weights),
            "digital_layers": np.arange(len(found["order_metric"])),
        },
        attrs={"order": how},
    )
