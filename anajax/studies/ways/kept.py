"""Storage for strategies, targets and descents, so that they are made only once."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from anajax.mapping.strategy import Strategy
from anajax.programming.strategy_file import from_text, to_text
from anajax.studies.store.drafts import Course, Draft, Told, tell_nobody
from anajax.studies.store.folder import Folder

AT_ONCE = 32
"""Number of layers that are searched together, and then saved."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
    """Results of one way on one device; without a folder nothing is saved."""

    folder: Folder | None = None
    name: str = ""
    """Name of the device and the way, valid as a file name."""
    done: str | None = None
    """Text of the strategies that were found, if the search was complete."""
    told: Told = tell_nobody
    """Reports the progress of a descent."""

    def strategies(
        self,
        paths: Sequence[str],
        search: Callable[[Sequence[str]], Mapping[str, Strategy]],
    ) -> dict[str, Strategy]:
        """Strategies saved before the study was interrupted, or from a search.

        Args:
            paths: paths of layers; "" for one strategy for all layers.
            search: finds the strategies for some paths.
        """
        if self.folder is None:
            return dict(search(paths))
        for start in range(0, len(paths), AT_ONCE):
            some = paths[start : start + AT_ONCE]  # the same whenever it was stopped
            if set(some) <= set(self._found):
                continue
            self._found.update(search(some))
            text = functools.partial(to_text, {self.name: self._found})
            self._draft.save(lambda text=text: text().encode())
        return {path: self._found[path] for path in paths}

    def file(self, folder: str, make: Callable[[], bytes]) -> bytes:
        """A file that takes long to make: from the study, or made and saved."""
        if self.folder is None:
            return make()
        name = f"{folder}/{self.name}.safetensors"
        if not self.folder.has(name):
            self.folder.write(name, make())
        return self.folder.content(name)

    def course(self, what: str, steps: int | None = None) -> Course | None:
        """Where a descent is saved and continued from.

        Args:
            what: name of the descent of this way.
            steps: total number of steps, after which it is always saved.
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
