"""The energy of the array: exact, from conductances, inputs, voltage and pulse length.

Each device takes V^2 G t in every read. For inputs u of -1 to 1, the voltage is u V for
a pulse of fixed length ("amplitude": the second moment of u matters), or V for a pulse
of |u| of the full length ("width": the first moment of |u| matters). The network enters
by one number per weight, its load: the sum of u^2 (or |u|) over all products of one
inference that use the weight. Energy is linear in the conductances, so one pass over
data serves all strategies, chips and times.
"""

from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from anajax import chip
from anajax._core import checks
from anajax._core.types import Float, JArray, PyTree
from anajax.costs.counts import _items
from anajax.crossbar.converters import Number
from anajax.crossbar.periphery import IO
from anajax.crossbar.split import even_parts, split_axis
from anajax.devices.moments import MomentTable
from anajax.transformation import AnalogFunction, OnChip
from anajax.transformation.sites import Held, Site

Drive = Literal["amplitude", "width"]
"""How inputs are applied: as voltages, or as pulse lengths at one voltage."""
Loads = Mapping[str, Float[JArray, "*weights"]]
"""By path, the sum of u^2 (or |u|) for each weight in one inference."""


def loads(
    function: AnalogFunction,
    params: PyTree,
    *inputs: Any,
    drive: Drive = "amplitude",
    items: int | None = None,
    ranges: Mapping[str, Any] | None = None,
    **options: Any,
) -> dict[str, JArray]:
    """The load of each weight, from inputs of the network: exact for these inputs.

    Inputs are scaled, converted and sliced by the rule of each product, padding in
    convolution windows is 0, and the loads of repeated uses of a weight add up.

    Args:
        function: from `anajax.analog`.
        params: trained parameters.
        *inputs: example inputs, such as those for calibration.
        drive: how inputs are applied.
        items: number of inferences in the inputs; the length of the first axis by
            default.
        ranges: from `calibrate`.
        **options: keyword arguments of the function.

    Returns:
        By path, with the shape of the weights: per inference.

    Raises:
        ValueError: for products in a `while` loop, or weights under `Rule.fold`.
    """
    checks.word("drive", drive, Drive)
    items = _items(inputs) if items is None else items
    found = function.report(params, *inputs, **options)
    _check(found.uses)
    paths = {p.path for p in found.analog}
    named = chip.weights(params, select=lambda path, _: path in paths)

    def look(site: Site, x: JArray, w: Any, io: IO) -> JArray:
        met = _applied(site, x, io, drive)
        return jnp.einsum("gi,gio->", met.astype(float), w.parts[0].astype(float))

    def total(unit: dict[str, JArray]) -> JArray:
        held = {p: Held(named[p], (unit[p],), (), None, None) for p in named}
        on_chip = OnChip(params, held, {})
        seen = function.tally(look, on_chip, *inputs, ranges=ranges, **options)
        return sum(map(jnp.sum, seen.values()), jnp.zeros(()))

    ones = {path: jnp.zeros_like(w) for path, w in named.items()}
    return {p: g / items for p, g in jax.grad(total)(ones).items()}


def _applied(site: Site, x: JArray, io: IO, drive: Drive) -> Float[JArray, "groups in"]:
    """Sum over vectors and slices of u^2 or |u|, row by row."""
    rows = x.shape[-1]
    parts = even_parts(rows, len(site.rule.tiles.parts(rows, 1)[0]))

    def one(x: Float[JArray, "batch in"]) -> Float[JArray, "in"]:
        tiled = jnp.moveaxis(split_axis(x, parts, axis=1), 1, 0)
        values, _ = io.slicing.split(tiled / io.scaling.scale(tiled), io.dac)
        size = values**2 if drive == "amplitude" else jnp.abs(values)
        found = jnp.sum(size, axis=(0, 2))
        return jnp.concatenate([found[i, :n] for i, n in enumerate(parts)])

    return jax.lax.stop_gradient(jax.vmap(one)(x))


def array_energy(
    loads: Loads,
    conductances: Mapping[str, Float[JArray, "*weights devices"]],
    *,
    voltage: Number,
    pulse: Number,
) -> dict[str, Float[JArray, ""]]:
    """Energy of the devices of each weight array in one inference, uJ: V^2 t sum m G.

    Exact for these conductances: those of a chip (`chip.cells[path].g`), or their
    expectation over chips (`mean_conductances`).

    Args:
        loads: from `loads`.
        conductances: uS, by path; the last axis is the devices of a weight.
        voltage: voltage at an input of 1, V.
        pulse: length of a full input, s.

    Raises:
        ValueError: if a path is missing, or a number is not positive.
    """
    checks.positive("voltage", voltage)
    checks.positive("pulse", pulse)
    missing = sorted(set(loads) - set(conductances))
    if missing:
        remedy = "Program the weights of the function that the loads are from."
        checks.fail("conductances", "have all weights", f"none for {missing}", remedy)
    unit = jnp.asarray(voltage) ** 2 * pulse
    return {
        path: unit * jnp.sum(load * jnp.sum(conductances[path], -1))
        for path, load in loads.items()
    }


def mean_conductances(
    layers: Mapping[str, chip.LayerProgram], table: MomentTable, index: int | JArray
) -> dict[str, JArray]:
    """Expected conductance of every device as read, uS, at a time of a table.

    Args:
        layers: targets by path.
        table: moments, such as `mapping.weight_error.moment_table` (0 s is its first).
        index: index of the time.
    """
    return {path: table(v.targets).mean[index] for path, v in layers.items()}


def _check(sites: tuple[Site, ...]) -> None:
    for site in sites:
        if site.folded:
            got = f"{site.name!r}, which is a function of parameters"
            remedy = "Leave out `fold`, or pass the folded array as a parameter."
            checks.fail("rules", "put parameters themselves on tiles", got, remedy)
        if not site.layouts:
            got = f"{site.name!r} of two activations"
            checks.fail("rules", "name products of weights", got, "Drop that rule.")
