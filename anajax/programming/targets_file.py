"""Files of learned targets, layer by layer, for chip teams."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from anajax import chip
from anajax._core import checks
from anajax._core.types import Array, PyTree
from anajax.mapping.layout import ONE_LAYER, Layout

FOLDER = "targets"
TRAINED = "trained"
"""Folder of networks after hardware-aware training."""
SCHEMA = "anajax targets 2"
BEFORE = "anajax targets 1"
"""Schema without `t0`, which was 20 s for all devices."""
UNITS = {
    "targets": "uS, last axis the devices of a weight",
    "coefficients": "normalized weight per uS, signed, one per device",
    "offset": "normalized weight, subtracted digitally",
    "w_max": "largest |weight| of the layer, in the network's units",
    "column": "digital scale of each output column",
    "drift": "exponent a of the scheduled correction (1 + t / t0)^a",
    "t0": "s",
}
"""Arrays of each layer, named `<path of the weight>:<name>`."""
_NUMBERS = ("offset", "w_max", "column", "drift", "t0")
"""Those of one layer have no axes; files of before had one."""
DIGITAL = "digital"
"""Parameters that stay digital are named `digital:<path>`."""


def to_bytes(layers: Mapping[str, chip.LayerProgram], params: PyTree) -> bytes:
    """A safetensors file of targets, how to read them back, and digital parameters.

    Args:
        layers: by path of the weight, from `optimize_targets`.
        params: the network's parameters, in any container; those on the chip are left
            out.

    Raises:
        ValueError: if a layer is programmed by a loop, which targets do not describe.
    """
    for path, layer in layers.items():
        if type(layer) is not chip.LayerProgram:
            checks.fail(
                "layers",
                "be programmed by targets alone",
                f"a {type(layer).__name__} for {path!r}",
                "A loop measures while it programs: no file of targets describes it.",
            )
    arrays = {
        f"{path}:{name}": np.asarray(getattr(layer, name))
        for path, layer in layers.items()
        for name in UNITS
    }
    rest = chip.others(params, select=lambda path, _: path in layers)
    arrays |= {f"{DIGITAL}:{path}": v for path, v in rest.items()}
    arrays = {name: _plain(v) for name, v in arrays.items()}
    layouts = {path: dataclasses.asdict(v.layout) for path, v in layers.items()}
    about = {"schema": SCHEMA, "units": UNITS, "layouts": layouts}
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in about.items()}
    return _ordered(save(arrays, metadata=texts))


def _ordered(content: bytes) -> bytes:
    """The same file with its texts in order: safetensors writes them in any."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # arrays are aligned
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def load_targets(
    path: str | Path,
) -> tuple[dict[str, chip.LayerProgram], dict[str, Array]]:
    """Layers and digital parameters by path, from a file in a study's `targets` folder.

    `evaluate(metric, chip.insert(params, digital), device, layers, ...)` puts them on
    chips again.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a complete file of targets.

    Example:
        >>> from anajax.programming.targets_file import to_bytes
        >>> layers = anajax.chip.encode_weights(params, strategy)
        >>> _ = path.write_bytes(to_bytes(layers, params))
        >>> layers, digital = anajax.load_targets(path)
        >>> list(layers), list(digital)
        (['kernel'], ['bias'])
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"`path` must be a file: got {path}. A study with learned targets writes "
            f"one of each into its folder {FOLDER}."
        )
    return from_bytes(path.read_bytes(), name=str(path))


def from_bytes(
    content: bytes, *, name: str = "content"
) -> tuple[dict[str, chip.LayerProgram], dict[str, Array]]:
    """Layers and digital parameters by path, from the content of a file.

    Old files without layouts give layers with unknown columns.

    Args:
        content: content of the file.
        name: name of the file, for messages.

    Raises:
        ValueError: if it is not a complete file of targets.
    """
    found: dict[str, dict[str, Array]] = {}
    arrays, axes = _arrays(content, name)
    for key, value in arrays.items():
        place, _, what = key.rpartition(":")
        found.setdefault(place, {})[what] = jnp.asarray(value)
    digital = found.pop(DIGITAL, {})
    made = {place: _layer(name, place, v, axes) for place, v in found.items()}
    return made, digital


def _arrays(
    content: bytes, name: str
) -> tuple[dict[str, np.ndarray], dict[str, Layout]]:
    """Arrays by name, and layouts of weights by path."""
    try:
        arrays = load(content)
    except SafetensorError as error:
        raise ValueError(
            f"`{name}` must be a safetensors file: got {error}. Run the study again."
        ) from None
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    about = header.get("__metadata__", {})
    schema = about.get("schema")
    if schema == BEFORE:
        places = [name.removesuffix(":drift") for name in arrays if ":drift" in name]
        t0 = {f"{place}:t0": np.asarray(20.0, np.float32) for place in places}
        return arrays | t0, {}
    if schema != SCHEMA:
        raise ValueError(
            f"`{name}` must be of schema {SCHEMA!r}: got {schema!r}. Use a file that a "
            "study with learned targets wrote."
        )
    axes = json.loads(about.get("layouts", "{}"))
    return arrays, {path: Layout(**given) for path, given in axes.items()}


def _plain(value: Array) -> np.ndarray:
    """An array in a dtype of NumPy's own: those of 16 bits and less in 32, exactly."""
    array = np.asarray(value, order="C")  # safetensors knows no other; 0 axes stay
    return array.astype(np.float32) if array.dtype.kind == "V" else array


def params_to_bytes(params: PyTree) -> bytes:
    """A safetensors file of all parameters of a network, by path."""
    flat, _ = jax.tree_util.tree_flatten_with_path(params)
    return save({chip.path_name(p): _plain(v) for p, v in flat})


def params_from_bytes(content: bytes, like: PyTree) -> PyTree:
    """The parameters in such a file, in the structure of `like`."""
    return chip.insert(like, {p: jnp.asarray(v) for p, v in load(content).items()})


def _layer(
    name: str, place: str, arrays: dict[str, Array], axes: dict[str, Layout]
) -> chip.LayerProgram:
    if set(arrays) != set(UNITS):
        missing = sorted(set(UNITS) ^ set(arrays))
        raise ValueError(
            f"`{name}` must hold {', '.join(UNITS)} of each layer: {missing} differ at "
            f"{place!r}. Run the study again."
        )
    arrays = {
        n: v.reshape(()) if v.shape == (1,) and n in _NUMBERS else v
        for n, v in arrays.items()
    }
    return chip.LayerProgram(**arrays, layout=axes.get(place, ONE_LAYER))
