"""Second moments of the inputs that the weights of a function multiply."""

import functools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax._core import checks
from anajax._core.types import PyTree
from anajax.crossbar.periphery import IO
from anajax.transformation.function import AnalogFunction
from anajax.transformation.sites import Site


def second_moments(
    function: AnalogFunction, params: PyTree, batches: Iterable[Any]
) -> dict[str, Float[JArray, "layers rows rows"]]:
    """Mean of x x' over the inputs x of each weight, with exact products before it.

    Args:
        function: from `anajax.analog`.
        params: parameters of the function.
        batches: inputs of the function, all of one shape; each an array, or a tuple.

    Returns:
        By path, one matrix per layer of a stack, in the order of the layout; summed
        over the products of a weight.

    Raises:
        ValueError: if there are no batches, or several weights are concatenated into
            one matrix.
    """
    step = jax.jit(functools.partial(function.tally, _square))  # one trace for all
    total: dict[str, Any] = {}
    count = 0
    sites: tuple[Site, ...] = ()
    for batch in batches:
        inputs = batch if isinstance(batch, tuple) else (batch,)
        sites = sites or function.sites(params, *inputs)
        seen = step(params, *inputs)
        total = {k: v + total[k] if total else v for k, v in seen.items()}
        count += 1
    if not count:
        checks.fail("batches", "hold inputs", "none", "Pass calibration inputs.")
    found: dict[str, Any] = {}
    for site in sites:
        if site.name not in total:
            continue
        own = total[site.name].reshape(-1, *total[site.name].shape[-2:])
        for path, part in _by_path(site, own / count).items():
            found[path] = found[path] + part if path in found else part
    return found


def _square(site: Site, x: JArray, w: Any, io: IO) -> JArray:
    del site, w, io
    return jnp.einsum("gbi,gbj->gij", x, x) / x.shape[1]


def _by_path(site: Site, moments: JArray) -> dict[str, JArray]:
    """The matrices of each weight of a product: all of one, or a share of a stack."""
    paths = list(site.layouts)
    if len(paths) > 1 and (site.rows_joined or moments.shape[0] % len(paths)):
        rule, remedy = "be parts of one stack", "Make it one parameter."
        checks.fail("params", rule, f"{paths}, joined side by side", remedy)
    parts = jnp.split(moments, len(paths))
    return dict(zip(paths, parts, strict=True))
