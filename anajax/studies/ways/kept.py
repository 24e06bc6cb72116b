"""What ways to program have made is not made again: strategies, targets, descents."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from anajax.mapping.strategy import Strategy
from anajax.programming.strategy_file import from_text, to_text
from anajax.studies.store.drafts import Course, Draft, Told, tell_nobody
from anajax.studies.store.folder import Folder


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
    """What one way has made on one device; without a folder nothing is kept."""

    folder: Folder | None = None
    name: str = ""
    """Of the device and the way, fit for a file name."""
    done: str | None = None
    """Text of the strategies that were found, if all of them were."""
    told: Told = tell_nobody
    """How far a descent is."""

    def strategy(self, path: str, search: Callable[[], Strategy]) -> Strategy:
        """A strategy as it was found before the study was stopped, or a search.

        Args:
            path: of its layer; "" for a strategy of all layers.
            search: finds it.
        """
        if self.folder is None:
            return search()
        if path not in self._found:
            self._found[path] = search()
            text = functools.partial(to_text, {self.name: self._found})
            self._draft.save(lambda: text().encode())
        return self._found[path]

    def file(self, folder: str, make: Callable[[], bytes]) -> bytes:
        """A file that takes long to make: as it is in the study, or made and saved."""
        if self.folder is None:
            return make()
        name = f"{folder}/{self.name}.safetensors"
        if not self.folder.has(name):
            self.folder.write(name, make())
        return self.folder.content(name)

    def course(self, what: str, steps: int | None = None) -> Course | None:
        """Where a descent goes on from and is kept.

        Args:
            what: of the descents of this way.
            steps: number of all steps, after which it is saved for sure.
        """
        if self.folder is None:
            return None
        draft = Draft(self.folder, f"{self.name}{what}.npz", self.told)
        return Course(draft, last=steps)

    @functools.cached_property
    def _draft(self) -> Draft:
        assert self.folder is not None
        return Draft(self.folder, f"{self.name}.json")

    @functools.cached_property
    def _found(self) -> dict[str, Strategy]:
        text = self.done or (self._draft.load() or b"").decode()
        kept: Any = from_text(text, self._draft.file) if text else {}
        found = next(iter(kept.values()), {})
        return {"": found} if isinstance(found, Strategy) else dict(found)


NOTHING_KEPT = Kept()
