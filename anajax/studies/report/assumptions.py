"""Sentences of a report on the assumptions behind its numbers, from its config."""

import json
from typing import Any

import xarray as xr

from anajax._core.units import human
from anajax.analysis.network import NORM_INPUTS
from anajax.studies.report.blocks import format_of


def config_of(data: xr.Dataset) -> dict[str, Any]:
    """The config of a study, from its results."""
    return json.loads(data.attrs["config"])


def sources(data: xr.Dataset) -> list[str]:
    """Sources of the device models, and which devices have few levels."""
    pairs = zip(data.device.values, data.device_source.values, strict=True)
    said = [f"Device {name}: {source}." for name, source in pairs]
    few = data.device.values[data.levels.values > 0]
    if few.size:
        said.append(
            f"{', '.join(few)}: cells have few levels. Targets between levels are "
            "programmed to the nearest; optimized strategies are the best "
            "combinations of levels, found by enumeration."
        )
    return said


def hardware(data: xr.Dataset) -> list[str]:
    """Assumptions of the models of periphery and compensation."""
    config = config_of(data)
    return [
        "Weight matrices are analog (`anajax.chip.table` lists them); biases, norms "
        "and embeddings are digital and exact.",
        physics(config),
        *_periphery(config["periphery"]),
        compensation(data),
        *_faults(config["faults"] or {}),
        *_norms(config),
        _normalized(config),
        "Times count from the first read; a month is 30 days, a year 365.",
    ]


def physics(config: dict[str, Any]) -> str:
    """What the products use: weights as read, or individual cells."""
    if config["compensation"]["through"] == "periphery":
        return (
            "Products use the individual cells, with new read noise for each input "
            "vector; drift compensation is measured through the converters, "
            "separately for each weight array."
        )
    return (
        "Weights are read once per chip and time for all test items, with read noise."
    )


def _periphery(section: dict[str, Any] | None) -> list[str]:
    if section is None:
        return ["Converters, wires and products are ideal."]
    said = [
        f"{section[f'{name}_bits']:g}-bit {name.upper()}"
        for name in ("dac", "adc")
        if section[f"{name}_bits"] is not None
    ]
    if section["output_noise"]:
        noise = section["output_noise"]
        said.append(f"output noise of {noise:g} w_max (of the layer) at full input")
    if section["wires"]:
        said.append(f"wire resistance of {section['wires']:g} Ohm per segment")
    rows, columns = (section[n] or "any number of" for n in ("rows", "columns"))
    sentences = [
        f"Products go through {', '.join(said) or 'an ideal periphery'} on tiles of at "
        f"most {rows} x {columns} lines; ranges cover {100 * section['inputs']:g} % of "
        "the calibration inputs of each layer of the trained network and "
        f"{100 * section['outputs']:g} % of their column sums, and stay fixed."
    ]
    if section["wires"]:
        sentences.append(
            "Wires attenuate the array of each device on its own tile; the loss at the "
            "first read is not calibrated away."
        )
    return sentences


def compensation(data: xr.Dataset) -> str:
    """How drift is compensated, and when the factor is measured."""
    section = config_of(data)["compensation"]
    if section["scope"] == "none":
        return "There is no drift compensation."
    shared = {
        "network": "One drift compensation factor for the network",
        "layer": "One drift compensation factor per layer",
        "column": "One drift compensation factor per output column",
    }[section["scope"]]
    shared += ": mean |weight| at the first read, divided by that at the current read."
    if section["recalibrate"] is not None:
        when = ", ".join(human(t) for t in section["recalibrate"])
        shared += f" It is measured at {when} and held in between; before, it is 1."
        shared += " Searches assume that it is measured at every time."
    return shared


def _faults(given: dict[str, float]) -> list[str]:
    words = {
        "stuck_low": "of the cells stuck at the lowest conductance",
        "stuck_high": "of the cells stuck at the highest",
        "dead_rows": "of the rows dead",
        "dead_columns": "of the columns dead",
    }
    said = [f"{100 * v:g} % {words[name]}" for name, v in given.items() if v]
    return (
        [f"Faults, drawn separately for every chip: {', '.join(said)}."] if said else []
    )


def _norms(config: dict[str, Any]) -> list[str]:
    if not config["compensation"]["norms"]:
        return []
    return [
        f"Batch-norm statistics are measured on each chip at every read-out, on "
        f"{NORM_INPUTS} unlabeled inputs outside of the test items; the digital "
        "network keeps the statistics of its training."
    ]


def _normalized(config: dict[str, Any]) -> str:
    if config["normalize"] == "layer":
        return "Weights are normalized by the largest |weight| of their layer."
    return (
        "Weights are normalized by the largest |weight| of their column, and columns "
        "are scaled digitally after their ADCs, which have one range per layer."
    )


def stopping(data: xr.Dataset, what: str) -> str:
    """When measuring chips stops, if the standard error decides.

    Args:
        data: results.
        what: name of what chips are measured for.
    """
    wanted = data.attrs["stop_at_se"]
    if not wanted:
        return ""
    return (
        f" No more chips are measured for a {what} once its standard error is at most "
        f"{format_of(data).amount(wanted)} at all times; because of this rule, "
        "standard errors are slightly too small on average."
    )
