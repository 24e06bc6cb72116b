"""Unfinished work: saved several times a minute, so that little is lost.

A draft is a file of the study that exists until its part is done. Its contents do not
depend on when it was saved: a study interrupted anywhere ends with the same bits.
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
"""Seconds between two saves; more if saving takes over a tenth of the time."""


Told = Callable[[str, float, str], None]
"""`told(stage, share, text)`: fraction of a stage that is done, 0 to 1, and a
description."""


def tell_nobody(stage: str, share: float, text: str) -> None:
    """A `Told` that ignores progress."""


class Draft:
    """What exists of an unfinished part."""

    def __init__(self, folder: Folder, name: str, told: Told = tell_nobody):
        self.folder, self.file = folder, f"{FOLDER}/{name}"
        self.told, self.shares = told, dict[str, float]()
        self._saved, self._took = time.monotonic(), 0.0

    def load(self) -> bytes | None:
        """What was saved last, if anything."""
        there = self.folder.has(self.file)
        return self.folder.content(self.file) if there else None

    def save(self, make: Callable[[], bytes], *, now: bool = False) -> None:
        """Save the result of `make`, if it is time to, or `now`."""
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
        """`save` arrays by name, and report the number of finished chips."""
        self.tell(values)
        self.save(lambda: packed(as_arrays(values)), now=now)

    def section(self, mark: str, share: float = 1.0) -> "Section":
        """A separate measurement stored in this draft.

        Args:
            mark: identifies it.
            share: its fraction of the whole part, as far as is known.
        """
        return Section(self, f"{mark}:", share)

    def tell(self, values: Mapping[str, Any], mark: str = "", share: float = 1) -> None:
        """Report the number of finished chips of a measurement."""
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
        """Delete it: the part is done."""
        self.folder.remove(self.file)


class Section:
    """Arrays whose names begin with a mark, stored with others in a draft."""

    def __init__(self, draft: Draft, mark: str, share: float = 1.0):
        self.draft, self.mark, self.share = draft, mark, share

    def load_arrays(self) -> Arrays:
        """Arrays that were saved last, or none."""
        known, mark = self.draft.known, self.mark
        return {k.removeprefix(mark): v for k, v in known.items() if k.startswith(mark)}

    def save_arrays(self, values: Mapping[str, Any]) -> None:
        """Save arrays in addition to those of other sections, if it is time to."""
        self.draft.tell(values, self.mark, self.share)
        self.draft.known.update({f"{self.mark}{k}": v for k, v in values.items()})
        self.draft.save(lambda: packed(as_arrays(self.draft.known)))


class Saving:
    """A draft of chips that is also saved after a given number of them."""

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
    """Delete all drafts: their parts are done, or never will be."""
    for name in [n for n in folder.files if n.startswith(f"{FOLDER}/")]:
        folder.remove(name)


class Course:
    """A `Checkpoint` of a descent: step and state, stored in a draft.

    Args:
        draft: draft that holds it.
        last: total number of steps, after which it is always saved.
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
