"""The parameters that end-to-end optimization can learn.

These are the tables of strategies with F and K, a shift of every weight before it is
encoded, a digital scale per column, the exponent of the scheduled drift correction, and
the parameters that stay digital (biases, norms).
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import chip
from anajax._core import checks
from anajax._core.options import option
from anajax._core.tree import pytree, replace
from anajax._core.types import PyTree
from anajax.devices.base import FIRST_READ, Device
from anajax.mapping.strategy import Normalized, Strategy, UnitCell
from anajax.programming.end_to_end.held_out import Rate, check_rate
from anajax.programming.search.parameters import (
    Bounds,
    StrategyParameters,
    from_strategy,
    project,
    tie,
    to_strategy,
)

LearnableName = Literal["strategy", "columns", "weights", "drift", "digital"]
LEARNABLE = get_args(LearnableName)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnOptions:
    """How targets are learned from the network's own loss."""

    parts: tuple[LearnableName, ...] = option(
        ("strategy", "weights"),
        'some of "strategy", "columns", "weights", "drift", "digital"',
    )
    """Which parts are learned."""
    steps: int = option(400, "1 gradient step or more", least=1)
    chips: int = option(2, "1 chip per step or more", least=1)
    batch: int = option(64, "1 input per step or more", least=1)
    learning_rate: float = option(0.01, "a number above 0", above=0)
    """Learning rate of strategies, column scales and drift correction."""
    weight_rate: Rate = option(0.002, 'a number above 0, or "auto"', above=0)
    """Learning rate of shifts (in units of w_max) and digital parameters.

    On held-out data, small networks chose 0.001 to 0.01, deep ones less: 0.0003 for
    ResNet-20 and ResNet-32, 0.00001 for MiniLM. "auto" finds it with half of the steps.
    """
    never_worse: bool = option(
        False, "true to keep the best on held-out inputs, including the start"
    )

    def __post_init__(self) -> None:
        checks.words(self)
        check_rate("weight_rate", self.weight_rate)

    @property
    def needs_held(self) -> bool:
        """Whether learning needs held-out inputs."""
        return self.never_worse or self.weight_rate == "auto"


@pytree
class Learnable:
    """Everything that defines a chip: what to program, and how to read it back."""

    unknowns: dict[str, StrategyParameters]
    """Strategy of each layer by path, or of all layers under ""."""
    shift: dict[str, JArray]
    """Shift added to the normalized weights before encoding."""
    log_column: dict[str, JArray]
    """Log of a digital scale of each column, in addition to its own scale; of the whole
    array if columns are unknown."""
    drift: dict[str, Float[JArray, "*layers"]]
    """Exponent of the scheduled drift correction, see `chip.LayerProgram`."""
    digital: dict[str, JArray]
    """Network parameters that are not on the chip, by path."""

    def strategy(self, path: str, device: Device, cell: UnitCell) -> Strategy:
        """The strategy of a layer."""
        found = self.unknowns.get(path, self.unknowns.get(""))
        return to_strategy(found, device, cell)  # pyright: ignore[reportArgumentType]

    def layers(
        self,
        ideal: dict[str, Normalized],
        device: Device,
        cell: UnitCell,
        *,
        t0: Float[JArray, ""] | float = FIRST_READ,
    ) -> dict[str, chip.LayerProgram]:
        """The layers of a chip for the trained weights `ideal`, by path.

        Args:
            ideal: trained weights to program.
            device: defines the range of targets.
            cell: the cell of the strategies.
            t0: time constant of the scheduled drift correction, s.
        """
        return {
            path: self._layer(path, w, self.strategy(path, device, cell), t0)
            for path, w in ideal.items()
        }

    def _layer(
        self,
        path: str,
        w: Normalized,
        strategy: Strategy,
        t0: Float[JArray, ""] | float,
    ) -> chip.LayerProgram:
        shifted = replace(w, u=w.u + self.shift[path])
        layer = chip.as_layer(shifted, strategy)
        column = w.column * jnp.exp(self.log_column[path])
        return replace(layer, column=column, drift=self.drift[path], t0=t0)


def start_from(
    strategy: Strategy | dict[str, Strategy],
    device: Device,
    params: PyTree,
    *,
    per_layer: bool = True,
    select: chip.Select = chip.default_select,
    layout: chip.Layouts = None,
) -> Learnable:
    """A `Learnable` with this strategy, and nothing else changed."""
    ideal = chip.normalized_weights(params, select=select, layout=layout)

    def begin(s: Strategy) -> StrategyParameters:
        found = from_strategy(s, device, max(11, s.knots.shape[0]))
        return jax.tree.map(jnp.array, found)  # no two layers share a buffer

    if isinstance(strategy, dict):
        unknowns = {p: begin(strategy[p]) for p in ideal}
    else:
        unknowns = {p: begin(strategy) for p in (ideal if per_layer else [""])}
    return Learnable(
        unknowns=unknowns,
        shift={p: jnp.zeros_like(w.u) for p, w in ideal.items()},
        log_column={
            p: jnp.zeros(w.layout.column_shape(w.u.shape), w.u.dtype)
            for p, w in ideal.items()
        },
        drift={p: jnp.zeros_like(w.w_max) for p, w in ideal.items()},
        digital=chip.others(params, select=select),
    )


@functools.cache  # the same object for the same arguments: one trace
def chain(
    cell: UnitCell,
    box: Bounds,
    *,
    rate: float,
    weight_rate: float,
    steps: int,
) -> optax.GradientTransformation:
    """Adam with two learning rates and cosine decay, with projection onto the bounds.

    Args:
        cell: the cell of the strategies.
        box: bounds of F and K.
        rate: learning rate of strategies, columns and drift.
        weight_rate: rate of shifts (in units of w_max) and digital parameters.
        steps: length of the decay.
    """
    rates = Learnable(
        unknowns=rate, shift=weight_rate, log_column=rate, drift=rate,
        digital=weight_rate,
    )  # fmt: skip

    def scale(updates: Learnable, state: tuple, params: PyTree = None) -> tuple:
        del params
        return _by_part(lambda r, u: -r * u, rates, updates), state

    return optax.chain(
        optax.scale_by_adam(),
        optax.GradientTransformation(lambda _: (), scale),
        optax.scale_by_schedule(optax.cosine_decay_schedule(1.0, steps)),
        keep_inside(cell, box),
    )


@functools.cache
def paced(cell: UnitCell, box: Bounds) -> optax.GradientTransformation:
    """Adam whose rates are given at each update, as a `Learnable` of numbers: `rates`.

    One trace serves all rates and schedules.
    """

    def scale(
        updates: Learnable, state: tuple, params: PyTree = None, *, rates: Learnable
    ) -> tuple:
        del params
        return _by_part(lambda r, u: -r * u, rates, updates), state

    return optax.chain(
        optax.scale_by_adam(),
        optax.GradientTransformationExtraArgs(lambda _: (), scale),  # pyright: ignore
        keep_inside(cell, box),
    )


def keep_inside(cell: UnitCell, box: Bounds) -> optax.GradientTransformation:
    """Project targets, F and K onto their bounds after each update; last in a chain."""

    def update(updates: Learnable, state: tuple, params: PyTree = None) -> tuple:
        moved = jax.tree.map(jnp.add, params, updates)
        inside = {p: project(x, cell, box) for p, x in moved.unknowns.items()}
        moved = replace(moved, unknowns=inside)
        return jax.tree.map(jnp.subtract, moved, params), state

    return optax.GradientTransformation(lambda _: (), update)


def learned(learn: Sequence[str]) -> Learnable:
    """1 for learned parts, 0 for the others: data, not structure."""
    return Learnable(
        unknowns=float("strategy" in learn),
        shift=float("weights" in learn),
        log_column=float("columns" in learn),
        drift=float("drift" in learn),
        digital=float("digital" in learn),
    )


def admissible(grads: Learnable, parts: Learnable, cell: UnitCell) -> Learnable:
    """Gradients of the learned parts, with equal slopes if targets are tied."""
    tied = {p: replace(g, y=tie(g.y, cell)) for p, g in grads.unknowns.items()}
    return _by_part(jnp.multiply, parts, replace(grads, unknowns=tied))


def _by_part(
    f: Callable[[JArray, JArray], JArray], factors: Learnable, tree: Learnable
) -> Learnable:
    """`f(factor, leaf)` of each part's leaves with the part's factor."""
    parts = {
        name: jax.tree.map(functools.partial(f, getattr(factors, name)), part)
        for name, part in vars(tree).items()
    }
    return Learnable(**parts)
