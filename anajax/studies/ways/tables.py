"""Strategies by name: what a config's entry becomes on a device and its weights."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anajax import chip, rng
from anajax._core import checks
from anajax._core.tree import replace
from anajax._core.types import Array, PRNGKey, PyTree
from anajax.chip import Strategies
from anajax.compensation import last_recalibration
from anajax.devices.base import Device
from anajax.devices.moments import MomentTable
from anajax.mapping import hand as strategies
from anajax.mapping.density import WeightDensity, from_weights
from anajax.mapping.layout import Layout
from anajax.mapping.strategy import (
    Normalize,
    Normalized,
    Strategy,
    check_strategy,
    pairs,
)
from anajax.mapping.weight_error import (
    Compensation,
    WeightError,
    moment_table,
    tabulated_error,
    with_factors,
)
from anajax.programming import optimize_strategy
from anajax.studies.config.strategy import StrategySection
from anajax.studies.config.study import StudyConfig

Keep = Callable[[str, Callable[[], Strategy]], Strategy]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Programmer:
    """Builds strategies for one network on one device."""

    config: StudyConfig
    device: Device
    weights: dict[str, Array]
    """Weight arrays of the network by path."""
    layouts: dict[str, Layout]
    """What their axes are."""
    times: np.ndarray
    """Seconds; part of the times of the config."""
    key: PRNGKey
    """Of the random starts of searches."""
    importance: dict[str, Array] | None = None
    """What squared errors of weights are weighed by, in the searches."""
    keep: Keep = lambda path, search: search()
    """Gives what was found before for a layer ("" for all of them), or searches."""

    @property
    def which(self) -> dict[str, Any]:
        """`select` and `layout` of these weights, for functions of parameters."""
        layouts = self.layouts
        return {"select": lambda path, _: path in layouts, "layout": layouts}

    def build(self, entry: StrategySection) -> Strategies:
        """The strategy of an entry: one for all, or one per layer."""
        if entry.name == "optimized":
            return self._per_layer(self._optimized)
        if entry.name.endswith("_tuned"):
            return self._per_layer(self._tuned(entry.name.removesuffix("_tuned")))
        options = {n: getattr(entry, n) for n in ("f", "k")}
        given = {n: v for n, v in options.items() if v is not None}
        return getattr(strategies, entry.name)(self.device, **given)

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
                sizes[path] * np.asarray(self._error(s, self._layer(path)))
                for path, s in strategy.items()
            )
        return (square / sum(w.size for w in self.weights.values())) ** 0.5

    @functools.cached_property
    def density(self) -> WeightDensity:
        """The density of all weights, normalized; errors count in w_max of a layer."""
        return self._density(*self.weights)

    def _layer(self, path: str) -> WeightDensity:
        return self._density(path)

    def _density(self, *paths: str) -> WeightDensity:
        given = self.importance or dict.fromkeys(paths, 1.0)
        return from_weights(
            *(self._normalized[p].u for p in paths),
            importance=[given[p] * self._squares[p] for p in paths],
        )

    @functools.cached_property
    def _normalized(self) -> dict[str, Normalized]:
        return chip.normalized_weights(
            self.weights,
            select=lambda *_: True,
            normalize=self.config.normalize,
            layout=self.layouts,
        )

    @functools.cached_property
    def _squares(self) -> dict[str, np.ndarray]:
        """What a squared error of a normalized weight is in w_max^2 of its layer."""
        found = self._normalized.items()
        return {
            p: np.broadcast_to(np.asarray(n.column) ** 2, n.u.shape) for p, n in found
        }

    def _error(self, strategy: Strategy, density: WeightDensity) -> Array:
        args = _uniform(strategy), density, self._compensation
        error = _error(self._table, *args)
        if self._recalibrations is None:
            return error.mse
        when, table = self._recalibrations
        alpha = jnp.concatenate([jnp.ones(1), _error(table, *args).alpha])
        alpha = alpha[last_recalibration(when, self.times)]
        return with_factors(error, alpha, args[0], density).mse

    @functools.cached_property
    def _table(self) -> MomentTable:
        return moment_table(self.device, jnp.asarray(self.times))

    @functools.cached_property
    def _recalibrations(self) -> tuple[Array, MomentTable] | None:
        """Times of recalibrations and the moments there; None for every read-out."""
        given = self.config.compensation.recalibrate
        if given is None:
            return None
        when = jnp.asarray(given)
        return when, moment_table(self.device, when)

    @property
    def _compensation(self) -> Compensation:
        return "none" if self.config.compensation.scope == "none" else "mean_abs"

    @property
    def _time_weights(self) -> Array | None:
        given = self.config.optimizer.time_weights
        if given is None:
            return None
        of = dict(zip(self.config.times, given, strict=True))
        return jnp.asarray([of[float(t)] for t in self.times])

    def _per_layer(
        self, search: Callable[[WeightDensity, PRNGKey], Strategy]
    ) -> Strategies:
        if not self.config.optimizer.per_layer:
            return self.keep("", lambda: search(self.density, self.key))

        def of_layer(path: str) -> Strategy:
            return search(self._layer(path), rng.path_key(self.key, path))

        return {p: self.keep(p, functools.partial(of_layer, p)) for p in self.weights}

    def _tuned(self, name: str) -> Callable[[WeightDensity, PRNGKey], Strategy]:
        return lambda density, _: self._tune(getattr(strategies, name), density)

    def _tune(self, build: Callable[..., Strategy], density: WeightDensity) -> Strategy:
        return strategies.tune_strategy(
            self.device,
            density,
            self.times,
            build=build,
            time_weights=self._time_weights,
            compensation=self._compensation,
        ).strategy

    def _optimized(self, density: WeightDensity, key: PRNGKey) -> Strategy:
        options = self.config.optimizer
        levels = self.device.levels is not None  # then nothing is descended
        hand = [] if levels and not options.never_worse else self._by_hand(density)
        least = self._least_error(hand, density) if options.never_worse else None
        return optimize_strategy(
            self.device,
            density,
            self.times,
            cell=pairs(options.pairs),
            key=key,
            knots=options.knots,
            starts=options.starts,
            warm=() if levels else hand,
            steps=options.steps,
            learning_rate=options.learning_rate,
            time_weights=self._time_weights,
            aggregate=options.aggregate,
            ceiling=least,
            compensation=self._compensation,
        ).strategy

    def _by_hand(self, density: WeightDensity) -> list[Strategy]:
        """Least-significant-first, tuned, and untuned where nothing may be worse."""
        build = _powers(self.config.optimizer.pairs)
        plain = [build(self.device, f=f, k=1.0) for f in (2.0, 4.0)]
        tuned = [self._tune(build, density)]
        return tuned + plain if self.config.optimizer.never_worse else tuned

    def _least_error(self, given: list[Strategy], density: WeightDensity) -> Array:
        """The least squared error `[times]` that any of them has."""
        args = density, self._compensation
        errors = [_error(self._table, _uniform(s), *args).mse for s in given]
        return jnp.min(jnp.stack(errors), axis=0)


@functools.partial(jax.jit, static_argnums=3)
def _error(
    table: MomentTable,
    strategy: Strategy,
    density: WeightDensity,
    compensation: Compensation,
) -> WeightError:
    return tabulated_error(strategy, table, density, compensation=compensation)


@functools.cache
def _powers(count: int) -> Callable[..., Strategy]:
    """Least-significant-first on `count` pairs whose factors are powers of one F."""
    if count == 2:
        return strategies.lsp_first

    def build(device: Device, *, f: Array, k: Array) -> Strategy:
        factors = jnp.asarray(f) ** jnp.arange(count - 1, 0, -1)
        return strategies.lsp_first(device, f=factors, k=k)

    return build


def targets(
    params: PyTree,
    strategy: Strategies,
    device: Device,
    normalize: Normalize,
    layouts: dict[str, Layout],
) -> dict[str, chip.LayerProgram]:
    """Targets of these weights, on four devices a weight or more: unused ones count 0.

    One and two pairs then share a trace, and the draws of the devices that both use.
    """
    checks.word("normalize", normalize, Normalize)
    check_strategy(strategy, device)
    chosen = chip.weights(params, select=lambda path, _: path in layouts)
    axes, low = tuple(layouts.items()), device.g_min
    if isinstance(strategy, Strategy):
        return _encode(chosen, _uniform(strategy), low, normalize, axes)
    return {
        path: _encode(
            {path: chosen[path]}, _uniform(strategy[path]), low, normalize, (own,)
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


def _uniform(strategy: Strategy) -> Strategy:
    """The same strategy, without a name and on as many knots as most have: one trace.

    Beyond the last knot targets are held anyway, so that more knots there are exact.
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
