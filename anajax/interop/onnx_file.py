"""ONNX files: the graph, and tensors in it or in external files."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from anajax.interop.buffers import (
    DTYPES,
    Contents,
    damaged,
    inside,
    mapped,
    size_of,
    view,
)
from anajax.interop.protobuf import Message, parse

_TYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32",
    7: "int64", 9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64",
    14: "complex64", 15: "complex128", 16: "bfloat16", 17: "float8_e4m3fn",
    18: "float8_e4m3fnuz", 19: "float8_e5m2", 20: "float8_e5m2fnuz",
}  # fmt: skip
_UNREAD = {8: "text", 21: "uint4", 22: "int4", 23: "float4_e2m1"}
_HELD = {
    "float32": "float_data", "complex64": "float_data", "float64": "double_data",
    "complex128": "double_data", "int64": "int64_data", "uint64": "uint64_data",
    "uint32": "uint64_data",
}  # fmt: skip
"""Field of the numbers, by type; `int32_data` for all others."""
_EXTERNAL = 1


@dataclasses.dataclass(frozen=True)
class Unread:
    """A tensor that is not read."""

    why: str


def model(path: Path) -> Message:
    """The model of an ONNX file.

    Raises:
        ValueError: if the file is not an ONNX model.
    """
    found = parse(path, mapped(path), "ModelProto")
    if found.graph is None or not found.opset_import:
        damaged(path, "no graph, or no operator set,")
    return found


def contents(path: Path) -> Contents:
    """The initializers of a graph.

    Raises:
        ValueError: if the file is damaged.
    """
    graph, found = model(path).graph, Contents({}, {})
    for proto in graph.initializer:
        value = tensor(path, proto)
        if isinstance(value, Unread):
            found.unread[proto.name] = value.why
        else:
            found.arrays[proto.name] = value
    sparse = [proto.values for proto in graph.sparse_initializer if proto.values]
    found.unread.update({proto.name: "sparse" for proto in sparse})
    return found


def dtype_of(path: Path, code: int) -> np.dtype | Unread:
    """The number type of an ONNX code."""
    if code in _TYPES:
        return DTYPES[_TYPES[code]]
    if not 1 <= code <= 63:
        damaged(path, f"a tensor of type {code}")
    return Unread(_UNREAD.get(code, f"type {code}"))


def tensor(path: Path, proto: Message) -> np.ndarray | Unread:
    """The numbers of a tensor: a view of the file if it holds them raw.

    Raises:
        ValueError: if sizes do not fit, or an external file is missing.
    """
    dtype, name = dtype_of(path, proto.data_type), proto.name
    if isinstance(dtype, Unread):
        return dtype
    if proto.segment is not None:
        return Unread("a segment")
    if proto.data_location == _EXTERNAL:
        return view(path, name, _external(path, proto, dtype), dtype, proto.dims)
    if len(proto.raw_data):
        return view(path, name, memoryview(proto.raw_data), dtype, proto.dims)
    numbers = getattr(proto, _HELD.get(dtype.name, "int32_data"))
    raw = memoryview(_typed(path, name, numbers, dtype).tobytes())
    return view(path, name, raw, dtype, proto.dims)


def _typed(path: Path, name: str, numbers: list[Any], dtype: np.dtype) -> np.ndarray:
    """Numbers of a field as what they stand for."""
    if dtype.kind == "c":
        pairs = np.asarray(numbers, np.float64).astype(dtype.type(0).real.dtype)
        return pairs.view(dtype) if len(pairs) % 2 == 0 else pairs
    wide = np.asarray(numbers, np.uint64 if dtype == np.uint64 else None)
    if wide.dtype.kind not in "iuf":
        damaged(path, f"the numbers of {name!r:.60}")
    if dtype.kind in "iub" or _HELD.get(dtype.name):
        return wide.astype(dtype)
    bits = np.dtype(f"u{dtype.itemsize}")  # small floats stand as their bits
    return wide.astype(bits).view(dtype)


def _external(path: Path, proto: Message, dtype: np.dtype) -> memoryview:
    """The bytes of a tensor in a file beside the model."""
    entries = {entry.key: entry.value for entry in proto.external_data}
    place = inside(path.parent, entries.get("location"), path)
    if not place.resolve().is_relative_to(path.parent.resolve()):
        damaged(
            path, f"the file name {entries['location']!r:.80}, a link to elsewhere,"
        )
    size = size_of(path, proto.name, proto.dims) * dtype.itemsize
    begin, length = (
        _whole(path, entries.get(key, default))
        for key, default in (("offset", "0"), ("length", str(size)))
    )
    data = mapped(place)
    if begin + length > len(data):
        damaged(path, f"{proto.name!r:.60}, which ends outside {place.name!r:.60},")
    return data[begin : begin + length]


def _whole(path: Path, text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        damaged(path, f"the place {text!r:.40} of a tensor")
    return int(text)
