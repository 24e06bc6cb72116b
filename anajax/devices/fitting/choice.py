"""The form that describes the data best, chosen by an information criterion.

The criterion is Schwarz's (BIC), -2 ln L + p ln n for p parameters and n cells: for
many cells, minus twice the logarithm of the probability of the data under a form.
Source: Schwarz, Ann. Statist. 6, 461 (1978). Forms without a likelihood for the data
are listed with the reason.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from anajax._core import checks
from anajax._core.tree import replace
from anajax.devices.base import Device
from anajax.devices.fitting.fit import FitResult
from anajax.devices.fitting.measurements import Measured
from anajax.devices.records import presets

TABLES = "tables"
CLOSE = 2.0
"""Difference of the criterion below which two forms are not told apart."""
FEW = 2
"""Most targets of a memory with few levels."""


@dataclass(frozen=True)
class Trial:
    """One form, and its fit if there is one."""

    form: str
    cells: int
    """Number of measured cells."""
    found: FitResult | None = None
    reason: str = ""
    """Why there is no fit."""

    @property
    def criterion(self) -> float:
        """Schwarz's criterion; lower is better, infinite without a fit."""
        if self.found is None:
            return math.inf
        size = len(self.found.parameters) * math.log(self.cells)
        return size - 2 * self.found.log_likelihood

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """Order of preference: converged, not rejected, then the criterion."""
        if self.found is None:
            return True, True, math.inf
        return not self.found.converged, self.found.form_rejected, self.criterion


def compare(
    forms: Sequence[str],
    fit: Callable[[str], FitResult],
    data: Measured,
    *,
    notify: Callable[[str, int], None] = lambda form, number: None,
) -> list[Trial]:
    """Trials of all forms, best first.

    Args:
        forms: their names.
        fit: the fit of a form by its name.
        data: the measurements.
        notify: called with the name of each form as its fit begins, and its number from
            0.

    Raises:
        ValueError: if no form can be fitted.
    """
    trials, cells = [], int(data.target.size)
    for number, form in enumerate(forms):
        notify(form, number)
        try:
            trials.append(Trial(form, cells, fit(form)))
        except ValueError as error:
            trials.append(Trial(form, cells, reason=_short(error)))
    trials.sort(key=lambda trial: trial.rank)
    if trials[0].found is None:
        said = "; ".join(f"{t.form}: {t.reason}" for t in trials)
        remedy = "Measure more cells, or name a form: --form."
        checks.fail("measurements", "fit a form", said, remedy)
    return trials


def candidates(data: Measured) -> list[str]:
    """Forms that may suit: tables, and one preset of each kind that has parameters."""
    few = np.unique(np.asarray(data.target)).size <= FEW
    kinds = {}
    for name, make in presets().items():
        form = make()
        plain = replace(form, name="", source="", valid_times=(0.0, 0.0))
        kind = jax.tree.map(np.shape, plain), jax.tree.structure(plain)
        exact = form.programming.exact and form.drift.exact and form.read.exact
        if not exact and (form.levels is None or few):
            kinds.setdefault(str(kind), name)
    return [TABLES, *kinds.values()]


def verdict(trials: Sequence[Trial]) -> str:
    """What the criterion says about the best form and the next."""
    best = trials[0]
    rest = [t for t in trials[1:] if t.found is not None]
    if not rest:
        return f"{best.form} is the only form that can be fitted."
    second = min(rest, key=lambda t: t.criterion)
    lead = second.criterion - best.criterion
    if abs(lead) < CLOSE:
        return (
            f"The data do not distinguish {best.form} from {second.form}: their "
            f"criteria are {abs(lead):.1f} apart."
        )
    if lead < 0:
        return (
            f"{best.form} is chosen: {second.form} has the better criterion, by "
            f"{-lead:.1f}, but is rejected by the tests or is not at a maximum."
        )
    return f"The data favor {best.form} over {second.form} by {lead:.1f}."


def _short(error: ValueError) -> str:
    """The rule and what came, without the remedy."""
    text = str(error).splitlines()[0]
    return text.split(". ")[0].removesuffix(".")


def widened(form: Device, data: Measured) -> Device:
    """The form with curves extended to the highest target, if that is beyond them."""
    high = float(np.max(np.asarray(data.target)))
    slots = {name: getattr(form, name) for name in ("programming", "drift", "read")}
    short = {n: s for n, s in slots.items() if getattr(s, "g_max", high) < high}
    return replace(form, **{n: replace(s, g_max=high) for n, s in short.items()})
