"""Drift compensation as on chip: one digital factor from two read-outs.

To first order, drift shrinks all conductances of an array by the same factor. The array
is read with known inputs just after programming and again later; from then on, its
outputs are multiplied by the ratio of the mean magnitudes (Joshi et al., Nat. Commun.
11, 2473, 2020). The read-out has the same converters and noise as every product.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

import jax.numpy as jnp

from anajax._core import checks
from anajax._core.tree import pytree
from anajax._core.types import Float, JArray
from anajax.crossbar.converters import Number
from anajax.layer import LayerProgram

Per = Literal["global", "column", "tile"]
PER = get_args(Per)
"""Which weights a factor is measured on: the whole matrix, an output column, a tile."""
Scope = Literal["layer", "network", "column", "none"]
"""Which weights share one drift compensation factor."""


def read_out(
    product: Callable[[Float[JArray, "inputs inputs"]], Float[JArray, "inputs ..."]],
    inputs: int,
    *,
    dtype: Any = float,
) -> Float[JArray, "inputs ..."]:
    """The responses of `product` to one-hot inputs, one row per input.

    `lambda x: crossbar.mvm(tiles, x, io, key=key)` gives `[in, out]`; with
    `crossbar.partial_sums` it gives `[in, row tiles, column tiles, columns]` for
    factors per tile. The digital bias is left out.

    Args:
        product: maps inputs `[batch, in]` to outputs, through the periphery.
        inputs: number of inputs.
        dtype: dtype of the inputs.
    """
    return product(jnp.eye(inputs, dtype=dtype))


def compensation_factor(
    reference: Float[JArray, "..."],
    now: Float[JArray, "..."],
    *,
    per: Per = "global",
    floor: Number = 1e-4,
) -> Float[JArray, "..."]:
    """The factor alpha = mean |reference| / mean |now| for the current outputs.

    Works on read-outs and on plain weight matrices (as read through noise-free
    converters with fine steps).

    Args:
        reference: read-out just after programming, `[..., in, out]`, or the ideal
            matrix, to correct the mean programming error as well.
        now: current read-out, `[..., in, out]`; leading axes broadcast (times, chips).
        per: `"global"`: one factor, shape `[..., 1]`; `"column"`: one per output,
            `[..., out]`; `"tile"`: read-outs are `[..., in, t, k, c]` and factors
            `[..., t, k, 1]`, as `crossbar.rescale` takes them.
        floor: smallest mean magnitude, before and now; a dead line keeps a factor of 1.

    Raises:
        ValueError: if `per` is unknown, read-outs differ in size, or `floor` <= 0.
    """
    checks.word("per", per, Per)
    checks.positive("floor", floor)
    axes = 4 if per == "tile" else 2
    if now.ndim < axes or reference.shape[-axes:] != now.shape[-axes:]:
        rule = f"agree with `reference` {reference.shape} in the last {axes} axes"
        checks.fail("now", rule, now.shape, "Read both out in the same way.")
    before, today = (
        jnp.maximum(_magnitude(x, per), jnp.asarray(floor, x.dtype))
        for x in (reference, now)
    )
    return before / today


def last_recalibration(
    schedule: Float[JArray, "recalibrations"], t: Float[JArray, "*times"] | float
) -> JArray:
    """Number of recalibrations up to time `t [*times]`; 0 before the first.

    One at `t` itself counts. Factors are held from one recalibration to the next; with
    a factor of 1 in front, this is the index of the current one.

    Args:
        schedule: seconds, increasing.
        t: seconds.
    """
    checks.times("schedule", schedule)
    return jnp.searchsorted(jnp.asarray(schedule), jnp.asarray(t), side="right")


@pytree
class Recalibrations:
    """Drift compensation of a chip, measured at some times and held in between."""

    times: Float[JArray, "recalibrations"]
    """Seconds since the first read, increasing."""
    factors: dict[str, JArray]
    """Factors by path with one more leading axis: 1, then those measured at each time.
    """

    def at(self, t: Float[JArray, ""] | float) -> dict[str, JArray]:
        """The factors in use at time `t` (s); 1 before the first recalibration."""
        index = last_recalibration(self.times, t)
        return {path: factor[index] for path, factor in self.factors.items()}


def hold(
    times: Float[JArray, "recalibrations"], found: dict[str, JArray]
) -> Recalibrations:
    """The record of factors `[recalibrations ...]` measured at `times`."""
    factors = {p: jnp.concatenate([jnp.ones_like(f[:1]), f]) for p, f in found.items()}
    return Recalibrations(times=times, factors=factors)


def _magnitude(x: JArray, per: str) -> JArray:
    size = jnp.abs(x)
    if per == "global":
        return jnp.mean(size, axis=(-2, -1))[..., None]
    if per == "column":
        return jnp.mean(size, axis=-2)
    return jnp.mean(size, axis=(-4, -1))[..., None]


def compensation(
    first: dict[str, JArray],
    now: dict[str, JArray],
    layers: dict[str, LayerProgram],
    scope: Scope,
) -> dict[str, JArray]:
    """Factors alpha by path: mean |first read-out| over mean |read-out now|.

    A factor for the whole network weights each layer by its size in the network's
    units. Each layer of a stack has its own factor, and so has each column (output).

    Raises:
        ValueError: for factors per column, if the columns are unknown.
    """
    checks.word("scope", scope, Scope)
    if scope == "none":
        return {path: jnp.ones(()) for path in now}
    if scope == "network":
        above = sum(size(layer, first[path]) for path, layer in layers.items())
        below = sum(size(layer, now[path]) for path, layer in layers.items())
        return dict.fromkeys(now, shrinking(above, below))
    return {
        path: layers[path].layout.mean_ratio(first[path], now[path], scope, path)
        for path in now
    }


def size(layer: LayerProgram, analog: JArray) -> JArray:
    """Sum of the magnitudes of weights in the network's units."""
    return jnp.sum(jnp.abs(layer.unit * analog))


def shrinking(above: JArray | int, below: JArray | int) -> JArray:
    """The ratio of summed magnitudes, first to now; 1 if nothing is left."""
    below = jnp.asarray(below)
    shrunk = below > 0  # in the network's units: no size of its own is small
    return jnp.where(shrunk, above / jnp.where(shrunk, below, 1.0), 1.0)
