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

from anajax.analysis.hardware import NON_IDEALITIES
from anajax.analysis.tolerance import FACTORS, RAY
from anajax.programming.end_to_end.learnable import LearnableName
from anajax.programming.end_to_end.targets import optimize_targets
from anajax.programming.loops.product_descent import ProductDescent
from anajax.studies.config.sections import (
    Factor,
    Factors,
    Positive,
    Section,
    default,
    one_of,
    refuse,
)

HAND = ("single_pair", "msp_first", "lsp_first", "equal_split", "offset_device")
"""Strategies that people program by hand."""
TUNED = tuple(f"{name}_tuned" for name in ("msp_first", "lsp_first", "equal_split"))
"""The same with F and K chosen on the exact expected weight error."""
DIGITAL = "digital"
"""The digital network. With `trained`, it is trained for as many steps as the others,
without noise."""
LOOPS = ("closed_loop", "product_descent")
"""Programmed by measuring while programming, see `anajax.programming`."""
LEARNED = ("targets", *LOOPS)
"""Not a table of targets over weights: targets learned from the loss, and loops."""
STRATEGIES = (*HAND, *TUNED, "optimized", *LEARNED, DIGITAL)
_OPTIONS = {
    "f": ("msp_first", "lsp_first", "equal_split"),
    "k": HAND,
    "learn": ("targets",),
    "reads": ("closed_loop",),
    "descent": ("product_descent",),
    "importance": ("optimized",),
}
"""Which strategies take an option."""


def _listed(value: object) -> object:
    return [value] if isinstance(value, int | float) else value


Goal = Annotated[
    Literal["digital", "labels"], Field(description='"digital" or "labels"')
]
"""What learning aims at: the outputs of the digital network (distillation, which needs
no labels), or the labels of the training split."""


class LearnSection(Section):
    """How `targets` are learned, see `anajax.programming.optimize_targets`."""

    parts: list[LearnableName] = Field(
        default_factory=lambda: list(default(optimize_targets, "learn")),
        min_length=1,
        description='some of "strategy", "columns", "weights", "drift", "digital"',
    )
    by: Literal["network", "layer"] = Field(
        default="network", description='"network" or "layer"'
    )
    """Layer: every layer in turn reproduces its own outputs; steps are shared out."""
    goal: Goal = "digital"
    steps: int = Field(
        default=default(optimize_targets, "steps"),
        ge=1,
        description="1 gradient step or more",
    )
    chips: int = Field(
        default=default(optimize_targets, "chips"),
        ge=1,
        description="1 chip a step or more",
    )
    batch: int = Field(
        default=default(optimize_targets, "batch"),
        ge=1,
        description="1 input a step or more",
    )
    learning_rate: Positive = default(optimize_targets, "learning_rate")
    weight_rate: Positive = default(optimize_targets, "weight_rate")

    @model_validator(mode="after")
    def _by_layer(self) -> "LearnSection":
        if self.by == "layer" and "digital" in self.parts:
            refuse(
                "have no `digital` among its parts by layer",
                self.parts,
                "Drop it, or learn by network.",
            )
        if self.by == "layer" and self.goal == "labels":
            refuse("have the goal `digital` by layer", self.goal, "Drop the goal.")
        return self


class TrainingSection(Section):
    """Hardware-aware training through the device's noise, from the trained network.

    Chips are programmed by the tuned least-significant-first strategy, read at one of
    the times of the study, and used behind the converters of the study.
    """

    goal: Goal = "digital"
    steps: int = Field(default=400, ge=1, description="1 gradient step or more")
    chips: int = Field(default=2, ge=1, description="1 chip a step or more")
    batch: int = Field(default=64, ge=1, description="1 input a step or more")
    rate: Positive = 0.01
    """Of Adam, with a cosine to zero."""
    clip: Positive | None = Field(
        default=None, description="a bound of weights in standard deviations, or null"
    )


class DescentSection(Section):
    """Programming by products, see `anajax.programming.ProductDescent`."""

    pulse: Factor = Field(default=0.3, description="noise of a pulse, 0 uS or more")
    turns: int = Field(
        default=default(ProductDescent, "turns"), ge=1, description="1 turn or more"
    )
    vectors: int = Field(
        default=default(ProductDescent, "vectors"),
        ge=1,
        description="1 product a turn or more",
    )


SCALED = (*NON_IDEALITIES, "ray")
"""What `required` scales: imperfections of the hardware, or `RAY` together."""


class RequiredSection(Section):
    """How loose a device may be, see `anajax.analysis.tolerance.required_device`."""

    gap: Positive = 0.01
    """Largest accepted loss of the metric against the digital network."""
    strategies: list[str] | None = Field(
        default=None, min_length=1, description="labels of strategies, or null for all"
    )
    parameters: list[str] = Field(
        default_factory=lambda: [*RAY, "ray"],
        min_length=1,
        description=f"some of {', '.join(SCALED)}",
    )
    factors: Factors = Field(default_factory=lambda: list(FACTORS))

    @field_validator("parameters")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        for name in names:
            one_of(name, SCALED)
        return names


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
    descent: DescentSection | None = Field(
        default=None, description="options of `product_descent`, or null"
    )
    importance: Literal["fisher"] | None = Field(
        default=None, description='"fisher", or null for all weights alike'
    )
    """What squared weight errors are weighed by in the search."""
    trained: bool = Field(
        default=False, description="true for weights from the section `training`"
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
        if self.trained and self.name == "targets":
            refuse(
                "have no `trained` for targets",
                True,
                "Drop it: `learn` with weights is training of its own.",
            )
        if self.name == DIGITAL and not self.trained:
            refuse(
                "have `trained` for digital",
                False,
                "Drop the entry: the digital network is in all results.",
            )
        if self.label == DIGITAL or not re.fullmatch(r"[\w.+-]*", self.label):
            refuse(
                "have a `label` of letters, digits and ._+-, not 'digital'",
                repr(self.label),
                "Choose another.",
            )
        return self

    @property
    def title(self) -> str:
        """The label, by default the name."""
        default = f"trained_{DIGITAL}" if self.name == DIGITAL else self.name
        return self.label or default


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
