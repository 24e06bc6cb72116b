"""Measurements by cell, and the interface of a likelihood."""

import abc
from typing import Any

from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax._core.tree import pytree

PerCell = Float[JArray, "cells"]


@pytree
class Measured:
    """Measurements by cell: the programmed value, and reads at several times."""

    target: Float[JArray, "cells"]
    """uS."""
    programmed: Float[JArray, "cells"]
    """Conductance measured right after programming, uS."""
    time: Float[JArray, "cells reads"]
    """s; repeated if a cell has fewer reads."""
    read: Float[JArray, "cells reads"]
    """uS."""
    valid: Float[JArray, "cells reads"]
    """1 for a read, 0 for padding."""


class AbstractLikelihood(abc.ABC):
    """Likelihood of measurements under a device; objects of one class are equal."""

    @abc.abstractmethod
    def check(self, device: Any, data: Measured) -> None:
        """Refuse forms without a likelihood, and data that a form cannot explain."""

    @abc.abstractmethod
    def windows(self, device: Any, data: Measured) -> Any:
        """Quantities that depend on the data but are held fixed in derivatives."""

    @abc.abstractmethod
    def log_likelihood(self, device: Any, data: Measured, window: Any) -> PerCell:
        """Log likelihood of the measurements of each cell."""

    @abc.abstractmethod
    def programming_cdf(self, device: Any, data: Measured) -> Float[JArray, "cells 2"]:
        """Range of P(programmed value below the measured one); NaN if unknown."""

    @abc.abstractmethod
    def read_cdf(self, device: Any, data: Measured) -> Float[JArray, "cells 2"]:
        """Range of P(first read of a cell below the measured one, given programming).

        One number, unless the read is censored; NaN if nothing is known.
        """

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))
