"""Bounds on weights after each update."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from anajax import chip
from anajax._core import checks
from anajax._core.types import JArray, PyTree
from anajax.crossbar.converters import Number
from anajax.mapping.layout import Layout


def clip_weights(
    *,
    limit: Number | None = None,
    sigmas: Number | None = None,
    select: chip.Select = chip.default_select,
    layout: chip.Layouts = None,
) -> optax.GradientTransformation:
    """Keep weights within bounds after each update; last in a chain.

    Otherwise a few large weights set the scale of an array, and the others vanish in
    noise.

    Args:
        limit: largest magnitude, in the units of the network.
        sigmas: largest magnitude in standard deviations of the layer.
        select: which leaves are weights.
        layout: meaning of axes that names and shapes leave open, see `chip.table`.

    Raises:
        ValueError: unless exactly one of the two is given, and positive.
    """
    if (limit is None) == (sigmas is None):
        rule = "be given, or `sigmas`, and not both"
        checks.fail("limit", rule, (limit, sigmas), "Choose one of the two.")
    checks.positive("limit or sigmas", limit if sigmas is None else sigmas)

    def clip(w: JArray, axes: Layout) -> JArray:
        bound: Any = limit if sigmas is None else axes.per_layer(jnp.std, w) * sigmas
        return jnp.clip(w, -bound, bound)

    def update(updates: PyTree, state: Any, params: PyTree = None) -> tuple:
        moved = _moved(params, updates)
        axes = chip.layouts(moved, select=select, layout=layout)
        found = chip.weights(moved, select=select)
        new = {path: clip(w, axes[path]) for path, w in found.items()}
        return _difference(chip.insert(moved, new), params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _moved(params: PyTree, updates: PyTree) -> Any:
    if params is None:
        rule = "be passed to `update`: it bounds weights, not gradients"
        checks.fail("params", rule, None, "Call `update(grads, state, params)`.")
    return jax.tree.map(jnp.add, params, updates)


def _difference(new: PyTree, params: PyTree) -> PyTree:
    return jax.tree.map(jnp.subtract, new, params)
