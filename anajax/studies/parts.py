"""Parts of a study: arrays that are computed once, saved, and read back."""

import io
from collections.abc import Callable, Mapping

import numpy as np

from anajax.studies.folder import Folder

Arrays = dict[str, np.ndarray]
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
        compute: Callable[[], Mapping[str, object]],
        *,
        title: str | None = None,
    ) -> Arrays:
        """The arrays of a part: from the folder, or computed and saved there.

        Args:
            name: of the part, fit for a file name.
            compute: makes arrays by name.
            title: what is notified, the name by default.
        """
        file, title = f"parts/{name}.npz", title or name
        self.notify(title, False)
        if not self.folder.has(file):
            arrays = {n: np.asarray(v) for n, v in compute().items()}
            buffer = io.BytesIO()
            np.savez(buffer, **arrays)  # pyright: ignore[reportArgumentType]
            self.folder.write(file, buffer.getvalue())
        content = io.BytesIO(self.folder.content(file))
        with np.load(content, allow_pickle=False) as data:
            arrays = {n: data[n] for n in data.files}
        self.notify(title, True)
        return arrays
