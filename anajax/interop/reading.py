"""Weights trained elsewhere: arrays by name, from files of many formats."""

import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from anajax._core import checks
from anajax.interop import archives, gguf_file, onnx_file, safetensors_file
from anajax.interop.buffers import Contents

_READERS: dict[str, Callable[[Path], Contents]] = {
    ".safetensors": safetensors_file.contents,
    ".safetensors.index.json": safetensors_file.sharded,
    ".gguf": gguf_file.contents,
    ".npz": archives.npz,
    ".msgpack": archives.flax_msgpack,
    ".onnx": onnx_file.contents,
}
"""How a file is read, by the end of its name."""
_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".joblib")
_FOLDER = ("model.safetensors.index.json", "model.safetensors")


def read(path: str | Path, *, only: str = ".*") -> dict[str, np.ndarray]:
    """Arrays of a file by name; for nested trees, by paths such as `a/b/kernel`.

    The format follows from the end of the name: `.safetensors` (a file, the index of
    several, or the folder of either), `.gguf` (plain types, Q8_0, Q4_0 and Q4_1, as
    float32), `.npz`, `.msgpack` (Flax), `.onnx` (initializers), or an Orbax folder.
    Arrays are views of the file if it holds plain numbers; axes are as in the file.
    Nothing in a file is executed.

    Args:
        path: the file, or its folder.
        only: regular expression for the whole names of the arrays to return.

    Raises:
        ValueError: if the file is damaged, a pickle, or of another format.

    Warns:
        UserWarning: naming what is not read, and why.

    Example:
        >>> np.savez("net.npz", kernel=np.ones((3, 2)), bias=np.zeros(2))
        >>> {name: a.shape for name, a in anajax.interop.read("net.npz").items()}
        {'kernel': (3, 2), 'bias': (2,)}
    """
    path = Path(path)
    try:
        pattern = re.compile(only)
    except re.error as error:
        checks.fail("only", "be a regular expression", repr(only), f"{error}.")
    found = _reader(path)(path)
    unread = {k: why for k, why in found.unread.items() if pattern.fullmatch(k)}
    if unread:
        names = ", ".join(f"{name} ({why})" for name, why in sorted(unread.items()))
        count = f"{len(unread)} of {len(unread) + len(found.arrays)}"
        warnings.warn(f"{path.name}: {count} not read: {names}", stacklevel=2)
    return {k: array for k, array in found.arrays.items() if pattern.fullmatch(k)}


def _reader(path: Path) -> Callable[[Path], Contents]:
    if path.is_dir():
        return _folder_reader(path)
    if path.suffix in _PICKLES:
        remedy = (
            "Where it was made: safetensors.torch.save_file(model.state_dict(), "
            '"model.safetensors"), or numpy.savez.'
        )
        checks.fail("path", "name a file that runs no code", path.name, remedy)
    for suffix, reader in _READERS.items():
        if path.name.endswith(suffix):
            return reader
    got = path.name or str(path)
    checks.fail("path", f"end in one of {', '.join(_READERS)}", got, "Convert it.")


def _folder_reader(path: Path) -> Callable[[Path], Contents]:
    if archives.is_orbax(path):
        return archives.orbax
    for name in _FOLDER:
        if (path / name).is_file():
            return lambda folder: _reader(folder / name)(folder / name)
    rule, remedy = "be a folder of safetensors or Orbax", "Name the file."
    checks.fail("path", rule, path.name, remedy)
