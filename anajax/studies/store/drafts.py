"""Work that is not done yet: saved several times a minute, so that little is lost.

A draft is a file of the study until the part that it belongs to is there. What it holds
does not depend on when it was saved: a study that was stopped anywhere ends with the
same bits.
"""

import functools
import io
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anajax._core.types import PyTree
from anajax.analysis.engine import Arrays
from anajax.studies.store.folder import Folder

FOLDER = "drafts"
EVERY = 15.0
"""Seconds between two savings; more where they take over a tenth of the time."""


Told = Callable[[str, float, str], None]
"""`told(stage, share, text)`: how much of a stage is done, 0 to 1, and it in words."""


def tell_nobody(stage: str, share: float, text: str) -> None:
    """Nobody waits for what is done."""


class Draft:
    """What there is of a part that is not done."""

    def __init__(self, folder: Folder, name: str, told: Told = tell_nobody):
        self.folder, self.file = folder, f"{FOLDER}/{name}"
        self.told, self.shares = told, dict[str, float]()
        self._saved, self._took = time.monotonic(), 0.0

    def load(self) -> bytes | None:
        """What was saved last, if anything."""
        there = self.folder.has(self.file)
        return self.folder.content(self.file) if there else None

    def save(self, make: Callable[[], bytes], *, now: bool = False) -> None:
        """Save what `make` gives, if it is time to, or `now`."""
        begin = time.monotonic()
        if not now and begin - self._saved < max(EVERY, 9 * self._took):
            return
        self.folder.write(self.file, make())
        self._saved = time.monotonic()
        self._took = self._saved - begin

    def load_arrays(self) -> Arrays:
        """Arrays that were saved last, or none."""
        content = self.load()
        return {} if content is None else unpacked(content)

    def save_arrays(self, values: Mapping[str, Any], *, now: bool = False) -> None:
        """`save` arrays by name, and tell how many chips are done."""
        self.tell(values)
        self.save(lambda: packed(as_arrays(values)), now=now)

    def section(self, mark: str, share: float = 1.0) -> "Section":
        """A measurement of several that are kept in this draft.

        Args:
            mark: tells them apart.
            share: of the whole part, as far as is known.
        """
        return Section(self, f"{mark}:", share)

    def tell(self, values: Mapping[str, Any], mark: str = "", share: float = 1) -> None:
        """Tell how many chips of a measurement are done."""
        if "done" not in values:
            return
        done = np.asarray(values["done"])
        self.shares[mark] = share * float(done.mean())
        text = f"{int(done.sum())} of {done.size} chips"
        self.told("chips", min(sum(self.shares.values()), 1.0), text)

    @functools.cached_property
    def known(self) -> Arrays:
        """What was saved last, for sections to change."""
        return self.load_arrays()

    def drop(self) -> None:
        """Delete it: the part is there."""
        self.folder.remove(self.file)


class Section:
    """Arrays by names that begin with a mark, among the others of a draft."""

    def __init__(self, draft: Draft, mark: str, share: float = 1.0):
        self.draft, self.mark, self.share = draft, mark, share

    def load_arrays(self) -> Arrays:
        """Arrays that were saved last, or none."""
        known, mark = self.draft.known, self.mark
        return {k.removeprefix(mark): v for k, v in known.items() if k.startswith(mark)}

    def save_arrays(self, values: Mapping[str, Any]) -> None:
        """Save arrays beside those of other sections, if it is time to."""
        self.draft.tell(values, self.mark, self.share)
        self.draft.known.update({f"{self.mark}{k}": v for k, v in values.items()})
        self.draft.save(lambda: packed(as_arrays(self.draft.known)))


class Saving:
    """A draft of chips that is also saved after so many of them."""

    def __init__(self, draft: Draft, every: int | None):
        self.draft, self.every, self.saved = draft, every, 0

    def load_arrays(self) -> Arrays:
        """Arrays that were saved last, or none."""
        return self.draft.load_arrays()

    def save_arrays(self, values: Mapping[str, Any]) -> None:
        """Save arrays, if it is time to or there are enough new chips."""
        there = int(values["done"].sum())
        due = self.every is not None and there - self.saved >= self.every
        self.saved = there if due else self.saved
        self.draft.save_arrays(values, now=due)


def drop_all(folder: Folder) -> None:
    """Delete all drafts: what they belong to is there, or never will be."""
    for name in [n for n in folder.files if n.startswith(f"{FOLDER}/")]:
        folder.remove(name)


class Course:
    """A `Checkpoint` of a descent: step and state, in a draft.

    Args:
        draft: that holds it.
        last: the number of all steps, after which it is saved for sure.
    """

    def __init__(self, draft: Draft, last: int | None = None):
        self.draft, self.last = draft, last

    def restore(self, like: PyTree) -> tuple[int, PyTree]:
        """The latest step and state; `(0, like)` if there is none."""
        arrays = self.draft.load_arrays()
        if not arrays:
            return 0, like
        wanted, tree = jax.tree.flatten(like)
        leaves = [
            jnp.asarray(arrays[f"{i}"].view(v.dtype))  # NumPy forgets bfloat16
            for i, v in enumerate(map(jnp.asarray, wanted))
        ]
        return int(arrays["step"]), jax.tree.unflatten(tree, leaves)

    def save(self, step: int, state: PyTree) -> None:
        """Save the state after `step` steps, if it is time to."""

        def make() -> bytes:
            leaves = {f"{i}": v for i, v in enumerate(jax.tree.leaves(state))}
            return packed(as_arrays(leaves | {"step": step}))

        if self.last:
            text = f"step {step} of {self.last}"
            self.draft.told("steps", step / self.last, text)
        self.draft.save(make, now=step == self.last)


def packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The content of a .npz file."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()


def unpacked(content: bytes) -> Arrays:
    """Arrays by name of a .npz file."""
    with np.load(io.BytesIO(content), allow_pickle=False) as data:
        return {name: data[name] for name in data.files}


def as_arrays(values: Mapping[str, Any]) -> Arrays:
    """Arrays by name, on the host."""
    return {name: np.asarray(v) for name, v in values.items()}
