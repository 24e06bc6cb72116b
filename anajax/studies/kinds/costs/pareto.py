"""Accuracy against energy: one knob at a time is changed from a base.

    study: pareto
    pareto:
      weight: [0.002, 0.008]      # weights of the array's energy in the search
      pairs: [1]
      adc_bits: [5, 6]

The points are those of a sweep, so that all use the same chips, and numbers share a
trace.
"""

import dataclasses
import json
from typing import Annotated, Any, Literal

import numpy as np
import xarray as xr
from jax.sharding import Mesh
from pydantic import Field, model_validator

from anajax._core.types import PyTree
from anajax.analysis.workload import Workload
from anajax.costs.known import CostOptions
from anajax.studies.config.on_hardware import HardwareConfig
from anajax.studies.config.sections import Options, Section, refuse
from anajax.studies.kinds import sweep
from anajax.studies.kinds.base import Kind
from anajax.studies.kinds.costs import pareto_page as page
from anajax.studies.kinds.sweep_config import SweepConfig
from anajax.studies.store.parts import Parts
from anajax.studies.ways.catalog import Entry
from anajax.studies.ways.tables import Optimized

KNOBS = {
    "weight": ("optimizer.energy_weight",),
    "pairs": ("optimizer.pairs",),
    "dac_bits": ("periphery.dac_bits",),
    "adc_bits": ("periphery.adc_bits",),
    "tiles": ("periphery.rows", "periphery.columns"),
    "strategy": ("strategy",),
}
"""Config keys that each knob sets."""
Weight = Annotated[float, Field(ge=0)]
Pairs = Annotated[int, Field(ge=1, le=8)]
Bits = Annotated[float, Field(ge=2, le=24)]
Lines = Annotated[int, Field(ge=1)]


def _some(words: str) -> Any:
    return Field(default=None, min_length=1, description=f"a list of {words}, or null")


class ParetoSection(Section):
    """Values of each knob, changed one at a time."""

    weight: list[Weight] | None = _some("weights of energy, 0 or more")
    """Weight of the array energy relative to all devices at g_max, in w_max^2."""
    pairs: list[Pairs] | None = _some("1 to 8 pairs")
    dac_bits: list[Bits] | None = _some("2 to 24 bits")
    adc_bits: list[Bits] | None = _some("2 to 24 bits")
    tiles: list[Lines] | None = _some("lines of square tiles, 1 or more")
    strategy: list[str] | None = _some("names of strategies")

    @property
    def turns(self) -> list[tuple[str, Any]]:
        """Knobs with each of their values."""
        each = ((knob, getattr(self, knob) or []) for knob in KNOBS)
        return [(knob, value) for knob, values in each for value in values]

    @model_validator(mode="after")
    def _turned(self) -> "ParetoSection":
        if not self.turns:
            refuse(f"change one of {', '.join(KNOBS)}", "none", "Add adc_bits: [6].")
        return self


class ParetoConfig(HardwareConfig):
    """One network on one chip, with one knob at a time changed."""

    study: Literal["pareto"]
    strategy: Entry = Optimized()
    costs: Options[CostOptions] = Options[CostOptions]()
    pareto: ParetoSection

    @property
    def points(self) -> list[dict[str, Any]]:
        """Settings of each point by dotted key, all keys at each; the base first."""
        base = self._base
        made = [base]
        for knob, value in self.pareto.turns:
            made.append(base | dict.fromkeys(KNOBS[knob], value))
        return made

    @property
    def _base(self) -> dict[str, Any]:
        """Values of the config at the keys of the knobs that are turned."""
        data, found = self.model_dump(mode="json"), {}
        for knob in dict.fromkeys(knob for knob, _ in self.pareto.turns):
            for key in KNOBS[knob]:
                section, _, name = key.partition(".")
                value = data[section]
                found[key] = (value or {}).get(name) if name else value
        return found

    @model_validator(mode="after")
    def _of_a_periphery(self) -> "ParetoConfig":
        asked = self.pareto.dac_bits, self.pareto.adc_bits, self.pareto.tiles
        if any(asked) and self.periphery is None:
            raise ValueError(
                "`periphery` must be given if bits or tiles are turned: got null. "
                "Add periphery: {dac_bits: 8, adc_bits: 8}."
            )
        searched = [*(self.pareto.weight or ()), *(self.pareto.pairs or ())]
        if searched and not isinstance(self.strategy, Optimized):
            raise ValueError(
                "`strategy` must be optimized where weight or pairs are turned: got "
                f"{self.strategy.name}. Leave it out."
            )
        return self


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pareto:
    """A study with complete and valid inputs."""

    config: ParetoConfig
    sweep: sweep.Sweep

    @property
    def parts(self) -> int:
        """Number of parts."""
        return self.sweep.parts

    def run(self, parts: Parts, digital: np.ndarray) -> xr.Dataset:
        """Compute all points that are not done yet, and name the knob of each.

        Args:
            parts: saves parts, and returns saved ones.
            digital: metric of the digital network `[items]`.
        """
        data = self.sweep.run(parts, digital)
        turns = [(page.BASE, ""), *self.config.pareto.turns]
        knobs, values = zip(*turns, strict=True)
        return data.assign(
            knob=("point", list(knobs), {"comment": "what is turned from the base"}),
            turned=("point", [_text(v) for v in values]),
        )


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def prepare(config: ParetoConfig, work: Workload, mesh: Mesh | None) -> Pareto:
    """Check all inputs, including all points.

    Raises:
        ValueError: if a point is not valid, inputs do not fit each other, or tiles are
            larger than those of the chip.
    """
    points: PyTree = config.points
    data = config.model_dump(mode="json", exclude={"pareto"})
    asked = data | {"study": "sweep", "sweep": {"points": points}}
    made = sweep.prepare(SweepConfig.model_validate(asked), work, mesh)
    _check_tiles(config, made)
    return Pareto(config=config, sweep=made)


def _check_tiles(config: ParetoConfig, made: sweep.Sweep) -> None:
    chip = made.planned[0].bill.chip  # pyright: ignore[reportOptionalMemberAccess]
    largest = max(config.pareto.tiles or [0])
    if largest > min(chip.rows, chip.columns):
        raise ValueError(
            f"`pareto.tiles` must fit those of {chip.name}, {chip.rows} x "
            f"{chip.columns}: got {json.dumps(largest)}. Drop it, or describe a larger "
            "chip in a .yaml file."
        )


KIND = Kind(
    name="pareto",
    config=ParetoConfig,
    prepare=prepare,
    title=page.title,
    blocks=page.blocks,
    assumptions=page.assumptions,
)
