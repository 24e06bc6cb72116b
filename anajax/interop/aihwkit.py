"""Files and arguments of IBM's aihwkit: conductances, weights, converters.

Formats of aihwkit 1.2. Its checkpoints contain pickles, which are never opened here;
save `convert_back_to_digital(model).state_dict()` as safetensors instead.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from anajax._core import checks
from anajax._core.disk import write_atomically
from anajax._core.types import JArray, PyTree
from anajax.chip import path_name, weights
from anajax.devices.base import Device
from anajax.interop.buffers import damaged, mapped
from anajax.interop.reading import read
from anajax.mapping.strategy import Strategy, decode, encode

G_MAX = (10.0, 40.0)
"""Largest conductance of a Fusion file, uS: the maximum of the chip."""
_CLASSES = {2: "AnalogLinear", 3: "AnalogConv1d", 4: "AnalogConv2d"}
_MOST_LAYERS = 100_000
_TO_TORCH = {2: (1, 0), 3: (2, 1, 0), 4: (3, 2, 0, 1)}
"""Axes `[*window in out]` of a kernel as `[out in *window]`."""


# --- strategies as arguments of a converter -------------------------------------------


def custom_pair(
    strategy: Strategy, device: Device, *, nodes: int = 31
) -> dict[str, Any]:
    """A strategy as arguments of `CustomPairConductanceConverter`.

    The converter interpolates between equally spaced nodes over weights from -1 to 1.

    Args:
        strategy: a strategy of pairs.
        device: defines the range.
        nodes: an odd number; with more, the strategy is followed more closely.

    Returns:
        `f_lst`, `g_lst`, `g_max`, `g_min`, and `invertibility_test`.

    Raises:
        ValueError: if the strategy is not made of pairs, is stepped, or does not give
            back the largest weight, which this converter takes for granted.

    Example:
        >>> strategy = anajax.strategies.lsp_first(anajax.devices.pcm())
        >>> arguments = custom_pair(strategy, anajax.devices.pcm())
        >>> len(arguments["f_lst"]), len(arguments["g_lst"])
        (2, 4)
    """
    checks.whole("nodes", nodes, least=3)
    cell = strategy.cell
    plus = [i for i, sign in enumerate(cell.signs) if sign > 0]
    if not cell.paired or strategy.stepped or np.any(np.asarray(strategy.offset) != 0):
        rule = "be of pairs, linear between knots, without an offset"
        checks.fail("strategy", rule, strategy.name, "Use strategies.lsp_first.")
    if nodes % 2 == 0:
        checks.fail("nodes", "be odd, so that 0 is one", nodes, f"Use {nodes + 1}.")
    u = jnp.linspace(-1, 1, nodes)
    g = np.asarray(encode(strategy, u), float)
    largest = float(decode(strategy, jnp.asarray(g[-1], jnp.float32)))
    if abs(largest - 1) > 1e-3:
        rule = "give back the largest weight"
        got = f"{largest:.4g} of it from {strategy.name}"
        checks.fail("strategy", rule, got, "It clips: tune it without clipping.")
    order = [(i, cell.mirror[i]) for i in plus]
    factors = np.asarray(strategy.significance, float)
    return {
        "f_lst": [float(factors[cell.groups[i]]) for i, _ in order],
        "g_lst": [g[:, i].tolist() for pair in order for i in pair],
        "g_max": float(device.g_max),
        "g_min": float(device.g_min),
        "invertibility_test": False,
    }


# --- weights --------------------------------------------------------------------------


def state_dict(params: PyTree) -> dict[str, np.ndarray]:
    """Kernels `[*window in out]` as `weight [out in *window]`, by dotted names.

    `safetensors.numpy.save_file(state_dict(params), path)` writes a file for
    `model.load_state_dict(safetensors.torch.load_file(path))` if layers have the same
    names; a leaf `kernel` is renamed to `weight`.

    Args:
        params: Flax parameters, a pytree of arrays.
    """
    import jax

    found = {}
    for where, value in jax.tree_util.tree_leaves_with_path(params):
        *parents, last = path_name(where).split("/")
        array = np.asarray(value)
        if last == "kernel" and array.ndim in _TO_TORCH:
            array, last = array.transpose(_TO_TORCH[array.ndim]), "weight"
        found[".".join([*parents, last])] = np.ascontiguousarray(array)
    return found


def from_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Weights of `convert_back_to_digital(model).state_dict()` as safetensors.

    Returns:
        Kernels `[*window in out]` by paths such as `fc1/kernel`, other arrays
        unchanged. Those of recurrent layers keep their names and axes.

    Raises:
        ValueError: if the file is damaged, or not a safetensors file.
    """
    found = {}
    for name, array in read(path).items():
        *parents, last = name.split(".")
        if last == "weight" and array.ndim in _TO_TORCH:
            array = array.transpose(np.argsort(_TO_TORCH[array.ndim]))
            last = "kernel"
        found["/".join([*parents, last])] = array
    return found


# --- Fusion ---------------------------------------------------------------------------


def write_fusion(
    path: str | Path, params: Mapping[str, Any] | PyTree, *, g_max: float = 40.0
) -> Path:
    """Write conductances in the format of aihwkit's `fusion_export`, with a side file.

    A Fusion CSV holds |weight| of each layer, with each output scaled to `g_max`.
    Signs, scales and axes are not in it: they go to `NAME.side.npz` in the same folder.

    Args:
        path: path of the .csv file.
        params: parameters of the network; kernels are exported.
        g_max: largest conductance, 10 to 40 uS.

    Returns:
        The path of the side file.

    Raises:
        ValueError: if `g_max` is out of range, or there is no kernel.
        WriteError: an OSError, if a file cannot be written.
    """
    path = Path(path)
    if not G_MAX[0] <= g_max <= G_MAX[1]:
        rule, got = f"be {G_MAX[0]:g} to {G_MAX[1]:g} uS", g_max
        checks.fail("g_max", rule, got, "The chip takes no others.")
    kernels = {
        p: np.asarray(w) for p, w in weights(params).items() if w.ndim in _CLASSES
    }
    if not kernels:
        checks.fail("params", "have a kernel", "none", "Pass those of a network.")
    heads: list[list[Any]] = [[], [], [], [], [], []]
    lines, side = [], {}
    for number, (name, kernel) in enumerate(kernels.items()):
        matrix = kernel.transpose(_TO_TORCH[kernel.ndim]).reshape(kernel.shape[-1], -1)
        scale = np.max(np.abs(matrix), 1)
        safe = np.where(scale > 0, scale, 1)
        g = (np.abs(matrix) / safe[:, None] * np.float32(g_max)).astype(np.float32)
        lines.append(",".join(map(str, g.ravel())))
        about = (number, _CLASSES[kernel.ndim], matrix.size, *matrix.shape, name)
        for head, value in zip(heads, about, strict=True):
            head.append(str(value).replace(",", "_"))
        side[f"{name}:sign"] = np.sign(matrix).astype(np.int8)
        side[f"{name}:scale"] = safe
        side[f"{name}:shape"] = np.asarray(kernel.shape)
    text = [*(",".join(head) for head in heads), *lines]
    write_atomically(path, ("\n".join(text) + "\n").encode())
    return _write_side(path, side | {"g_max": np.asarray(g_max, np.float32)})


def _write_side(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    import io

    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    beside = path.with_suffix(".side.npz")
    write_atomically(beside, buffer.getvalue())
    return beside


def read_fusion(path: str | Path) -> dict[str, JArray]:
    """The kernels of a Fusion CSV with its side file of signs, by path.

    The CSV may come from a chip: conductances of the same layers as read.

    Raises:
        ValueError: if either is damaged, or they do not match.
    """
    path = Path(path)
    side = read(path.with_suffix(".side.npz"))
    names, sizes, rows = _fusion(path)
    g_max, found = float(side.get("g_max", np.nan)), {}
    for name, size, row in zip(names, sizes, rows, strict=True):
        wanted = [f"{name}:{what}" for what in ("sign", "scale", "shape")]
        if any(key not in side for key in wanted) or not g_max > 0:
            damaged(path, f"layer {name!r:.60}, which the file beside does not have,")
        sign, scale, shape = (side[key] for key in wanted)
        if sign.shape != size or len(row) != sign.size or len(scale) != len(sign):
            damaged(path, f"{len(row)} conductances of {name!r:.60}")
        shape = tuple(int(n) for n in shape)
        if len(shape) not in _CLASSES or math.prod(shape) != sign.size:
            damaged(path, f"the shape {shape} of {name!r:.60}")
        matrix = sign * row.reshape(sign.shape) * (scale[:, None] / g_max)
        order = _TO_TORCH[len(shape)]
        torch = matrix.reshape([shape[axis] for axis in order])
        found[name] = jnp.asarray(torch.transpose(np.argsort(order)), jnp.float32)
    return found


def _fusion(path: Path) -> tuple[list[str], list[tuple[int, int]], list[np.ndarray]]:
    """Names, heights and widths, and conductances of layers."""
    try:
        lines = bytes(mapped(path)).decode().splitlines()
        ids, classes, counts, heights, widths, names = (
            line.split(",") for line in lines[:6]
        )
        count = len(names)
        if {len(v) for v in (ids, classes, counts, heights, widths)} != {count}:
            raise ValueError("headers of different lengths")
        if not 0 < count <= _MOST_LAYERS or len(lines) != 6 + count:
            raise ValueError(f"{len(lines) - 6} lines for {count} layers")
        sizes = [(int(h), int(w)) for h, w in zip(heights, widths, strict=True)]
        rows = [np.array([float(v) for v in line.split(",")]) for line in lines[6:]]
        if [h * w for h, w in sizes] != [int(c) for c in counts]:
            raise ValueError("numbers of weights that are not height times width")
        if not all(np.all(np.isfinite(row)) and np.all(row >= 0) for row in rows):
            raise ValueError("conductances below 0 or not finite")
    except (ValueError, UnicodeDecodeError) as error:
        damaged(path, f"{error}")
    return names, sizes, rows
