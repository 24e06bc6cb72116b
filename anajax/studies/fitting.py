"""A device from a table of measurements: which form, and how well it explains them."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anajax import devices
from anajax._tree import replace
from anajax.devices.fit import FitResult, fit_device, table_form
from anajax.devices.measurements import COLUMNS, read_measurements
from anajax.studies.figures import COLORS, OPTIMIZED

if TYPE_CHECKING:  # costs a second to import
    from matplotlib.figure import Figure
else:
    Figure = Any


def fit(path: Path, *, form: str, knots: int, name: str) -> FitResult:
    """Fit a form to the measurements in a file.

    Args:
        path: .csv or .parquet, see `anajax.devices.fit_device`.
        form: a preset, whose constants are where the search starts, or "tables".
        knots: points of each table; the range is that of the targets.
        name: of the fitted device.

    Returns:
        The fit; its device is valid for the times that were measured.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the form is unknown or does not fit the data, or columns are
            missing or not valid.
    """
    table = read_measurements(path)
    missing = [c for c in COLUMNS if c not in table]
    if missing:
        raise ValueError(
            f"`{path}` must have the columns {', '.join(COLUMNS)}: got none named "
            f"{', '.join(missing)}. Add them; see `anajax.devices.fit_device`."
        )
    result = fit_device(
        table,
        form=_form(form, float(np.max(table["target"])), knots),
        name=name,
        source=f"fitted to {path.name}, form {form}",
    )
    last = float(np.max(table["time"]))
    device = replace(result.device, valid_times=(0.0, last))
    return dataclasses.replace(result, device=device)


def residual_figure(found: FitResult) -> Figure:
    """Residuals of both stages: over the target, over time, and their quantiles."""
    import matplotlib.pyplot as plt
    from scipy.stats import norm

    rest = found.residuals
    figure, axes = plt.subplots(2, 3, figsize=(9, 5.4), sharey=True)
    stages = {"programming": rest.programming, "read": rest.read}
    for row, (stage, z) in zip(axes, stages.items(), strict=True):
        known = np.isfinite(z)
        values, target, time = z[known], rest.target[known], rest.time[known]
        dots = {"s": 4, "color": OPTIMIZED, "alpha": 0.4, "lw": 0}
        row[0].scatter(target, values, **dots)
        row[0].set(xlabel="target (µS)", ylabel=f"{stage} residual (sd)")
        row[1].scatter(np.maximum(time, 0.1), values, **dots)
        row[1].set(xlabel="time (s; 0 s at 0.1)", xscale="log")
        expected = norm.ppf((np.arange(values.size) + 0.5) / max(values.size, 1))
        row[2].plot(expected, np.sort(values), ".", ms=3, color=OPTIMIZED)
        row[2].plot([-4, 4], [-4, 4], color=COLORS[0], lw=1)
        row[2].set(xlabel="standard normal quantile (sd)")
        for axis in row[:2]:
            axis.axhline(0, color=COLORS[0], lw=1)
    figure.suptitle(f"Residuals of {found.device.name}", fontsize=11)
    return figure


def _form(form: str, g_max: float, knots: int) -> devices.Device:
    if form == "tables":
        return table_form(g_max=g_max, knots=knots)
    presets = devices.presets()
    if form not in presets:
        known = ", ".join(presets)
        raise ValueError(
            f"`--form` must be tables or a preset: got {form!r}. Known: {known}."
        )
    return presets[form]()
