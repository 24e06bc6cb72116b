"""Targets optimized for the network's own loss, through the chip.

Minimizes the expected loss, over chips and times, of the network whose weights went
through programming, drift, read and drift compensation. Any part of a `Learnable` can
be learned: the tables of strategies with F and K (one for all layers or one per layer),
a shift of every weight before it is encoded ("per-weight targets"), digital scales per
column, a drift correction, and the parameters that stay digital. Learning strategy,
weights and digital parameters together is joint hardware-aware training.

The noise for the gradient is moment-matched and reparameterized: each weight is one
normal variable with the exact mean and variance of its devices at that time. Reported
numbers come from the simulation of individual devices, see `anajax.evaluate`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import chip
from anajax._core import checks
from anajax._core.tree import pytree, replace, static
from anajax._core.types import PRNGKey, PyTree
from anajax.costs.objective import Energy, as_energy
from anajax.devices.base import Device, check_times
from anajax.mapping.strategy import Normalize, Strategy, UnitCell, check_strategy
from anajax.programming.end_to_end.descent import Apply as Apply
from anajax.programming.end_to_end.descent import Loss as Loss
from anajax.programming.end_to_end.descent import Notify, descend, descend_by_held_out
from anajax.programming.end_to_end.held_out import Checkpoint as Checkpoint
from anajax.programming.end_to_end.held_out import (
    Rate,
    check_held,
    check_rate,
    number,
)
from anajax.programming.end_to_end.learnable import (
    Learnable,
    LearnOptions,
    chain,
    start_from,
)
from anajax.programming.end_to_end.task import (
    Task,
    check,
    check_columns,
    first_of,
    make_task,
)
from anajax.programming.search.parameters import Bounds


@pytree
class OptimizedTargets:
    """The optimized targets, ready for a chip, and the loss at each step."""

    params: Any
    """The network's parameters, including the learned digital ones."""
    layers: dict[str, chip.LayerProgram]
    """Layers for `chip.program` and `evaluate`."""
    strategies: dict[str, Strategy]
    """Tables by path. A learned table need not decode to increasing weights."""
    history: Float[JArray, "steps"]
    """Mean loss over the chips at each step."""
    learned: tuple[str, ...] = static(default=())
    weight_rate: float = static(default=0.0)
    """Learning rate of shifts and digital parameters."""


def distillation(
    outputs: JArray, reference: JArray, *, temperature: float = 2.0
) -> JArray:
    """Kullback-Leibler divergence between digital and analog class probabilities.

    Args:
        outputs: analog logits `[... classes]`.
        reference: digital logits, same shape.
        temperature: softens both; the divergence is multiplied by its square.
    """
    teacher = jax.nn.log_softmax(reference / temperature)
    student = jax.nn.log_softmax(outputs / temperature)
    divergence = jnp.sum(jnp.exp(teacher) * (teacher - student), -1)
    return temperature**2 * jnp.mean(divergence)


def optimize_targets(
    apply: Apply,
    params: PyTree,
    device: Device,
    strategy: Strategy | dict[str, Strategy],
    inputs: JArray | np.ndarray,
    times: Float[JArray, "times"] | Sequence[float] | np.ndarray,
    *,
    key: PRNGKey,
    learn: Sequence[str] = LearnOptions.parts,
    loss: Loss = distillation,
    labels: JArray | np.ndarray | None = None,
    per_layer: bool = True,
    steps: int = LearnOptions.steps,
    chips: int = LearnOptions.chips,
    batch: int = LearnOptions.batch,
    learning_rate: float = LearnOptions.learning_rate,
    weight_rate: Rate = LearnOptions.weight_rate,
    never_worse: bool = LearnOptions.never_worse,
    held: tuple[Any, Any] | None = None,
    jitter: float = 0.0,
    optimizer: optax.GradientTransformation | None = None,
    select: chip.Select = chip.default_select,
    normalize: Normalize = "layer",
    box: Bounds | None = None,
    digital: Apply | None = None,
    notify: Notify = lambda step, loss: None,
    layout: chip.Layouts = None,
    checkpoint: Checkpoint | None = None,
    energy: Energy | None = None,
    extrapolate: bool = False,
) -> OptimizedTargets:
    """Minimize the expected loss over chips and times by Adam.

    Args:
        apply: `apply(params, inputs) -> outputs`, pure.
        params: pytree of trained weights.
        device: the device model.
        strategy: starting point of the search; mirrored pairs; one, or one per path.
        inputs: `[items ...]`; not the ones that results are reported on.
        times: seconds after the first read; every chip of a step draws one of them.
        key: draws batches, chips and times.
        learn: any of "strategy" (knots, F, K), "columns", "weights", "drift",
            "digital".
        loss: function of outputs and digital outputs (distillation by default), or
            labels.
        labels: `[items ...]`, passed to `loss` instead of digital outputs.
        per_layer: one strategy per layer, or one for all.
        steps: gradient steps.
        chips: chips per step, one after the other (memory does not grow with them).
        batch: inputs per step.
        learning_rate: rate of strategies, column scales and drift correction.
        weight_rate: rate of the shifts (in units of w_max) and digital parameters;
            "auto": chosen on held-out inputs, with half of the steps.
        never_worse: whether to keep the best of several intermediate results on
            held-out inputs, including the starting point.
        held: held-out inputs, and their labels or None.
        jitter: standard deviation of noise added to the inputs, relative to theirs.
        optimizer: optimizer of a `Learnable`, used instead of `learnable.chain`;
            gradients of parts that are not learned are 0.
        select: which leaves are weights.
        normalize: which weights share a full scale, see `mapping.normalized`.
        box: bounds of F and K.
        digital: the network whose outputs with `params` are the reference, if it is not
            `apply`, for example if batch-norm statistics are measured on the chip.
        notify: called at every step.
        layout: meaning of axes that names and shapes leave open, see `chip.table`.
        checkpoint: where the descent is saved and continued from; the result is the
            same.
        energy: a weight on the energy of the array at the drawn time, or its budget,
            see `anajax.costs.Energy`; the history then includes it.
        extrapolate: whether times may lie outside what the device's source covers.

    Returns:
        Layers for `chip.program` and `evaluate`, the matching parameters, the
        strategies, and the history.

    Raises:
        ValueError: if an argument is out of range; the message names it.

    Example:
        >>> found = anajax.optimize_targets(
        ...     apply, params, device, strategy, x, times, key=key, steps=2, batch=4
        ... )
        >>> found.layers["kernel"].targets.shape
        (6, 4, 4)
    """
    check_times(device, times, extrapolate=extrapolate)
    check_strategy(strategy, device)
    checks.word("normalize", normalize, Normalize)
    check_rate("weight_rate", weight_rate)
    check(times, learn, inputs, labels, steps=steps, chips=chips, batch=batch)
    one = first_of(strategy, device, learn)
    which: Any = {"select": select, "layout": layout}
    begin = start_from(strategy, device, params, per_layer=per_layer, **which)
    ideal = chip.normalized_weights(params, normalize=normalize, **which)
    check_columns(ideal, learn)
    task = make_task(params, ideal, device, inputs, labels, times, learn, key)
    if energy is not None:
        task = replace(task, energy=_checked(energy, ideal))
    bounds = Bounds() if box is None else box
    shared: Any = {
        "apply": apply, "loss": loss, "cell": one.cell, "steps": steps, "chips": chips,
        "batch": batch, "jitter": jitter, "digital": digital, "notify": notify,
        "checkpoint": checkpoint,
    }  # fmt: skip
    rate: Any = number(weight_rate)
    if check_held(held, rate, never_worse):
        if optimizer is not None:
            remedy = "Leave it out: rates are those of `chain`."
            checks.fail("optimizer", "be None with held-out inputs", "one", remedy)
        assert held is not None
        end, history, rate = descend_by_held_out(
            task, begin, held, box=bounds, learning_rate=learning_rate,
            weight_rate=rate, never_worse=never_worse, **shared,
        )  # fmt: skip
    else:
        optimizer = optimizer or chain(
            one.cell, bounds, rate=learning_rate, weight_rate=rate, steps=steps
        )
        end, history = descend(task, begin, optimizer=optimizer, **shared)
    found, layers = finish(task, end, one.cell)
    return OptimizedTargets(
        params=chip.insert(params, end.digital),
        layers=layers,
        strategies=found,
        history=history,
        learned=tuple(learn),
        weight_rate=rate,
    )


def _checked(energy: Any, ideal: dict[str, Any]) -> Energy:
    energy = as_energy(energy)
    missing = sorted(set(ideal) - set(ideal if energy.loads is None else energy.loads))
    if missing:
        remedy = "Pass the loads of this network."
        checks.fail("energy.loads", "have all weights", f"none for {missing}", remedy)
    return energy


@partial(jax.jit, static_argnames="cell")
def finish(
    task: Task, end: Learnable, cell: UnitCell
) -> tuple[dict[str, Strategy], dict[str, chip.LayerProgram]]:
    """Strategies and layers of a `Learnable`, by path."""
    found = {p: end.strategy(p, task.device, cell) for p in task.ideal}
    return found, end.layers(task.ideal, task.device, cell, t0=task.t0)
