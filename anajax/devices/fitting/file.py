"""A device from a table of measurements: which form, and how well it explains them."""

from pathlib import Path

import numpy as np

from anajax._core.tree import replace
from anajax.devices.base import Device
from anajax.devices.drift import NoDrift
from anajax.devices.fitting.fit import FitResult, fit_device, table_form
from anajax.devices.fitting.measurements import (
    COLUMNS,
    Measured,
    group,
    read_measurements,
    without_repeats,
)
from anajax.devices.read_noise import NoReadNoise
from anajax.devices.records import find_preset, presets

CELLS_PER_KNOT = 20
"""Fewer cells do not determine a deviation better than by a sixth."""


def fit(
    path: Path, *, form: str, knots: int, name: str, units: str = "uS"
) -> FitResult:
    """Fit a form to the measurements in a file.

    Args:
        path: .csv or .parquet, see `anajax.devices.fit_device`.
        form: a preset, whose constants are a start of the search, or "tables".
        knots: points of each table, at most; the range is that of the targets.
        name: of the fitted device.
        units: of the conductances, see `anajax.devices.fit_device`.

    Returns:
        The fit; its device is valid for the range and times that were measured.

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
    return fit_device(
        table,
        form=_form(form, group(table, units=units), knots),
        name=name,
        source=f"fitted to {path.name}, form {form}",
        units=units,
    )


def problems(found: FitResult) -> list[str]:
    """What speaks against the use of a fit, one sentence each; none if nothing does."""
    sentences = []
    if not found.converged:
        sentences.append(f"The fit is not at a maximum: {found.reason}.")
    if found.form_rejected:
        worst = min(found.tests, key=lambda test: test.p)
        sentences.append(
            f"The data reject the form, most by the test of {worst.name} "
            f"(p = {worst.p:.2g})."
        )
    return sentences


def _form(form: str, data: Measured, knots: int) -> Device:
    if form == "tables":
        return _tables(data, knots)
    known = presets()
    if ".py:" in form:
        return find_preset(form)()
    if form not in known:
        names = f"Known: {', '.join(known)}."
        raise ValueError(f"`--form` must be tables or a preset: got {form!r}. {names}")
    return known[form]()


def _tables(data: Measured, knots: int) -> Device:
    """Tables over the targets, of the stages that the data show."""
    targets = np.unique(np.asarray(data.target))
    low, high = float(targets[0]), float(targets[-1])
    if targets.size < 2:
        return table_form(g_max=high, knots=2)  # refused by the fit
    cells = data.target.size
    most = min(knots, cells // CELLS_PER_KNOT)
    if knots >= 2 and most < 2:
        raise ValueError(
            f"`measurements` must have at least {2 * CELLS_PER_KNOT} cells for tables: "
            f"got {cells}. Measure more, or fit a form with few constants, such as "
            "--form state_independent."
        )
    x = np.linspace(np.sqrt(low), np.sqrt(high), max(most, 0)) ** 2
    points = targets if 2 <= targets.size <= most else np.clip(x, low, high)
    form = table_form(g_max=high, knots=list(points / high))
    fresh = without_repeats(data)
    again = np.asarray(fresh.valid) > 0
    changed = np.asarray(fresh.read) != np.asarray(fresh.programmed)[:, None]
    if not np.any(again & changed):
        return replace(form, drift=NoDrift(), read=NoReadNoise())
    if not np.any(again & (np.asarray(fresh.time) > 0)):
        return replace(form, drift=NoDrift())
    return form
