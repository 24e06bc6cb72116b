"""Safetensors: a JSON header and raw numbers; one file, or several with an index."""

import json
from pathlib import Path
from typing import Any

from anajax.interop.buffers import (
    DTYPES,
    Contents,
    Cursor,
    damaged,
    inside,
    mapped,
    spans,
    view,
)

_CODES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "I64": "int64",
    "I32": "int32", "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32",
    "U16": "uint16", "U8": "uint8", "BOOL": "bool", "C64": "complex64",
}  # fmt: skip
_LONGEST_HEADER = 100_000_000


def contents(path: Path) -> Contents:
    """Arrays of one file, as views of it.

    Raises:
        ValueError: if the file violates the format.
    """
    cursor = Cursor(path, mapped(path))
    size = cursor.number("<Q", "a header size")
    if size > _LONGEST_HEADER:
        damaged(path, f"a header of {size} bytes")
    header = _json(path, cursor.text(size, "a header"))
    entries = {n: _entry(path, n, e) for n, e in header.items() if n != "__metadata__"}
    spans(path, ((name, *ends) for name, (_, _, ends) in entries.items()))
    body = cursor.data[cursor.at :]
    found = Contents({}, {})
    for name, (code, shape, (begin, end)) in entries.items():
        if end > len(body):
            damaged(path, f"{name!r:.60}, which ends at {end} of {len(body)} bytes,")
        if code not in _CODES:
            found.unread[name] = f"type {code}"
            continue
        dtype = DTYPES[_CODES[code]]
        found.arrays[name] = view(path, name, body[begin:end], dtype, shape)
    return found


def sharded(path: Path) -> Contents:
    """Arrays of all files named in an index, which must be in the same folder.

    Raises:
        ValueError: as for `contents`, or if a file does not match the index.
    """
    index = _json(path, Cursor(path, data := mapped(path)).text(len(data), "an index"))
    places = index.get("weight_map")
    if not isinstance(places, dict) or not places:
        damaged(path, "no `weight_map`")
    if not all(isinstance(name, str) for name in places.values()):
        damaged(path, "a `weight_map` with other things than file names")
    whole = Contents({}, {})
    for name in sorted(set(places.values())):
        part = contents(inside(path.parent, name, path))
        want = {key for key, place in places.items() if place == name}
        missing = want - {*part.arrays, *part.unread}
        if missing:
            damaged(path, f"{min(missing)!r:.60}, which {name!r:.60} does not hold,")
        whole.arrays.update({k: v for k, v in part.arrays.items() if k in want})
        whole.unread.update(part.unread)
        extra = sorted(set(part.arrays) - want)
        whole.unread.update(dict.fromkeys(extra, "not in the index"))
    return whole


def _json(path: Path, text: str) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        whole = dict(pairs)
        if len(whole) < len(pairs):
            raise ValueError("a name twice")
        return whole

    try:
        value = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        damaged(path, f"JSON that cannot be read ({error})")
    if not isinstance(value, dict):
        damaged(path, f"a header that is {type(value).__name__}")
    return value


def _entry(path: Path, name: str, entry: Any) -> tuple[str, Any, tuple[int, int]]:
    match entry:
        case {"dtype": str(code), "shape": list(shape), "data_offsets": [begin, end]}:
            if type(begin) is type(end) is int and 0 <= begin <= end:
                return code, shape, (begin, end)
    damaged(path, f"the entry {entry!r:.80} of {name!r:.60}")
