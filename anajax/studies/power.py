"""The numbers of chips and items that a study needs, from a pilot study.

The loss relative to the digital network is a mean over chips and over items. Its
squared standard error is a / C + b / N for C chips and N items, with the variance a of
the loss from chip to chip and b of the paired loss from item to item, as in
`statistics.lost`.
"""

import dataclasses
import math
import tempfile
from pathlib import Path

import numpy as np

from anajax._core import checks
from anajax.analysis.workload import Workload
from anajax.studies import run
from anajax.studies.config.study import ProgrammedConfig, StudyConfig
from anajax.studies.report.statistics import sign

PILOT = 8
"""Number of chips of a pilot."""
ITEMS = 256
"""Most test items of a pilot."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variances:
    """Variances of a loss, estimated by a pilot."""

    chips: int
    """Number of chips of the pilot."""
    items: int
    """Number of items of the pilot."""
    of_chips: float
    """Standard deviation of the loss from chip to chip."""
    of_items: float
    """Standard deviation of the paired loss from item to item."""
    most: int
    """Number of available test items."""

    def error(self, chips: int, items: int) -> float:
        """The standard error with these numbers of chips and items."""
        return math.hypot(
            self.of_chips / math.sqrt(chips), self.of_items / math.sqrt(items)
        )

    def needed(self, error: float) -> tuple[int, int]:
        """The smallest product of chips and items for a standard error.

        Args:
            error: standard error of the loss, in the unit of the metric.

        Returns:
            Chips, 2 or more, and items, 2 or more.

        Raises:
            ValueError: if there are not enough items for it.
        """
        checks.positive("error", error)
        least = self.of_items / math.sqrt(self.most)
        if least >= error:
            remedy = "No number of chips makes up for items: ask for less."
            checks.fail("error", f"be above {least:.2g}", error, remedy)
        half = 2 / error**2  # each of the two parts is half of the variance
        items = min(self.most, max(2, math.ceil(half * self.of_items**2)))
        rest = error**2 - self.of_items**2 / items
        return max(2, math.ceil(self.of_chips**2 / rest)), items


def pilot(
    config: StudyConfig,
    *,
    workload: Workload | None = None,
    data: Path | None = None,
    chips: int = PILOT,
    time: float | None = None,
) -> Variances:
    """Measure a few chips on some of the items, with the first strategy of a study.

    Args:
        config: config of a strategy study; with several devices, the one with the
            largest variance is used.
        workload: with all test items, instead of the one that the config names.
        data: folder with local data sets.
        chips: number of chips of the pilot, 2 or more.
        time: seconds, one of those of the study; the last by default.

    Raises:
        ValueError: for a study of another kind, or a time that it does not have.
    """
    if not isinstance(config, ProgrammedConfig):
        rule, remedy = "be of kind strategies or devices", "Take such a config."
        checks.fail("study", rule, config.study, remedy)
    checks.whole("chips", chips, least=2)
    at = config.times[-1] if time is None else time
    if at not in config.times:
        checks.fail("time", "be one of `times`", at, "Add it there.")
    work = workload or run.workload_of(config.workload, data)
    every = len(work.x)
    some = min(ITEMS, every)
    subsets = {name: mask[:some] for name, mask in work.subsets.items()}
    few = dataclasses.replace(
        work, x=work.x[:some], y=work.y[:some], subsets=subsets
    )  # in random order
    options = type(config.optimizer).model_validate(
        config.optimizer.model_dump() | {"time_weights": None}
    )
    small = config.model_copy(
        update={
            "chips": chips, "times": [at], "strategies": config.strategies[:1],
            "stop_at_se": None, "required": None, "optimizer": options,
        }
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="anajax-") as folder:
        found = run.run(run.prepare(small, out=Path(folder), workload=few))
    name = found.attrs["metric"]
    values = found[name].isel(strategy=1, time=0).transpose("device", "chip")
    items = found[f"item_{name}"].isel(strategy=1, time=0).transpose("device", "item")
    lost = sign(found) * (found[f"digital_item_{name}"].values - items.values)
    return Variances(
        chips=chips,
        items=some,
        of_chips=float(np.std(values.values.astype(float), axis=1, ddof=1).max()),
        of_items=float(np.std(lost.astype(float), axis=1, ddof=1).max()),
        most=every,
    )
