"""Parts of a study: arrays that are computed once, saved, and read back."""

from collections.abc import Callable, Collection, Mapping

from anajax.analysis.engine import Arrays
from anajax.studies.store.drafts import Draft, Told, as_arrays, packed, unpacked
from anajax.studies.store.folder import Folder

Notify = Callable[[str, bool], None]
"""`notify(text, done)`: a part begins or makes progress (`done` false), or is finished.
"""
Within = Callable[[str, float], None]
"""`within(stage, share)`: fraction of a stage of the current part that is done, 0 to 1.
"""

WHOLE = (0.0, 1.0)


class Parts:
    """The parts of a study in its folder, each saved as soon as it is done."""

    def __init__(
        self,
        folder: Folder,
        notify: Notify,
        within: Within = lambda stage, share: None,
    ):
        self.folder = folder
        self.notify = notify
        self.within = within
        self.choices: dict[str, Arrays] = {}
        """What was chosen, and why, by the name of the program."""

    def told(self, title: str, span: tuple[float, float] = WHOLE) -> Told:
        """The text that a part with that title reports as it makes progress.

        Args:
            title: title of the part.
            span: where its stages begin and end within those of a counted part.
        """
        begin, end = span

        def tell(stage: str, share: float, text: str) -> None:
            self.within(stage, begin + (end - begin) * share)
            self.notify(f"{title}, {text}", False)

        return tell

    def get(
        self,
        name: str,
        compute: Callable[[Draft], Mapping[str, object]],
        *,
        title: str | None = None,
        needs: Collection[str] = (),
        counts: bool = True,
        span: tuple[float, float] = WHOLE,
    ) -> Arrays:
        """The arrays of a part: from the folder, or computed and saved there.

        Args:
            name: name of the part, valid as a file name.
            compute: makes arrays by name; keeps unfinished work in a draft.
            title: title in notifications, the name by default.
            needs: names of required arrays.
            counts: whether it is one of the parts that a study counts.
            span: where it begins and ends within a counted part that consists of some.

        Raises:
            ValueError: if the folder has the part, but some arrays are missing.
        """
        title = title or name
        self.notify(title, False)
        found = self.find(name)
        if found is None:
            draft = Draft(self.folder, f"{name}.npz", self.told(title, span))
            content = packed(as_arrays(compute(draft)))
            self.folder.write(_file(name), content)
            draft.drop()
            found = unpacked(self.folder.content(_file(name)))  # those of process 0
        missing = sorted(set(needs) - set(found))
        if missing:
            raise ValueError(
                "`--resume` must continue with parts that this anajax wrote: got "
                f"{_file(name)} without {missing}. Start again with another --out."
            )
        if counts:
            self.notify(title, True)
        return found

    def find(self, name: str) -> Arrays | None:
        """The arrays of a part that is done; None if it is not."""
        file = _file(name)
        return unpacked(self.folder.content(file)) if self.folder.has(file) else None


def _file(name: str) -> str:
    return f"parts/{name}.npz"
