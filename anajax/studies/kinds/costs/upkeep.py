"""How often to reprogram and recalibrate, for the lowest energy at a required accuracy.

    study: upkeep
    costs: {chip: hermes, pulse_energy: 100}
    upkeep: {required: 0.96, inferences: 100000, reprogram: ["1 d", "1 y"]}

The metric is measured on chips just before each age of `times` and of `reprogram`, with
the drift compensation of the last recalibration.
"""

import dataclasses
from functools import partial
from typing import Any, Literal

import numpy as np
import xarray as xr
from jax.sharding import Mesh
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field, model_validator

from anajax._core.units import DAY, YEAR, human
from anajax.analysis.engine import Engine
from anajax.analysis.workload import Workload
from anajax.costs.held import BEFORE, recalibrations
from anajax.costs.known import CostOptions
from anajax.costs.plans import Upkeep, upkeep
from anajax.mapping.strategy import Strategy
from anajax.studies.bill import Bill, labelled
from anajax.studies.config.on_hardware import HardwareConfig
from anajax.studies.config.sections import Options, Positive, Section
from anajax.studies.config.study import Times
from anajax.studies.kinds.base import Kind
from anajax.studies.names import place
from anajax.studies.plan import (
    Deployed,
    Placed,
    deploy,
    engine_of,
    measure,
    site_of,
    uncovered,
)
from anajax.studies.programs import Programs
from anajax.studies.report import assumptions as assumed
from anajax.studies.report import costs, plots, results
from anajax.studies.report.blocks import (
    Block,
    Drawing,
    cells,
    format_of,
)
from anajax.studies.report.statistics import over
from anajax.studies.store.parts import Parts
from anajax.studies.ways.base import Table


def _days(*days: float) -> list[float]:
    return [d * DAY for d in days]


class UpkeepSection(Section):
    """The requirement, and the intervals to choose from."""

    required: Positive
    """Lowest allowed metric, averaged over chips, at all times between two
    programmings."""
    inferences: Positive
    """Number of inferences per day."""
    reprogram: Times = Field(default_factory=lambda: _days(1, 7, 30, 91, 365))
    recalibrate: Times = Field(default_factory=lambda: _days(1 / 24, 1, 30))
    never: bool = Field(default=True, description="true or false")
    """Whether plans without recalibration are considered."""


class UpkeepConfig(HardwareConfig):
    """One network with one strategy on one chip, maintained for a year."""

    study: Literal["upkeep"]
    costs: Options[CostOptions] = Options[CostOptions]()
    upkeep: UpkeepSection

    @model_validator(mode="after")
    def _whole(self) -> "UpkeepConfig":
        costs, optimizer = self.costs.record, self.optimizer.record
        held = self.compensation.recalibrate is not None
        late = self.upkeep.reprogram[-1] > YEAR
        none = costs.pulse_energy is None
        loop = not isinstance(self.strategy, Table) or self.strategy.trained
        for key, rule, bad, remedy in (
            ("costs.pulse_energy", "be given in pJ", none, "No source gives one."),
            ("compensation.recalibrate", "be null", held, "See upkeep.recalibrate."),
            ("strategy", "be a table without training", loop, "Choose another."),
            ("optimizer.per_layer", "be false", optimizer.per_layer, "Drop it."),
            ("upkeep.reprogram", "be intervals of up to a year", late, "Drop longer."),
        ):
            if bad:
                raise ValueError(f"`{key}` must {rule} in upkeep. {remedy}")
        return self


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """A study with complete and valid inputs."""

    config: UpkeepConfig
    work: Workload
    deployed: Deployed
    engine: Engine
    bill: Bill
    ages: np.ndarray
    """Ages at which the metric is measured, s."""
    extrapolated: np.ndarray
    """Which of them the source of the device does not cover."""

    @property
    def held(self) -> list[float]:
        """Recalibration intervals, infinite for never."""
        section = self.config.upkeep
        return [*section.recalibrate, *[np.inf] * section.never]

    @property
    def parts(self) -> int:
        """Number of parts."""
        return 1 + len(self.held)

    def run(self, parts: Parts, digital: np.ndarray) -> xr.Dataset:
        """Measure what is missing, and compare all plans.

        Args:
            parts: saves parts, and returns saved ones.
            digital: metric of the digital network `[items]`.
        """
        d, found = self.deployed, []
        programs = Programs(self.config, d.network, d.case, parts)
        placed = d.placed(programs.of(self.config.strategy))
        sign = 1.0 if self.work.higher_is_better else -1.0

        def metric(ages: np.ndarray, last: np.ndarray) -> np.ndarray:
            compute = partial(self._measure, placed, ages, last)
            found.append(parts.get(f"held-{len(found)}", compute))
            return sign * np.nanmean(found[-1]["metric"], axis=0)

        plans = self._plans(placed, metric, sign)
        data = results.measures(self.work, self._stacked(found), ("recalibration",))
        data = data.merge(results.times(self.ages, self.extrapolated))
        data = data.merge(results.devices({d.device.name: d.device}))
        data = data.assign(_columns(plans, sign))
        data = data.assign_coords(recalibration=self.held)
        spent = self.bill(placed.layers, d.device, self.ages)
        return labelled(data, self.bill, spent).assign_attrs(
            required=self.config.upkeep.required,
            inferences=self.config.upkeep.inferences,
        )

    def _stacked(self, found: list[Any]) -> dict[str, np.ndarray]:
        return {n: np.stack([f[n] for f in found]) for n in found[0]}

    def _measure(
        self, placed: Placed, ages: np.ndarray, last: np.ndarray, draft: Any
    ) -> Any:
        section = self.config.compensation
        times = list(map(float, recalibrations(ages, last)))
        held = section.model_copy(update={"recalibrate": times})
        config = self.config.model_copy(update={"compensation": held})
        at = ages * (1 - BEFORE)
        return measure(config, self.engine, placed, at, kept=draft).of(0)

    def _plans(self, placed: Placed, metric: Any, sign: float) -> Upkeep:
        section, d = self.config.upkeep, self.deployed
        table = placed.program.strategies
        assert isinstance(table, Strategy)
        site = site_of(self.config, d.network, d.device, self.ages)
        return upkeep(
            self.bill.costs(placed.layers, d.device, np.zeros(1)), d.device, table,
            site.error.density(), required=sign * section.required,
            inferences=section.inferences, reprogram=section.reprogram,
            recalibrate=self.held, metric=metric, ages=self.ages,
            extrapolate=self.config.extrapolate,
        )  # fmt: skip


def _columns(found: Upkeep, sign: float) -> dict[str, Any]:
    """What each plan keeps and takes, over the dimension plan; the best is 1."""
    year = {"units": "uJ", "comment": "in a year"}

    def of(name: str, about: dict[str, str]) -> Any:
        return "plan", [getattr(p, name) for p in found.plans], about

    least = [sign * (p.metric or 0.0) for p in found.plans]
    return {
        "reprogram": of("reprogram", {"units": "s"}),
        "recalibrate": of("recalibrate", {"units": "s"}),
        "least": ("plan", least, {"comment": "worst mean metric between two programs"}),
        **{f"{n}_energy": of(n, year) for n in PARTS},
        "total_energy": of("total", year),
        "kept": ("plan", [int(p.keeps(found.required)) for p in found.plans]),
        "best": ("plan", [int(p is found.best) for p in found.plans]),
    }


PARTS = ("programming", "recalibration", "inference")
"""Components of the energy in a year."""


def prepare(config: UpkeepConfig, work: Workload, mesh: Mesh | None) -> Study:
    """Check all inputs.

    Raises:
        ValueError: if inputs do not fit each other.
    """
    deployed = deploy(config, work)
    assert deployed.bill is not None
    ages = np.unique([*config.times, *config.upkeep.reprogram])
    return Study(
        config=config,
        work=work,
        deployed=deployed,
        engine=engine_of(config, mesh),
        bill=deployed.bill,
        ages=ages,
        extrapolated=uncovered(config, deployed.device, ages),
    )


# --- what is shown --------------------------------------------------------------------


def title(data: xr.Dataset) -> str:
    """Title of the report."""
    return f"How often to reprogram for the lowest energy: {place(data)}"


def blocks(data: xr.Dataset, _: Any) -> list[Block]:
    """All plans, those that meet the requirement first, and the metric over time."""
    show = format_of(data)
    size, unit = costs.unit_of(data.total_energy.values)
    order = np.lexsort((data.total_energy.values, -data.kept.values))
    rows = []
    for one in (data.isel(plan=i) for i in order):
        energies = (float(one[f"{n}_energy"]) / size for n in (*PARTS, "total"))
        rows.append(
            cells(
                _every(float(one.reprogram)),
                _every(float(one.recalibrate)),
                show.number(float(one.least)),
                *(f"{e:.4g}" for e in energies),
                "yes" if one.kept else "",
            )
        )
    header = [
        "programmed", "recalibrated", f"worst {show.label}",
        *(f"{n} ({unit})" for n in (*PARTS, "total")), "met",
    ]  # fmt: skip
    return [
        Block(
            title=f"A year at {show.text(data.attrs['required'])} or better, on "
            f"{costs.basis(data)}",
            text=f"{data.attrs['inferences']:g} inferences a day. The metric is the "
            "worst mean over chips between two programmings, just before each age. "
            f"{costs.basis(data)}.{assumed.stopping(data, 'recalibration')}",
            header=header,
            rows=rows,
            bold=[0] if data.best.any() else [],
            points=[_answer(data, size, unit)],
            drawings=[
                Drawing("upkeep", "The metric over time since programming; dashed: "
                        "required", partial(figure, data))
            ],
            summary=True,
        ),
        *costs.blocks(data),
    ]  # fmt: skip


def _every(seconds: float) -> str:
    return "never" if np.isinf(seconds) else f"every {human(seconds)}"


def _answer(data: xr.Dataset, size: float, unit: str) -> str:
    if not data.best.any():
        return "No plan meets the requirement."
    one = data.isel(plan=int(np.argmax(data.best.values)))
    again, held = _every(float(one.reprogram)), _every(float(one.recalibrate))
    return (
        f"The lowest energy: program {again}, recalibrate {held}: "
        f"{float(one.total_energy) / size:.4g} {unit} per year."
    )


def figure(data: xr.Dataset) -> Figure:
    """The metric over the ages, one line per recalibration interval."""
    show = format_of(data)
    found = show.factor * over(data[data.attrs["metric"]])

    def draw(axis: Axes) -> None:
        x = plots.log_places(data.time.values)
        axis.axhline(show.factor * data.attrs["required"], color="black", ls="--", lw=1)
        for i, held in enumerate(map(float, data.recalibration.values)):
            value, half = (found[n].values[i] for n in ("value", "error"))
            style: Any = {"color": plots.COLORS[1:][i % 11], "marker": "o", "ms": 3.5}
            label = f"recalibrated {_every(held)}"
            plots.band(axis, x, value, plots.Z90 * half, label, **style)
        plots.time_axis(axis, data.time.values, data.extrapolated.values == 1)

    return plots.panels(
        [("", draw)],
        size=(4.6, 3.4),
        xlabel="time after programming",
        ylabel=show.label,
        note="bands: 90 % intervals over chips",
        legend=2,
    )


def assumptions(data: xr.Dataset) -> list[str]:
    """Assumptions behind the numbers."""
    return [
        *assumed.sources(data),
        *assumed.hardware(data),
        "The energy of inferences is averaged over the time between two programmings, "
        "since that of the array decreases with drift; a recalibration reads each row "
        "of each tile once at full input. A plan meets the requirement if the mean "
        "over chips does, at all tested ages.",
        *costs.assumptions(data),
    ]


KIND = Kind(
    name="upkeep",
    config=UpkeepConfig,
    prepare=prepare,
    title=title,
    blocks=blocks,
    assumptions=assumptions,
)
