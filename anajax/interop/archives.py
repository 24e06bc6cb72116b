"""Archives of arrays: npz, Flax msgpack, and Orbax folders."""

import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import jax
import msgpack
import numpy as np

from anajax.interop.buffers import DTYPES, Contents, damaged, mapped, view

_HIGHEST_RATIO = 1032
"""What deflate can at most compress."""
_LONGEST_LIST = 2**16
ORBAX = ("_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt")
"""Files that identify an Orbax folder."""


def npz(path: Path) -> Contents:
    """Arrays of an npz file; entries that are not arrays of numbers are skipped.

    Raises:
        ValueError: if the file is not an npz file, or damaged.
    """
    size, found = len(mapped(path)), Contents({}, {})
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            packed = sum(entry.compress_size for entry in entries)
            if packed > size or len({e.filename for e in entries}) < len(entries):
                damaged(path, "entries that overlap, or of one name,")
            for entry in entries:
                name = entry.filename.removesuffix(".npy")
                array, why = _npy(path, archive, entry)
                if array is None:
                    found.unread[name] = why
                else:
                    found.arrays[name] = array
    except Exception as error:  # whatever a wrong archive makes of its reader
        _refused(path, error)
    return found


def _npy(
    path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo
) -> tuple[np.ndarray | None, str]:
    """The array of one entry, or why there is none."""
    if not entry.filename.endswith(".npy"):
        return None, "no array"
    if entry.file_size > _HIGHEST_RATIO * (entry.compress_size + 64):
        damaged(path, f"{entry.file_size} bytes packed in {entry.compress_size}")
    formats = np.lib.format
    with archive.open(entry) as file:
        version = formats.read_magic(file)
        if version > (2, 0):
            return None, f"version {version} of npy"
        header = formats.read_array_header_1_0
        if version == (2, 0):
            header = formats.read_array_header_2_0
        shape, fortran, dtype = header(file)
        if dtype.hasobject or dtype.kind not in "biufc":
            return None, f"no numbers ({dtype})"
        if math.prod(shape) * dtype.itemsize != entry.file_size - file.tell():
            damaged(path, f"{entry.filename!r:.60} with another size than its shape")
        raw = memoryview(file.read())
    array = view(path, entry.filename, raw, dtype, shape[::-1] if fortran else shape)
    return (array.T if fortran else array), ""


def flax_msgpack(path: Path) -> Contents:
    """Arrays of a Flax msgpack file, by path.

    Raises:
        ValueError: if the file is not a msgpack file, or damaged.
    """

    def extension(code: int, raw: memoryview) -> Any:
        if code not in (1, 3):
            return f"extension {code}"
        shape, name, data = msgpack.unpackb(raw, max_array_len=64)
        if name not in DTYPES:
            return f"type {name}"
        return view(path, "an array", memoryview(data), DTYPES[name], shape)

    try:
        tree = msgpack.unpackb(
            mapped(path),
            ext_hook=extension,
            strict_map_key=False,
            max_array_len=_LONGEST_LIST,
        )
        return _collected(tree)
    except Exception as error:  # whatever wrong bytes make of their reader
        _refused(path, error)


def _collected(tree: Any) -> Contents:
    found = Contents({}, {})
    for name, value in _leaves(tree, ""):
        if isinstance(value, np.ndarray | bool | int | float | complex):
            found.arrays[name] = np.asarray(value)
        elif value is not None:
            found.unread[name] = (
                f"{value:.40}" if isinstance(value, str) else "no array"
            )
    return found


def _leaves(tree: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict) and "__msgpack_chunked_array__" in tree:
        yield path, _joined(tree)
    elif isinstance(tree, dict | list):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, value in items:
            yield from _leaves(value, f"{path}/{key}" if path else str(key))
    else:
        yield path, tree


def _joined(parts: dict[str, Any]) -> np.ndarray:
    """An array that was written in pieces."""
    shape, chunks = (
        [parts[what][str(i)] for i in range(len(parts[what]))]
        for what in ("shape", "chunks")
    )
    return np.concatenate(chunks).reshape(shape)


def orbax(path: Path) -> Contents:
    """Arrays of an Orbax folder, by path.

    Raises:
        ValueError: if Orbax cannot read it.
    """
    import orbax.checkpoint as ocp

    size = sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
    try:
        with ocp.PyTreeCheckpointer() as reader:
            tree = reader.metadata(path.absolute()).item_metadata.tree
            leaves = jax.tree.leaves(tree)
            numbers = [math.prod(getattr(v, "shape", ())) for v in leaves]
            if sum(numbers) > _HIGHEST_RATIO * (size + 1024):
                damaged(path, f"{sum(numbers)} numbers in {size} bytes")
            how = ocp.RestoreArgs(restore_type=np.ndarray)
            args = jax.tree.map(lambda _: how, tree)
            return _collected(reader.restore(path.absolute(), restore_args=args))
    except Exception as error:  # whatever a wrong folder makes of its reader
        _refused(path, error)


def is_orbax(path: Path) -> bool:
    """Whether a folder was written by Orbax."""
    return any((path / name).exists() for name in ORBAX)


def _refused(path: Path, error: Exception) -> NoReturn:
    """The message of this package as it is, any other inside one."""
    if isinstance(error, ValueError) and str(error).startswith("`path` must"):
        raise error
    damaged(path, f"{type(error).__name__}: {error}")
