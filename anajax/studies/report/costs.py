"""The report of costs, always with the model behind them."""

import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from anajax._core.units import human
from anajax.studies.report.assumptions import config_of
from anajax.studies.report.blocks import Block, Cell, cells

UNITS = ((1e6, "J"), (1e3, "mJ"), (1.0, "µJ"), (1e-3, "nJ"), (1e-6, "pJ"))
"""Units by size, in uJ."""


def about(data: xr.Dataset) -> dict[str, Any]:
    """The basis of the costs in results, see `anajax.studies.bill.Bill.text`."""
    return json.loads(data.attrs["costs"])


def basis(data: xr.Dataset) -> str:
    """The chip and the model, as shown in every figure."""
    found = about(data)
    return f"{found['chip']}: {found['basis']}"


def unit_of(values: np.ndarray) -> tuple[float, str]:
    """The unit for displaying energies (uJ), and its size in uJ."""
    largest = np.nanmax(values, initial=0.0)
    return next((u for u in UNITS if largest >= u[0]), UNITS[-1])


def blocks(
    data: xr.Dataset,
    header: Sequence[str] = (),
    heads: Sequence[Sequence[str]] | None = None,
) -> list[Block]:
    """Costs of each program, and of its layers; empty if there are none.

    Args:
        data: results.
        header: names of the columns that identify programs; the dimensions by default.
        heads: values of these columns, in order; the coordinates by default.
    """
    if "costs" not in data.attrs:
        return []
    dims = [str(d) for d in data["energy"].dims if d != "time"]
    names = [d for d in dims if d != "device" or data.sizes[d] > 1]
    places = [
        dict(zip(dims, place, strict=True))
        for place in itertools.product(*(data[d].values for d in dims))
    ]
    shown = [[str(place[n]) for n in names] for place in places]
    shown = shown if heads is None else [list(map(str, head)) for head in heads]
    each = [
        (head, one)
        for head, one in zip(shown, map(data.sel, places), strict=True)
        if one["energy"].notnull().any()
    ]
    names = list(header) or names
    return [_whole(data, names, each), _layers(data, names, each)]


def _whole(data: xr.Dataset, names: list[str], each: list[Any]) -> Block:
    size, unit = unit_of(data["energy"].values)
    plain = about(data)["basis"]
    points = [
        f"{_name(h)}: {b.removeprefix(f'{plain}, ')}"
        for h, b in _own(each)
        if b != plain
    ]

    def energy(one: xr.Dataset, t: int) -> Cell:
        value = float(one["energy"].values[t])
        if np.isnan(value):
            return Cell("")
        array = float(one["part_energy"].sel(part="array").values[t])
        small = f"(array {array / size:.3g})" if array else ""
        return Cell(f"{value / size:.4g}", small)

    times = range(data.sizes["time"])
    rows = [
        cells(
            *head,
            *(energy(one, t) for t in times),
            f"{_last(one['tops_per_watt']):.3g}",
            f"{1e6 * float(one['latency']):.4g}",
            f"{float(one['throughput']):.4g}",
            "" if one["area"].isnull() else f"{float(one['area']):.3g}",
        )
        for head, one in each
    ]
    ages = [f"{unit} at {human(t)}" for t in data.time.values]
    return Block(
        title=f"Costs of one inference on {basis(data)}",
        text="Energy of one inference, with that of the array in parentheses, exact "
        "for the expected conductances; TOPS/W at the last time, with two operations "
        f"per weight and product. {basis(data)}. Area {about(data)['area']}.",
        header=[*names, *ages, "TOPS/W", "latency (µs)", "inferences/s", "area (mm²)"],
        rows=rows,
        points=points,
        summary=True,
    )


def _layers(data: xr.Dataset, names: list[str], each: list[Any]) -> Block:
    """Energy by layer at the last time; rows are whatever there is more of."""
    size, unit = unit_of(data["layer_energy"].values)
    labels = [_name(head) or unit for head, _ in each]
    layers = list(map(str, data["cost_layer"].values))
    energy = [
        [f"{_last(v) / size:.3g}" for v in one["layer_energy"]] for _, one in each
    ]
    latency = [f"{1e6 * float(v):.4g}" for v in each[0][1]["layer_latency"]]
    of = f" The latency is that of {labels[0]}." if len(labels) > 1 else ""
    said = dict(
        title=f"Energy by layer ({unit}, each at its last time)",
        text=f"{basis(data)}.{of}",
    )
    if len(labels) > len(layers):
        rows = [*zip(labels, *zip(*energy, strict=True), strict=True)]
        rows.append(("latency (µs)", *latency))
        return Block(header=["", *layers], rows=[cells(*r) for r in rows], **said)
    columns = zip(layers, *energy, latency, strict=True)
    header = ["layer", *labels, "latency (µs)"]
    return Block(header=header, rows=[cells(*r) for r in columns], **said)


def _name(head: list[str]) -> str:
    """The first cells of a row as one name."""
    return " ".join(filter(None, head))


def _last(values: xr.DataArray) -> float:
    """The last value that is finite; NaN if there is none."""
    there = values.values[np.isfinite(values.values)]
    return float(there[-1]) if there.size else float("nan")


def _own(each: list[Any]) -> list[tuple[list[str], str]]:
    """Programs with a basis of their own, such as points with other bits."""
    return [(h, str(o["costs_basis"].values)) for h, o in each if "costs_basis" in o]


def assumptions(data: xr.Dataset) -> list[str]:
    """Assumptions of the costs; empty if there are none."""
    if "costs" not in data.attrs:
        return []
    found, config = about(data), config_of(data)
    section = config["periphery"] or {}
    said = [f"Costs are estimated for {basis(data)}. Source: {found['source']}."]
    if found["assumed"]:
        said.append(f"Assumed for {found['chip']}: {'; '.join(found['assumed'])}.")
    ideal = [k.upper() for k in ("dac", "adc") if section.get(f"{k}_bits") is None]
    if ideal:
        said.append(
            f"The metric assumes an ideal {' and '.join(ideal)}; costs include those "
            f"of {found['chip']}."
        )
    rows, columns = found["tiles"]
    said.append(
        f"Costs assume tiles of {rows} x {columns} weights, expected conductances, and "
        f"the statistics of {config['costs']['inputs']} calibration inputs. Buffers, "
        "interconnect and leakage are included only through the factor k."
    )
    return said
