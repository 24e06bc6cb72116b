"""How every parameter of a function is treated, and the meaning of its axes."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp

from anajax._core import checks
from anajax._core.types import JArray
from anajax.mapping.layout import Layout
from anajax.transformation.plan import Builder
from anajax.transformation.rules import NO_PRODUCT, Rule, first
from anajax.transformation.sites import Site


class ParameterReport(NamedTuple):
    """How one parameter is treated."""

    path: str
    shape: tuple[int, ...]
    sites: tuple[str, ...] = ()
    """Its products on tiles; none if it stays digital."""
    why: str = ""
    """Why it stays digital."""
    rule: str = ""
    """Pattern of the rule that made it analog."""
    groups: int = 0
    """Number of separate matrices: layers, experts, groups of channels; 0 if digital.
    """
    rows: int = 0
    """Number of rows of each matrix."""
    columns: int = 0
    """Number of columns of each matrix."""
    tiles: int = 0
    """Number of tiles of all matrices; 0 if digital."""
    layout: Layout = Layout()
    """Which axes number matrices, and which are rows and columns."""
    folded: bool = False
    """Whether the array on tiles is a function of it (`Rule.fold`)."""

    def matrices(self, w: JArray) -> JArray:
        """The array as the matrices `[groups rows columns]` of its first product."""
        found = self.layout.matrices(w, self.path)
        layers, rows, _ = found.shape
        split = found.reshape(layers, rows, self.groups // layers, self.columns)
        return jnp.swapaxes(split, 1, 2).reshape(self.groups, rows, self.columns)


class Report(NamedTuple):
    """How all parameters and products of activations are treated."""

    parameters: tuple[ParameterReport, ...]
    products: tuple[str, ...] = ()
    """Products of two activations that go through converters."""
    uses: tuple[Site, ...] = ()
    """Every product on tiles, in the order of the computation."""

    @property
    def analog(self) -> tuple[ParameterReport, ...]:
        """The parameters on tiles."""
        return tuple(p for p in self.parameters if p.sites)

    @property
    def layouts(self) -> dict[str, Layout]:
        """Layouts of the parameters on tiles, by path."""
        return {p.path: p.layout for p in self.analog}

    def axes(self) -> dict[str, Layout]:
        """Like `layouts`, for functions of parameters that take the report as `select`.

            report = anajax.analog(apply).report(params, x)
            noisy = anajax.perturb(params, device, strategy, select=report, ...)

        Raises:
            ValueError: if an array on tiles is a function of parameters.
        """
        folded = [p.path for p in self.analog if p.folded]
        if folded:
            remedy = "Use the parameters and the function from `folded`."
            got = f"arrays on tiles that are functions of {folded}"
            checks.fail("select", "choose parameters", got, remedy)
        return self.layouts

    @property
    def tiles(self) -> int:
        """Number of tiles of the whole network."""
        return sum(p.tiles for p in self.parameters)

    def __str__(self) -> str:
        lines = [f"{len(self.analog)} weights on {self.tiles} tiles"]
        for p in self.parameters:
            size = f"{p.groups} x {p.rows} x {p.columns}"
            many = f", {len(p.sites)} products" if len(p.sites) > 1 else ""
            place = (
                f"{size} on {p.tiles} tiles{many}" if p.sites else f"digital: {p.why}"
            )
            lines.append(f"{p.path:<36} {place}")
        return "\n".join([*lines, *self.products])


def report(shapes: Mapping[str, Sequence[int]], builder: Builder) -> Report:
    """The report on a function after `builder` has processed it.

    Args:
        shapes: all parameters by path.
        builder: holds the sites found.
    """
    sites: dict[str, list[Site]] = {path: [] for path in shapes}
    for site in builder.sites:
        for path in site.layouts:
            sites[path].append(site)
    entries = [
        _entry(path, tuple(shapes[path]), found, builder.reasons)
        for path, found in sites.items()
    ]
    names = tuple(site.name for site in builder.sites if not site.layouts)
    return Report(tuple(entries), names, tuple(builder.sites))


def _entry(
    path: str, shape: tuple[int, ...], sites: list[Site], reasons: Mapping[str, str]
) -> ParameterReport:
    if not sites:
        return ParameterReport(path, shape, why=reasons.get(path, NO_PRODUCT))
    site = sites[0]
    layout = site.layouts[path]
    groups, rows, columns = _sizes(shape, site, layout)
    return ParameterReport(
        path,
        shape,
        sites=tuple(site.name for site in sites),
        rule=site.rule.path,
        groups=groups,
        rows=rows,
        columns=columns,
        tiles=_tiles(site.rule, groups, rows, columns),
        layout=layout,
        folded=site.folded,
    )


def _sizes(shape: tuple[int, ...], site: Site, layout: Layout) -> tuple[int, int, int]:
    """Matrices, rows and columns of a parameter; those of its product where they fit.

    A product may take a part of the parameter (one layer of a stack), or several
    parameters side by side; then the layout says what this one brings.
    """
    groups, rows, columns = site.form.sizes
    count, rest = divmod(math.prod(shape), rows * columns)
    if len(site.layouts) == 1 and not rest:
        return count, rows, columns
    if not layout.known:
        return groups, rows, columns
    sizes = (layout.stack, layout.rows, layout.columns)
    stack, rows, columns = (math.prod(shape[i] for i in axes) for axes in sizes)
    return stack, rows, columns


def _tiles(rule: Rule, groups: int, rows: int, columns: int) -> int:
    return groups * math.prod(map(len, rule.tiles.parts(rows, columns)))


def check_tiles(found: Report, rules: Sequence[Rule]) -> None:
    """Refuse weights that need more tiles than their rule allows.

    Raises:
        ValueError: naming the first such weight.
    """
    for p in found.analog:
        rule = first(rules, p.path, activations=False)
        most = None if rule is None else rule.max_tiles
        if most is not None and p.tiles > most:
            size = f"{p.groups} matrices of {p.rows} x {p.columns}"
            remedy = "Allow more, take larger tiles, or keep the weight digital."
            got = f"{p.tiles} for {size} in {p.path!r}"
            checks.fail("max_tiles", f"allow {most} tiles", got, remedy)
