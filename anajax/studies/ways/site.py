"""What a way to program may use: a network on a device, and its exact errors."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np

from anajax import chip, rng
from anajax._core.options import option
from anajax._core.types import Array, PRNGKey, PyTree
from anajax.analysis.expected import expected_error, table_error, targets, uniform
from anajax.analysis.network import AnalogNetwork
from anajax.analysis.workload import Workload
from anajax.chip import Strategies
from anajax.compensation import last_recalibration
from anajax.devices.base import Device
from anajax.devices.moments import MomentTable
from anajax.mapping.density import WeightDensity, from_weights
from anajax.mapping.strategy import Normalized, Strategy
from anajax.mapping.weight_error import (
    Compensation,
    moment_table,
    with_factors,
)
from anajax.programming.search.gradient import SearchOptions
from anajax.studies.ways.kept import NOTHING_KEPT, Kept


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerOptions(SearchOptions):
    """The searches of a study, see `anajax.optimize_strategy`."""

    pairs: int = option(2, "1 to 8 pairs a weight", least=1, most=8)
    per_layer: bool = option(False, "true for a strategy of its own in every layer")
    never_worse: bool = option(
        False, "true for no more error than any hand strategy at any time"
    )
    time_weights: tuple[float, ...] | None = option(
        None, "one weight of 0 or more per time, or null for equal ones"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """What goes on the chips."""

    params: PyTree
    """The parameters of the network: those that stay digital, and the weights that
    errors are counted from."""
    layers: dict[str, chip.LayerProgram]
    """By path of the weight; none for a network that stays digital."""
    strategies: Strategies | None = None
    """Tables, where the program follows any."""
    expected_error: np.ndarray | None = None
    """Rms weight error `[times]` from exact moments, fraction of w_max; None where a
    program has none (a loop)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Site:
    """Where a way programs: one network on one device, at the times of a study."""

    network: AnalogNetwork
    """Behind its periphery, and how its weights are normalized and compensated."""
    params: PyTree
    """Its parameters: as given, or after training."""
    device: Device
    times: np.ndarray
    """Seconds; what is optimized is good at these."""
    key: PRNGKey
    """Of the random starts of searches."""
    recalibrate: Array | None = None
    """Seconds at which drift compensation is measured; None for every read-out."""
    optimizer: OptimizerOptions = OptimizerOptions()
    time_weights: Array | None = None
    """How much each of the times counts in searches."""
    importance: Mapping[str, Array] | None = None
    """What squared errors of weights are weighed by, in the searches."""
    kept: Kept = NOTHING_KEPT
    """What was made before the study was stopped, and where to keep more."""

    @property
    def work(self) -> Workload:
        """The digital network, and what to learn from."""
        return self.network.work

    @property
    def compensation(self) -> Compensation:
        """How the factors of drift compensation are chosen, for weight errors."""
        return "none" if self.network.scope == "none" else "mean_abs"

    # --- programs ---------------------------------------------------------------------

    def search(
        self, find: Callable[[WeightDensity, PRNGKey], Strategy], *, one: bool = False
    ) -> Strategies:
        """What `find` gives for all weights, or for each layer where that is asked for.

        Args:
            find: the best strategy for a density of weights.
            one: whether it has to be one for all.
        """
        if one or not self.optimizer.per_layer:
            return self.kept.strategy("", lambda: find(self.density, self.key))

        def of_layer(path: str) -> Strategy:
            return find(self._density(path), rng.path_key(self.key, path))

        return {
            p: self.kept.strategy(p, functools.partial(of_layer, p))
            for p in self._weights
        }

    def of_tables(self, strategies: Strategies) -> Program:
        """The program of a strategy for all layers, or of one for each."""
        return Program(
            params=self.params,
            layers=self.layers(strategies),
            strategies=strategies,
            expected_error=self.expected_error(strategies),
        )

    def layers(self, strategies: Strategies) -> dict[str, chip.LayerProgram]:
        """Targets of all weights by tables."""
        how = self.network.normalize
        return targets(self.params, strategies, self.device, how)

    def of_layers(
        self, layers: dict[str, chip.LayerProgram], digital: Mapping[str, Array]
    ) -> Program:
        """The program of targets for every single weight.

        Args:
            layers: by path of the weight.
            digital: parameters that stay digital, by path.
        """
        params = chip.insert(self.params, digital)
        error = expected_error(layers, params, self.device, self.times)
        return Program(params=params, layers=layers, expected_error=error)

    # --- exact errors -----------------------------------------------------------------

    def expected_error(self, strategy: Strategies) -> np.ndarray:
        """Expected rms weight error `[times]` (fraction of w_max), without samples.

        All weights count alike, whatever their importance.
        """
        if self.importance is not None:
            alike = dataclasses.replace(self, importance=None)
            return alike.expected_error(strategy)
        sizes = {p: float(np.sum(squares)) for p, squares in self._squares.items()}
        if isinstance(strategy, Strategy):
            square = sum(sizes.values()) * np.asarray(
                self._error(strategy, self.density)
            )
        else:
            square = sum(
                sizes[path] * np.asarray(self._error(s, self._density(path)))
                for path, s in strategy.items()
            )
        return (square / sum(w.size for w in self._weights.values())) ** 0.5

    def least_error(self, given: list[Strategy], density: WeightDensity) -> Array:
        """The least squared error `[times]` that any of some strategies has."""
        args = density, self.compensation
        errors = [table_error(self._table, uniform(s), *args).mse for s in given]
        return jnp.min(jnp.stack(errors), axis=0)

    @functools.cached_property
    def density(self) -> WeightDensity:
        """The density of all weights, normalized; errors count in w_max of a layer."""
        return self._density(*self._weights)

    def _density(self, *paths: str) -> WeightDensity:
        given = self.importance or dict.fromkeys(paths, 1.0)
        return from_weights(
            *(self._normalized[p].u for p in paths),
            importance=[given[p] * self._squares[p] for p in paths],
        )

    @functools.cached_property
    def _weights(self) -> dict[str, Array]:
        return chip.weights(self.params)

    @functools.cached_property
    def _normalized(self) -> dict[str, Normalized]:
        return chip.normalized_weights(
            self._weights,
            select=lambda *_: True,
            normalize=self.network.normalize,
            layout=chip.layouts(self.params),
        )

    @functools.cached_property
    def _squares(self) -> dict[str, np.ndarray]:
        """What a squared error of a normalized weight is in w_max^2 of its layer."""
        found = self._normalized.items()
        return {
            p: np.broadcast_to(np.asarray(n.column) ** 2, n.u.shape) for p, n in found
        }

    def _error(self, strategy: Strategy, density: WeightDensity) -> Array:
        args = uniform(strategy), density, self.compensation
        error = table_error(self._table, *args)
        if self.recalibrate is None:
            return error.mse
        alpha = table_error(self._table_of_recalibrations, *args).alpha
        alpha = jnp.concatenate([jnp.ones(1), alpha])
        alpha = alpha[last_recalibration(self.recalibrate, self.times)]
        return with_factors(error, alpha, args[0], density).mse

    @functools.cached_property
    def _table(self) -> MomentTable:
        return moment_table(self.device, jnp.asarray(self.times))

    @functools.cached_property
    def _table_of_recalibrations(self) -> MomentTable:
        return moment_table(self.device, self.recalibrate)  # pyright: ignore
