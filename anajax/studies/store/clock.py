"""Time left of a study, estimated from the time its parts took.

A part begins with one-time work (a search, compiling) and has stages that report their
progress: steps of a descent, chips. A stage is assumed to continue at its pace, which
is its total time without the time before its first report. Future parts are assumed to
take as long as earlier ones of their kind; a kind that has not been seen yet is assumed
to take the time of its chips alone. For the first part, which compiles for all,
only the paces are used if there is another.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

ALREADY = 0.2
"""Seconds below which a part must have existed already: it is ignored in estimates."""
CHIPS = "chips"
"""The last stage of every part with stages."""
FIRST_SHARE = 0.25
"""A pace measured over less of a stage than this is mixed with the one before."""


class Clock:
    """Records how long the parts of a study take, and estimates the time left.

    Args:
        parts: number of parts of the study.
        now: returns the seconds on some clock.
        kinds: kind of each part, in order; parts of one kind take about the same time.
            All are of one kind by default.
    """

    def __init__(
        self,
        parts: int,
        now: Callable[[], float] = time.monotonic,
        kinds: Sequence[str] = (),
    ):
        self.parts, self.now = parts, now
        self.kinds = [*kinds, *[""] * (parts - len(kinds))]
        self.done = 0
        self._begun = now()
        self._paces: dict[str, float] = {}
        self._own: dict[str, list[tuple[float, float]]] = {}
        self._known: list[_Part] = []

    def within(self, stage: str, share: float) -> None:
        """Report that a stage of the current part is done to this fraction."""
        told = self._own.setdefault(stage, [])
        if told and share <= told[-1][1]:
            told.clear()  # the stage was restarted
        told.append((self.now(), share))

    def finish(self) -> None:
        """Report that the current part is done."""
        took = self.now() - self._begun
        paces = self._present()
        self._paces |= paces
        self.done += 1
        if took > ALREADY:
            once = max(took - sum(paces.values()), 0.0) if paces else None
            kind, chips = self._kind(self.done - 1), paces.get(CHIPS)
            part = _Part(kind, took, once, _steps(paces), chips)
            self._known.append(part)
        self._begun, self._own = self.now(), {}

    @property
    def share(self) -> float:
        """Fraction of the study that is done, 0 to 1, weighting all parts equally."""
        stages = [told[-1][1] for told in self._own.values() if told]
        return min((self.done + (stages[-1] if stages else 0.0)) / self.parts, 1.0)

    def left(self) -> float | None:
        """Seconds until the study is done; None if unknown."""
        if not self._known and not self._present():
            return None
        present = self._of_present() if self.done < self.parts else 0.0
        to_come = self.kinds[self.done + 1 : self.parts]
        return present + sum(map(self._typical, to_come))

    def _kind(self, part: int) -> str:
        return self.kinds[min(part, len(self.kinds) - 1)]

    def _present(self) -> dict[str, float]:
        """Paces of the stages of this part, as far as they are known."""
        found = {}
        for stage, told in self._own.items():
            if len(told) > 1:
                (begun, low), (last, high) = told[0], told[-1]
                pace, before = (last - begun) / (high - low), self._paces.get(stage)
                weight = min((high - low) / FIRST_SHARE, 1.0)
                if before is not None:
                    pace = weight * pace + (1 - weight) * before
                found[stage] = pace
        return found

    def _of_present(self) -> float:
        """Seconds until the current part is done."""
        if not any(self._own.values()):
            typical = self._typical(self._kind(self.done))
            return max(typical - (self.now() - self._begun), 0.0)
        paces, left = self._paces | self._present(), 0.0
        for stage, pace in paces.items():
            told = self._own.get(stage)
            if told:
                at, share = told[-1]
                left += max(pace * (1 - share) - (self.now() - at), 0.0)
            elif stage == CHIPS:
                left += pace
        return left

    def _typical(self, kind: str) -> float:
        """Seconds of a future part of this kind."""
        paces = self._paces | self._present()
        mine = [part for part in self._known if part.kind == kind]
        if CHIPS not in paces:
            some = mine or self._known
            later = [p for p in some if p is not self._known[0]] or some
            return _mean([part.took for part in later])
        steps = [part.steps for part in mine if part.once is not None]
        if self._own and kind == self._kind(self.done):
            steps.append(_steps(self._present()))
        chips = [part.chips for part in mine if part.chips is not None]
        if not chips or CHIPS in self._present() and kind == self._kind(self.done):
            chips = [paces[CHIPS]]
        return chips[-1] + _mean(steps) + self._once_typical(kind)

    def _once_typical(self, kind: str) -> float:
        """Seconds that a future part of this kind takes before and between stages."""
        there = (p for p in self._known[1:] if p.kind == kind)
        later = [part.once for part in there if part.once is not None]
        told = next((t for t in self._own.values() if t), None)
        same = kind == self._kind(self.done)
        if self.done and told and same:  # the time before its first report
            here, stage = told[0][0] - self._begun, next(iter(self._own))
            pace = (self._paces | self._present()).get(stage, 0.0)
            later.append(max(here - pace * told[0][1], 0.0))
        return _mean(later)


class _Part(NamedTuple):
    """Times that a part took, in seconds."""

    kind: str
    took: float
    once: float | None
    """Time before its stages and between them; None for a part without stages."""
    steps: float
    chips: float | None


def _steps(paces: dict[str, float]) -> float:
    """Seconds of all stages except chips."""
    return sum(paces.values()) - paces.get(CHIPS, 0.0)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
