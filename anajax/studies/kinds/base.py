"""Interface of a kind of study: its config, the study, and the report of its results.

One record is one kind. `anajax.studies.kinds.catalog.register` adds your own;
tests/test_extend_kind.py shows an example.
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
"""Strategies by name, as in a study's strategy.json; empty for the terminal."""


class Study(Protocol):
    """A study with complete and valid inputs."""

    @property
    def parts(self) -> int:
        """Number of parts."""
        ...

    def run(self, parts: Parts, digital: np.ndarray) -> xr.Dataset:
        """Compute all parts that are not done yet.

        Args:
            parts: saves parts, and returns saved ones.
            digital: metric of the digital network `[items]`.

        Returns:
            Arrays with units, including `extrapolated` times and devices, see
                `anajax.studies.report.results`.
        """
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of study."""

    name: str
    """Value of the key `study` in a config."""
    config: type[StudyConfig]
    prepare: Callable[[Any, Workload, Mesh | None], Study]
    """Checks all inputs; takes a config, the network, and accelerators for the chips.
    """
    title: Callable[[xr.Dataset], str]
    """Title of the report."""
    blocks: Callable[[xr.Dataset, Tables], Sequence[Block]]
    """Sections of the report; the terminal shows those with `summary`."""
    assumptions: Callable[[xr.Dataset], Sequence[str]]
    """Assumptions behind the numbers."""
