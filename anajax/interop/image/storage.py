"""Arrays of an image in files: safetensors, HDF5, or one CSV each."""

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from anajax._core import checks
from anajax.interop import safetensors_file
from anajax.interop.buffers import damaged, inside, mapped, size_of

Storage = Literal["safetensors", "csv", "hdf5"]
"""File format of the arrays."""
KINDS = ("float32", "float64", "float16", "int32", "int64", "bool", "uint8", "int8")
"""Number types of arrays."""
_ONE = {"safetensors": "arrays.safetensors", "hdf5": "arrays.h5"}
Arrays = dict[str, np.ndarray]


def pack(arrays: Mapping[str, np.ndarray], storage: Storage) -> dict[str, Any]:
    """The files of arrays: their contents by name, and where each array is.

    Returns:
        `files`, bytes by file name, and `places`, the file name by array.
    """
    checks.word("storage", storage, Storage)
    if storage == "csv":
        places = {name: f"arrays/{i:05d}.csv" for i, name in enumerate(arrays)}
        files = {places[name]: _csv(array) for name, array in arrays.items()}
        return {"files": files, "places": places}
    content = _safetensors(arrays) if storage == "safetensors" else _hdf5(arrays)
    file = _ONE[storage]
    return {"files": {file: content}, "places": dict.fromkeys(arrays, file)}


def _safetensors(arrays: Mapping[str, np.ndarray]) -> bytes:
    from safetensors.numpy import save

    return save({name: np.asarray(v, order="C") for name, v in arrays.items()})


def _hdf5(arrays: Mapping[str, np.ndarray]) -> bytes:
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for i, (name, array) in enumerate(arrays.items()):
            file.create_dataset(f"{i:05d}", data=array).attrs["name"] = name
    return buffer.getvalue()


def _csv(array: np.ndarray) -> bytes:
    """One line for all places but the last axis: indices, then numbers to the bit."""
    flat = array.reshape(-1, array.shape[-1]) if array.ndim else array.reshape(1, 1)
    axes = [f"axis_{i}" for i in range(array.ndim - 1)]
    head = ",".join([*axes, *(f"value_{i}" for i in range(flat.shape[1]))])
    where = np.indices(array.shape[:-1]).reshape(len(axes), len(flat)).T
    text = [head]
    for index, numbers in zip(where.tolist(), flat, strict=True):
        text.append(",".join([*map(str, index), *map(_number, numbers)]))
    return ("\n".join(text) + "\n").encode()


def _number(value: np.generic) -> str:
    """The shortest text that is this number again."""
    plain = str(value) if isinstance(value, np.floating) else str(int(value))
    return plain


# --- back -----------------------------------------------------------------------------


def unpack(folder: Path, manifest: Mapping[str, Any]) -> Arrays:
    """The arrays named in a manifest; every file is checked by its digest.

    Raises:
        ValueError: if a file is missing, damaged, or outside the folder, or an array
            has another shape or type.
    """
    path = folder / "manifest.json"
    for name, digest in manifest["files"].items():
        raw = mapped(inside(folder, name, path))
        if hashlib.sha256(raw).hexdigest() != digest:
            rule, remedy = f"have the SHA-256 of {name}", "Copy or write it again."
            checks.fail("path", rule, "another: the file was changed", remedy)
    entries = manifest["arrays"]
    unlisted = {e["file"] for e in entries.values()} - set(manifest["files"])
    if unlisted:
        damaged(path, f"the file {min(unlisted)!r}, which has no digest,")
    for name, entry in entries.items():
        if entry["dtype"] not in KINDS:
            damaged(path, f"numbers of type {entry['dtype']!r:.40}")
        size_of(path, name, entry["shape"])
    found = _READERS[manifest["storage"]](folder, entries)
    for name, entry in entries.items():
        array = found.get(name)
        shape, dtype = tuple(entry["shape"]), entry["dtype"]
        if array is None or array.shape != shape or array.dtype.name != dtype:
            got = "none" if array is None else f"{array.dtype}{list(array.shape)}"
            damaged(folder / entry["file"], f"{got} for {name!r:.60}")
    return {name: found[name] for name in entries}


def _read_safetensors(folder: Path, entries: Mapping[str, Any]) -> Arrays:
    found: Arrays = {}
    for file in {entry["file"] for entry in entries.values()}:
        found |= safetensors_file.contents(folder / file).arrays
    return found


_OF_HDF5 = (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError)
"""What h5py raises for damaged files; a damaged name is a UnicodeDecodeError."""


def _read_hdf5(folder: Path, entries: Mapping[str, Any]) -> Arrays:
    import h5py

    found: Arrays = {}
    for file in {entry["file"] for entry in entries.values()}:
        try:
            with h5py.File(folder / file) as opened:
                for data in opened.values():
                    if data.size * data.dtype.itemsize > 2**40:
                        raise OSError(f"{data.size} numbers")
                    found[str(data.attrs["name"])] = np.asarray(data)
        except _OF_HDF5 as error:
            damaged(folder / file, f"{type(error).__name__}: {error}")
    return found


def _read_csv(folder: Path, entries: Mapping[str, Any]) -> Arrays:
    return {
        name: _of_csv(folder / entry["file"], entry) for name, entry in entries.items()
    }


def _of_csv(path: Path, entry: Mapping[str, Any]) -> np.ndarray:
    shape, dtype = tuple(entry["shape"]), np.dtype(entry["dtype"])
    try:
        lines = bytes(mapped(path)).decode().splitlines()[1:]
        axes = max(len(shape) - 1, 0)
        cells = [line.split(",")[axes:] for line in lines]
        wide = np.dtype(np.int64) if dtype.kind in "iub" else dtype
        numbers = np.array([[wide.type(c) for c in row] for row in cells], wide)
        return numbers.reshape(shape).astype(dtype)
    except (ValueError, UnicodeDecodeError, OverflowError) as error:
        damaged(path, f"{type(error).__name__}: {error}")


_READERS: dict[str, Callable[[Path, Mapping[str, Any]], Arrays]] = {
    "safetensors": _read_safetensors, "csv": _read_csv, "hdf5": _read_hdf5,
}  # fmt: skip
assert set(_READERS) == set(get_args(Storage))


def parse(path: Path) -> Any:
    """The manifest of a file, as JSON without duplicate names.

    Raises:
        ValueError: if it is not such a file.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(whole := dict(pairs)) < len(pairs):
            raise ValueError("a name twice")
        return whole

    try:
        return json.loads(bytes(mapped(path)), object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        damaged(path, f"JSON that cannot be read ({error})")
