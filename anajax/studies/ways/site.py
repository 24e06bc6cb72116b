"""What a way to program can use: a network on a device, and its exact errors."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np

from anajax import chip
from anajax._core.options import option
from anajax._core.types import Array, PRNGKey, PyTree
from anajax.analysis.evaluate import BUDGET, bytes_of_cells
from anajax.analysis.expected import (
    ExpectedError,
    OutputError,
    expected_error,
    targets,
)
from anajax.analysis.network import AnalogNetwork
from anajax.analysis.workload import Workload
from anajax.chip import Strategies
from anajax.costs.array import Loads
from anajax.costs.objective import EnergyOptions
from anajax.devices.base import Device
from anajax.mapping.density import WeightDensity
from anajax.mapping.layout import Layout
from anajax.mapping.strategy import Strategy, check_strategy
from anajax.mapping.weight_error import Compensation
from anajax.programming.search.gradient import SearchOptions
from anajax.studies.ways.kept import NOTHING_KEPT, Kept
from anajax.transformation import second_moments


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerOptions(SearchOptions, EnergyOptions):
    """Options of the searches of a study, see `anajax.optimize_strategy`.

    Searches of single layers make twice as many hops as there are `starts`, with at
    most `steps` evaluations each, see `anajax.programming.optimize_layers`.
    """

    pairs: int = option(2, "1 to 8 pairs per weight", least=1, most=8)
    per_layer: bool = option(False, "true for a separate strategy in every layer")
    objective: Literal["weight", "output"] = option("weight", '"weight" or "output"')
    """Which expected squared error is minimized: of weights, or of the layers' outputs,
    from second moments of calibration inputs."""
    never_worse: bool = option(
        False, "true for no more error than any hand-designed strategy at any time"
    )
    time_weights: tuple[float, ...] | None = option(
        None, "one weight of 0 or more per time, or null for equal ones"
    )


def on_host() -> contextlib.AbstractContextManager[Any]:
    """Run small computations on the CPU when there is an accelerator.

    A search for tables takes longer to compile than to run, and compiles several times
    faster for a CPU.
    """
    if jax.default_backend() == "cpu":
        return contextlib.nullcontext()
    try:
        return jax.default_device(jax.local_devices(backend="cpu")[0])
    except RuntimeError:  # there is none beside it
        return contextlib.nullcontext()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """What is programmed on the chips."""

    params: PyTree
    """The parameters of the network: digital parameters, and the weights that errors
    are relative to."""
    layers: dict[str, chip.LayerProgram]
    """By path of the weight; empty for a network that stays digital."""
    strategies: Strategies | None = None
    """Tables, if the program follows any."""
    expected_error: np.ndarray | None = None
    """Rms weight error `[times]` from exact moments, as a fraction of w_max; None for a
    loop."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Site:
    """Where a way is programmed: one network on one device, at the times of a study."""

    network: AnalogNetwork
    """The network with its periphery, normalization and compensation."""
    params: PyTree
    """Its parameters: original, or after training."""
    device: Device
    times: np.ndarray
    """Seconds; programs are optimized for these."""
    key: PRNGKey
    """Key of the random starts of searches."""
    layouts: Mapping[str, Layout] | None = None
    """Which parameters are weights, by path, and the meaning of their axes; None to
    take this from the products of the network."""
    recalibrate: Array | None = None
    """Seconds at which drift compensation is measured; None for every read-out."""
    optimizer: OptimizerOptions = OptimizerOptions()
    time_weights: Array | None = None
    """Weight of each of the times in searches."""
    kept: Kept = NOTHING_KEPT
    """What was made before the study was interrupted, and storage for more."""
    met: Callable[[PyTree], Loads] | None = None
    """Loads of weights with these parameters, for the energy of learned targets and of
    training; equal if None. Tables treat all weights equally."""

    choose: Callable[[Any], Program] | None = None
    """Gives the program of a way that chooses among others; None outside of a study."""

    @property
    def loads(self) -> Loads | None:
        """Loads of its weights, if they are known."""
        return None if self.met is None else self.met(self.params)

    @property
    def work(self) -> Workload:
        """The digital network, and the data for learning."""
        return self.network.work

    @functools.cached_property
    def axes(self) -> dict[str, Layout]:
        """Layouts of the weights by path."""
        given = self.network.report.layouts if self.layouts is None else self.layouts
        return dict(given)

    @property
    def which(self) -> dict[str, Any]:
        """`select` and `layout` for these weights, for functions of parameters."""
        axes = self.axes
        return {"select": lambda path, _: path in axes, "layout": axes}

    @functools.cached_property
    def error(self) -> ExpectedError:
        """The exact weight error of tables."""
        return ExpectedError(
            params=self.params,
            layouts=self.axes,
            device=self.device,
            times=self.times,
            normalize=self.network.normalize,
            compensation=self.compensation,
            recalibrate=self.recalibrate,
        )

    @property
    def searched(self) -> ExpectedError:
        """The exact error that searches minimize."""
        return self.error if self.optimizer.objective == "weight" else self.outputs

    @functools.cached_property
    def outputs(self) -> OutputError:
        """The exact error of the layers' outputs, from calibration inputs."""
        x, size = self.work.calibration, self.work.batch
        batches = [x[i : i + size] for i in range(0, len(x) - size + 1, size)] or [x]
        found = second_moments(self.network.function, self.params, batches)
        fields = dataclasses.fields(self.error)
        same = {field.name: getattr(self.error, field.name) for field in fields}
        return OutputError(**same, moments=found)

    @property
    def compensation(self) -> Compensation:
        """How the factors of drift compensation are chosen, for weight errors."""
        return "none" if self.network.scope == "none" else "mean_abs"

    # --- programs ---------------------------------------------------------------------

    def search(
        self,
        find: Callable[[Mapping[str, WeightDensity]], Mapping[str, Strategy]],
        error: ExpectedError | None = None,
    ) -> Strategies:
        """The results of `find` for all weights, or for each layer if requested.

        Args:
            find: finds the best strategies for densities of weights, by path; "" for
                those of all layers.
            error: defines the densities, by default as in `optimizer.objective`.
        """
        error = error or self.searched
        if not self.optimizer.per_layer:

            def of_all(_: Sequence[str]) -> Mapping[str, Strategy]:
                with on_host():
                    return find({"": error.density()})

            return self.kept.strategies([""], of_all)[""]

        def of_layers(paths: Sequence[str]) -> Mapping[str, Strategy]:
            return find({p: error.density(p) for p in paths})

        return self.kept.strategies(list(self.axes), of_layers)

    def of_tables(self, strategies: Strategies) -> Program:
        """The program of one strategy for all layers, or of one for each."""
        return Program(
            params=self.params,
            layers=self.layers(strategies),
            strategies=strategies,
            expected_error=self.error(strategies),
        )

    def layers(self, strategies: Strategies) -> dict[str, Any]:
        """Targets of all weights from tables; on demand for a large network."""
        how = self.network.normalize
        if self.large(strategies):
            check_strategy(strategies, self.device)
            return chip.unwritten(self.params, strategies, normalize=how, **self.which)
        return targets(self.params, strategies, self.device, how, self.axes)

    def large(self, strategies: Strategies) -> bool:
        """Whether the cells of a chip need more memory than the budget."""
        ideal = chip.weights(self.params, select=self.which["select"])
        return bytes_of_cells(ideal, strategies) > BUDGET

    def of_layers(
        self, layers: dict[str, chip.LayerProgram], digital: Mapping[str, Array]
    ) -> Program:
        """The program with separate targets for every weight.

        Args:
            layers: by path of the weight.
            digital: parameters that stay digital, by path.
        """
        params = chip.insert(self.params, digital)
        error = expected_error(layers, params, self.device, self.times)
        return Program(params=params, layers=layers, expected_error=error)
