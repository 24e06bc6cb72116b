"""Learning that does not harm: learning rate and stopping chosen on held-out inputs.

A search over six rates takes half of the steps, each from the same start with the same
batches and chips: four decades, then three times more and less than the best of them.
The other half of the steps starts over at the best rate.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from anajax._core import checks
from anajax._core.types import JArray, PyTree

RATES = (1e-2, 1e-3, 1e-4, 1e-5)
NEAR = (3.0, 1 / 3)
SHARE = 12
"""Fraction of all steps that one trial takes."""
LOOKS = 4
"""Number of evaluations of the held-out loss, evenly spaced."""
CHIPS = 8
"""Number of chips that it is averaged over, the same each time."""
Rate = float | Literal["auto"]
Step = Callable[[PyTree, JArray, JArray, JArray], tuple[PyTree, JArray]]
"""`step(carry, i, rate, share)`: the next carry, whose first entry is the program, and
the loss; `share` is the factor on the rates from a cosine decay."""


@runtime_checkable
class Checkpoint(Protocol):
    """Where the state of a descent is saved, so that it can continue later."""

    def restore(self, like: PyTree) -> tuple[int, PyTree]:
        """The latest step and state; `(0, like)` if there is none."""
        ...

    def save(self, step: int, state: PyTree) -> Any:
        """Save `state` after `step` steps, if it is due."""
        ...


def check_rate(name: str, rate: Any) -> None:
    """Refuse anything but a rate or "auto".

    Raises:
        ValueError: if it is not.
    """
    if isinstance(rate, str):
        checks.word(name, rate, ("auto",))
    else:
        checks.positive(name, rate)


def check_held(held: Any, rate: float | None, never_worse: bool) -> bool:
    """Whether held-out inputs are used; refuses to run without them if needed.

    Args:
        held: the held-out inputs, or None.
        rate: None if it is to be searched for.
        never_worse: see `learn`.

    Raises:
        ValueError: if held-out inputs are needed and missing.
    """
    needed = rate is None or never_worse
    if needed and held is None:
        rule = 'be given for the rate "auto" and for `never_worse`'
        remedy = "Pass (inputs, labels or None) that are not learned on."
        checks.fail("held", rule, None, remedy)
    return needed


def learn(
    begin: PyTree,
    step: Step,
    judge: Callable[[PyTree], JArray],
    *,
    steps: int,
    rate: float | None,
    never_worse: bool,
    checkpoint: Checkpoint | None = None,
    notify: Callable[[int, JArray], None] = lambda step, loss: None,
) -> tuple[PyTree, JArray, float]:
    """The program, the losses of the last descent, and its rate.

    Args:
        begin: the first carry.
        step: takes one step.
        judge: mean loss of a program on held-out inputs and chips.
        steps: number of steps of all trials and the last descent together.
        rate: a number; None to search for it.
        never_worse: whether to return the best program among all evaluations, including
            the start; otherwise the last one.
        checkpoint: where the last descent is saved and continued from.
        notify: called at every step of the last descent.
    """
    trial = max(1, steps // SHARE)
    tries = len(RATES) + len(NEAR) if rate is None else 0
    last = max(1, steps - tries * trial)
    numbers = jnp.zeros(2)  # the rate, and the loss of the best program
    state = begin, jnp.zeros(last), begin[0], numbers
    done = 0
    if checkpoint is not None:
        done, state = checkpoint.restore(state)
    if not done:
        found = _best_rate(begin, step, judge, trial) if rate is None else rate
        first = judge(begin[0]) if never_worse else jnp.inf
        state = *state[:3], jnp.asarray([found, first], numbers.dtype)
    carry, losses, best, numbers = state
    looks = {round(last * (k + 1) / LOOKS) for k in range(LOOKS)}
    for i in range(done, last):
        carry, value = step(carry, jnp.asarray(i), numbers[0], _share(i, last))
        losses = losses.at[i].set(value)
        if never_worse and i + 1 in looks:
            best, numbers = _better(carry[0], best, numbers, judge)
        notify(i, value)
        if checkpoint is not None:
            jax.block_until_ready(carry)  # else all steps would be under way
            checkpoint.save(i + 1, (carry, losses, best, numbers))
    return (best if never_worse else carry[0]), losses, float(numbers[0])


def number(rate: Any) -> float | None:
    """A rate, or None for "auto"."""
    return None if rate == "auto" else float(rate)


def _better(new: PyTree, best: PyTree, numbers: JArray, judge: Any) -> tuple:
    value = judge(new)
    if not float(value) < float(numbers[1]):  # NaN is not better
        return best, numbers
    return new, numbers.at[1].set(value)


def _best_rate(begin: PyTree, step: Step, judge: Any, trial: int) -> float:
    """The rate of the least held-out loss after a short descent."""
    found: dict[float, float] = {}

    def attempt(rate: float) -> None:
        carry = begin
        for i in range(trial):
            what = jnp.asarray(i), jnp.asarray(rate), _share(i, trial)
            carry, _ = step(carry, *what)
        value = float(judge(carry[0]))
        found[rate] = value if np.isfinite(value) else math.inf

    for rate in RATES:
        attempt(rate)
    best = min(found, key=lambda r: found[r])
    for factor in NEAR:
        attempt(best * factor)
    return min(found, key=lambda r: found[r])


def _share(i: int, steps: int) -> JArray:
    return jnp.asarray(0.5 * (1 + math.cos(math.pi * i / steps)))
