"""The wire format of protocol buffers, for the messages of an ONNX file.

Source: the encoding guide of protocol buffers; field numbers from `onnx.proto`.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from anajax.interop.buffers import Cursor, damaged

_DEEPEST = 24
"""Messages inside each other."""

SCHEMA: dict[str, dict[int, tuple[str, str]]] = {
    "ModelProto": {
        1: ("ir_version", "int"),
        7: ("graph", "GraphProto"),
        8: ("opset_import", "OperatorSetIdProto*"),
        25: ("functions", "FunctionProto*"),
    },
    "OperatorSetIdProto": {1: ("domain", "str"), 2: ("version", "int")},
    "FunctionProto": {1: ("name", "str"), 10: ("domain", "str")},
    "GraphProto": {
        1: ("node", "NodeProto*"),
        2: ("name", "str"),
        5: ("initializer", "TensorProto*"),
        11: ("input", "ValueInfoProto*"),
        12: ("output", "ValueInfoProto*"),
        15: ("sparse_initializer", "SparseTensorProto*"),
    },
    "ValueInfoProto": {1: ("name", "str")},
    "SparseTensorProto": {1: ("values", "TensorProto")},
    "NodeProto": {
        1: ("input", "str*"),
        2: ("output", "str*"),
        3: ("name", "str"),
        4: ("op_type", "str"),
        5: ("attribute", "AttributeProto*"),
        7: ("domain", "str"),
    },
    "AttributeProto": {
        1: ("name", "str"),
        2: ("f", "float"),
        3: ("i", "int"),
        4: ("s", "bytes"),
        5: ("t", "TensorProto"),
        6: ("g", "GraphProto"),
        7: ("floats", "float*"),
        8: ("ints", "int*"),
        9: ("strings", "bytes*"),
        20: ("type", "int"),
        21: ("ref_attr_name", "str"),
    },
    "TensorProto": {
        1: ("dims", "int*"),
        2: ("data_type", "int"),
        3: ("segment", "Segment"),
        4: ("float_data", "float*"),
        5: ("int32_data", "int*"),
        6: ("string_data", "bytes*"),
        7: ("int64_data", "int*"),
        8: ("name", "str"),
        9: ("raw_data", "bytes"),
        10: ("double_data", "double*"),
        11: ("uint64_data", "uint*"),
        13: ("external_data", "StringStringEntryProto*"),
        14: ("data_location", "int"),
    },
    "Segment": {1: ("begin", "int")},
    "StringStringEntryProto": {1: ("key", "str"), 2: ("value", "str")},
}
"""Fields that are read: number, name, kind (`*`: repeated); others are skipped."""
_FIXED = {"float": (5, "<f4"), "double": (1, "<f8")}
_EMPTY = {"int": 0, "uint": 0, "float": 0.0, "double": 0.0, "str": "", "bytes": b""}


class Message:
    """A message: its fields as attributes; missing fields are empty."""

    def __init__(self, kind: str):
        self._kind = kind

    def __getattr__(self, name: str) -> Any:
        kinds = {field: kind for field, kind in SCHEMA[self._kind].values()}
        if name not in kinds:
            raise AttributeError(name)
        kind = kinds[name]
        return [] if kind.endswith("*") else _EMPTY.get(kind)


def parse(path: Path, data: memoryview, kind: str, depth: int = 0) -> Message:
    """The message of a kind in `SCHEMA` from these bytes.

    Raises:
        ValueError: if the bytes are not such a message.
    """
    if depth > _DEEPEST:
        damaged(path, f"more than {_DEEPEST} messages inside each other")
    cursor, message, schema = Cursor(path, data), Message(kind), SCHEMA[kind]
    while cursor.left():
        tag = _varint(cursor)
        number, wire = tag >> 3, tag & 7
        raw = _payload(cursor, wire, number)
        if number not in schema:
            continue
        name, form = schema[number]
        values = _values(path, raw, wire, form.removesuffix("*"), depth)
        if form.endswith("*"):
            message.__dict__.setdefault(name, []).extend(values)
        elif values:
            message.__dict__[name] = values[-1]
    return message


def _varint(cursor: Cursor) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = cursor.take(1, "a number")[0]
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (2**64 - 1)
    damaged(cursor.path, "a number of more than ten bytes")


def _payload(cursor: Cursor, wire: int, number: int) -> Any:
    """A number (wire type 0) or bytes."""
    if wire == 0:
        return _varint(cursor)
    if wire in (1, 5):
        return cursor.take(8 if wire == 1 else 4, f"field {number}")
    if wire == 2:
        return cursor.take(_varint(cursor), f"field {number}")
    damaged(cursor.path, f"field {number} of wire type {wire}")


def _values(path: Path, raw: Any, wire: int, form: str, depth: int) -> Any:
    """The values of a field: several where it is packed."""
    if form in _FIXED:
        fixed, dtype = _FIXED[form]
        if wire not in (2, fixed) or len(raw) % np.dtype(dtype).itemsize:
            damaged(path, f"a field of {form} of wire type {wire}")
        return np.frombuffer(raw, dtype).tolist()
    if form in ("int", "uint"):
        return [_signed(v, form) for v in _integers(path, raw, wire)]
    if wire != 2:
        damaged(path, f"a field of {form} of wire type {wire}")
    if form == "bytes":
        return [raw]
    if form == "str":
        return [Cursor(path, raw).text(len(raw), "a text")]
    return [parse(path, raw, form, depth + 1)]


def _integers(path: Path, raw: Any, wire: int) -> list[int]:
    if wire == 0:
        return [raw]
    if wire in (1, 5):
        return list(struct.unpack("<Q" if wire == 1 else "<I", raw))
    cursor, found = Cursor(path, raw), []
    while cursor.left():
        found.append(_varint(cursor))
    return found


def _signed(value: int, form: str) -> int:
    return value - 2**64 if form == "int" and value >= 2**63 else value
