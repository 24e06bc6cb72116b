"""Device files: any device as JSON with a schema version, and back.

A record is an object with its class under "type" and one entry per field; arrays are
nested lists, missing records are null. A file can only name classes in
`devices.records`, and nothing is executed.
"""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np

from anajax._core.disk import write_atomically
from anajax._core.types import Array, PRNGKey
from anajax.devices import base
from anajax.devices.base import Device
from anajax.devices.records import records

FORMAT = "anajax-device"
VERSION = 1


def save_device(device: Device, path: str | Path) -> None:
    """Write a device to a JSON file atomically: a reader never sees half a file.

    Raises:
        ValueError: if the device holds a record that is not registered, or
            traced or stacked parameters that are not concrete.
        WriteError: an OSError, if the file cannot be written.
    """
    path = Path(path)
    document = {"format": FORMAT, "version": VERSION, "device": _encode(device)}
    text = json.dumps(document, indent=1, allow_nan=False)
    write_atomically(path, f"{text}\n".encode())


def load_device(path: str | Path) -> Device:
    """Read a device from a file written by `save_device`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is truncated, is not a device file, has an unknown
            version, or does not hold a valid device; the message names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"`{path}` must be a device file: got no file. Give its path."
        )
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # not UTF-8, or not JSON
        _fail(path, "be complete JSON", error, "Write it again with `save_device`.")
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        _fail(path, f"be a file of format {FORMAT!r}", _kind(document), "Give another.")
    if document.get("version") != VERSION:
        rule = f"have version {VERSION}"
        _fail(
            path,
            rule,
            document.get("version"),
            "Use the version of anajax that wrote it.",
        )
    device = _decode(document.get("device"), path, "device")
    if not isinstance(device, Device):
        _fail(path, "hold a Device", type(device).__name__, "Save a whole device.")
    _require_cells(device, path)
    return device


_MISFITS = (TypeError, ValueError, AttributeError, IndexError, OverflowError)
"""What records raise that were made of the wrong things."""


def _require_cells(device: Device, path: Path) -> None:
    """Trace a cell through the device: records and shapes must fit each other."""

    def cell(device: Device, key: PRNGKey) -> Array:
        cells = base.program(device, device.g_max, key=key)
        t = 0.0 if device.valid_times is None else device.valid_times[0]
        return base.read(device, base.age(device, cells, t=t), t=t, key=key)

    try:
        jax.eval_shape(cell, device, jax.random.key(0))
    except _MISFITS as error:
        first = str(error).splitlines()[0]
        _fail(path, "hold slots and tables that fit each other", first, "Repair it.")


def _encode(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, tuple):
        return [_encode(v) for v in value]
    if isinstance(value, jax.Array | np.ndarray):
        return np.asarray(value).tolist()
    name = type(value).__name__
    if records().get(name) is not type(value):
        raise ValueError(
            f"`device` must be made of known records to be saved: got {name}. "
            "Express it with curves, tables and slots of `anajax.devices`, or register "
            f"your own: devices.register({name})."
        )
    fields = dataclasses.fields(value)
    return {"type": name} | {f.name: _encode(getattr(value, f.name)) for f in fields}


def _decode(value: Any, path: Path, where: str) -> Any:
    if not isinstance(value, dict):
        return value
    cls = records().get(str(value.get("type")))
    if cls is None:
        _fail(path, f"name a known record at {where}", value.get("type"), _KNOWN)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    given = set(value) - {"type"}
    if given != set(fields):
        odd = sorted(given ^ set(fields))
        _fail(path, f"have the fields of {cls.__name__} at {where}", odd, "Repair it.")
    decoded = {name: _decode(value[name], path, f"{where}.{name}") for name in fields}
    for name, field in fields.items():
        if field.metadata.get("static"):
            decoded[name] = _static(decoded[name])
        else:
            _require_numbers(decoded[name], path, f"{where}.{name}")
    try:
        return cls(**decoded)
    except _MISFITS as error:
        _fail(path, f"hold a valid {cls.__name__} at {where}", error, "Repair it.")


def _require_numbers(value: Any, path: Path, where: str) -> None:
    """Refuse what is no record, no null and no array of finite single-precision."""
    if isinstance(value, str | bool):
        _fail(path, f"hold numbers at {where}", value, "Repair it.")
    if not isinstance(value, int | float | list):
        return
    try:
        numbers = np.asarray(value, float)
    except (TypeError, ValueError, OverflowError) as error:
        _fail(path, f"hold an array of numbers at {where}", error, "Repair it.")
    if not np.all(np.abs(numbers) < np.finfo(np.float32).max):
        _fail(path, f"hold finite numbers below 3e38 at {where}", value, "Repair it.")


_KNOWN = "Register a class of your own first: devices.register(NAME)."


def _static(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_static, value))
    return float(value) if value in ("inf", "-inf") else value


def _kind(document: Any) -> str:
    if isinstance(document, dict):
        return f"format {document.get('format')!r}"
    return type(document).__name__


def _fail(path: Path, rule: str, got: object, remedy: str) -> NoReturn:
    raise ValueError(f"`{path}` must {rule}: got {got}. {remedy}") from None
