"""Configs of strategies: by hand, tuned, optimised, or learned through chips."""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    field_validator,
    model_validator,
)

from anajax.studies.sections import Positive, Section, one_of, refuse

HAND = ("single_pair", "msp_first", "lsp_first", "equal_split", "offset_device")
"""Strategies that people program by hand."""
TUNED = tuple(f"{name}_tuned" for name in ("msp_first", "lsp_first", "equal_split"))
"""The same with F and K chosen on the exact expected weight error."""
LEARNED = ("targets", "closed_loop")
"""What is learned through drawn chips: from the network's loss, or in a loop."""
STRATEGIES = (*HAND, *TUNED, "optimized", *LEARNED)
_OPTIONS = {
    "f": ("msp_first", "lsp_first", "equal_split"),
    "k": HAND,
    "learn": ("targets",),
    "reads": ("closed_loop",),
}
"""Which strategies take an option."""


def _listed(value: object) -> object:
    return [value] if isinstance(value, int | float) else value


class LearnSection(Section):
    """How `targets` are learned, see `anajax.programming.optimize_targets`."""

    parts: list[Literal["strategy", "columns", "weights", "drift", "digital"]] = Field(
        default_factory=lambda: ["strategy", "weights"],
        min_length=1,
        description='some of "strategy", "columns", "weights", "drift", "digital"',
    )
    steps: int = Field(default=400, ge=1, description="1 gradient step or more")
    chips: int = Field(default=2, ge=1, description="1 chip a step or more")
    batch: int = Field(default=64, ge=1, description="1 input a step or more")
    learning_rate: Positive = 0.01
    weight_rate: Positive = 0.01


class StrategySection(Section):
    """One strategy of a study, with its options."""

    name: str = Field(description="the name of a strategy")
    label: str = Field(default="", description="a name for tables and figures")
    f: Annotated[list[Positive], BeforeValidator(_listed)] | None = Field(
        default=None, description="a significance factor, or one per pair but the least"
    )
    k: Positive | None = Field(
        default=None, description="the digital scale relative to the full range"
    )
    learn: LearnSection | None = Field(
        default=None, description="options of `targets`, or null for the defaults"
    )
    reads: int | None = Field(
        default=None, ge=1, description="verify reads of `closed_loop`, 1 or more"
    )

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        one_of(name, STRATEGIES)
        return name

    @model_validator(mode="after")
    def _fits(self) -> "StrategySection":
        for option, names in _OPTIONS.items():
            if getattr(self, option) is not None and self.name not in names:
                refuse(
                    f"have no `{option}` for {self.name}",
                    getattr(self, option),
                    f"Drop it: only {', '.join(names)} take it.",
                )
        if self.label == "digital" or not re.fullmatch(r"[\w.+-]*", self.label):
            refuse(
                "have a `label` of letters, digits and ._+-, not 'digital'",
                repr(self.label),
                "Choose another.",
            )
        return self

    @property
    def title(self) -> str:
        """The label, by default the name."""
        return self.label or self.name


def named(entry: object) -> object:
    """A section that was given as its bare name."""
    return {"name": entry} if isinstance(entry, str) else entry


def _distinct(entries: list[StrategySection]) -> list[StrategySection]:
    titles = [e.title for e in entries]
    twice = sorted({t for t in titles if titles.count(t) > 1})
    if twice:
        refuse("have distinct labels", twice, "Give each its own `label`.")
    return entries


StrategyList = Annotated[
    list[Annotated[StrategySection, BeforeValidator(named)]],
    Field(min_length=1, description="a list of strategies"),
    AfterValidator(_distinct),
]
ALL = ("single_pair", "msp_first", "lsp_first", "lsp_first_tuned", "equal_split")


def entries(*names: str) -> Any:
    """A field with these strategies as its default."""
    return Field(
        default_factory=lambda: [StrategySection(name=n) for n in names],
        validate_default=True,
    )
