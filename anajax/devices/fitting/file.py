"""A device from a table of measurements: which form, and how well it fits."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anajax._core import checks
from anajax._core.nearest import did_you_mean
from anajax._core.tree import replace
from anajax.devices.base import Device
from anajax.devices.drift import NoDrift
from anajax.devices.fitting.choice import (
    TABLES,
    Trial,
    candidates,
    compare,
    verdict,
    widened,
)
from anajax.devices.fitting.fit import FitResult, fit_device, table_form
from anajax.devices.fitting.measurements import (
    Measured,
    group,
    without_repeats,
)
from anajax.devices.fitting.sheets import clean
from anajax.devices.fitting.sheets.clean import Readings
from anajax.devices.read_noise import NoReadNoise
from anajax.devices.records import find_preset, presets

AUTO = "auto"
"""Choose the form from the data."""
CELLS_PER_KNOT = 20
"""With fewer cells, the relative standard error of a standard deviation exceeds 1/6."""


@dataclass(frozen=True)
class FileFit:
    """The fit to a file, and the candidate forms."""

    found: FitResult
    trials: list[Trial]
    """All forms, best first; only one if a form was named."""
    data: Measured
    readings: Readings

    @property
    def notes(self) -> list[str]:
        """How the file was read, which form was chosen, and what is undetermined."""
        said = list(self.readings.notes)
        said += [verdict(self.trials)] if len(self.trials) > 1 else []
        return said + unknown(self.found)


def fit_file(
    path: Path,
    *,
    form: str = AUTO,
    knots: int = 6,
    name: str,
    units: str | None = None,
    columns: str | None = None,
    notify: Callable[[str, int], None] = lambda form, number: None,
) -> FileFit:
    """Fit a given form to the measurements in a file, or the form that fits best.

    Args:
        path: see `anajax.devices.fitting.sheets.clean`.
        form: a preset, whose constants are the starting point of the search, "tables",
            or "auto" for the best of them by Schwarz's criterion.
        knots: most points per table; the range is that of the targets.
        name: name of the fitted device.
        units: units of the conductances, see `anajax.devices.fit_device`.
        columns: headers in the file, such as "cell=die,read=G".
        notify: called with the name of each form as its fit begins, and its number from
            0.

    Returns:
        The fit; its device is valid for the measured range and times.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the form is unknown or does not fit the data, or columns are
            missing or not valid.
    """
    readings = clean.read(path, columns=columns, units=units)
    data = group(readings.columns, units=readings.units)

    def one(form: str) -> FitResult:
        return fit_device(
            readings.columns,
            form=_form(form, data, knots),
            name=name,
            source=f"fitted to {path.name}, form {form}",
            units=readings.units,
        )

    if form != AUTO:
        notify(form, 0)
        found = one(form)
        trials = [Trial(form, int(data.target.size), found)]
        return FileFit(found, trials, data, readings)
    trials = compare(candidates(data), one, data, notify=notify)
    best = trials[0].found
    assert best is not None
    return FileFit(best, trials, data, readings)


def fit(
    path: Path, *, form: str, knots: int, name: str, units: str | None = None
) -> FitResult:
    """Fit one form to the measurements in a file, see `fit_file`."""
    return fit_file(path, form=form, knots=knots, name=name, units=units).found


def unknown(found: FitResult) -> list[str]:
    """What the data do not determine, one sentence per reason."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in found.undetermined.items():
        by_reason.setdefault(reason, []).append(name)
    return [
        f"The data do not determine {', '.join(names)}: {reason}. The file has the "
        f"value{'s' * (len(names) > 1)} above."
        for reason, names in by_reason.items()
    ]


def summary(made: FileFit) -> dict[str, Any]:
    """A fit as plain values, for JSON."""
    found = made.found
    parameters = [
        {"name": p.name, "value": p.value, "standard_error": p.se,
         "unit": p.unit or None,
         "undetermined": p.undetermined or None}
        for p in found.parameters
    ]  # fmt: skip
    forms = [
        {"form": t.form, "criterion": t.criterion, "reason": t.reason or None}
        for t in made.trials
    ]
    return {
        "device": found.device.name,
        "form": made.trials[0].form,
        "cells": made.trials[0].cells,
        "log_likelihood": found.log_likelihood,
        "converged": found.converged,
        "form_rejected": found.form_rejected,
        "problems": problems(found),
        "notes": made.notes,
        "parameters": parameters,
        "tests": list(found.tests),
        "forms": forms,
    }


def problems(found: FitResult) -> list[str]:
    """Reasons against using a fit, one sentence each; none if it is fine."""
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
    if form == TABLES:
        return _tables(data, knots)
    known = presets()
    if ".py:" in form:
        return find_preset(form)()
    if form not in known:
        hint = did_you_mean(form, [AUTO, TABLES, *known])
        rule = f"be {AUTO}, {TABLES} or a preset"
        known = f"{hint}Known: {', '.join(known)}."
        checks.fail("--form", rule, repr(form), known)
    return widened(known[form](), data)


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
