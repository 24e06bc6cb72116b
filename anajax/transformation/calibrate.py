"""Input and ADC ranges from data, as an output of the function itself."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from anajax import crossbar
from anajax._core import checks
from anajax._core.types import JArray
from anajax.crossbar.converters import Clip, calibrate
from anajax.crossbar.periphery import IO, ConstantScale, LearnedRange
from anajax.transformation.rules import Rule
from anajax.transformation.sites import RANGED, Site, inputs_alone, with_ranges

Ranges = dict[str, dict[str, JArray]]
"""By site `"input"` and `"adc"`: one number each, or one for each layer of a stack."""


def observer(within: float, outputs: float) -> Callable[[Site, JArray, JArray], Any]:
    """What multiplies exactly, and sees what the ranges of a site must hold.

    Args:
        within: share of the inputs that must fit.
        outputs: share of the column sums that must fit.
    """
    for name, share in (("within", within), ("outputs", outputs)):
        if not 0 < share <= 1:
            checks.fail(name, "lie in (0, 1]", share, "1 fits every value.")

    def observe(site: Site, x: JArray, w: JArray) -> tuple[JArray, dict]:
        found = {}
        io, scale = inputs_alone(site.rule.io), jnp.ones((), x.dtype)
        if isinstance(io.scaling, LearnedRange | ConstantScale):
            found["input"] = _share(x, within)
            scale = _safe(found["input"])
            io = with_ranges(io, {"input": scale})
        if isinstance(site.rule.io.adc, RANGED):
            found["adc"] = _share(_sums(site.rule, io, x, w), outputs) * scale
        return jax.lax.batch_matmul(x, w), found

    return observe


def _sums(rule: Rule, io: IO, x: JArray, w: JArray) -> JArray:
    def one(x: JArray, w: JArray) -> JArray:
        tiles = crossbar.from_weights(w, rule.tiles, normalize=rule.normalize)
        return crossbar.column_sums(tiles, x, io)

    return jax.vmap(one)(x, w)


def _share(values: JArray, share: float) -> JArray:
    """The magnitude that a share of the values stays within; 0 for zeros."""
    values = jax.lax.stop_gradient(values)
    if not values.size:
        return jnp.zeros((), values.dtype)
    if share == 1:
        return jnp.max(jnp.abs(values))
    bound = calibrate(Clip(bound=1.0), values, quantile=share).bound
    return jnp.where(jnp.any(values != 0), jnp.asarray(bound, values.dtype), 0)


def _safe(value: JArray) -> JArray:
    return jnp.where(value > 0, value, 1)


def finished(seen: Mapping[str, Mapping[str, JArray]]) -> Ranges:
    """Ranges from what was seen: those of the ADC count in units of the input range."""
    ranges = {}
    for name, found in seen.items():
        if found:
            ranges[name] = {kind: _safe(value) for kind, value in found.items()}
        if "adc" in found and "input" in found:
            ranges[name]["adc"] = _safe(found["adc"] / ranges[name]["input"])
    return ranges


def check_ranges(ranges: Mapping[str, Any], sites: Sequence[Site]) -> None:
    """Refuse ranges of sites that the function has not.

    Raises:
        ValueError: naming the first such site.
    """
    known = [site.name for site in sites]
    for name in ranges:
        if name not in known:
            remedy = f"Known: {known}."
            checks.fail("ranges", "belong to sites", repr(name), remedy)
