"""Shapes that Flax layers take: of one kernel, and of their smallest input."""

from typing import Any

import numpy as np
from flax import nnx

LAYERS: tuple[type, ...] = (
    nnx.Linear,
    nnx.LinearGeneral,
    nnx.Einsum,
    nnx.Conv,
    nnx.ConvTranspose,
)
"""Layers with a product; subclasses count as well."""


def of_kernel(layer: Any) -> tuple[int, ...]:
    """The shape of the kernel of one layer."""
    if isinstance(layer, nnx.Linear):
        return layer.in_features, layer.out_features
    if isinstance(layer, nnx.LinearGeneral):
        return (*layer.batch_axis.values(), *layer.in_features, *layer.out_features)
    return tuple(layer.kernel_shape)


def of_input(layer: Any) -> tuple[int, ...]:
    """The shape of an input of one vector, or of one position of a kernel."""
    if isinstance(layer, nnx.Linear):
        return 1, layer.in_features
    if isinstance(layer, nnx.LinearGeneral):
        return _of_axes(layer)
    if isinstance(layer, nnx.Einsum):
        return _of_letters(layer.einsum_str or "", layer.kernel_shape)
    spread = np.broadcast_to(layer.kernel_dilation or 1, len(layer.kernel_size))
    reach = ((k - 1) * int(d) + 1 for k, d in zip(layer.kernel_size, spread))  # noqa: B905
    return 1, *reach, layer.in_features


def _of_axes(layer: nnx.LinearGeneral) -> tuple[int, ...]:
    sizes = dict(zip(layer.axis, layer.in_features, strict=True))
    sizes |= dict(layer.batch_axis)
    least = max(max(axis + 1, -axis) for axis in sizes)
    shape = [1] * max(least, len(sizes) + 1)
    for axis, size in sizes.items():
        shape[axis] = size
    return tuple(shape)


def _of_letters(equation: str, kernel: tuple[int, ...]) -> tuple[int, ...]:
    given, weight = equation.replace(" ", "").split("->")[0].split(",")
    sizes = dict(zip(weight.replace("...", ""), kernel, strict=False))
    return tuple(sizes.get(letter, 1) for letter in given.replace("...", ""))
