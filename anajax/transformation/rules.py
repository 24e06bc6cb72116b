"""Which weights become analog, and how: ordered rules on parameter paths."""

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
    """Which weights become analog, and how; the first rule that matches applies.

    Raises:
        ValueError: if `path` is not a regular expression or a number is out of range.

    Example:
        >>> head = anajax.Rule("head/.*", digital=True)
        >>> head.covers("head/kernel"), head.covers("body/kernel")
        (True, False)
    """

    path: str
    """Regular expression for the whole path of a parameter (`"blocks/0/kernel"`), or of
    an enclosing layer or module (`"blocks/0"`)."""
    _: dataclasses.KW_ONLY
    digital: bool = False
    """Keep these weights digital; the other fields are then ignored."""
    io: IO = dataclasses.field(default_factory=ideal)
    """The periphery."""
    tiles: TileRule = dataclasses.field(default_factory=TileRule)
    """Largest tile."""
    max_tiles: int | None = None
    """Most tiles that one weight may take; `None`: no limit."""
    normalize: Scaling = "none"
    """`"none"`, `"tile"` (one scale per column of each tile; `"column"` is the same) or
    `"array"` (one per tile): scale the largest weight to 1, undone after the ADC. ADC
    ranges and noise are in units of that weight."""
    patches: int = 2**24
    """Most numbers of unfolded input that a convolution holds at once; larger batches
    are processed in parts."""
    fold: bool = False
    """If a weight goes through arithmetic before its product (a mask, weight norm, a
    quantizer), put the result on tiles; otherwise the weight stays digital. `folded` of
    an analog function turns such arrays into parameters that can be programmed."""
    activations: bool = False
    """The rule is for products of two activations, which are named `"activations/0"`,
    `"activations/1"`, ... in the order of the computation. The first operand drives the
    rows, the second is held by the cells."""

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
        """Whether the rule matches this parameter or an enclosing module."""
        parts = path.split("/")
        around = ("/".join(parts[:n]) for n in range(1, len(parts) + 1))
        return any(re.fullmatch(self.path, p) for p in around)


def as_rules(rules: Any) -> tuple[Rule, ...]:
    """The given rules; without any, all weights are analog on ideal hardware.

    Raises:
        ValueError: if anything but rules is given.
    """
    several = isinstance(rules, list | tuple)
    rules = tuple(rules) if several else (rules,)
    for rule in rules:
        if not isinstance(rule, Rule):
            remedy = 'Such as Rule(".*", io=periphery.standard()).'
            checks.fail("rules", "hold Rule records", type(rule).__name__, remedy)
    return rules or (Rule(".*"),)


def first(rules: Sequence[Rule], path: str, *, activations: bool) -> Rule | None:
    """The rule that applies to a path."""
    own = (r for r in rules if r.activations == activations)
    return next((r for r in own if r.covers(path)), None)


def check_used(
    rules: Sequence[Rule],
    paths: Sequence[str],
    products: Sequence[str],
    sites: Sequence[str],
    reasons: dict[str, str],
) -> None:
    """Refuse rules that match nothing, or only weights without a product.

    Args:
        rules: all rules.
        paths: all parameters.
        products: all products of two activations.
        sites: the parameters that have a site.
        reasons: why the others have none.

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
            remedy = (
                "Correct the pattern, or drop the rule (`fold=True` accepts folded)."
            )
            checks.fail("rules", "each cover a weight in a product", got, remedy)


def check_held(held: Collection[str], met: list[str]) -> None:
    """Refuse a chip with other weights than this function has under these rules.

    Raises:
        ValueError: naming the weights.
    """
    missing = sorted(set(held) - set(met))
    if missing or (held and not set(met) <= set(held)):
        got = f"one of {sorted(held)}"
        remedy = "Put them on a chip by this very function."
        checks.fail("params", f"be a chip with the weights {met}", got, remedy)


def check_folds(sites: Sequence[Any]) -> None:
    """Refuse to make parameters of folded arrays that do not exist in all runs.

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
    """Refuse a function whose arguments have the names of the hardware's.

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
