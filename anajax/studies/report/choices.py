"""Recommended strategies: validation losses, and regret on the test."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from anajax.studies.report.blocks import (
    Block,
    Cell,
    cells,
    format_of,
    in_units,
    table,
)
from anajax.studies.report.statistics import DIGITAL, gains, of_device, over, sign

RULE = (
    "The rule: the lowest mean loss over the times of the study, on held-out training "
    "inputs and on chips that are not used in the test. Strategies within one standard "
    "error of the paired difference (over chips and items) to the best are tied; of "
    "these, the cheapest is taken, in this order: hand-designed, optimized tables, "
    "loops, targets, training, joint learning."
)
CHANCE = 0.023
"""Probability that a zero difference is beyond two standard errors on one side."""


def beside(data: xr.Dataset, choices: Mapping[str, Any]) -> xr.Dataset:
    """The results with choices and their reasons, if there are any.

    Args:
        data: results of any kind of study.
        choices: arrays of a `Choice` by the name of the strategy.
    """
    if not choices:
        return data
    about = {"comment": "on validation chips and items; less is better"}
    each = []
    for found in choices.values():
        columns = {
            "validation_loss": ("candidate", found["loss"], about),
            "validation_error": ("candidate", found["error"], {
                "comment": "standard error of the paired difference to the least",
            }),
            "recommended": str(found["chosen"]),
            "validation_best": str(found["best"]),
        }  # fmt: skip
        names = list(map(str, found["candidate"]))
        each.append(xr.Dataset(columns, coords={"candidate": names}))
    joined = xr.concat(each, dim="recommendation", join="outer")
    return data.merge(joined.assign_coords(recommendation=list(choices)))


def blocks(data: xr.Dataset) -> list[Block]:
    """Which strategy each choice took, and its regret on the test."""
    if "recommended" not in data:
        return []
    rows, said = [], []
    for name in map(str, data.recommendation.values):
        one = data.sel(recommendation=name)
        one = one.isel(candidate=np.flatnonzero(one.validation_loss.notnull()))
        chosen, best = str(one.recommended.item()), str(one.validation_best.item())
        rows += [_row(name, one, c, chosen) for c in map(str, one.candidate.values)]
        said.append(_sentence(name, one, chosen, best))
    made = Block(
        title="Which strategy is recommended",
        text=RULE,
        header=["choice", "strategy", "validation loss", "above the lowest"],
        rows=rows,
        points=said,
    )
    return [made, *_regrets(data)]


def _row(name: str, one: xr.Dataset, candidate: str, chosen: str) -> list[Cell]:
    of = one.sel(candidate=candidate)
    value, error = float(of.validation_loss), float(of.validation_error)
    more = value - float(one.validation_loss.min())
    note = "recommended" if candidate == chosen else ""
    return cells(
        name,
        Cell(candidate, note),
        f"{value:.4g}",
        Cell(f"{more:.2g}", f"± {error:.1g}") if more > 0 else "",
    )


def _sentence(name: str, one: xr.Dataset, chosen: str, best: str) -> str:
    if chosen == best:
        return f"{name}: {chosen}, which has the lowest validation loss."
    of = one.sel(candidate=chosen)
    more = float(of.validation_loss) - float(one.validation_loss.min())
    return (
        f"{name}: {chosen}, whose validation loss is {more:.2g} ± "
        f"{float(of.validation_error):.1g} above that of {best}: they are tied, and it "
        "is cheaper."
    )


# --- on the test ----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regret:
    """Loss on the test from choosing on validation data."""

    device: str
    label: str
    found: xr.Dataset
    """`value`, 0 or more, and `error` over time, over chips and items; `best` in
    hindsight."""


def regrets(data: xr.Dataset) -> list[Regret]:
    """Regret of each recommended strategy of a study, relative to its candidates."""
    if "recommended" not in data or "strategy" not in data.dims:
        return []
    made = []
    for device in map(str, data.device.values):
        for label in map(str, data.strategy.values):
            name = f"{device}-{label}"
            if name not in data.recommendation.values:
                continue
            loss = data.validation_loss.sel(recommendation=name)
            known = data.candidate.values[loss.notnull().values]
            others = [s for s in data.strategy.values if str(s) in known]
            if others:
                found = _regret(of_device(data, device), label, others)
                made.append(Regret(device=device, label=label, found=found))
    return made


def _regret(data: xr.Dataset, label: str, others: list[str]) -> xr.Dataset:
    name, plain = data.attrs["metric"], ("strategy", "family", "trained")
    mean = sign(data) * over(data[name].sel(strategy=others))["value"]
    best = xr.DataArray(others, dims="strategy")[mean.argmax("strategy")]
    found = []
    for each, dim in ((name, "chip"), (f"item_{name}", "item")):
        top = data[each].sel(strategy=best).drop_vars(plain, errors="ignore")
        mine = data[each].sel(strategy=label).drop_vars(plain, errors="ignore")
        found.append(over(sign(data) * (top - mine), dim))
    chips, items = found
    error = np.hypot(chips["error"], items["error"])
    best = best.drop_vars(plain, errors="ignore")
    return xr.Dataset({"value": chips["value"], "error": error, "best": best})


def _regrets(data: xr.Dataset) -> list[Block]:
    found = regrets(data)
    if not found:
        return []
    show, rows = format_of(data), []
    whole = xr.concat([r.found for r in found], dim="choice", join="outer")
    names = [f"{r.device}: {r.label}" for r in found]
    made = table(whole.assign_coords(choice=names), show, rows=("choice",))
    for regret in found:
        best = regret.found["best"].reindex(time=whole.time, fill_value="")
        rows.append(cells("best in hindsight", *map(str, best.values)))
    pairs = zip(made["rows"], rows, strict=True)
    made["rows"] = [row for pair in pairs for row in pair]
    return [
        Block(
            title=f"Regret of the recommended strategy{in_units(show.points)}",
            text="How much better the best candidate at each time is on the test items "
            "and chips, ± standard error of the paired difference over chips and items "
            "together.",
            **made,
            points=_against_hand(data, found),
            summary=True,
        )
    ]


def _against_hand(data: xr.Dataset, found: list[Regret]) -> list[str]:
    """How often a recommended program is behind the best hand strategy."""
    one = gains(data, trained=False)
    labels = sorted({r.label for r in found})
    if one is None or DIGITAL in labels:
        return []
    one = one.sel(strategy=[s for s in one.strategy.values if s in labels])
    error = np.hypot(one["error"], one["of_items"])
    behind = int((sign(data) * one["value"] < -2 * error).sum())
    every = int(one["value"].notnull().sum())
    return [
        f"Worse than the best hand-designed strategy at the same time by more than two "
        f"standard errors (chips and items) at {behind} of {every} times; by chance "
        f"alone, {CHANCE * every:.1f} are expected."
    ]
