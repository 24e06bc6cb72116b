"""Files as mapped memory, read in checked steps: sizes before arrays."""

import dataclasses
import math
import mmap
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import ml_dtypes
import numpy as np

from anajax._core import checks

MOST_AXES = 32
"""More axes than any network has."""


@dataclasses.dataclass(frozen=True)
class Contents:
    """Contents of a file."""

    arrays: dict[str, np.ndarray]
    """Arrays by name."""
    unread: dict[str, str]
    """What was not read, and why, by name."""


def damaged(path: Path, got: object) -> NoReturn:
    """Refuse a file that violates its format."""
    rule, remedy = "name a whole, valid file", "Write or download it again."
    checks.fail("path", rule, f"{got:.200} in {path.name!r:.80}", remedy)


def mapped(path: Path) -> memoryview:
    """The bytes of a file, memory-mapped without a copy.

    Raises:
        ValueError: if there is no such file, or it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            empty = file.seek(0, 2) == 0
            if empty:
                return memoryview(b"")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        got = f"{error.strerror or error} ({path})"
        checks.fail("path", "name a file that can be read", got, "Correct it.")


def inside(folder: Path, name: Any, path: Path) -> Path:
    """The file `name` in the folder of `path`; it must not lead elsewhere."""
    way = Path(name) if isinstance(name, str) and "\0" not in name else Path("..")
    if way.is_absolute() or ".." in way.parts or not way.parts or "\\" in str(way):
        damaged(path, f"the file name {name!r:.80}, which leaves its folder,")
    return folder / way


def spans(path: Path, found: Iterable[tuple[str, int, int]]) -> None:
    """Refuse arrays (name, begin, end) that overlap in a file."""
    ordered = sorted((begin, end, name) for name, begin, end in found if begin < end)
    for (_, end, name), (begin, _, other) in zip(ordered, ordered[1:], strict=False):
        if begin < end:
            damaged(path, f"{name!r:.60} and {other!r:.60}, which overlap,")


class Cursor:
    """A position in a file, with steps that stay inside."""

    def __init__(self, path: Path, data: memoryview, start: int = 0):
        self.path, self.data, self.at = path, data, start

    def left(self) -> int:
        """Number of remaining bytes."""
        return len(self.data) - self.at

    def take(self, count: int, what: str) -> memoryview:
        """The next `count` bytes."""
        if not 0 <= count <= self.left():
            damaged(self.path, f"{what} of {count} bytes where {self.left()} are left")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, form: str, what: str) -> Any:
        """The next number, in a format of `struct`."""
        return struct.unpack(form, self.take(struct.calcsize(form), what))[0]

    def text(self, count: int, what: str) -> str:
        """The next `count` bytes as text."""
        raw = bytes(self.take(count, what))
        try:
            return raw.decode()
        except UnicodeDecodeError:
            damaged(self.path, f"{what} that is not UTF-8")


def size_of(path: Path, name: str, shape: Any) -> int:
    """Number of elements of an array, after a check of its shape."""
    whole = isinstance(shape, list | tuple) and all(
        isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**48 for n in shape
    )
    if not whole or len(shape) > MOST_AXES:
        damaged(path, f"the shape {shape!r:.80} of {name!r:.60}")
    return math.prod(shape)


def view(
    path: Path, name: str, raw: memoryview, dtype: np.dtype, shape: Any
) -> np.ndarray:
    """View of bytes of a file as an array, without a copy."""
    count = size_of(path, name, shape)
    if count * dtype.itemsize != len(raw):
        got = f"{name!r:.60} of shape {tuple(shape)} and {dtype} on {len(raw)} bytes"
        damaged(path, got)
    if not count and math.prod(n for n in shape if n) > 2**48:
        damaged(path, f"the shape {shape!r:.80} of {name!r:.60}")
    return np.frombuffer(raw, dtype).reshape(shape)


DTYPES = {
    name: np.dtype(getattr(ml_dtypes, name, name))
    for name in (
        "float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2",
        "float8_e4m3fnuz", "float8_e5m2fnuz", "int64", "int32", "int16", "int8",
        "uint64", "uint32", "uint16", "uint8", "bool", "complex64", "complex128",
    )
}  # fmt: skip
"""Types of numbers that are supported."""
