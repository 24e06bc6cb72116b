"""Which strategy to use: the others of a study, compared on validation data and chips.

    strategies: [single_pair, lsp_first_tuned, optimized, targets, recommended]

The rule is fixed before any result: the lowest mean loss over the times of the study,
on held-out training inputs and on separate chips. Programs within one standard error of
the paired difference to the best are tied, and of these the cheapest is taken:
hand-designed, then an optimized table, loops, targets, training, joint learning.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import (
    BeforeValidator,
    Field,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
)

from anajax._core import checks
from anajax._core.units import human, parse_duration
from anajax.analysis.workload import Workload
from anajax.devices.base import Device
from anajax.studies.config.sections import refuse
from anajax.studies.ways.base import Way
from anajax.studies.ways.site import Program, Site

ENTRY = "entry"
"""In the context of a validation: the function that makes ways from entries."""


def _nested(entry: Any, info: ValidationInfo) -> Any:
    """A label or name as it is, a section as the way that it describes."""
    if not isinstance(entry, dict):
        return entry
    make = (info.context or {}).get(ENTRY)
    if make is None:
        refuse("be labels, names or ways", repr(entry)[:60], "Make the way first.")
    return make(entry, info)


Rival = Annotated[str | SerializeAsAny[Way], BeforeValidator(_nested)]


class Recommended(Way):
    """The best of other programs on validation data; the cheapest if they are tied."""

    name: str = "recommended"
    family = "optimized"
    among: list[Rival] | None = Field(
        default=None,
        min_length=1,
        description="labels, names or ways, or null for all others of the study",
    )
    chips: int = Field(default=10, ge=2, description="2 validation chips or more")
    items: int = Field(default=512, ge=2, description="2 validation inputs or more")
    at: Annotated[float, BeforeValidator(parse_duration)] | None = Field(
        default=None, description="one of the times, or null for the mean over all"
    )
    by: Literal["loss", "metric"] | None = Field(
        default=None, description='"loss", "metric" or null'
    )
    """Criterion: the distance from the digital network's outputs, or the metric, which
    needs labels; null: the metric if one of the programs learned from labels."""

    @property
    def held_out(self) -> int:
        """Number of held-out inputs for the choice."""
        return self.items

    @property
    def choices(self) -> list[Any]:
        """Itself."""
        return [self]

    def check(self, work: Workload, device: Device) -> None:
        """Refuse a metric if there are no labels to choose with."""
        super().check(work, device)
        if self.by == "metric" and work.train_y is None:
            rule = "be loss for a network without a training split"
            checks.fail("by", rule, "metric", "Leave it out.")

    def with_file(self, find: Callable[[str], str]) -> Self:
        """The entry with `find(file)` instead of the files of its ways."""
        if self.among is None:
            return self
        some = [e if isinstance(e, str) else e.with_file(find) for e in self.among]
        return self.model_copy(update={"among": some})

    def build(self, site: Site) -> Program:
        """The program of the chosen way."""
        if site.choose is None:
            how = "Run it in a study, or choose yourself."
            checks.fail("strategy", "be part of a study", self.title, how)
        return site.choose(self)

    def check_time(self, times: Sequence[float]) -> None:
        """Refuse a time that its study does not measure.

        Raises:
            ValueError: if it is not one of the times.
        """
        if self.at is not None and not np.isclose(times, self.at).any():
            got = ", ".join(map(human, times))
            checks.fail("at", f"be one of {got}", human(self.at), "Add it to `times`.")

    def time_of(self, times: np.ndarray) -> slice | int:
        """The times of a device that are used: all, or the requested one.

        If a device is not measured at that time, the last one before it, or its first.
        """
        if self.at is None:
            return slice(None)
        return max(0, int(np.sum(times <= self.at * (1 + 1e-6))) - 1)

    @field_validator("trained")
    @classmethod
    def _alone(cls, trained: bool) -> bool:
        if trained:
            refuse("have no `trained`", True, "Name ways with it in `among`.")
        return trained


WAYS = (Recommended,)


# --- the rule -------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Losses:
    """Validation results of a program: lower is better."""

    effort: int
    chips: np.ndarray
    """Loss averaged over items and times `[chips]`."""
    items: np.ndarray
    """Loss averaged over chips and times `[items]`."""

    @property
    def mean(self) -> float:
        """Mean over all; infinite if a value is not a number."""
        mean = float(np.mean(self.chips, dtype=float))
        return mean if np.isfinite(mean) else np.inf

    def beyond(self, other: "Losses") -> tuple[float, float]:
        """Difference in loss, and the standard error over chips and items."""
        value = self.mean - other.mean
        errors = (_error(getattr(self, n) - getattr(other, n)) for n in ON)
        return value, functools.reduce(np.hypot, errors)


ON = ("chips", "items")


def _error(values: np.ndarray) -> float:
    values = np.asarray(values, float)
    return float(np.std(values, ddof=1) / np.sqrt(values.size))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """Which of several programs is recommended, and why."""

    chosen: str
    best: str
    """The program with the lowest loss."""
    loss: dict[str, float]
    error: dict[str, float]
    """Standard error of the paired difference to the best, over chips and items."""


def choose(found: Mapping[str, Losses]) -> Choice:
    """The cheapest of the programs tied with the best one.

    Among equally cheap programs, the one with the lowest loss.

    Args:
        found: results by name; on the same chips and items.
    """
    best = min(found, key=lambda name: found[name].mean)
    apart = {name: one.beyond(found[best]) for name, one in found.items()}
    tied = [n for n, (d, error) in apart.items() if n == best or d <= error]
    chosen = min(tied, key=lambda name: (found[name].effort, found[name].mean))
    return Choice(
        chosen=chosen,
        best=best,
        loss={name: one.mean for name, one in found.items()},
        error={name: error for name, (_, error) in apart.items()},
    )


def as_arrays(choice: Choice) -> dict[str, np.ndarray]:
    """A choice as arrays, for saving."""
    return {
        "chosen": np.asarray(choice.chosen),
        "best": np.asarray(choice.best),
        "candidate": np.asarray(list(choice.loss)),
        "loss": np.asarray(list(choice.loss.values())),
        "error": np.asarray(list(choice.error.values())),
    }


def from_arrays(arrays: Mapping[str, np.ndarray]) -> Choice:
    """The choice from the arrays of `as_arrays`."""
    names = list(map(str, arrays["candidate"]))
    return Choice(
        chosen=str(arrays["chosen"]),
        best=str(arrays["best"]),
        loss=dict(zip(names, map(float, arrays["loss"]), strict=True)),
        error=dict(zip(names, map(float, arrays["error"]), strict=True)),
    )
