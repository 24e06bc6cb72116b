"""Cells of a chip in the products of a function, each with its periphery.

hardware = analog(apply, Rule(".*", io=periphery.standard()))
part = hardware.put_on_chip(
params, x, device=device, strategy=strategy, key=key
)
y = hardware(part.at(86400.0), x, key=key)
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from anajax import chip, compensation, crossbar, rng
from anajax._core import checks
from anajax._core.types import Float, JArray, PRNGKey, PyTree
from anajax.compensation import Recalibrations, hold
from anajax.crossbar.periphery import IO, ConstantScale, LearnedRange
from anajax.crossbar.tiling import group_shares
from anajax.devices import base
from anajax.devices.base import Device
from anajax.devices.read_noise import NoReadNoise
from anajax.mapping.layout import Layout
from anajax.rng import Stage
from anajax.transformation.multiply import tiles_of
from anajax.transformation.sites import Held, Site, as_io

Combine = str | tuple[int, ...]
Scope = Literal["layer", "column", "tile", "none"]
"""Which weights share one factor of drift compensation."""
PER = {"layer": "global", "column": "column", "tile": "tile"}


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["params", "held", "digital"],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class OnChip:
    """Parameters held by a chip at one time: the input of an analog function.

    A pytree: it may cross `jit`, and hold several times or chips under `vmap`.
    """

    params: PyTree
    """Trained parameters; used for everything that is not on tiles."""
    held: dict[str, Held]
    """By path, the weights on tiles."""
    digital: dict[str, Float[JArray, "groups"]]
    """By path, factors after the ADCs."""


@dataclasses.dataclass(frozen=True)
class AnalogChip:
    """One chip with the weights of a function; made by `put_on_chip`."""

    params: PyTree
    """Trained parameters."""
    device: Device
    """The device model."""
    programmed: chip.Chip
    """The cells."""
    sites: Mapping[str, Site]
    """The first product of each weight."""
    ranges: Mapping[str, Any]
    """Calibrated ranges by site, or whole `IO` records, for read-outs."""
    combine: Combine
    """Which devices of a weight share an ADC conversion."""
    scope: Scope
    """Which weights share one compensation factor."""
    shifted: bool
    """Whether the strategy subtracts an offset digitally."""
    extrapolate: bool
    """Whether times may lie outside what the device's source covers."""
    through: chip.Through | None = None
    """Effect of wire resistance on the conductances as read."""

    def __post_init__(self) -> None:
        checks.word("scope", self.scope, Scope)
        for path, site in self.sites.items() if self.scope != "none" else ():
            if site.rows_joined:
                got = f"{path!r} joined along rows with others, under one ADC"
                remedy = 'Pass scope="none", or make them one parameter.'
                checks.fail("scope", "share factors within a column", got, remedy)
            shape = self.programmed.layers[path].targets.shape[:-1]
            self._layout(path).need_columns(path, shape)

    def at(
        self,
        t: Float[JArray, ""] | float,
        *,
        index: int | JArray = 1,
        held: Recalibrations | None = None,
    ) -> OnChip:
        """The parameters at time `t`, to pass as `params` to the analog function.

        They do not include read noise: each product draws its own. Drift compensation
        factors are measured at `t`, through the converters, separately for each weight.

        Args:
            t: seconds since the first read.
            index: number of this measurement, from 1; selects its noise.
            held: factors from `recalibrate`, used instead.

        Raises:
            ValueError: if `t` is out of range.
        """
        base.check_time(self.device, t, extrapolate=self.extrapolate)
        raw, digital = self._raw(t)
        factors = self._factors(t, index) if held is None else held.at(t)
        factors = {path: self._scheduled(path, t, factors.get(path)) for path in raw}
        shapes = {path: held.value.shape for path, held in raw.items()}
        found = {
            path: own._replace(factor=jnp.broadcast_to(factors[path], shapes[path]))
            if factors[path] is not None
            else own
            for path, own in raw.items()
        }
        return OnChip(self.params, found, digital)

    def weights(self, part: OnChip) -> dict[str, JArray]:
        """By path, the weights represented by an `OnChip`, without read noise."""
        found = {}
        for path, own in part.held.items():
            digital = part.digital[path]
            w = jnp.tensordot(digital, jnp.stack(own.parts), 1)
            w = w if own.factor is None else w * own.factor
            found[path] = w if own.offset is None else w - own.offset
        return found

    def exact_but(self, part: OnChip, analog: Mapping[str, JArray]) -> OnChip:
        """The `OnChip` with exact weights where a boolean by path is false."""
        found = {}
        for path, own in part.held.items():
            first = own.value / part.digital[path][0]
            exact = jax.tree.map(jnp.zeros_like, own)._replace(
                value=own.value,
                parts=(first, *map(jnp.zeros_like, own.parts[1:])),
                factor=None if own.factor is None else jnp.ones_like(own.factor),
            )
            take = analog[path]
            found[path] = jax.tree.map(
                lambda a, b, take=take: jnp.where(take, a, b), own, exact
            )
        return OnChip(part.params, found, part.digital)

    def recalibrate(self, times: Float[JArray, "recalibrations"]) -> Recalibrations:
        """Drift compensation factors measured at these times only.

        Args:
            times: seconds since the first read, increasing.

        Raises:
            ValueError: if times are out of range.
        """
        base.check_times(self.device, times, extrapolate=self.extrapolate)
        times = jnp.asarray(times, dtype=float)
        index = jnp.arange(1, times.size + 1)
        return hold(times, jax.lax.map(lambda t_i: self._factors(*t_i), (times, index)))

    def _scheduled(
        self, path: str, t: Float[JArray, ""] | float, factor: JArray | None
    ) -> JArray | None:
        """A factor with the scheduled part of the compensation; `None` is 1."""
        layer = self._layer(path)
        if checks.concrete(layer.drift) and not np.any(np.asarray(layer.drift)):
            return factor
        return chip.schedule(layer, t) * (1.0 if factor is None else factor)

    def _raw(
        self, t: Float[JArray, ""] | float
    ) -> tuple[dict[str, Held], dict[str, JArray]]:
        values = chip.weights(self.params, select=lambda path, _: path in self.sites)
        found, factors = {}, {}
        for path, layer in self.programmed.layers.items():
            cells = base.age(
                self.device, self.programmed.cells[path], t=t, extrapolate=True
            )
            sd = self.device.read.sd(
                cells.g, target=cells.target, programmed=cells.programmed, t=t
            )
            share, digital = _shares(self.device, layer, self.combine)
            g = cells.g if self.through is None else self.through(path, cells.g)
            unit = jnp.broadcast_to(layer.unit, values[path].shape)[..., None]
            variance = sd**2 @ share**2 * unit**2
            quiet = isinstance(self.device.read, NoReadNoise)
            factors[path] = jnp.asarray(digital)
            found[path] = Held(
                value=values[path],
                parts=tuple(jnp.moveaxis(g @ share * unit, -1, 0)),
                variance=() if quiet else tuple(jnp.moveaxis(variance, -1, 0)),
                offset=layer.offset * unit[..., 0] if self.shifted else None,
                factor=None,
            )
        return found, factors

    def _factors(
        self, t: Float[JArray, ""] | float, index: int | JArray
    ) -> dict[str, JArray]:
        """Factors at `t` that broadcast against the weights, by path."""
        if self.scope == "none":
            return {}
        before, now = self._answers(0.0, 0), self._answers(t, index)
        return {path: self._factor(path, before[path], now[path]) for path in now}

    def _factor(self, path: str, before: JArray, now: JArray) -> JArray:
        layout, shape = self._layout(path), self._layer(path).targets.shape[:-1]
        found = compensation.compensation_factor(before, now, per=PER[self.scope])
        _, rows, columns = sizes = layout.sizes(shape)
        if self.scope == "tile":
            tiles = self.sites[path].rule.tiles
            one = functools.partial(
                crossbar.spread, rule=tiles, rows=rows, columns=columns
            )
            each = jax.vmap(one)(found)
        else:
            each = jnp.broadcast_to(found[:, None], sizes)
        return layout.restored(each, shape)

    def _answers(
        self, t: Float[JArray, ""] | float, index: int | JArray
    ) -> dict[str, JArray]:
        """By path, responses to one-hot inputs of full range.

        `[layers in out]`; of each tile `[layers in t k c]` for factors of tiles.
        """
        key = rng.stream(self.programmed.key, Stage.TIME, index)
        raw, digital = self._raw(t)
        return {
            path: self._answer(path, held, digital, rng.path_key(key, path))
            for path, held in raw.items()
        }

    def _answer(
        self, path: str, held: Held, digital: dict[str, JArray], key: PRNGKey
    ) -> JArray:
        layout, site = self._layout(path), self.sites[path]
        product = crossbar.partial_sums if self.scope == "tile" else crossbar.mvm
        matrices = jax.tree.map(lambda w: layout.matrices(w, path), held)
        layers = matrices.value.shape[0]
        lead, given = len(site.loops), self.ranges.get(site.name, {})

        def each(r: JArray) -> JArray:
            own = r.reshape(-1, *r.shape[lead:]) if lead else r[None]
            return jnp.repeat(own, layers // own.shape[0], axis=0)

        ranges = jax.tree.map(each, given if isinstance(given, IO) else dict(given))

        def one(w: Held, ranges: Any, key: PRNGKey) -> JArray:
            io = as_io(site, ranges)
            scaling, height = io.scaling, 1.0
            if isinstance(scaling, LearnedRange):
                height = jnp.max(scaling.range)
            if isinstance(scaling, ConstantScale):
                height = jnp.max(scaling.value)
            tiles = tiles_of(site.rule, w, digital[path])
            return compensation.read_out(
                lambda x: product(tiles, x * height, io, key=key) / height,
                tiles.rows,
                dtype=w.value.dtype,
            )

        keys = rng.streams(key, Stage.LAYER, jnp.arange(layers))
        return jax.vmap(one)(matrices, ranges, keys)

    def _layer(self, path: str) -> chip.LayerProgram:
        return self.programmed.layers[path]

    def _layout(self, path: str) -> Layout:
        return self._layer(path).layout


def _shares(
    device: Device, layer: chip.LayerProgram, combine: Combine
) -> tuple[Any, Any]:
    """What each device counts in its part, and the factor of each part."""
    if combine == "analog":
        return jnp.asarray(layer.coefficients)[:, None], np.ones(1)
    share, largest = group_shares(layer.coefficients, combine)
    return share / device.g_max, largest * device.g_max


def shifted(records: Iterable[Any]) -> bool:
    """Whether strategies or layers subtract an offset digitally, as far as is known."""
    offsets = [record.offset for record in records]
    return not checks.concrete(offsets) or any(map(np.any, map(np.asarray, offsets)))
