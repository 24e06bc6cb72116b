"""Steps of long work, and where their arrays are kept between two runs."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

Arrays = dict[str, np.ndarray]
Step = Callable[[Callable[[], Mapping[str, Any]]], Arrays]
"""`step(compute)`: the arrays of the next step of a part, computed or as saved."""


class Kept(Protocol):
    """Steps that outlive the process."""

    def steps(self, size: int) -> Step:
        """A `Step` that keeps all steps, which are known by their order and size."""
        ...


def at_once(compute: Callable[[], Mapping[str, Any]]) -> Arrays:
    """A `Step` that saves nothing."""
    return as_arrays(compute())


def as_arrays(values: Mapping[str, Any]) -> Arrays:
    """Arrays by name, on the host."""
    return {name: np.asarray(v) for name, v in values.items()}
