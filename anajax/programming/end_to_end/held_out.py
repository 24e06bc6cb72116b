"""Learning that does not harm: its rate and what to keep of it, by held-out inputs.

A search of six rates takes half of the steps, each from the same start on the same
batches and chips: four decades, then three times more and less than the best of them.
The other half of the steps goes from the start again, at the best rate.
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
"""One trial takes this part of all steps."""
LOOKS = 4
"""Looks at the held-out loss on the way, evenly spaced."""
CHIPS = 8
"""Chips that it is the mean over, the same at each look."""
Rate = float | Literal["auto"]
Step = Callable[[PyTree, JArray, JArray, JArray], tuple[PyTree, JArray]]
"""`step(carry, i, rate, share)`: the next carry, whose first entry is the program, and
the loss; `share` is what is left of the rates by a cosine."""


@runtime_checkable
class Checkpoint(Protocol):
    """Where a descent is kept: an interrupted one continues from there."""

    def restore(self, like: PyTree) -> tuple[int, PyTree]:
        """The latest step and state; `(0, like)` if there is none."""
        ...

    def save(self, step: int, state: PyTree) -> Any:
        """Save `state` after `step` steps, if it is due."""
        ...


def check_rate(name: str, rate: Any) -> None:
    """Refuse what is neither a rate nor "auto".

    Raises:
        ValueError: if it is not.
    """
    if isinstance(rate, str):
        checks.word(name, rate, ("auto",))
    else:
        checks.positive(name, rate)


def check_held(held: Any, rate: float | None, never_worse: bool) -> bool:
    """Whether held-out inputs are used; refuses to go without them.

    Args:
        held: the inputs, or None.
        rate: None where it is searched for.
        never_worse: see `learn`.

    Raises:
        ValueError: if they are needed and not there.
    """
    needed = rate is None or never_worse
    if needed and held is None:
        rule = 'be given for the rate "auto" and for `never_worse`'
        remedy = "Pass (inputs, labels or None), none of which is learned on."
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
        steps: of all trials and the last descent together.
        rate: a number; None to search for it.
        never_worse: whether to return the best program of all looks, the first one
            included; otherwise the last one.
        checkpoint: where the last descent goes on from and is kept.
        notify: told of every step of it.
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
