"""The devices of one weight: pairs, single devices, slices."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax._core import checks


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnitCell:
    """The devices of one weight: signs and the significance group of each.

    Raises:
        ValueError: if a sign is not +1 or -1, or signs and groups differ in length.

    Example:
        >>> anajax.pairs(2).devices
        4
    """

    signs: tuple[int, ...]
    """+1 for devices that add, -1 for devices that subtract."""
    groups: tuple[int, ...]
    """Index into the significance factors, most significant first."""

    def __post_init__(self) -> None:
        if set(self.signs) - {1, -1} or not self.signs:
            checks.fail("signs", "be +1 or -1", self.signs, "Name one per device.")
        if len(self.groups) != len(self.signs):
            checks.fail(
                "groups",
                "have one entry per sign",
                f"{len(self.groups)} for {len(self.signs)} signs",
                "Give each device its group.",
            )

    @property
    def devices(self) -> int:
        """Number of devices per weight."""
        return len(self.signs)

    @property
    def factors(self) -> int:
        """Number of significance factors per weight."""
        return max(self.groups) + 1

    @property
    def paired(self) -> bool:
        """Whether every device has a partner of opposite sign in its group."""
        return sorted(zip(self.groups, self.signs, strict=True)) == sorted(
            (g, -s) for g, s in zip(self.groups, self.signs, strict=True)
        )

    @property
    def mirror(self) -> tuple[int, ...]:
        """The index of each device's partner, for weights of opposite sign."""
        slots = list(zip(self.groups, self.signs, strict=True))
        return tuple(slots.index((g, -s)) for g, s in slots)

    def coefficients(self, significance: Float[JArray, "factors"]) -> JArray:
        """Signed factors `[devices]` that turn conductances into a weight.

        Args:
            significance: of a strategy; for a NumPy array, the result is one, too.
        """
        signs: Any = np.asarray(self.signs)
        return signs * significance[np.asarray(self.groups)]


def pairs(count: int) -> UnitCell:
    """A cell of `count` differential pairs, most significant first.

    Raises:
        ValueError: if `count` is less than one.

    Example:
        >>> anajax.pairs(2).signs
        (1, -1, 1, -1)
    """
    if count < 1:
        checks.fail("count", "be at least 1", count, "Use pairs(1) or pairs(2).")
    groups = tuple(p for p in range(count) for _ in range(2))
    return UnitCell(signs=(1, -1) * count, groups=groups)


def singles(count: int = 1) -> UnitCell:
    """A cell of `count` devices without partners, most significant first.

    Negative weights need a digital offset.

    Raises:
        ValueError: if `count` is less than one.
    """
    if count < 1:
        checks.fail("count", "be at least 1", count, "Use singles(1).")
    return UnitCell(signs=(1,) * count, groups=tuple(range(count)))


def slices(bits: int) -> Float[JArray, "factors"]:
    """Significance of bit slices, powers of two: 2^(bits - 1), ..., 2, 1."""
    return 2.0 ** jnp.arange(bits - 1, -1, -1)


def copies(count: int) -> Float[JArray, "factors"]:
    """Significance of `count` groups of equal significance: 1, ..., 1."""
    return jnp.ones(count)
