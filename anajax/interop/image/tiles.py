"""Targets of a layer cut into tiles, and joined again."""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, NoReturn

import jax.numpy as jnp
import numpy as np

from anajax._core import checks
from anajax._core.types import JArray
from anajax.crossbar.tiling import TileRule
from anajax.mapping.layout import Layout

Ends = tuple[int, int]


class Tile(NamedTuple):
    """A part of one matrix of a layer."""

    matrix: int
    """Index of the matrix in the layer: stack first, then groups of columns."""
    rows: Ends
    """First row, and the one after the last."""
    columns: Ends

    def name(self, path: str) -> str:
        """Name of the array that holds it."""
        return f"{path}:tile:{self.matrix}:{self.rows[0]}:{self.columns[0]}"


def matrices(targets: JArray, layout: Layout, path: str, groups: int) -> np.ndarray:
    """Targets `[matrices rows columns devices]` of a layer."""
    whole = np.asarray(layout.matrices(jnp.asarray(targets), path, more=1))
    layers, rows, columns, devices = whole.shape
    if columns % groups:
        rule, got = f"divide the {columns} columns of {path!r}", groups
        checks.fail("groups", rule, got, "Give the groups of the layer.")
    split = whole.reshape(layers, rows, groups, columns // groups, devices)
    return np.moveaxis(split, 2, 1).reshape(-1, rows, columns // groups, devices)


def restored(
    whole: np.ndarray, shape: tuple[int, ...], layout: Layout, groups: int
) -> JArray:
    """The targets `[*shape devices]` of matrices: the inverse of `matrices`."""
    _, rows, columns, devices = whole.shape
    split = whole.reshape(-1, groups, rows, columns, devices)
    back = np.moveaxis(split, 1, 2).reshape(-1, rows, groups * columns, devices)
    return layout.restored(jnp.asarray(back), shape)


def cut(whole: np.ndarray, rule: TileRule) -> Iterator[tuple[Tile, np.ndarray]]:
    """The tiles of matrices, in order."""
    every = [_ends(sizes) for sizes in rule.parts(whole.shape[1], whole.shape[2])]
    for matrix, (rows, columns) in itertools.product(
        range(len(whole)), itertools.product(*every)
    ):
        part = whole[matrix, slice(*rows), slice(*columns)]
        yield Tile(matrix, rows, columns), np.ascontiguousarray(part)


def _ends(sizes: list[int]) -> list[Ends]:
    stops = list(itertools.accumulate(sizes))
    return list(zip([0, *stops], stops, strict=False))


def joined(
    entry: Mapping[str, Any], arrays: Mapping[str, np.ndarray], devices: int
) -> np.ndarray:
    """The matrices of a layer from its tiles.

    Args:
        entry: entry of the layer in a manifest.
        arrays: arrays of the image.
        devices: number of devices of a weight.

    Raises:
        ValueError: if tiles do not cover the layer, overlap, or have another size.
    """
    path, groups = entry["path"], entry["groups"]
    layout = layout_of(entry)
    layers, rows, columns = layout.on(len(entry["shape"]), path).sizes(entry["shape"])
    if columns % groups:
        _refuse(path, f"have {columns} columns in {groups} groups")
    size = layers * groups, rows, columns // groups
    found = [arrays.get(tile["array"]) for tile in entry["tiles"]]
    held = sum(0 if v is None else v.size // devices for v in found)
    if math.prod(size) > held:
        _refuse(path, f"leave {math.prod(size) - held} weights out")
    whole = np.zeros(
        (*size, devices), np.result_type(*(v for v in found if v is not None))
    )
    seen = np.zeros(size, np.uint8)
    for tile in entry["tiles"]:
        array, place = arrays.get(tile["array"]), _place(tile, size, path)
        want = tuple(s.stop - s.start for s in place[1:])
        if array is None or array.shape != (*want, devices):
            got = "none" if array is None else array.shape
            _refuse(path, f"have a tile {tile['array']!r} of shape {got}")
        whole[place] = array
        seen[place] += 1
    if not np.all(seen == 1):
        missing, twice = int(np.sum(seen == 0)), int(np.sum(seen > 1))
        _refuse(path, f"leave {missing} weights out and hold {twice} twice")
    return whole


def _place(tile: Mapping[str, Any], size: tuple[int, ...], path: str) -> Any:
    ends = [slice(*tile[axis]) for axis in ("rows", "columns")]
    fits = [s.start < s.stop <= n for s, n in zip(ends, size[1:], strict=True)]
    if tile["matrix"] >= size[0] or not all(fits):
        _refuse(path, f"have a tile {tile['array']!r} that lies outside")
    return tile["matrix"], *ends


def layout_of(entry: Mapping[str, Any]) -> Layout:
    """The layout of a layer in a manifest."""
    axes = entry["axes"]
    lists = {name: tuple(axes[name]) for name in ("stack", "rows", "columns")}
    return Layout(**lists, tile_rows=axes["tile_rows"])


def _refuse(path: str, got: str) -> NoReturn:
    rule, remedy = f"cover layer {path!r:.80} once", "Write the image again."
    checks.fail("tiles", rule, f"those that {got}", remedy)
