"""Weights of plain Flax networks as safetensors files."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import safe_open
from safetensors.numpy import save

from anajax._core.disk import write_atomically
from anajax.chip import path_name

M = TypeVar("M", bound=nnx.Module)

FOLDER = Path(__file__).parent / "weights"
"""Folder of weights trained by this project's scripts."""


def restore(build: Callable[[], M], weights: Mapping[str, np.ndarray]) -> M:
    """The module described by `build`, with `weights`.

    Args:
        build: makes the module; traced abstractly, so nothing is initialized.
        weights: arrays by path, such as `"blocks/0/conv1/kernel"`.

    Raises:
        ValueError: if names or shapes do not match the module.
    """
    graphdef, state = nnx.split(nnx.eval_shape(build))
    flat: dict[tuple, Any] = flatten_dict(nnx.to_pure_dict(state))  # pyright: ignore
    want = {path_name(path): leaf.shape for path, leaf in flat.items()}
    have = {name: np.shape(value) for name, value in weights.items()}
    if want != have:
        wrong = sorted(set(want.items()) ^ set(have.items()))
        raise ValueError(
            f"`weights` must have the module's names and shapes: {wrong} differ. "
            "The file belongs to another network, or is damaged."
        )
    full = {path: jnp.asarray(weights[path_name(path)]) for path in flat}
    return nnx.merge(graphdef, unflatten_dict(full))


def flat_weights(model: nnx.Module) -> dict[str, np.ndarray]:
    """All variables of `model` by path name: the inverse of `restore`."""
    flat = flatten_dict(nnx.to_pure_dict(nnx.state(model)))
    return {path_name(path): np.asarray(value) for path, value in flat.items()}


def read(name: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read arrays and notes (script, seed, digital metric) of stored weights `name`."""
    path = FOLDER / f"{name}.safetensors"
    with safe_open(path, framework="numpy") as file:
        arrays = {key: file.get_tensor(key) for key in file.keys()}
        return arrays, dict(file.metadata() or {})


def write(name: str, model: nnx.Module, notes: Mapping[str, object]) -> Path:
    """Write the weights of `model` as the stored weights `name`, atomically."""
    return write_arrays(name, flat_weights(model), notes)


def write_arrays(
    name: str, arrays: Mapping[str, np.ndarray], notes: Mapping[str, object]
) -> Path:
    """Write arrays by path as the stored weights `name`, atomically."""
    FOLDER.mkdir(exist_ok=True)
    arrays = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
    path = FOLDER / f"{name}.safetensors"
    write_atomically(path, save(arrays, {k: str(v) for k, v in notes.items()}))
    return path


def origin(notes: Mapping[str, str]) -> str:
    """One line on how stored weights were made."""
    return f"trained by {notes['script']}, seed {notes['seed']}"
