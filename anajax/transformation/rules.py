"""Which weights become analog, and how: ordered rules on the paths of parameters."""

import dataclasses
import inspect
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

from anajax._core import checks
from anajax.crossbar.periphery import IO, ideal
from anajax.crossbar.tiling import Scaling, TileRule


@dataclasses.dataclass(frozen=True)
class Rule:
    """Which weights become analog, and how; the first rule that matches counts.

    Raises:
        ValueError: if `path` is no regular expression or a number is out of range.

    Example:
        >>> head = anajax.Rule("head/.*", digital=True)
        >>> head.covers("head/kernel"), head.covers("body/kernel")
        (True, False)
    """

    path: str
    """Regular expression for the whole path of a parameter (`"blocks/0/kernel"`), or of
    a layer or module that it is part of (`"blocks/0"`)."""
    _: dataclasses.KW_ONLY
    digital: bool = False
    """Keep these weights digital; the other fields are not looked at."""
    io: IO = dataclasses.field(default_factory=ideal)
    """The periphery."""
    tiles: TileRule = dataclasses.field(default_factory=TileRule)
    """Largest tile."""
    max_tiles: int | None = None
    """Most tiles that one weight may take; `None`: no limit."""
    normalize: Scaling = "none"
    """`"none"`, `"tile"` (a scale for each column of each tile; `"column"` is the same)
    or `"array"` (one for each tile): bring the largest weight to 1, undone behind the
    ADC. ADC ranges and noise count in units of that weight."""
    patches: int = 2**24
    """Most numbers of unfolded input that a convolution holds at once; larger batches
    are worked off in parts."""
    fold: bool = False
    """Take a weight that meets arithmetic before its product (a mask, weight norm, a
    quantizer) as the array that results; otherwise it stays digital. `folded` of an
    analog function makes parameters of such arrays, to be programmed."""
    activations: bool = False
    """The rule is for products of two activations, which are named
    `"activations/0"`, `"activations/1"`, ... in the order of the computation. The first
    operand drives the rows, the second stands in the cells."""

    def __post_init__(self) -> None:
        try:
            re.compile(self.path)
        except re.error as error:
            remedy = f"Correct it ({error})."
            checks.fail("path", "be a regular expression", repr(self.path), remedy)
        checks.word("normalize", self.normalize, Scaling)
        for name in ("max_tiles", "patches"):
            value = getattr(self, name)
            if value is not None and value < 1:
                checks.fail(name, "be at least 1", value, "Use the default.")

    def covers(self, path: str) -> bool:
        """Whether the rule names this parameter or a module around it."""
        parts = path.split("/")
        around = ("/".join(parts[:n]) for n in range(1, len(parts) + 1))
        return any(re.fullmatch(self.path, p) for p in around)


def as_rules(rules: Any) -> tuple[Rule, ...]:
    """The rules as given; without any, all weights are analog on ideal hardware.

    Raises:
        ValueError: if something else than rules is given.
    """
    several = isinstance(rules, list | tuple)
    rules = tuple(rules) if several else (rules,)
    for rule in rules:
        if not isinstance(rule, Rule):
            remedy = 'Such as Rule(".*", io=periphery.standard()).'
            checks.fail("rules", "hold Rule records", type(rule).__name__, remedy)
    return rules or (Rule(".*"),)


def first(rules: Sequence[Rule], path: str, *, activations: bool) -> Rule | None:
    """The rule that decides on a path."""
    own = (r for r in rules if r.activations == activations)
    return next((r for r in own if r.covers(path)), None)


def check_used(
    rules: Sequence[Rule],
    paths: Sequence[str],
    products: Sequence[str],
    sites: Sequence[str],
    reasons: dict[str, str],
) -> None:
    """Refuse rules that match nothing, or that ask for weights without a product.

    Args:
        rules: all rules.
        paths: all parameters.
        products: all products of two activations.
        sites: the parameters that have a site.
        reasons: why others have none.

    Raises:
        ValueError: naming the first such rule.
    """
    for rule in rules:
        names = products if rule.activations else paths
        covered = [path for path in names if rule.covers(path)]
        if not covered:
            kind = "a product of two activations" if rule.activations else "a parameter"
            got = f"none for {rule.path!r} among {list(names)}"
            remedy = "Correct the pattern: it must match a whole path."
            checks.fail("rules", f"each cover {kind}", got, remedy)
        if rule.digital or rule.activations:
            continue
        if not set(covered) & set(sites):
            why = {path: reasons.get(path, NO_PRODUCT) for path in covered}
            if EMPTY in why.values():  # a batch of none has no product to cover
                continue
            got = f"none for {rule.path!r}: {why}"
            remedy = "Correct the pattern, or drop the rule (`fold=True` takes folded)."
            checks.fail("rules", "each cover a weight in a product", got, remedy)


def check_held(held: Collection[str], met: list[str]) -> None:
    """Refuse a chip whose weights are not those of this function with these rules.

    Raises:
        ValueError: naming the weights.
    """
    missing = sorted(set(held) - set(met))
    if missing or (held and not set(met) <= set(held)):
        got = f"one of {sorted(held)}"
        remedy = "Put them on a chip by this very function."
        checks.fail("params", f"be a chip with the weights {met}", got, remedy)


def check_folds(sites: Sequence[Any]) -> None:
    """Refuse to make parameters of folded arrays that are not there for all runs.

    Raises:
        ValueError: if there are none, or naming the first such array.
    """
    found = [site for site in sites if site.folded]
    if not found:
        remedy = "Pass a Rule with fold=True for what meets arithmetic."
        checks.fail("rules", "fold a weight", f"none of {len(sites)} products", remedy)
    for site in found:
        if any(not length for _, length in site.around):
            got = f"{site.name!r} in a branch or a loop of unknown length"
            remedy = "Compute it before, or pass it as a parameter."
            checks.fail("apply", "fold weights outside of these", got, remedy)


def check_signature(apply: Callable[..., Any]) -> None:
    """Refuse a function that takes what the hardware takes.

    Raises:
        ValueError: naming the argument.
    """
    try:
        parameters = inspect.signature(apply).parameters
    except (TypeError, ValueError):
        return
    for name in ("key", "ranges"):
        found = parameters.get(name)
        if found is not None and found.kind is found.KEYWORD_ONLY:
            got = "an argument of that name for `apply` itself"
            remedy = (
                "Wrap it: lambda params, k, *inputs: apply(params, *inputs, key=k)."
            )
            checks.fail(name, "be left to the hardware", got, remedy)


EMPTY = "its product is empty"
NO_PRODUCT = "not in a product"
