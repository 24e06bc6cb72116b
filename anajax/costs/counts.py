"""Operations of a network on tiles, in integers: exact, and independent of any model.

Counted from the report of the transformation, so for any JAX function and from shapes
alone. Each tile has its own converters: a row that is split over several column tiles
is converted in each, and so is a column that is split over several row tiles, whose
parts are added digitally.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from anajax._core import checks
from anajax._core.aligned import aligned as aligned
from anajax._core.types import PyTree
from anajax.crossbar.periphery import BitSlices
from anajax.crossbar.tiling import membership
from anajax.mapping.cell import UnitCell, pairs
from anajax.transformation import AnalogFunction, Report
from anajax.transformation.sites import Site


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerCounts:
    """Counts for one weight array: its hardware, and operations per inference."""

    path: str
    """Path of the weight; if several form one matrix, joined by `+`."""
    sites: tuple[str, ...]
    """Its products, by their names in the report."""
    matrices: int
    """Number of separate matrices: layers of a stack, experts, groups of channels."""
    rows: int
    """Rows (inputs) of each matrix."""
    columns: int
    """Columns (outputs) of each matrix."""
    grid: tuple[int, int]
    """Row tiles and column tiles of each matrix."""
    slices: int
    """Reads of one product: slices of the input."""
    groups: int
    """Conversions per column and read: groups of devices that share one."""
    devices_per_weight: int
    """Devices per weight."""
    weights: int
    """Programmed weights, each counted once however often it is used."""
    products: int
    """Products of a vector with one whole matrix."""
    turns: int
    """Products in sequence; groups of channels and experts work in parallel."""

    @property
    def tiles(self) -> int:
        """Tiles of all matrices."""
        return self.matrices * math.prod(self.grid)

    @property
    def devices(self) -> int:
        """Number of programmed devices."""
        return self.weights * self.devices_per_weight

    @property
    def macs(self) -> int:
        """Multiplications of a weight and an input."""
        return self.products * self.rows * self.columns

    @property
    def tile_products(self) -> int:
        """Products of one tile; each is `slices` reads."""
        return self.products * math.prod(self.grid)

    @property
    def conversions_in(self) -> int:
        """DAC conversions: each row of each tile and read."""
        return self.products * self.rows * self.grid[1] * self.slices

    @property
    def conversions_out(self) -> int:
        """ADC conversions: each column of each tile, read and group of devices."""
        return self.products * self.columns * self.grid[0] * self.slices * self.groups

    @property
    def additions(self) -> int:
        """Digital additions that combine the conversions of an output."""
        return self.conversions_out - self.products * self.columns


ADDED = (
    "tiles", "devices", "weights", "products", "tile_products", "macs",
    "conversions_in", "conversions_out", "additions",
)  # fmt: skip
"""Counts that are summed over layers."""


@dataclasses.dataclass(frozen=True)
class Counts:
    """All layers, and their sums: `counts.tiles`, `counts.total("tiles")`."""

    layers: tuple[LayerCounts, ...]

    def total(self, name: str) -> int:
        """The sum of a count over all layers.

        Raises:
            ValueError: for a name that is not in `ADDED`.
        """
        checks.word("name", name, ADDED)
        return sum(getattr(layer, name) for layer in self.layers)

    @property
    def totals(self) -> dict[str, int]:
        """All sums by name."""
        return {name: self.total(name) for name in ADDED}

    def table(self) -> str:
        """Counts of each layer and in total, as text."""
        names = ("tiles", "devices", "products", "conversions_in", "conversions_out")
        names += ("additions",)
        rows = [(layer.path, *(getattr(layer, n) for n in names))
                for layer in self.layers]  # fmt: skip
        return aligned(("layer", *names), [*rows, ("all", *map(self.total, names))])


def count(
    function: AnalogFunction,
    params: PyTree,
    *inputs: Any,
    items: int | None = None,
    cell: UnitCell | Mapping[str, UnitCell] | None = None,
    combine: str | tuple[int, ...] = "analog",
    repeats: Mapping[str, int] | None = None,
    **options: Any,
) -> Counts:
    """The operations of an analog function in one inference, from shapes alone.

        counts = count(anajax.analog(apply, rules), params, x)
        print(counts.table())

    Args:
        function: from `anajax.analog`, with its tiles and slices.
        params: parameters, or their shapes.
        *inputs: inputs of one call, or their shapes.
        items: inferences per call; the first axis of the first input by default.
        cell: devices of a weight, for all or by path; two pairs by default.
        combine: which of them share a conversion, as in `put_on_chip`.
        repeats: how often one call runs a product if shapes do not tell (in a `while`
            loop, a branch or a `shard_map`), by the site in the report.
        **options: keyword arguments of the function.

    Raises:
        ValueError: naming the site whose number of products shapes do not tell; if
            `items` does not divide the products of a call; and as the function itself.
    """
    found = function.report(params, *inputs, **options)
    if items is None:
        items = _items(inputs)
    checks.whole("items", items, least=1)
    return count_report(
        found, items=items, cell=cell, combine=combine, repeats=repeats or {}
    )


def count_report(
    report: Report,
    *,
    items: int,
    cell: UnitCell | Mapping[str, UnitCell] | None = None,
    combine: str | tuple[int, ...] = "analog",
    repeats: Mapping[str, int] | None = None,
) -> Counts:
    """The same from a report; arguments as for `count`."""
    _check_repeats(report, repeats or {})
    by_paths: dict[tuple[str, ...], list[Site]] = {}
    for site in report.uses:
        if not site.layouts:
            rule = "name products of weights"
            remedy = "Drop the rule with `activations=True`: cells would be written"
            remedy += " at each product, whose costs are not modeled."
            checks.fail("rules", rule, f"{site.name!r} of two activations", remedy)
        by_paths.setdefault(tuple(site.layouts), []).append(site)
    layers, programmed = [], set()
    for paths, sites in by_paths.items():
        layer = _layer(report, paths, sites, items, repeats or {})
        devices = _cell_of(cell, paths[0])
        if set(paths) <= programmed:
            layer = dataclasses.replace(layer, weights=0)
        layers.append(
            dataclasses.replace(
                layer,
                devices_per_weight=devices.devices,
                groups=membership(combine, devices.devices).shape[1],
            )
        )
        programmed |= set(paths)
    return Counts(tuple(layers))


def _layer(
    report: Report,
    paths: tuple[str, ...],
    sites: list[Site],
    items: int,
    repeats: Mapping[str, int],
) -> LayerCounts:
    site = sites[0]
    matrices, rows, columns = _sizes(report, paths, site)
    grid = tuple(map(len, site.rule.tiles.parts(rows, columns)))
    runs = [_runs(each, items, repeats) for each in sites]
    return LayerCounts(
        path="+".join(paths),
        sites=tuple(each.name for each in sites),
        matrices=matrices,
        rows=rows,
        columns=columns,
        grid=grid,  # pyright: ignore[reportArgumentType]
        slices=_slices(site),
        groups=1,
        devices_per_weight=1,
        weights=matrices * rows * columns,
        products=sum(runs),
        turns=sum(n // each.form.sizes[0] for n, each in zip(runs, sites, strict=True)),
    )


def _sizes(report: Report, paths: tuple[str, ...], site: Site) -> tuple[int, int, int]:
    """Matrices, rows and columns; of weights that are one matrix, of that."""
    groups, rows, columns = site.form.sizes
    if len(paths) > 1 or site.folded:
        length = dict(site.around)
        return groups * math.prod(length[i] for i in site.loops), rows, columns
    own = next(p for p in report.parameters if p.path in paths)
    return own.groups, own.rows, own.columns


def _runs(site: Site, items: int, repeats: Mapping[str, int]) -> int:
    """Products of a vector with one of the site's matrices, for one item."""
    if 0 in (length for _, length in site.around) and site.name not in repeats:
        rule = f"say how often one call runs {site.name!r}"
        got = "a loop, branch or shard_map whose runs shapes do not tell"
        checks.fail("repeats", rule, got, f"Pass repeats={{{site.name!r}: n}}.")
    times = repeats.get(site.name, math.prod(n for _, n in site.around))
    products = site.vectors * site.form.sizes[0] * times
    if products % items:
        rule = f"divide the {products} products of {site.name!r} in one call"
        checks.fail("items", rule, items, "Pass the inferences of one call.")
    return products // items


def _slices(site: Site) -> int:
    io = site.rule.io
    if not isinstance(io.slicing, BitSlices):
        return 1
    return io.slicing.digits(io.dac.codes)  # pyright: ignore[reportAttributeAccessIssue]


def _cell_of(cell: UnitCell | Mapping[str, UnitCell] | None, path: str) -> UnitCell:
    if cell is None:
        return pairs(2)
    if isinstance(cell, UnitCell):
        return cell
    if path not in cell:
        rule = "have one entry per weight"
        checks.fail("cell", rule, f"none for {path!r}", "Add it.")
    return cell[path]


def _items(inputs: Sequence[Any]) -> int:
    for value in inputs:
        shape: Any = getattr(value, "shape", ())
        if len(shape):
            return int(shape[0])
    rule = "have a first axis of items"
    got = "no array" if not inputs else "scalars"
    checks.fail("inputs", rule, got, "Pass items=1 for a function of one item.")


def _check_repeats(report: Report, repeats: Mapping[str, int]) -> None:
    known = [site.name for site in report.uses]
    for name, number in repeats.items():
        if name not in known:
            remedy = f"Known: {known}."
            checks.fail("repeats", "belong to sites", repr(name), remedy)
        checks.whole("repeats", number, least=0)
