"""Statistics of results: means with errors, losses relative to digital, gains."""

from typing import Any

import numpy as np
import xarray as xr

DIGITAL = "digital"


def mean_and_error(values: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and its standard error over the last axis, ignoring NaN."""
    values = np.asarray(values, float)
    there = ~np.isnan(values)
    count = there.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):  # NaN where there are none
        mean = np.where(there, values, 0).sum(-1) / count
        square = np.where(there, (values - mean[..., None]) ** 2, 0).sum(-1)
        return mean, np.sqrt(square / (count - 1) / count)


def over(values: xr.DataArray, dim: str = "chip") -> xr.Dataset:
    """Mean `value` over a dimension, and its standard `error`."""
    value, error = xr.apply_ufunc(
        mean_and_error, values, input_core_dims=[[dim]], output_core_dims=[[], []]
    )
    return xr.Dataset({"value": value, "error": error})


def spread(values: xr.DataArray) -> xr.Dataset:
    """Mean `value` over chips, and their standard deviation `sd`."""
    found = over(values)
    count = values.notnull().sum("chip")
    return found.assign(sd=found["error"] * np.sqrt(count))


def strategies(data: xr.Dataset) -> dict[str, tuple[str, bool]]:
    """Family, and whether on trained weights, by label; without the digital network."""
    labels, families, trained = (
        data[name].values for name in ("strategy", "family", "trained")
    )
    each = zip(labels, families, trained, strict=True)
    return {str(s): (str(f), bool(t)) for s, f, t in each if s != DIGITAL}


def programmed(data: xr.Dataset) -> xr.Dataset:
    """The results of strategies that are on chips, without digital networks."""
    return data.isel(strategy=np.flatnonzero(data.family.values != DIGITAL))


def of_device(data: xr.Dataset, device: str) -> xr.Dataset:
    """The results of one device at its own times."""
    one = data.sel(device=device)
    return one.sel(time=one[data.attrs["metric"]].notnull().any(("strategy", "chip")))


def taken(data: xr.Dataset) -> xr.DataArray:
    """Number of measured chips."""
    return data[data.attrs["metric"]].notnull().any("time").sum("chip")


def sign(data: xr.Dataset) -> int:
    """1 if a higher metric is better, -1 if lower is."""
    return 1 if data.attrs["better"] == "higher" else -1


def lost(data: xr.Dataset, subset: str | None = None) -> xr.Dataset:
    """Loss relative to the digital network on the same items, with its standard error.

    Positive if chips are worse. The error includes that of the mean over chips, and
    `of_items`, that of the paired difference over items.

    Args:
        data: results.
        subset: subset of the items; all by default.
    """
    name = data.attrs["metric"]
    per_chip, per_item = data[name], data[f"item_{name}"]
    digital = data[f"digital_item_{name}"]
    if subset is not None:
        per_chip = data[f"subset_{name}"].sel(subset=subset)
        inside = np.flatnonzero(data["in_subset"].sel(subset=subset))
        per_item, digital = per_item.isel(item=inside), digital.isel(item=inside)
    chips, items = over(per_chip), over(digital - per_item, "item")
    return xr.Dataset(
        {
            "value": sign(data) * (float(digital.mean()) - chips["value"]),
            "error": np.hypot(chips["error"], items["error"]),
            "of_items": items["error"],
        }
    )


def gains(data: xr.Dataset, *, trained: bool) -> xr.Dataset | None:
    """Optimized strategies minus the best hand-designed one at each time, chip by chip.

    Args:
        data: results of strategies.
        trained: whether to compare strategies on trained weights; they are compared
            only with each other.

    Returns:
        Mean paired difference of the metric `value`, its standard `error` over chips,
        `of_items` over items, and the label `best` of the hand-designed strategy. None
        if there are no two to compare.
    """
    hand, found = (
        np.flatnonzero((data.family == family) & (data.trained == trained))
        for family in ("hand", "optimized")
    )
    if not hand.size or not found.size:
        return None
    name = data.attrs["metric"]
    by_hand = data.isel(strategy=hand)
    means = sign(data) * over(by_hand[name])["value"]
    best = means.fillna(-np.inf).argmax("strategy")

    def against_best(values: str) -> xr.DataArray:
        of_hand = by_hand[values].isel(strategy=best)
        of_hand = of_hand.drop_vars(("strategy", "family", "trained"))
        return data[values].isel(strategy=found) - of_hand

    return over(against_best(name)).assign(
        of_items=over(against_best(f"item_{name}"), "item")["error"],
        best=by_hand.strategy[best].drop_vars(("strategy", "family", "trained")),
    )
