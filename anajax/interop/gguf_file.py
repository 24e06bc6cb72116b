"""GGUF: metadata, a table of tensors, and their blocks; quantized weights as float32.

Layout of the file and of the blocks: the specification in the repository of ggml.
"""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from anajax.interop.buffers import (
    DTYPES,
    Contents,
    Cursor,
    damaged,
    mapped,
    size_of,
    spans,
    view,
)

_NUMBERS = "<B <b <H <h <I <i <f <B _ _ <Q <q <d".split()
"""Formats of metadata numbers by their code; 8 is text, 9 an array."""
_TEXT, _ARRAY = 8, 9
_PLAIN = {
    0: "float32", 1: "float16", 24: "int8", 25: "int16", 26: "int32", 27: "int64",
    28: "float64", 30: "bfloat16",
}  # fmt: skip
_NAMES = {
    6: "Q5_0", 7: "Q5_1", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K",
    14: "Q6_K", 15: "Q8_K", 20: "IQ4_NL", 23: "IQ4_XS", 39: "MXFP4",
}  # fmt: skip
BLOCK = 32
"""Number of weights that share a scale."""


def _scale(blocks: np.ndarray, at: int) -> np.ndarray:
    return blocks[:, at : at + 2].copy().view(np.float16).astype(np.float32)


def _nibbles(blocks: np.ndarray) -> np.ndarray:
    """The low halves of all bytes, then the high ones."""
    return np.concatenate([blocks & 15, blocks >> 4], axis=1).astype(np.float32)


def _q8_0(blocks: np.ndarray) -> np.ndarray:
    return _scale(blocks, 0) * blocks[:, 2:].view(np.int8)


def _q4_0(blocks: np.ndarray) -> np.ndarray:
    return _scale(blocks, 0) * (_nibbles(blocks[:, 2:]) - 8)


def _q4_1(blocks: np.ndarray) -> np.ndarray:
    return _scale(blocks, 0) * _nibbles(blocks[:, 4:]) + _scale(blocks, 2)


_BLOCKS: dict[int, tuple[int, Callable[[np.ndarray], np.ndarray]]] = {
    2: (18, _q4_0),
    3: (20, _q4_1),
    8: (34, _q8_0),
}
"""Bytes of a block and how it becomes numbers, by type."""


@dataclasses.dataclass(frozen=True)
class _Entry:
    shape: list[int]
    code: int
    offset: int

    def size(self, path: Path, name: str) -> int:
        """Bytes in the file."""
        count = size_of(path, name, self.shape)
        if self.code in _PLAIN:
            return count * DTYPES[_PLAIN[self.code]].itemsize
        if not self.shape or self.shape[-1] % BLOCK:
            damaged(path, f"rows of {name!r:.60} that are not whole blocks")
        return count // BLOCK * _BLOCKS[self.code][0]


def contents(path: Path) -> Contents:
    """Arrays of a GGUF file: plain ones as views, quantized ones as float32.

    Raises:
        ValueError: if the file violates the format.
    """
    cursor = Cursor(path, mapped(path))
    tensors, metadata = _head(cursor)
    entries = [_tensor(cursor) for _ in range(tensors)]
    start = _aligned(path, cursor.at, metadata.get("general.alignment", 32))
    found = _arrays(path, cursor.data, start, entries)
    parts = metadata.get("split.count", 1)
    if parts != 1:
        found.unread["other files"] = f"this is one of {parts}"
    return found


def metadata(path: str | Path) -> dict[str, Any]:
    """Metadata of a GGUF file: numbers, texts and lists of these by key.

    Keys such as `llama.block_count` give the sizes of the network, those that begin
    with `tokenizer.ggml` its tokenizer.

    Args:
        path: the file.

    Raises:
        ValueError: if the file violates the format.
    """
    path = Path(path)
    return _head(Cursor(path, mapped(path)))[1]


def _head(cursor: Cursor) -> tuple[int, dict[str, Any]]:
    """The number of tensors, and the metadata."""
    path = cursor.path
    if bytes(cursor.take(4, "a magic word")) != b"GGUF":
        damaged(path, "no magic word `GGUF`")
    version = cursor.number("<I", "a version")
    if version not in (2, 3):
        damaged(path, f"version {version} (2 and 3 are read, in little-endian order)")
    tensors, pairs = (cursor.number("<Q", "a count") for _ in range(2))
    if tensors * 24 + pairs * 13 > cursor.left():
        damaged(path, f"{tensors} tensors and {pairs} pairs of metadata")
    return tensors, dict(_pair(cursor) for _ in range(pairs))


def _arrays(
    path: Path, data: memoryview, start: int, entries: list[tuple[str, _Entry]]
) -> Contents:
    if len(dict(entries)) < len(entries):
        damaged(path, "a tensor name twice")
    found, raw = Contents({}, {}), {}
    for name, entry in entries:
        if entry.code not in _PLAIN and entry.code not in _BLOCKS:
            found.unread[name] = _NAMES.get(entry.code, f"type {entry.code}")
            continue
        cursor = Cursor(path, data, min(start + entry.offset, len(data)))
        begin = cursor.at
        raw[name] = entry, cursor.take(entry.size(path, name), f"{name!r:.60}"), begin
    spans(path, ((name, at, at + len(part)) for name, (_, part, at) in raw.items()))
    for name, (entry, part, _) in raw.items():
        found.arrays[name] = _array(path, name, entry, part)
    return found


def _array(path: Path, name: str, entry: _Entry, raw: memoryview) -> np.ndarray:
    if entry.code in _PLAIN:
        return view(path, name, raw, DTYPES[_PLAIN[entry.code]], entry.shape)
    size, numbers = _BLOCKS[entry.code]
    if not math.prod(entry.shape):
        return np.zeros(entry.shape, np.float32)
    with np.errstate(invalid="ignore", over="ignore"):  # a scale may be infinite
        blocks = np.frombuffer(raw, np.uint8).reshape(-1, size)
        return numbers(blocks).reshape(entry.shape)


def _aligned(path: Path, at: int, to: Any) -> int:
    if not isinstance(to, int) or not 1 <= to <= 2**20:
        damaged(path, f"an alignment of {to!r:.40}")
    return -(-at // to) * to


def _tensor(cursor: Cursor) -> tuple[str, _Entry]:
    name = _text(cursor, "a tensor name")
    axes = cursor.number("<I", "a number of axes")
    if axes > 4:
        damaged(cursor.path, f"{axes} axes of {name!r:.60}")
    shape = [cursor.number("<Q", "a length") for _ in range(axes)][::-1]
    code = cursor.number("<I", "a type")
    return name, _Entry(shape, code, cursor.number("<Q", "an offset"))


def _pair(cursor: Cursor) -> tuple[str, Any]:
    key = _text(cursor, "a metadata key")
    return key, _value(cursor, cursor.number("<I", "a metadata type"))


def _text(cursor: Cursor, what: str) -> str:
    return cursor.text(cursor.number("<Q", f"the length of {what}"), what)


def _value(cursor: Cursor, code: int, depth: int = 0) -> Any:
    """A number, a text, or a list of either."""
    if code == _TEXT:
        return _text(cursor, "a metadata text")
    if code == _ARRAY and depth < 4:
        inner = cursor.number("<I", "the type of an array")
        count = cursor.number("<Q", "the length of an array")
        if count > cursor.left():
            damaged(cursor.path, f"an array of {count} in {cursor.left()} bytes")
        return [_value(cursor, inner, depth + 1) for _ in range(count)]
    if code >= len(_NUMBERS) or code == _ARRAY:
        damaged(cursor.path, f"metadata of type {code}")
    return cursor.number(_NUMBERS[code], "a metadata number")
