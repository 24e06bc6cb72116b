"""Input and ADC ranges of the analog layers of a network, set from data.

model = calibrate_ranges(model, [x[:256]], inputs=0.999, key=key)
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from anajax._core import checks
from anajax._core.types import JArray, PRNGKey, PyTree
from anajax.nn.analog import Analog, analog_layers, named, parameters
from anajax.transformation import AnalogFunction, Rule, analog, finished, merged
from anajax.transformation.calibrate import Per, Seen, observer
from anajax.transformation.sites import Site, with_ranges

M = TypeVar("M", bound=nnx.Module)


def calibrate_ranges(
    model: M,
    batches: Iterable[Any],
    *,
    inputs: float = 1.0,
    outputs: float = 1.0,
    per: Per = "layer",
    vectors: int = 4096,
    scales: Mapping[str, JArray] | None = None,
    key: PRNGKey | None = None,
) -> M:
    """A clone of a converted model with input and ADC ranges set from data.

    The batches run through the network with ideal converters and without noise, with
    its current weights. Each layer's `LearnedRange` or `ConstantScale` becomes a
    quantile of the layer's inputs (one per row tile if it had one per row tile); the
    bound of its ADC becomes a quantile of the column sums of these inputs with the new
    input range. Over several batches, uses of a layer or recurrent steps, the largest
    is used. Ideal ADCs and other input scalings stay unchanged.

    Args:
        model: from `to_analog`.
        batches: inputs, or tuples of inputs, of the model.
        inputs: fraction of the inputs that must fit into the range, in (0, 1].
        outputs: fraction of the column sums that must fit.
        per: one ADC range for each `"layer"`, `"tile"` or `"column"` of a tile.
        vectors: most input vectors of each product to look at (evenly spaced).
        scales: digital scales after the ADCs by path of the layer, one per column (last
            axis of the kernel), if each column has its own conductance scale: a range
            is then shared before these scales.
        key: required if the sums have noise, which is then included in what must fit.

    Raises:
        ValueError: if there is no batch, a layer got no input or inputs that are not
            finite, or an argument is out of range.

    Example:
        >>> rule = anajax.Rule(".*", io=periphery.training())
        >>> converted = anajax.to_analog(model, [rule]).model
        >>> ready = anajax.calibrate_ranges(converted, [x], key=key)
        >>> anajax.with_key(ready, key)(x).shape
        (8, 4)
    """
    checks.word("per", per, Per)
    if vectors < 1:
        checks.fail("vectors", "be at least 1", vectors, "Use the default.")
    for name, share in (("inputs", inputs), ("outputs", outputs)):
        if not 0 < share <= 1:
            checks.fail(name, "lie in (0, 1]", share, "1 fits every value.")
    model, seen = nnx.clone(model), {}
    layers, (function, params) = dict(analog_layers(model)), _exact(model)
    for batch in batches:
        given = batch if isinstance(batch, tuple) else (batch,)
        sites = _sites(function, params, given, layers, scales or {})
        observe = observer(
            inputs, outputs, vectors=vectors, per=per, whole=True, **sites
        )
        for name, now in function.seen_by(observe, params, *given, key=key).items():
            _add(seen, name.split("#")[0], now)
    for path, layer in layers.items():
        _set(layer.analog, _ranges(seen, path))
    return model


def _add(seen: Seen, name: str, now: dict[str, JArray]) -> None:
    """Add what another batch, or another use of a layer, called for."""
    seen[name] = merged({name: seen.get(name, now)}, {name: now})[name]


def _exact(model: nnx.Module) -> tuple[AnalogFunction, PyTree]:
    """The network as a function of the parameters of its analog layers, by path."""
    graph, state = nnx.split(model)
    state = nnx.to_pure_dict(state)  # of numbers: each call has Variables of its own
    layers = dict(analog_layers(model))
    params = {"layers": {path: parameters(layer) for path, layer in layers.items()}}

    def apply(params: PyTree, *inputs: Any) -> Any:
        view: Any = nnx.merge(graph, state)
        for path, layer in list(analog_layers(view)):
            own = params["layers"][path]
            own = {name: vars(layer)[name].copy(value) for name, value in own.items()}
            vars(layer).update(own, analog=None)
        return view(*inputs)

    paths = sorted(layers, key=len, reverse=True)  # layers within layers first
    rules = [_rule(path, layers[path].analog) for path in paths]
    function = analog(apply, rules)
    function.given = False  # a layer that meets no input is found below
    return function, params


def _name(path: str) -> str:
    return f"layers/{path}"


def _rule(path: str, side: Analog) -> Rule:
    io = jax.tree.map(lambda a: a[(0,) * len(side.stack)], side.periphery())
    return side.rule(re.escape(_name(path)), io)


def _sites(
    function: AnalogFunction,
    params: PyTree,
    inputs: tuple,
    layers: Mapping[str, Any],
    scales: Mapping[str, JArray],
) -> dict[str, Any]:
    """Of each site its digital scales, and how many layers of a stack it holds."""
    owner = {f"{_name(path)}/kernel": path for path in layers}
    columns, stacks = {}, {}
    for site in function.sites(params, *inputs):
        path = owner.get(site.name.split("#")[0])
        if path is None:
            continue
        stack = layers[path].analog.stack
        stacks[site.name] = math.prod(stack[len(site.loops) :])
        if path in scales:
            columns[site.name] = _columns(scales[path], layers[path], site)
    return {"scales": columns, "stacks": stacks}


def _columns(scale: JArray, layer: Any, site: Site) -> JArray:
    """The scale of each column of a product; groups share it: of theirs the largest."""
    whole = jnp.broadcast_to(scale, site.form.w)
    return jnp.max(site.form.matrices(whole), axis=(0, 1))


def _ranges(seen: Seen, path: str) -> dict[str, JArray]:
    name = f"{_name(path)}/kernel"
    if name not in seen:
        remedy = "Pass batches, or convert only what the model calls."
        checks.fail("batches", f"reach the layer {named(path)!r}", "no input", remedy)
    for kind, values in seen[name].items():
        checks.finite(f"{kind} of {named(path)}", values, "Find what diverged.")
    return finished({name: seen[name]}).get(name, {})


def _set(side: Analog, ranges: Mapping[str, JArray]) -> None:
    """Put ranges in, in the dtype that they have now."""
    io = side.io.get_value()
    ranges = {kind: jnp.asarray(value, float) for kind, value in ranges.items()}
    if side.input_range is not None:
        side.input_range.set_value(ranges.pop("input"))
    side.io.set_value(with_ranges(io, ranges))
