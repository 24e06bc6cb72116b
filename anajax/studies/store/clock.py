"""Time left of a study, estimated from the time its parts took.

A part begins with one-time work (a search, compiling) and has stages that report their
progress: steps of a descent, chips. A stage is assumed to continue at its pace, which
is its total time without the time before its first report. Future parts are assumed to
take as long as earlier ones of their kind. Of a kind that has not been seen yet, the
one-time work is taken as a share of that of the first part, which compiles for all. For
the first part, only the paces are used if there is another.
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


class Ahead(NamedTuple):
    """What is known of a part before it begins."""

    kind: str = ""
    """Parts of one kind do the same one-time work."""
    chips: float = 1.0
    """Its measurements of chips, relative to those of other parts; 0 for none."""
    begins: float = 0.0
    """One-time work of the first part of its kind, as a share of that of the study's
    first part; 0 if unknown, or if each part of the kind does some of its own."""
    anew: bool = False
    """Whether it does that work again, unlike other parts of its kind."""


class Clock:
    """Records how long the parts of a study take, and estimates the time left.

    Args:
        parts: number of parts of the study.
        now: returns the seconds on some clock.
        ahead: what is known of each part, in order; all are alike by default.
        after: seconds from the last part until the study is done.
    """

    def __init__(
        self,
        parts: int,
        now: Callable[[], float] = time.monotonic,
        ahead: Sequence[Ahead] = (),
        after: float = 0.0,
    ):
        self.parts, self.now, self.after = parts, now, after
        self.ahead = [*ahead, *[Ahead()] * (parts - len(ahead))]
        self.done = 0
        self._begun = now()
        self._paces: dict[str, float] = {}
        self._own: dict[str, list[tuple[float, float]]] = {}
        self._known: list[_Past] = []

    def within(self, stage: str, share: float) -> None:
        """Report that a stage of the current part is done to this fraction."""
        told = self._own.setdefault(stage, [])
        if told and share <= told[-1][1]:
            told.clear()  # the stage was restarted
        told.append((self.now(), share))

    def finish(self) -> None:
        """Report that the current part is done."""
        took, part = self.now() - self._begun, self._part(self.done)
        paces = self._present()
        for stage in paces:  # of one that ended early, as others of its kind may
            paces[stage] *= self._own[stage][-1][1]
        self._paces |= paces
        self.done += 1
        if took > ALREADY:
            stages = _seconds(paces, part)
            once = max(took - stages, 0.0) if paces else None
            chips = paces.get(CHIPS)
            past = _Past(part.kind, part.anew, took, once, _steps(paces), chips)
            self._known.append(past)
        self._begun, self._own = self.now(), {}

    @property
    def share(self) -> float:
        """Fraction of the study that is done, 0 to 1, weighting all parts equally."""
        stages = [told[-1][1] for told in self._own.values() if told]
        return min((self.done + (stages[-1] if stages else 0.0)) / self.parts, 1.0)

    def left(self) -> float | None:
        """Seconds until the study is done; None if unknown."""
        if self.done >= self.parts:
            return max(self.after - (self.now() - self._begun), 0.0)
        if not self._known and not self._present():
            return None
        present = self._of_present() + self.after
        to_come, seen = self.ahead[self.done + 1 : self.parts], set[str]()
        for part in to_come:
            present += self._typical(part, first=part.kind not in seen)
            seen.add(part.kind)
        return present

    def _part(self, number: int) -> Ahead:
        return self.ahead[min(number, len(self.ahead) - 1)]

    def _present(self) -> dict[str, float]:
        """Paces of the stages of this part, as far as they are known.

        A pace is the seconds of a whole stage; for chips, of a part with 1 of them.
        """
        found, part = {}, self._part(self.done)
        for stage, told in self._own.items():
            if len(told) > 1:
                (begun, low), (last, high) = told[0], told[-1]
                pace, before = (last - begun) / (high - low), self._paces.get(stage)
                pace /= (part.chips or 1.0) if stage == CHIPS else 1.0
                weight = min((high - low) / FIRST_SHARE, 1.0)
                if before is not None:
                    pace = weight * pace + (1 - weight) * before
                found[stage] = pace
        return found

    def _of_present(self) -> float:
        """Seconds until the current part is done."""
        part = self._part(self.done)
        if not any(self._own.values()):
            typical = self._typical(part, first=True)
            return max(typical - (self.now() - self._begun), 0.0)
        paces, left = self._paces | self._present(), 0.0
        for stage, pace in paces.items():
            told = self._own.get(stage)
            seconds = pace * (part.chips if stage == CHIPS else 1.0)
            if told:
                at, share = told[-1]
                left += max(seconds * (1 - share) - (self.now() - at), 0.0)
            elif stage == CHIPS:
                left += seconds
        return left

    def _typical(self, part: Ahead, *, first: bool) -> float:
        """Seconds of a future part.

        Args:
            part: what is known of it.
            first: whether it comes before all other future parts of its kind.
        """
        paces = self._paces | self._present()
        mine = [past for past in self._known if past.kind == part.kind]
        if CHIPS not in paces:
            some = mine or self._known
            later = [p for p in some if p is not self._known[0]] or some
            return _mean([p.took for p in later])
        steps = [past.steps for past in mine if past.once is not None]
        now = part.kind == self._part(self.done).kind
        if self._own and now:
            steps.append(_steps(self._present()))
        later = [past for past in mine if past is not self._known[0]]
        chips = [past.chips for past in later if past.chips is not None]
        if not chips or CHIPS in self._present() and now:
            chips = [paces[CHIPS]]
        chips, once = chips[-4:], self._once(part, first=first)
        return _mean(chips) * part.chips + _mean(steps) + once

    def _once(self, part: Ahead, *, first: bool) -> float:
        """Seconds that a future part takes before and between stages."""
        there = [p for p in self._known if p[:2] == (part.kind, part.anew)]
        if part.begins and not part.anew:
            there = there[1:]  # without the first one, whose work is done
        there = [past for past in there if past is not self._known[0]]
        later = [past.once for past in there if past.once is not None]
        told = next((t for t in self._own.values() if t), None)
        now = self._part(self.done)
        if self.done and told and (now.kind, now.anew) == (part.kind, part.anew):
            # the time before its first report
            here, stage = told[0][0] - self._begun, next(iter(self._own))
            pace = (self._paces | self._present()).get(stage, 0.0)
            later.append(max(here - pace * told[0][1], 0.0))
        seen = any(past.kind == part.kind for past in self._known)
        if not later and (part.anew or first and not seen) and self._known:
            _, _, took, once, *_ = self._known[0]
            return part.begins * (took if once is None else once)
        return _mean(later)


class _Past(NamedTuple):
    """Times that a part took, in seconds."""

    kind: str
    anew: bool
    took: float
    once: float | None
    """Time before its stages and between them; None for a part without stages."""
    steps: float
    chips: float | None


def _seconds(paces: dict[str, float], part: Ahead) -> float:
    """Seconds of all stages of a part."""
    return _steps(paces) + paces.get(CHIPS, 0.0) * part.chips


def _steps(paces: dict[str, float]) -> float:
    """Seconds of all stages except chips."""
    return sum(paces.values()) - paces.get(CHIPS, 0.0)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
