"""What the names and shapes in a parameter tree imply about one of its arrays.

Uses the names of Flax (`kernel`: outputs last), of PyTorch and Equinox (`weight`:
outputs first), and the biases next to them: a bias has the axes of the outputs, after
those of a stack. What remains ambiguous is not decided here.
"""

import functools
import re
from collections.abc import Iterator

from anajax.mapping.layout import IN_OUT, OUT_IN, Layout

Shape = tuple[int, ...]


class Shapes(dict[str, Shape]):
    """Shapes of all floating arrays of a tree, by path."""

    @functools.cached_property
    def modules(self) -> dict[str, list[str]]:
        """Names of the arrays of each module, by the prefix of their paths."""
        found = {}
        for path in self:
            prefix, name = split(path)
            found.setdefault(prefix, []).append(name)
        return found

    @functools.cached_property
    def depths(self) -> dict[str, int]:
        """Number of leading axes that number layers, by path prefix."""
        around = {prefix for path in self for prefix in prefixes(path)}
        return {prefix: _depth(prefix, self) for prefix in around}


VECTOR = re.compile(r"(.*_)?bias(_.*)?|beta|gamma|(.*_)?scale", re.IGNORECASE)
"""Names of vectors that are added to outputs or multiply them: never a matrix."""
SHORT = re.compile(r"b\d*|b_.*|g")
"""More such names, if they stand next to an array that they belong to."""
STATISTIC = re.compile(r"(running_)?(mean|var)|batch_stats", re.IGNORECASE)
TABLE = re.compile(
    r".*embed.*|(.*_)?emb(_.*)?|wte|wpe|pos(_.*)?|.*position.*|cls"
    r"|(.*_)?tokens?|.*token_type.*|latents?",
    re.IGNORECASE,
)
"""Names of lookup tables and of arrays added to the input: no product."""
NORM = re.compile(r".*norm(?!al(?!iz)).*|ln(_?\w*\d|_\w+)?|bn(_?\d+|_\w+)?", re.I)
CONVOLUTION = re.compile(r".*conv.*", re.IGNORECASE)
TRANSPOSED = re.compile(r".*(transpose|deconv|upconv).*", re.IGNORECASE)
HEADS = re.compile(r"query|key|value", re.IGNORECASE)
GENERAL = re.compile(r".*general.*|.*einsum.*", re.IGNORECASE)
OUT_FIRST = re.compile(r"(.*_)?weight(_.*)?", re.IGNORECASE)
GENERIC = re.compile(r"kernel|(.*_)?weight(_.*)?|w\d*|w_.*", re.IGNORECASE)
"""Names of a matrix of any kind of layer; the layer's own name says more."""


def names(path: str) -> list[str]:
    """The names along a path, including state dicts with dots."""
    return re.split(r"[/.]", path)


def layer_name(path: str) -> str:
    """The nearest enclosing name that is not a number, or ""."""
    around = [name for name in names(path)[:-1] if not name.isdigit()]
    return around[-1] if around else ""


def split(path: str) -> tuple[str, str]:
    """The prefix of a path up to its last separator, and the name after it."""
    name = names(path)[-1]
    return path[: len(path) - len(name)], name


def prefixes(path: str) -> list[str]:
    """The prefixes of a path that end at a separator, from ""."""
    parts = re.split(r"([/.])", path)
    return ["".join(parts[:n]) for n in range(0, len(parts), 2)]


def bias_of(path: str, shapes: Shapes) -> Shape | None:
    """The shape of the bias next to an array, if there is one."""
    prefix, name = split(path)
    if not GENERIC.fullmatch(name):
        return None
    own = re.sub("^[wW](?=$|_|[0-9])", "b", re.sub("weight|kernel", "bias", name))
    shared = [] if own[0] == "b" and name[0] in "wW" and len(name) != 1 else ["bias"]
    if "weight" in name or name == "kernel":
        shared = ["bias", "b"]
    found = (prefix + n for n in (own, *shared) if n != name)
    return next((shapes[p] for p in found if p in shapes), None)


def is_vector(path: str, shapes: Shapes) -> bool:
    """Whether an array is a bias or a scale by its name."""
    prefix, name = split(path)
    if VECTOR.fullmatch(name):
        return True
    others = shapes.modules[prefix]
    if name == "g":
        return "b" in others and shapes[prefix + "b"] == shapes[path]
    return bool(SHORT.fullmatch(name)) and any(
        _is_bias(prefix + other, path, shapes) for other in others
    )


def _is_bias(path: str, bias: str, shapes: Shapes) -> bool:
    """Whether `bias` has the shape of the bias of the array at `path`."""
    matrix = shapes[path]
    return bias_of(path, shapes) == shapes[bias] and len(matrix) > len(shapes[bias])


def known_order(path: str) -> Layout | None:
    """The order of inputs and outputs implied by the name of an array."""
    name = names(path)[-1]
    if name == "kernel":
        return IN_OUT
    return OUT_IN if OUT_FIRST.fullmatch(name) else None


def stack_depth(path: str, shapes: Shapes) -> int:
    """Number of leading axes that number layers, by the arrays of modules around it.

    All arrays of a stacked module share these axes; its biases and scales have them
    before their own axis.
    """
    return max(shapes.depths[prefix] for prefix in prefixes(path))


def _depth(prefix: str, shapes: Shapes) -> int:
    inside = [p for p in shapes if p.startswith(prefix)]
    vectors = [p for p in inside if is_vector(p, shapes)]
    scaled = any("scale" in names(p)[-1] or names(p)[-1] == "g" for p in vectors)
    if len({split(p)[0] for p in inside}) < 2 and not scaled:
        return 0  # one layer: its bias speaks for itself
    shared = 0
    for sizes in zip(*(shapes[p] for p in inside), strict=False):
        if len(set(sizes)) > 1:
            break
        shared += 1
    each = [_vector_depths(p, shapes) for p in vectors]
    both = set(range(shared + 1)).intersection(*each) if each else {0}
    return both.pop() if len(both) == 1 else 0


def _vector_depths(path: str, shapes: Shapes) -> set[int]:
    """How many axes a bias or scale may have in front of its own."""
    prefix, _ = split(path)
    beside = [
        prefix + name
        for name in shapes.modules[prefix]
        if _is_bias(prefix + name, path, shapes)
    ]
    if not beside:
        return {len(shapes[path]) - 1}
    fits = [f for p in beside for f in _fits(p, shapes, known_order(p))]
    return {len(layout.stack) for layout in fits}


def by_bias(
    shape: Shape, bias: Shape, order: Layout | None = None
) -> tuple[Layout, ...]:
    """The layouts of an array that are compatible with this bias."""
    last = () if order == OUT_IN else tuple(_outputs_last(shape, bias))
    first = () if order == IN_OUT else tuple(_outputs_first(shape, bias))
    return tuple(dict.fromkeys(last + first))


def _outputs_last(shape: Shape, bias: Shape) -> Iterator[Layout]:
    ndim, rows = len(shape), len(shape) - len(bias)
    for n in range(len(bias) if rows >= 1 else 0):
        if bias[:n] == shape[:n] and bias[n:] == shape[n + rows :]:
            yield _layout(n, tuple(range(n + rows, ndim)), ndim)


def _outputs_first(shape: Shape, bias: Shape) -> Iterator[Layout]:
    """`[*stack out *in]` beside `[*stack out]`, or `[*stack out 1 1]`."""
    ones = len(bias)
    while ones > 1 and bias[ones - 1] == 1:
        ones -= 1
    for length in dict.fromkeys((ones, len(bias))):
        if length < len(shape) and bias[:length] == shape[:length]:
            yield _layout(length - 1, (length - 1,), len(shape))


def _layout(stack: int, columns: Shape, ndim: int) -> Layout:
    rows = tuple(a for a in range(stack, ndim) if a not in columns)
    return Layout(stack=tuple(range(stack)), rows=rows, columns=columns)


# --- the layout of an array ---------------------------------------------------------


def find(
    path: str, shapes: Shapes, order: Layout | None = None
) -> tuple[Layout | None, str]:
    """The layout of an array with two or more axes, and its evidence.

    Args:
        path: path of the array.
        shapes: shapes of all arrays of the tree.
        order: `IN_OUT` or `OUT_IN` if given by the user.

    Returns:
        `None` if the first axis may or may not number layers; a layout that is not
        `known` if only its columns are undetermined.
    """
    asked = order is not None
    order = order if asked else known_order(path)
    if len(shapes[path]) == 2:
        return _matrix(path, shapes, order, asked)
    found = _by_bias(path, shapes, order)
    if found is None and asked is False:
        found = _by_bias(path, shapes, None)
    if found is not None:
        return found, "its bias"
    found, why = _by_name(path, shapes, order)
    if found is None and asked:
        return _ordered(0, order, len(shapes[path])), "`layout`"
    return found, why


def _matrix(
    path: str, shapes: Shapes, order: Layout | None, asked: bool
) -> tuple[Layout, str]:
    if asked and order is not None:
        return order.on(2), "`layout`"
    bias = bias_of(path, shapes)
    fits = () if bias is None else by_bias(shapes[path], bias)
    if order is not None and (not fits or order.on(2) in fits):
        return order.on(2), f"the name {names(path)[-1]!r}"
    return (fits[0], "its bias") if len(fits) == 1 else (Layout(), "its axes")


def _by_bias(path: str, shapes: Shapes, order: Layout | None) -> Layout | None:
    """The one layout that the bias allows; the stack around chooses among several."""
    fits = _fits(path, shapes, order)
    if len(fits) > 1:
        depth = stack_depth(path, shapes)
        fits = tuple(f for f in fits if depth in (0, len(f.stack)))
    if len(fits) == 1:
        return fits[0]
    stacks = {layout.stack for layout in fits}
    return Layout(stack=stacks.pop()) if len(stacks) == 1 else None


def _fits(path: str, shapes: Shapes, order: Layout | None) -> tuple[Layout, ...]:
    """The layouts that the bias allows; the layer's name chooses among several."""
    shape, bias, name = shapes[path], bias_of(path, shapes), layer_name(path)
    if bias is None:
        return ()
    if TRANSPOSED.fullmatch(name):
        return _transposed(shape, bias, order)
    fits = by_bias(shape, bias, order)
    if HEADS.fullmatch(name):
        return tuple(f for f in fits if len(f.columns) == 2) or fits
    if CONVOLUTION.fullmatch(name) or name.lower() == "out":
        return tuple(f for f in fits if len(f.columns) == 1) or fits
    return fits


def _transposed(shape: Shape, bias: Shape, order: Layout | None) -> tuple[Layout, ...]:
    """Transposed convolutions hold their two axes of channels in either order."""
    n, ndim = len(bias) - 1, len(shape)
    last, first = (ndim - 2, ndim - 1), (n, n + 1)
    either = last if order == IN_OUT else first if order == OUT_IN else first + last
    return tuple(
        _layout(n, (a,), ndim)
        for a in dict.fromkeys(either)
        if bias[:n] == shape[:n] and bias[n] == shape[a]
    )


def _by_name(
    path: str, shapes: Shapes, order: Layout | None
) -> tuple[Layout | None, str]:
    name, ndim = layer_name(path), len(shapes[path])
    depth = stack_depth(path, shapes)
    if order == IN_OUT:
        heads = _heads(path, shapes)
        if heads is not None and depth in (0, len(heads.stack)):
            return heads, "the shapes of its attention"
    if CONVOLUTION.fullmatch(name):
        either = order is None or TRANSPOSED.fullmatch(name)
        found = _ordered(depth, None if either else order, ndim)
        return found, f"the name {name!r}"
    if GENERAL.fullmatch(name):
        return _ordered(depth, None, ndim), f"the name {name!r}"
    if depth and (ndim - depth == 2 or order == OUT_IN):
        return _ordered(depth, order, ndim), "its stack"
    return (_ordered(depth, None, ndim), "its stack") if depth else (None, "")


def _ordered(depth: int, order: Layout | None, ndim: int) -> Layout:
    if order is None:
        return Layout(stack=tuple(range(depth)))
    return _layout(depth, (depth if order == OUT_IN else ndim - 1,), ndim)


def _heads(path: str, shapes: Shapes) -> Layout | None:
    """`[in heads dim]` of queries, keys and values beside `[heads dim out]`."""
    name, ndim = layer_name(path), len(shapes[path])
    prefix = ([*prefixes(path)[-2:-1], ""])[0]
    split_heads, joins = bool(HEADS.fullmatch(name)), name.lower() == "out"
    of_value = shapes.get(f"{prefix}value/kernel", ())
    out = shapes.get(f"{prefix}out/kernel", ())
    n = ndim - 3
    if not (split_heads or joins) or not len(of_value) == len(out) == ndim:
        return None
    if of_value[:n] != out[:n] or of_value[-2:] != out[-3:-1]:
        return None
    return _layout(n, (ndim - 2, ndim - 1) if split_heads else (ndim - 1,), ndim)


# --- what is no weight --------------------------------------------------------------


def digital(path: str, shapes: Shapes) -> str | None:
    """Why an array with two or more axes is not the matrix of a product, or `None`."""
    name, layer, shape = names(path)[-1], layer_name(path), shapes[path]
    if any(STATISTIC.fullmatch(n) for n in (name, names(path)[0])):
        return "statistics of a batch"
    if is_vector(path, shapes):
        return "a bias or scale"
    if name == "kernel":
        return None
    bias = bias_of(path, shapes)
    if TABLE.fullmatch(name) or (bias is None and _of(TABLE, layer, name)):
        return "an embedding"
    if _of(NORM, layer, name) or NORM.fullmatch(name) or bias == shape:
        return "of a normalization"
    if bias is None and len(shape) - stack_depth(path, shapes) < 2:
        return "a vector of each layer of a stack"
    return None


def _of(kind: re.Pattern, layer: str, name: str) -> bool:
    return bool(kind.fullmatch(layer)) and bool(GENERIC.fullmatch(name))


def of_optimizer(path: str, shapes: Shapes) -> bool:
    """Whether a path leads into the state of an optimizer."""
    parts = names(path)
    if any(OPTIMIZER.fullmatch(name) for name in parts):
        return True
    twins = [n for n in ("mu", "nu") if n in parts]
    swapped = {"mu": "nu", "nu": "mu"}
    return any(
        re.sub(rf"(?<![^/.]){n}(?![^/.])", swapped[n], path) in shapes for n in twins
    )


OPTIMIZER = re.compile(r"opt_state|optim(izer)?(_state)?|optimizers?", re.IGNORECASE)
