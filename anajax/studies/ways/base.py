"""A way to program: one class per kind of entry under `strategies:` in a config."""

import abc
import enum
import functools
import operator
import re
from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator

from anajax._core import checks
from anajax.analysis.workload import Workload
from anajax.chip import Strategies
from anajax.devices.base import Device
from anajax.studies.config.sections import Section, refuse
from anajax.studies.ways.site import Program, Site

DIGITAL = "digital"
Family = Literal["hand", "optimized", "digital"]
"""How a program is compared: as hand-designed, as optimized, or as digital."""


class Effort(enum.IntEnum):
    """Effort behind a program, in increasing order."""

    HAND = 0
    """Hand-designed, or with F and K from a grid."""
    OPTIMUM = 1
    """A search for tables on expected errors."""
    LOOP = 2
    """Reads while it programs."""
    TARGETS = 3
    """Learned targets for the original weights."""
    TRAINING = 4
    """Other weights, from training."""
    JOINT = 5
    """Targets, weights and digital parameters, learned together."""


KNOWN: dict[str, type["Way"]] = {}
"""Ways by the name, or the file and class, that entries of configs have."""


class Way(Section):
    """One entry of `strategies:`; its fields are the options of the entry.

    Your own way is a subclass with a default for `name`, a `family`, fields for its
    options, and `build`. A config names its file, as in `strategies: [{python:
    my_way.py:MyWay}]`; after `anajax.studies.ways.catalog.register(MyWay)` it is known
    by its name.
    """

    name: str = Field(description="the name of a strategy")
    python: str | None = Field(
        default=None, description="a Python file and its class: my_way.py:MyWay"
    )
    label: str = Field(default="", description="a name for tables and figures")
    trained: bool = Field(
        default=False, description="true for weights from the section `training`"
    )
    family: ClassVar[Family]
    through_noise: ClassVar[bool] = True
    """Whether weights are trained with the noise of the device."""

    @abc.abstractmethod
    def build(self, site: Site) -> Program:
        """The program for the chips."""

    @classmethod
    def known_fields(cls) -> dict[str, Any]:
        """Known options of this way, then those of its subclasses."""
        below = (way.known_fields() for way in cls.__subclasses__())
        return functools.reduce(operator.or_, below, {}) | dict(cls.model_fields)

    @classmethod
    def of_entry(cls, entry: object) -> type[Section]:
        """The way that an entry names; this class if it names none that is known."""
        names = entry if isinstance(entry, dict) else {"name": entry}
        given = names.get("python") or names.get("name")
        return KNOWN.get(given, cls) if isinstance(given, str) else cls

    def with_file(self, find: Callable[[str], str]) -> Self:
        """The entry with `find(file)` instead of its file, if it has one."""
        if self.python is None:
            return self
        file, _, name = self.python.rpartition(":")
        return self.model_copy(update={"python": f"{find(file)}:{name}"})

    def check(self, work: Workload, device: Device) -> None:
        """Refuse a network or device that this way does not support, before any work.

        Raises:
            ValueError: with the reason.
        """
        if self.trained and self.through_noise:
            self.need_analog(device)

    def need_analog(self, device: Device) -> None:
        """Refuse a memory with few levels.

        Raises:
            ValueError: if the device has levels.
        """
        if device.levels is not None:
            checks.fail(
                "strategies",
                f"leave out {self.title!r} for a device with few levels",
                device.name,
                "Use `optimized`: it enumerates codes.",
            )

    @property
    def effort(self) -> Effort:
        """Its effort; among equally good programs, the one with the least is chosen."""
        if self.trained:
            return Effort.TRAINING
        return Effort.HAND if self.family == "hand" else Effort.OPTIMUM

    @property
    def choices(self) -> "list[Any]":
        """The ways, possibly itself, that choose among others."""
        return []

    @property
    def labels(self) -> bool:
        """Whether it learns from labels although its weights are not trained."""
        return False

    @property
    def held_out(self) -> int:
        """Number of held-out inputs that it needs for choices."""
        return 0

    @property
    def title(self) -> str:
        """The label, by default the name."""
        return self.label or self.name

    @field_validator("label")
    @classmethod
    def _fits(cls, label: str) -> str:
        if label == DIGITAL or not re.fullmatch(r"[\w.+-]*", label):
            refuse(
                "have a `label` of letters, digits and ._+-, not 'digital'",
                repr(label),
                "Choose another.",
            )
        return label


class Table(Way):
    """A way given by a table of targets over weight values, for all layers or each.

    Studies of sensitivity and sweeps use these ways.
    """

    @abc.abstractmethod
    def strategies(self, site: Site) -> Strategies:
        """One table for all layers, or one per path of a layer."""

    def build(self, site: Site) -> Program:
        """The targets of all weights from the table."""
        return site.of_tables(self.strategies(site))
