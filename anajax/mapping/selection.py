"""Which arrays of a network are weights on a chip, and the meaning of their axes.

`table(params)` shows this for every array. Ambiguities that matter are refused, with a
message that says what to pass; nothing is guessed.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array as JArray

from anajax._core import checks
from anajax._core.types import PyTree
from anajax.mapping import evidence
from anajax.mapping.layout import IN_OUT, OUT_IN, REMEDY, Layout
from anajax.mapping.strategy import Normalize, Normalized, normalized


@runtime_checkable
class FoundWeights(Protocol):
    """Weights found by their use, as in the report of an `anajax.analog` function."""

    def axes(self) -> dict[str, Layout]:
        """The layout of each weight, by path."""
        ...


Select = Callable[[str, Any], bool] | FoundWeights
"""Which leaves are weights: `select(path, leaf)`, or a report of an analog function,
which also gives the meaning of their axes."""
LayoutOf = Layout | str
"""A layout, or `"in_out"` or `"out_in"`: the order of inputs and outputs if names and
biases do not determine it (stacks, heads)."""
Layouts = LayoutOf | Mapping[str, LayoutOf] | Callable[[str, Any], Any] | None
"""Known meaning of axes: for all weights, by path, or `layout(path, array)`, where
`None` leaves the decision to names and shapes."""
ORDERS = {"in_out": IN_OUT, "out_in": OUT_IN}


class Entry(NamedTuple):
    """How one array is treated."""

    path: str
    shape: tuple[int, ...]
    analog: bool
    why: str
    """Why it is a weight on the chip, or not."""
    layout: Layout | None = None
    """Layout of a weight; `None` if the first axis may or may not number layers."""
    source: str = ""
    """Evidence for the layout."""

    def __str__(self) -> str:
        shape = " x ".join(map(str, self.shape)) or "scalar"
        start = f"{self.path or '(the array)':<40} {shape:<18} "
        if not self.analog:
            return f"{start}digital: {self.why}"
        return f"{start}analog: {self.why}; {self._axes()}"

    def _axes(self) -> str:
        if self.layout is None:
            return "axes unknown, pass `layout`"
        layers, rows, columns = self.layout.sizes(self.shape)
        stack = f"{layers} layers of " if self.layout.stack else ""
        if not self.layout.known:
            return f"{stack}rows and columns unknown: pass `layout` if needed"
        return f"{stack}{rows} x {columns} by {self.source}"


class Table(NamedTuple):
    """How every array of a network is treated."""

    entries: tuple[Entry, ...]

    @property
    def analog(self) -> tuple[Entry, ...]:
        """The weights on the chip."""
        return tuple(entry for entry in self.entries if entry.analog)

    @property
    def digital(self) -> tuple[Entry, ...]:
        """The arrays that stay digital."""
        return tuple(entry for entry in self.entries if not entry.analog)

    def __str__(self) -> str:
        count = sum(math.prod(entry.shape) for entry in self.analog)
        head = f"{len(self.analog)} of {len(self.entries)} arrays analog"
        return "\n".join([f"{head}, {count} weights", *map(str, self.entries)])


def default_select(path: str, leaf: Any) -> bool:
    """Floating arrays of two or more axes that are matrices by their name.

    Not biases, scales, embeddings, normalizations or statistics. As the `select` of a
    function it also uses the neighboring arrays: see `table`.
    """
    shapes = evidence.Shapes({path: np.shape(leaf)} if _floating(leaf) else {})
    return path in shapes and leaf.ndim >= 2 and not evidence.digital(path, shapes)


def table(
    params: PyTree, *, select: Select = default_select, layout: Layouts = None
) -> Table:
    """How every array is treated: analog or digital, its axes, and why.

        print(anajax.chip.table(params))

    All functions that take `params` select in this way. In Flax a `kernel` is a weight,
    with outputs on the last axis; in Equinox and PyTorch a `weight` is one, with
    outputs on the first axis; in other trees, arrays with two or more axes are.
    Embeddings, biases, scales, normalizations and statistics stay digital, including
    stacked ones. The bias next to an array tells whether its first axis numbers layers.

    Args:
        params: pytree of arrays.
        select: which leaves are weights, by path and value; or a report of an analog
            function of these parameters, which uses its products.
        layout: meaning of axes that names and shapes leave open.

    Raises:
        ValueError: if two arrays have the same path, `params` holds the state of an
            optimizer, or `layout` does not fit.
    """
    if isinstance(select, FoundWeights):
        select, layout = _found(select, layout)
    checks.function("select", select, 'lambda path, leaf: path.endswith("kernel")')
    _refuse_optimizers(params)
    found = [(p, v) for p, v in leaves(params) if _is_array(v)]
    shapes = evidence.Shapes({p: v.shape for p, v in found if _floating(v)})
    _check_layouts(layout, shapes)
    entries = tuple(_entry(p, v, shapes, select, layout) for p, v in found)
    for entry in entries:
        if entry.analog and evidence.of_optimizer(entry.path, shapes):
            _refuse_state(entry.path)
    return Table(entries)


def weights(params: PyTree, *, select: Select = default_select) -> dict[str, JArray]:
    """The selected weight arrays by path, such as `{"conv/kernel": ...}`.

    Raises:
        ValueError: if no array is selected; see also `table`.
    """
    found = dict(leaves(params))
    chosen = _chosen(table(params, select=select))
    return {entry.path: found[entry.path] for entry in chosen}


def others(params: PyTree, *, select: Select = default_select) -> dict[str, JArray]:
    """The floating-point arrays by path that are not selected: they stay digital."""
    entries = table(params, select=select).entries
    analog = {entry.path for entry in entries if entry.analog}
    return {p: v for p, v in leaves(params) if _floating(v) and p not in analog}


def layouts(
    params: PyTree, *, select: Select = default_select, layout: Layouts = None
) -> dict[str, Layout]:
    """The layout of each selected weight, by path.

    Raises:
        ValueError: if it is unknown whether an axis numbers layers; see also `table`.
    """
    chosen = _chosen(table(params, select=select, layout=layout))
    return {entry.path: _of_layers(entry) for entry in chosen}


def normalized_weights(
    params: PyTree,
    *,
    select: Select = default_select,
    normalize: Normalize = "layer",
    layout: Layouts = None,
) -> dict[str, Normalized]:
    """The selected weights by path, each relative to its full scale.

    Args:
        params: pytree of arrays.
        select: which leaves are weights, by path and value.
        normalize: which weights share a full scale, see `mapping.normalized`.
        layout: meaning of axes that names and shapes leave open, see `table`.

    Raises:
        ValueError: if a weight is not finite, or an axis that matters is unknown.
    """
    how: Any = {"select": select, "normalize": normalize, "layout": layout}
    return dict(one_by_one(params, **how))


def one_by_one(
    params: PyTree, *, select: Select, normalize: Normalize, layout: Layouts
) -> Iterator[tuple[str, Normalized]]:
    """The items of `normalized_weights`, each computed on demand."""
    found = dict(leaves(params))
    known = layouts(params, select=select, layout=layout)
    for path in known:
        checks.finite(path, found[path], "Find the layer whose training diverged.")
    for path, axes in known.items():
        yield path, normalized(_computable(found[path]), normalize, axes, path=path)


def leaves(params: PyTree) -> list[tuple[str, Any]]:
    """All leaves with their paths.

    Raises:
        ValueError: if two arrays have the same path.
    """
    flat, _ = jax.tree_util.tree_flatten_with_path(params)
    seen = {}
    for path, leaf in flat:
        name = path_name(path)
        if _is_array(leaf) and name in seen:
            both = [jax.tree_util.keystr(p) for p in (seen[name], path)]
            checks.fail(
                "params",
                "give each array a path of its own",
                f"{name!r} for both {' and '.join(both)}",
                "Rename one, or pass the part of the tree that is the network.",
            )
        if _is_array(leaf):
            seen[name] = path
    return [(path_name(path), leaf) for path, leaf in flat]


def insert(params: PyTree, new: Mapping[str, JArray]) -> PyTree:
    """The pytree `params` with the arrays of `new` at their paths, in its dtypes."""
    flat, tree = jax.tree_util.tree_flatten_with_path(params)
    placed = [_like(leaf, new.get(path_name(path), leaf)) for path, leaf in flat]
    return jax.tree.unflatten(tree, placed)


def path_name(path: tuple) -> str:
    """A pytree path as names joined by "/", for any kind of container.

    It may also be a Flax NNX path of plain names and numbers. Wrappers added by Flax
    are removed: a leading `params`, a variable's trailing `.value`.
    """
    if path and path[-1] == jax.tree_util.GetAttrKey("value"):
        path = path[:-1]
    if path and path[0] == jax.tree_util.DictKey("params"):
        path = path[1:]
    kinds = ("key", "name", "idx")
    return "/".join(
        str(next((getattr(entry, k) for k in kinds if hasattr(entry, k)), entry))
        for entry in path
    )


def _entry(
    path: str,
    leaf: Any,
    shapes: evidence.Shapes,
    select: Callable[[str, Any], bool],
    layout: Layouts,
) -> Entry:
    analog, why = _choice(path, leaf, shapes, select)
    entry = Entry(path=path, shape=leaf.shape, analog=analog, why=why)
    if not analog:
        return entry
    given = _given(layout, path, leaf)
    if isinstance(given, Layout):
        return entry._replace(layout=given.on(leaf.ndim, path), source="`layout`")
    if leaf.ndim < 2:
        return entry._replace(layout=Layout(), source="its axes")
    order = None if given is None else ORDERS[given]
    axes, source = evidence.find(path, shapes, order)
    return entry._replace(layout=axes, source=source)


def _choice(
    path: str,
    leaf: Any,
    shapes: evidence.Shapes,
    select: Callable[[str, Any], bool],
) -> tuple[bool, str]:
    if select is not default_select:
        return bool(select(path, leaf)), "chosen by `select`"
    if path not in shapes:
        return False, "not floating-point numbers"
    if leaf.ndim < 2:
        return False, "fewer than two axes"
    why = evidence.digital(path, shapes)
    return (True, f"{leaf.ndim} axes") if why is None else (False, why)


def _found(found: FoundWeights, layout: Layouts) -> tuple[Any, Layouts]:
    """Which leaves are weights and what their axes are, from their products."""
    axes = found.axes()
    if layout is None or isinstance(layout, Mapping):
        layout = {**axes, **(layout or {})}
    return lambda path, leaf: path in axes, layout


def _given(layout: Layouts, path: str, leaf: Any) -> LayoutOf | None:
    if isinstance(layout, Mapping):
        layout = layout.get(path)
    elif callable(layout):
        layout = layout(path, leaf)
    if layout is not None and not isinstance(layout, Layout) and layout not in ORDERS:
        checks.fail("layout", "say which axes are outputs", repr(layout), _PASS)
    return layout  # pyright: ignore[reportReturnType]


def _check_layouts(layout: Layouts, shapes: evidence.Shapes) -> None:
    if isinstance(layout, FoundWeights):
        got, remedy = "a report, which says what is a weight too", "Pass select=report."
        checks.fail("layout", "say what axes are", got, remedy)
    if isinstance(layout, Mapping):
        unknown = sorted(set(layout) - set(shapes))
        if unknown:
            got, remedy = f"no array at {unknown}", f"Known: {sorted(shapes)}."
            checks.fail("layout", "name paths of arrays", got, remedy)
    elif not callable(layout):
        _given(layout, "", None)


def _chosen(found: Table) -> tuple[Entry, ...]:
    if not found.analog:
        names = [entry.path for entry in found.entries]
        checks.fail(
            "select", "choose a weight array", f"none of {names}", "Widen the rule."
        )
    return found.analog


def _of_layers(entry: Entry) -> Layout:
    """The layout of a weight, refused where its layers are not known."""
    if entry.layout is None:
        checks.fail(
            "layout",
            "say whether the first axis of a weight numbers layers",
            f"no information for {entry.path!r} of shape {entry.shape}",
            _PASS,
        )
    return entry.layout


_PASS = f"Pass {REMEDY}."


def _refuse_optimizers(params: PyTree) -> None:
    def is_state(node: Any) -> bool:
        return type(node).__module__.split(".")[0] == "optax"

    flat, _ = jax.tree_util.tree_flatten_with_path(params, is_leaf=is_state)
    for path, node in flat:
        if is_state(node) and any(np.ndim(v) > 1 for v in jax.tree.leaves(node)):
            _refuse_state(path_name(path))


def _refuse_state(path: str) -> None:
    checks.fail(
        "params",
        "be the parameters of a network alone",
        f"the state of an optimizer at {path!r}",
        "Pass state.params.",
    )


def _is_array(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and hasattr(leaf, "ndim")


def _floating(leaf: Any) -> bool:
    return _is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating)


def _computable(w: Any) -> JArray:
    """Weights of 16 bits and less are computed with in single precision."""
    w = jnp.asarray(w)
    return w.astype(jnp.promote_types(w.dtype, jnp.float32))


def _like(leaf: Any, new: Any) -> Any:
    """`new` in the floating dtype of the leaf that it takes the place of."""
    if new is leaf or not (_floating(leaf) and _floating(new)):
        return new
    return jnp.asarray(new).astype(jax.dtypes.canonicalize_dtype(leaf.dtype))
