"""What a kind of study is: a config, a study made from it, and how results are shown.

One record is one kind. `anajax.studies.kinds.catalog.register` makes one of your own
known; tests/test_extend_kind.py shows all of it.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import xarray as xr
from jax.sharding import Mesh

from anajax.analysis.workload import Workload
from anajax.chip import Strategies
from anajax.studies.config.study import StudyConfig
from anajax.studies.report.blocks import Block
from anajax.studies.store.parts import Parts

Tables = Mapping[str, Strategies]
"""Tables of targets by name, as in a study's strategy.json; none for the terminal."""


class Study(Protocol):
    """A study whose inputs are all there and valid."""

    @property
    def parts(self) -> int:
        """How many parts there are to do."""
        ...

    def run(self, parts: Parts, digital: np.ndarray) -> xr.Dataset:
        """Do all parts that are not done.

        Args:
            parts: what is done; saves what is not.
            digital: metric of the digital network `[items]`.

        Returns:
            Arrays with units: a time `extrapolated`, and devices, see
            `anajax.studies.report.results`.
        """
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of study."""

    name: str
    """The value of the key `study` in a config."""
    config: type[StudyConfig]
    prepare: Callable[[Any, Workload, Mesh | None], Study]
    """Checks all inputs; from a config, the network, and devices that share chips."""
    title: Callable[[xr.Dataset], str]
    """Of the page."""
    blocks: Callable[[xr.Dataset, Tables], Sequence[Block]]
    """The sections of the page; the terminal shows those with `summary`."""
    assumptions: Callable[[xr.Dataset], Sequence[str]]
    """What the numbers take for granted."""
