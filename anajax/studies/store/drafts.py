"""Work that is not done yet: saved several times a minute, so that little is lost.

A draft is a file of the study until the part that it belongs to is there. What it holds
does not depend on when it was saved: a study that was stopped anywhere ends with the
same bits.
"""

import io
import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anajax._core.types import PyTree
from anajax.analysis.steps import Arrays, Step, as_arrays
from anajax.studies.store.folder import Folder

FOLDER = "drafts"
EVERY = 15.0
"""Seconds between two savings; more where they take over a tenth of the time."""


class Draft:
    """What there is of a part that is not done."""

    def __init__(self, folder: Folder, name: str):
        self.folder, self.file = folder, f"{FOLDER}/{name}"
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
        """`save` arrays by name."""
        self.save(lambda: packed(as_arrays(values)), now=now)

    def steps(self, size: int) -> Step:
        """A `Step` that keeps all steps here; they are known by their order.

        Args:
            size: of a step, such as its chips: steps of another size are not these.
        """
        known, order = self.load_arrays(), itertools.count()

        def step(compute: Callable[[], Mapping[str, Any]]) -> Arrays:
            mark = f"{size}x{next(order)}:"
            found = {k: v for k, v in known.items() if k.startswith(mark)}
            if not found:
                found = {f"{mark}{k}": v for k, v in as_arrays(compute()).items()}
                known.update(found)
                self.save_arrays(known)
            return {name.removeprefix(mark): v for name, v in found.items()}

        return step

    def drop(self) -> None:
        """Delete it: the part is there."""
        self.folder.remove(self.file)


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
