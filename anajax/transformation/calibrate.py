"""Input and ADC ranges from data, computed by the function itself."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from anajax import crossbar, rng
from anajax._core import checks
from anajax._core.types import JArray, PRNGKey
from anajax.crossbar.periphery import IO, ConstantScale, LearnedRange
from anajax.crossbar.split import split_axis
from anajax.crossbar.tiling import TileRule
from anajax.transformation.multiply import inputs_alone
from anajax.transformation.rules import Rule
from anajax.transformation.sites import (
    RANGED,
    Site,
    plain_value,
    with_ranges,
)

Ranges = dict[str, dict[str, JArray]]
"""By site, `"input"` and `"adc"`: one number each, or one per layer of a stack."""
Seen = dict[str, dict[str, JArray]]
"""By site, the ranges required by the inputs, in the units of the function; 0 if none
were seen."""

Look = Callable[[Site, JArray, Any, IO], Any]
"""`look(site, x [groups batch in], w [groups in out], io) -> found`, arrays in any
pytree; `w` is a `Held` if the parameters are those of a chip."""


Per = Literal["layer", "tile", "column"]
AXES = {"layer": (0, 1, 2, 3, 4, 5, 6), "tile": (0, 2, 3, 5, 6), "column": (0, 2, 3)}
"""Axes of column sums `[groups t slices batch k c g]` that share an ADC range."""


def observer(
    within: float,
    outputs: float,
    *,
    vectors: int | None = None,
    by_column: bool | None = None,
    per: Per = "layer",
    whole: bool = False,
    scales: Mapping[str, JArray] | None = None,
    stacks: Mapping[str, int] | None = None,
) -> Callable[..., Any]:
    """Multiplies exactly, and records what the ranges of a site must hold.

    Args:
        within: fraction of the inputs that must fit.
        outputs: fraction of the column sums that must fit.
        vectors: most input vectors per product to look at, evenly spaced.
        by_column: whether the sums of each column are relative to its largest weight;
            unless it is `None`, these weights are returned as `"columns"`.
        per: what shares an ADC range: a `"layer"`, a `"tile"`, or a `"column"` of a
            tile.
        whole: whether the sums include noise and lost voltage.
        scales: by site, digital scales of columns `[out]` that divide a range before it
            is shared.
        stacks: by site, number of layers that are stored side by side as its groups;
            each has its own ranges.
    """
    checks.word("per", per, Per)
    for name, share in (("within", within), ("outputs", outputs)):
        if not 0 < share <= 1:
            checks.fail(name, "lie in (0, 1]", share, "1 fits every value.")
    scales, stacks = scales or {}, stacks or {}

    def see(
        site: Site, io: IO, masked: bool, x: JArray, w: JArray, key: PRNGKey | None
    ) -> dict[str, JArray]:
        x = x[:, :: max(1, -(-x.shape[1] // (vectors or x.shape[1] or 1)))]
        counts = ~jnp.isnan(x) if masked else jnp.ones(x.shape, bool)
        found, scale = {}, jnp.ones((), x.dtype)
        columns = jnp.max(jnp.abs(w), (0, 1))
        if by_column is not None:
            found["columns"] = columns
        io, x = io if whole else inputs_alone(io), jnp.where(counts, x, 0)
        if isinstance(io.scaling, LearnedRange | ConstantScale):
            found["input"] = _input_range(site.rule, x, counts, within)
            scale = _safe(found["input"])
            io = with_ranges(io, {"input": scale})
        if isinstance(site.rule.io.adc, RANGED):
            sums, back = _sums(site.rule, io, x, w, key), jnp.ones((), x.dtype)
            if by_column:
                sums = sums / on_tiles(columns, site.rule.tiles)
            if site.name in scales:
                back = on_tiles(scales[site.name], site.rule.tiles)
            met = jnp.any(counts, -1)[:, None, None, :, None, None, None]
            met = jnp.broadcast_to(met, sums.shape)
            adc = _shares(sums / back, met, outputs, AXES[per]) * back
            found["adc"] = adc * _beside(adc, scale)
        return found

    def observe(
        site: Site,
        x: JArray,
        w: JArray,
        *,
        io: IO,
        masked: bool,
        key: PRNGKey | None = None,
    ) -> tuple[JArray, dict]:
        count = stacks.get(site.name, 1)
        one = functools.partial(see, site, io, masked)
        if count == 1:
            found = one(x, w, key)
        else:
            vectors, matrices = (a.reshape(count, -1, *a.shape[1:]) for a in (x, w))
            number, stage = jnp.arange(count), rng.Stage.LAYER
            keys = None if key is None else rng.streams(key, stage, number)
            found = jax.vmap(one)(vectors, matrices, keys)
        return jnp.zeros((*x.shape[:2], w.shape[-1]), x.dtype), found

    return observe


def looking(look: Look) -> Callable[..., Any]:
    """Multiplies exactly, and keeps the result of `look` for the inputs of a site."""

    def observe(
        site: Site, x: JArray, w: Any, *, io: IO, **_: Any
    ) -> tuple[JArray, Any]:
        found = look(site, x, w, io)
        columns = plain_value(w).shape[-1]
        return jnp.zeros((*x.shape[:2], columns), x.dtype), found

    return observe


def _sums(rule: Rule, io: IO, x: JArray, w: JArray, key: PRNGKey | None) -> JArray:
    def one(x: JArray, w: JArray, key: PRNGKey | None) -> JArray:
        tiles = crossbar.from_weights(w, rule.tiles, normalize=rule.normalize)
        return crossbar.column_sums(tiles, x, io, key=key)

    numbers = jnp.arange(x.shape[0])
    keys = None if key is None else rng.streams(key, rng.Stage.TILE, numbers)
    return jax.vmap(one)(x, w, keys)


def on_tiles(columns: JArray, tiles: TileRule) -> JArray:
    """One number per column `[out]` as laid out on the tiles, `[k c 1]`; 1 for 0."""
    split = split_axis(columns, tiles.parts(1, columns.size)[1], axis=0)
    return jnp.where(split > 0, split, 1)[..., None]


def _share(values: JArray, counts: JArray, share: float) -> JArray:
    """The magnitude that a share of what counts stays within; 0 if nothing does."""
    size = jnp.abs(jax.lax.stop_gradient(values)).ravel()
    counts = counts.ravel()
    if share == 1 or not size.size:
        return jnp.max(jnp.where(counts, size, 0), initial=0)
    number = jnp.sum(counts)
    ordered = jnp.sort(jnp.where(counts, size, jnp.inf))
    place = share * jnp.maximum(number - 1, 0).astype(size.dtype)
    low = jnp.floor(place).astype(int)
    high = jnp.minimum(low + 1, jnp.maximum(number - 1, 0))
    part = place - low.astype(size.dtype)
    bound = ordered[low] * (1 - part) + ordered[high] * part
    return jnp.where(number > 0, bound, 0)


def _input_range(rule: Rule, x: JArray, counts: JArray, share: float) -> JArray:
    """A range of inputs: one, or one per row tile where the rule has one per row tile.

    It has the shape of the range that the rule has.
    """
    scaling = rule.io.scaling
    now = scaling.range if isinstance(scaling, LearnedRange) else scaling.value  # pyright: ignore
    if jnp.ndim(now) == 0:
        return _share(x, counts, share)
    cuts = np.cumsum(rule.tiles.parts(x.shape[-1], 1)[0])[:-1]
    parts = zip(jnp.split(x, cuts, -1), jnp.split(counts, cuts, -1), strict=True)
    found = [_share(part, own, share) for part, own in parts]
    return jnp.stack(found).reshape(jnp.shape(now))


def _shares(
    values: JArray, counts: JArray, share: float, axes: tuple[int, ...]
) -> JArray:
    """`_share` over these axes; the others stay, behind the first."""
    kept = tuple(i for i in range(values.ndim) if i not in axes)
    if not kept:
        return _share(values, counts, share)
    sizes = [values.shape[i] for i in kept]

    def rows(a: JArray) -> JArray:
        return jnp.transpose(a, (*kept, *axes)).reshape(math.prod(sizes), -1)

    found = jax.vmap(lambda v, c: _share(v, c, share))(rows(values), rows(counts))
    shape = [n if i in kept else 1 for i, n in enumerate(values.shape)]
    return found.reshape(shape[1:])


def _beside(adc: JArray, inputs: JArray) -> JArray:
    """Input ranges as they multiply ADC ranges `[...]`.

    Or `[... k c 1]`, or `[... t 1 1 k c 1]`; layers of a stack come first in both.
    """
    own = 6 if adc.ndim >= 6 else 3 if adc.ndim >= 3 else 0
    lead = adc.ndim - own
    if own == 6:
        return inputs.reshape(*inputs.shape[:lead], -1, 1, 1, 1, 1, 1)
    largest = jnp.max(inputs, axis=tuple(range(lead, inputs.ndim)))
    return largest.reshape(*largest.shape, *(1,) * own)


def _safe(value: JArray) -> JArray:
    return jnp.where(value > 0, value, 1)


def merged(before: Seen, now: Seen, *, moving: float | None = None) -> Seen:
    """The ranges required by two batches: the larger of each, or a moving mean.

    A site that saw no input in one of them takes the value of the other.

    Args:
        before: from `observe` or this function.
        now: from `observe`.
        moving: weight of `now` in a moving mean, in (0, 1]; `None`: take the larger.

    Raises:
        ValueError: if `moving` is out of range.
    """
    if moving is None:
        return jax.tree.map(jnp.maximum, before, now)
    if not 0 < moving <= 1:
        checks.fail("moving", "lie in (0, 1]", moving, "0.1 follows the last ten.")

    def mean(a: JArray, b: JArray) -> JArray:
        both = a + (b - a) * jnp.asarray(moving, a.dtype)
        return jnp.where(b > 0, jnp.where(a > 0, both, b), a)

    return jax.tree.map(mean, before, now)


def finished(seen: Seen) -> Ranges:
    """Ranges from observed values; those of the ADC are in units of the input range."""
    ranges = {}
    for name, found in seen.items():
        if found:
            ranges[name] = {kind: _safe(value) for kind, value in found.items()}
        if "adc" in found and "input" in found:
            ranges[name]["adc"] = _safe(
                found["adc"] / _beside(found["adc"], ranges[name]["input"])
            )
    return ranges


def check_ranges(ranges: Mapping[str, Any], sites: Sequence[Site]) -> None:
    """Refuse ranges for unknown sites.

    Raises:
        ValueError: naming the first such site.
    """
    known = [site.name for site in sites]
    for name in ranges:
        if name not in known:
            remedy = f"Known: {known}."
            checks.fail("ranges", "belong to sites", repr(name), remedy)
