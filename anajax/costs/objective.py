"""Energy in an objective: a weight on it, or a budget.

The energy of the array is linear in the expected conductances, so it is exact and
differentiable with respect to targets, significance, scale and device. Converters cost
the same for all targets and are left out; they do not change the optimum.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from anajax import chip
from anajax._core import checks
from anajax._core.options import option
from anajax._core.tree import pytree, static
from anajax._core.types import Float, JArray, PyTree
from anajax.costs.array import Loads
from anajax.crossbar.converters import Number
from anajax.devices.base import Device, check_times
from anajax.devices.moments import MomentTable
from anajax.mapping.density import WeightDensity
from anajax.mapping.layout import Layout
from anajax.mapping.strategy import (
    Normalize,
    Strategy,
    check_strategy,
    interpolation,
)
from anajax.mapping.weight_error import moment_table


@pytree
class Energy:
    """The contribution of energy to an error or a loss.

    With E the energy of the array and B the `budget`, an objective increases by weight
    E + steep max(E / B - 1, 0). The second term is an exact penalty, whose minimum
    meets the budget if `steep` is larger than the gain from exceeding it. E is relative
    (1: every device at g_max, averaged over the times) or, with `full`, in uJ.

        Energy(weight=1e-4)                       # per share of the largest energy
        Energy(budget=2.0, full=found.full)       # uJ an inference

    Raises:
        ValueError: if there is neither a weight nor a budget, or one is not positive.
    """

    weight: Number | None = None
    """Objective per unit of energy."""
    budget: Number | None = None
    """Largest energy, in the same unit."""
    full: Number = 1.0
    """Energy with every device at g_max: 1, or in uJ per inference (`full_energy`)."""
    steep: Number | None = None
    """Penalty for exceeding the budget by 100 %; the initial objective by default."""
    loads: Any = None
    """Load of each weight, by path; equal for all if none."""
    name: str = static(default="energy")

    def __post_init__(self) -> None:
        if self.weight is None and self.budget is None:
            remedy = "Pass Energy(weight=...) or Energy(budget=...)."
            checks.fail("energy", "have a weight or a budget", "neither", remedy)
        for name in ("weight", "budget", "full", "steep"):
            value = getattr(self, name)
            if value is not None:
                checks.positive(name, value, strictly=name != "weight")

    def cost(self, share: JArray, error: JArray) -> JArray:
        """The term added to an objective of value `error`.

        Args:
            share: energy relative to every device at g_max.
            error: the objective without energy; sets `steep` if it is not given.
        """
        energy, added = self.full * share, jnp.zeros(())
        if self.weight is not None:
            added = added + self.weight * energy
        if self.budget is not None:
            steep = 10 * error if self.steep is None else self.steep
            added = added + steep * jnp.maximum(energy / self.budget - 1, 0)
        return added


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnergyOptions:
    """Energy in a search or in training, relative to all devices at g_max."""

    energy_weight: float | None = option(None, "0 or more, or null", least=0)
    """Objective for the energy of all devices at g_max."""
    energy_budget: float | None = option(None, "a fraction above 0, or null", above=0)
    """Largest fraction of that energy."""

    def energy(self, loads: Loads | None = None) -> Energy | None:
        """The record, if there is a weight or a budget.

        Args:
            loads: loads of the weights; equal if none.
        """
        if self.energy_weight is None and self.energy_budget is None:
            return None
        return Energy(weight=self.energy_weight, budget=self.energy_budget, loads=loads)


def as_energy(energy: Any) -> Energy:
    """The record itself; a bare number is refused, since its unit is unknown.

    Raises:
        ValueError: saying what to pass instead.
    """
    if isinstance(energy, Energy):
        return energy
    remedy = "Pass anajax.costs.Energy(weight=...) or Energy(budget=...)."
    checks.fail("energy", "be an Energy record", f"{energy!r:.60}", remedy)


def strategy_share(
    strategy: Strategy,
    table: MomentTable,
    density: WeightDensity,
    time_weights: Float[JArray, "times"],
) -> Float[JArray, ""]:
    """Expected conductance of a weight's devices relative to g_max, mean over times.

    Args:
        strategy: the targets.
        table: moments at 0 s and at the times.
        density: how often each weight occurs; all have the same inputs.
        time_weights: weight of each time.
    """
    u = jnp.abs(density.u) if strategy.mirrored else density.u
    targets = interpolation(strategy, u) @ strategy.targets
    mean = jnp.sum(table(targets).mean[1:], -1) @ density.probability
    mean = jnp.sum(time_weights * mean) / jnp.sum(time_weights)
    return mean / (strategy.cell.devices * table.g[-1])


def layers_share(
    layers: Mapping[str, chip.LayerProgram],
    table: MomentTable,
    index: JArray | int,
    loads: Loads | None,
) -> Float[JArray, ""]:
    """Energy of programmed layers relative to all devices at g_max, at one time.

    Args:
        layers: targets by path.
        table: moments at 0 s and at the times.
        index: index of the time, from 1.
        loads: loads of the weights, or equal for all.
    """
    above, below = jnp.zeros(()), jnp.zeros(())
    one = _at(table, index)
    for path, layer in layers.items():
        load = jnp.ones(layer.targets.shape[:-1]) if loads is None else loads[path]
        devices = layer.targets.shape[-1]
        above += jnp.sum(load * jnp.sum(one(layer.targets).mean[0], -1))
        below += jnp.sum(load) * devices * table.g[-1]
    return above / below


Spend = Callable[[PyTree, JArray], JArray]
"""`spend(params, loss)`: the energy term added to a loss."""


def spending(
    device: Device,
    strategy: chip.Strategies,
    times: Float[JArray, "times"] | Sequence[float],
    energy: Energy,
    *,
    select: chip.Select = chip.default_select,
    normalize: Normalize = "layer",
    layout: Mapping[str, Layout] | None = None,
    extrapolate: bool = False,
) -> Spend:
    """The energy term of a loss, differentiable with respect to the weights.

    For `anajax.training.trainer(..., energy=...)`, or your own loop. Weights are
    encoded by the strategy; energy is the exact mean over chips and times.

    Args:
        device: the device model.
        strategy: one for all weights, or one per path.
        times: seconds since the first read, increasing.
        energy: a weight or a budget.
        select: which leaves are weights.
        normalize: which weights share a full scale.
        layout: meaning of axes that names and shapes leave open.
        extrapolate: whether times may lie outside what the device's source covers.

    Raises:
        ValueError: if times are out of range, or `energy` is a bare number.

    Example:
        >>> spend = spending(device, strategy, times, Energy(weight=0.1))
        >>> loss = task_loss + spend(params, task_loss)
    """
    check_times(device, times, extrapolate=extrapolate)
    check_strategy(strategy, device)
    checks.word("normalize", normalize, Normalize)
    energy = as_energy(energy)
    seconds = jnp.asarray(times, float)
    table = moment_table(device, seconds, extrapolate=True)
    count = seconds.shape[0]

    def spend(params: PyTree, loss: JArray) -> JArray:
        layers = chip.encode_weights(
            params, strategy, select=select, normalize=normalize, layout=layout
        )
        each = [layers_share(layers, table, i + 1, energy.loads) for i in range(count)]
        return energy.cost(sum(each, jnp.zeros(())) / count, loss)

    return spend


def full_energy(
    loads: Loads, devices: int, g_max: Number, *, voltage: Number, pulse: Number
) -> JArray:
    """`Energy.full` in uJ: V^2 t of all loads with every device at g_max.

    Args:
        loads: from `loads`.
        devices: number of devices per weight.
        g_max: uS.
        voltage: voltage of a full input, V.
        pulse: length of a full input, s.
    """
    total = sum((jnp.sum(m) for m in loads.values()), jnp.zeros(()))
    return jnp.asarray(voltage) ** 2 * pulse * total * devices * g_max


def _at(table: MomentTable, index: JArray | int) -> MomentTable:
    cubic = table.cubic[..., jnp.asarray(index)[None]]
    return MomentTable(g=table.g, cubic=cubic, levels=table.levels)
