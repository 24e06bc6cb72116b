"""Parts of a study: arrays that are computed once, saved, and read back."""

from collections.abc import Callable, Mapping

from anajax.analysis.steps import Arrays, as_arrays
from anajax.studies.store.drafts import Draft, packed, unpacked
from anajax.studies.store.folder import Folder

Notify = Callable[[str, bool], None]
"""`notify(text, done)`: a part was begun (`done` false) or finished."""


class Parts:
    """The parts of a study in its folder, each saved as soon as it is done."""

    def __init__(self, folder: Folder, notify: Notify):
        self.folder = folder
        self.notify = notify

    def get(
        self,
        name: str,
        compute: Callable[[Draft], Mapping[str, object]],
        *,
        title: str | None = None,
    ) -> Arrays:
        """The arrays of a part: from the folder, or computed and saved there.

        Args:
            name: of the part, fit for a file name.
            compute: makes arrays by name; keeps what is half done in a draft.
            title: what is notified, the name by default.
        """
        title = title or name
        self.notify(title, False)
        found = self.find(name)
        if found is None:
            draft = Draft(self.folder, f"{name}.npz")
            content = packed(as_arrays(compute(draft)))
            self.folder.write(_file(name), content)
            draft.drop()
            found = unpacked(self.folder.content(_file(name)))  # those of process 0
        self.notify(title, True)
        return found

    def find(self, name: str) -> Arrays | None:
        """The arrays of a part that is done; None if it is not."""
        file = _file(name)
        return unpacked(self.folder.content(file)) if self.folder.has(file) else None


def _file(name: str) -> str:
    return f"parts/{name}.npz"
