"""Expected weight errors of a network from exact moments, one trace for all tables."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anajax import chip
from anajax._core import checks
from anajax._core.tree import replace
from anajax._core.types import Array, PyTree
from anajax.chip import Strategies
from anajax.compensation import last_recalibration
from anajax.devices.base import Device
from anajax.devices.moments import MomentTable
from anajax.mapping.density import WeightDensity, from_weights
from anajax.mapping.layout import Layout
from anajax.mapping.output_density import output_density, together
from anajax.mapping.strategy import Normalize, Normalized, Strategy, check_strategy
from anajax.mapping.weight_error import (
    Compensation,
    WeightError,
    moment_table,
    tabulated_error,
    with_factors,
)
from anajax.programming.end_to_end.task import layer_moments


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExpectedError:
    """Weight errors of a network under tables, from exact moments, without samples."""

    params: PyTree
    """Parameters of the network."""
    layouts: Mapping[str, Layout]
    """Layout of each weight, by path."""
    device: Device
    times: np.ndarray
    """Seconds."""
    normalize: Normalize = "layer"
    compensation: Compensation = "mean_abs"
    recalibrate: Array | None = None
    """Seconds at which drift compensation is measured; None for every read-out."""
    importance: Mapping[str, Array] | None = None
    """Weights of squared weight errors, in densities."""

    def __post_init__(self) -> None:
        checks.words(self)

    def __call__(self, strategy: Strategies) -> np.ndarray:
        """Expected rms weight error `[times]` (fraction of w_max), without samples.

        All weights are weighted equally, whatever their importance.
        """
        if self.importance is not None:
            alike = dataclasses.replace(self, importance=None)
            return alike(strategy)
        sizes = {p: float(np.sum(squares)) for p, squares in self._squares.items()}
        if isinstance(strategy, Strategy):
            square = sum(sizes.values()) * np.asarray(
                self._error(strategy, self.density())
            )
        else:
            square = sum(
                sizes[path] * np.asarray(self._error(s, self.density(path)))
                for path, s in strategy.items()
            )
        return (square / sum(w.size for w in self._weights.values())) ** 0.5

    def of_layer(self, path: str, strategy: Strategy) -> np.ndarray:
        """The sum of squared errors of a layer's weights `[times]`, in w_max^2."""
        total = float(np.sum(self._squares[path]))
        return total * np.asarray(self._error(strategy, self.density(path)))

    def size(self, path: str) -> int:
        """Number of weights of a layer."""
        return self._weights[path].size

    def least(self, given: list[Strategy], density: WeightDensity) -> Array:
        """The lowest squared error `[times]` among some strategies."""
        args = density, self.compensation
        errors = [table_error(self._table, uniform(s), *args).mse for s in given]
        return jnp.min(jnp.stack(errors), axis=0)

    def density(self, *paths: str) -> WeightDensity:
        """The density of normalized weights; errors are relative to w_max of a layer.

        Args:
            paths: paths of the layers; all by default.
        """
        paths = paths or tuple(self._weights)
        given = self.importance or dict.fromkeys(paths, 1.0)
        return from_weights(
            *(self._normalized[p].u for p in paths),
            importance=[given[p] * self._squares[p] for p in paths],
        )

    @functools.cached_property
    def _weights(self) -> dict[str, Array]:
        return chip.weights(self.params, select=lambda path, _: path in self.layouts)

    @functools.cached_property
    def _normalized(self) -> dict[str, Normalized]:
        return chip.normalized_weights(
            self._weights,
            select=lambda *_: True,
            normalize=self.normalize,
            layout=dict(self.layouts),
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputError(ExpectedError):
    """Output errors of the layers, each relative to its mean squared output.

    Computed from second moments of calibration inputs, see `output_density`.
    """

    moments: Mapping[str, Array]
    """By path, mean of x x' of the layer's inputs, from
    `transformation.second_moments`."""
    share: Mapping[str, float] | None = None
    """Weight of the relative error of each layer; equal by default."""
    columns: int | None = 128
    """Most columns of a matrix to use."""

    def __call__(self, strategy: Strategies) -> np.ndarray:
        """Expected relative rms error of outputs `[times]`, averaged over layers."""
        paths = list(self.layouts)
        if isinstance(strategy, Strategy):
            strategy = dict.fromkeys(paths, strategy)
        found = {p: self.of_layer(p, strategy[p]) for p in paths}
        given = self.share or dict.fromkeys(paths, 1.0)
        return np.sqrt(sum(found.values()) / sum(given[p] for p in paths))

    def of_layer(self, path: str, strategy: Strategy) -> np.ndarray:
        """The relative squared error of a layer's outputs `[times]`, weighted."""
        count = 1.0 if self.share is None else self.share[path]
        return count * np.asarray(self._error(strategy, self.density(path)))

    def density(self, *paths: str) -> WeightDensity:
        """The density of layers, for the mean of their relative errors."""
        paths = paths or tuple(self.layouts)
        for path in paths:
            if path not in self._known:
                own, moments = self._normalized[path], self.moments[path]
                how: Any = {"columns": self.columns, "path": path}
                self._known[path] = output_density(own, moments, **how)
        given = self.share or dict.fromkeys(paths, 1.0)
        found = [self._known[p] for p in paths]
        return (
            found[0] if len(paths) == 1 else together(found, [given[p] for p in paths])
        )

    def by_loss(self, fisher: Mapping[str, Array]) -> "OutputError":
        """The same, with layer weights that make the sum an estimate of the loss.

        To second order, the divergence of the network's outputs is half the Fisher
        information times the squared error of each weight; this determines the weight
        of each layer's relative error.

        Args:
            fisher: by path, from `anajax.fisher_information` (in 1 / w_max^2).
        """
        share = {}
        for path in self.layouts:
            own, w = self._normalized[path], self._weights[path]
            square = own.layout.matrices(
                jnp.broadcast_to((own.unit / own.w_max) ** 2, w.shape), path
            )
            loss = jnp.sum(square * own.layout.matrices(fisher[path], path))
            matrices = own.layout.matrices(w / own.w_max, path)
            moments = jnp.asarray(self.moments[path])
            power = jnp.sum((moments @ matrices) * matrices)
            diagonal = jnp.diagonal(moments, axis1=1, axis2=2)[..., None]
            share[path] = float(loss / 2 * power / jnp.sum(diagonal * square))
        return dataclasses.replace(self, share=share)

    @functools.cached_property
    def _known(self) -> dict[str, WeightDensity]:
        return {}


@functools.partial(jax.jit, static_argnums=3)
def table_error(
    table: MomentTable,
    strategy: Strategy,
    density: WeightDensity,
    compensation: Compensation,
) -> WeightError:
    """The weight error of a table on a density; one trace for all of `uniform`."""
    return tabulated_error(strategy, table, density, compensation=compensation)


def targets(
    params: PyTree,
    strategy: Strategies,
    device: Device,
    normalize: Normalize,
    layouts: Mapping[str, Layout],
) -> dict[str, chip.LayerProgram]:
    """Targets of these weights, on four or more devices per weight; unused weigh 0.

    Then one and two pairs share a trace, and the draws of the devices that both use.
    """
    checks.word("normalize", normalize, Normalize)
    check_strategy(strategy, device)
    chosen = chip.weights(params, select=lambda path, _: path in layouts)
    axes, low = tuple(layouts.items()), device.g_min
    if isinstance(strategy, Strategy):
        return _encode(chosen, uniform(strategy), low, normalize, axes)
    return {
        path: _encode(
            {path: chosen[path]}, uniform(strategy[path]), low, normalize, (own,)
        )[path]
        for own in axes
        for path in own[:1]
    }


@functools.partial(jax.jit, static_argnames=("normalize", "axes"))
def _encode(
    weights: dict[str, Array],
    strategy: Strategy,
    low: Array,
    normalize: Normalize,
    axes: tuple[tuple[str, Layout], ...],
) -> dict[str, chip.LayerProgram]:
    def pad(layer: chip.LayerProgram) -> chip.LayerProgram:
        g, missing = layer.targets, max(0, _DEVICES - layer.targets.shape[-1])
        unused = jnp.full((*g.shape[:-1], missing), low, g.dtype)
        return replace(
            layer,
            targets=jnp.concatenate([g, unused], -1),
            coefficients=jnp.pad(layer.coefficients, (0, missing)),
        )

    layers = chip.encode_weights(
        weights,
        strategy,
        select=lambda *_: True,
        normalize=normalize,
        layout=dict(axes),
    )
    return {path: pad(layer) for path, layer in layers.items()}


def uniform(strategy: Strategy) -> Strategy:
    """The same strategy without a name and with a common number of knots: one trace.

    Beyond the last knot targets are constant, so that additional knots there are exact.
    """
    missing = max(0, _KNOTS - strategy.knots.shape[0])
    beyond = strategy.knots[-1] + np.arange(1, missing + 1)
    held = np.broadcast_to(strategy.targets[-1], (missing, strategy.targets.shape[-1]))
    return replace(
        strategy,
        name="",
        knots=jnp.concatenate([strategy.knots, beyond]).astype(strategy.knots.dtype),
        targets=jnp.concatenate([strategy.targets, held]),
    )


_DEVICES = 4
_KNOTS = 11


def expected_error(
    layers: dict[str, chip.LayerProgram],
    params: PyTree,
    device: Device,
    times: np.ndarray,
) -> np.ndarray:
    """Rms of (weight - trained weight) / w_max over all weights `[times]`, exactly."""
    ideal = chip.weights(params, select=lambda path, _: path in layers)
    return np.asarray(_expected(layers, ideal, device, jnp.asarray(times)))


@jax.jit
def _expected(
    layers: dict[str, chip.LayerProgram],
    ideal: dict[str, Array],
    device: Device,
    times: Array,
) -> Array:
    table = moment_table(device, times)

    def square(layer: chip.LayerProgram, w: Array) -> Array:
        found, alpha = layer_moments(layer, table, times)
        bias = chip.finish(layer, alpha * found.mean) - w
        spread = (alpha * layer.unit) ** 2 * found.var
        axes = tuple(range(1, bias.ndim))
        safe = jnp.where(layer.w_max > 0, layer.w_max, 1)
        return jnp.sum((bias**2 + spread) / safe**2, axes)

    total = sum(square(layer, ideal[path]) for path, layer in layers.items())
    return jnp.sqrt(total / sum(w.size for w in ideal.values()))
