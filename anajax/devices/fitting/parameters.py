"""The free parameters of a device form as one vector, and back.

The search uses unbounded coordinates: if a record declares that a parameter lies in an
interval (`within`), its logarithm or logit. So no step leaves the domain.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax._core import checks
from anajax._core.tree import pytree, static
from anajax.devices.base import Device
from anajax.devices.variation import (
    RANGE,
    SETTINGS,
    covers,
    dotted,
    share_constants,
)

FIXED = (*RANGE, *SETTINGS, "threshold", "growth")
"""Names that are settings of the experiment, or redundant with other parameters."""
REAL = (-math.inf, math.inf)
INSIDE = 1e-3
"""Distance from its bound at which a parameter starts if the form has it at the bound,
relative to the largest of its array."""

Vector = Float[JArray, "parameters"]


@pytree
class Layout:
    """Which entries of which leaves of a form are free, and their bounds."""

    form: Any
    """A `Device`."""
    names: tuple[str, ...] = static()
    """Dotted names, with the index in brackets."""
    places: tuple[tuple[int, tuple[int, ...]], ...] = static()
    """Number of the leaf, and the index in it."""
    domains: tuple[tuple[float, float], ...] = static()
    """Bounds of each parameter."""

    def vector(self) -> Vector:
        """The parameter values of the form."""
        leaves = jax.tree.leaves(self.form)
        return jnp.asarray([leaves[i][index] for i, index in self.places])

    def device(self, vector: Vector) -> Device:
        """The form with these values."""
        leaves, tree = jax.tree.flatten(self.form)
        for value, (i, index) in zip(vector, self.places, strict=True):
            leaves[i] = leaves[i].at[index].set(value)
        return share_constants(jax.tree.unflatten(tree, leaves))

    def values(self, at: Vector) -> Vector:
        """The values at these coordinates: always within their domains."""
        low, width, above, between = self._bounds()
        up = low + jnp.exp(jnp.where(above, at, 0.0))
        inside = low + width * jax.nn.sigmoid(jnp.where(between, at, 0.0))
        return jnp.where(between, inside, jnp.where(above, up, at))

    def coordinates(self) -> Vector:
        """The parameter values of the form as coordinates.

        Raises:
            ValueError: if a value is beyond its bounds.
        """
        vector, floor = np.asarray(self.vector()), self._inside()
        low, width, above, between = self._bounds()
        for name, value, (least, most) in zip(
            self.names, vector, self.domains, strict=True
        ):
            if not least <= value <= most:
                rule = f"lie in {least:g} to {most:g}"
                checks.fail(f"form.{name}", rule, f"{value:g}", "Start inside.")
        up = np.maximum(vector - low, floor)
        share = np.clip((vector - low) / width, 1e-9, 1 - 1e-9)
        logit = np.log(share) - np.log1p(-share)
        return jnp.asarray(
            np.where(between, logit, np.where(above, np.log(up), vector))
        )

    def bounded(self) -> np.ndarray:
        """Which parameters are bounded, `[parameters]`."""
        _, _, above, between = self._bounds()
        return above | between

    def level(self, at: Vector) -> Vector:
        """The coordinates, with every table of bounded values at its mean."""
        mean = np.asarray(at).copy()
        for of in self.tables():
            mean[of] = np.mean(mean[of])
        return jnp.asarray(mean)

    def steps(self, at: Vector) -> Float[JArray, "steps"]:
        """Differences of coordinates between neighbors in tables of bounded values."""
        pairs = [pair for of in self.tables() for pair in itertools.pairwise(of)]
        low, high = np.array(pairs, int).reshape(-1, 2).T
        return at[high] - at[low]

    def tables(self) -> list[list[int]]:
        """The indices of the parameters of each table of bounded values."""
        bounded = self.bounded()
        return [
            of
            for of in self.arrays()
            if ".value[" in self.names[of[0]] and bounded[of[0]]
        ]

    def arrays(self) -> list[list[int]]:
        """The indices of the parameters of each array."""
        of: dict[int, list[int]] = {}
        for i, (leaf, _) in enumerate(self.places):
            of.setdefault(leaf, []).append(i)
        return [*of.values()]

    def _bounds(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Lower bound and width (0 and 1 where infinite); bounded below, and twice."""
        low, high = np.asarray(self.domains, float).reshape(-1, 2).T
        above, between = np.isfinite(low), np.isfinite(low) & np.isfinite(high)
        low = np.where(above, low, 0.0)
        return low, np.where(between, high - low, 1.0), above, between

    def _inside(self) -> np.ndarray:
        leaves = [np.asarray(v) for v in jax.tree.leaves(self.form)]
        low = self._bounds()[0]
        largest = [np.max(leaves[i]) for i, _ in self.places] - low
        return INSIDE * np.where(largest > 0, largest, 1.0)


def layout(
    form: Device,
    free: Sequence[str] | None,
    knots: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> Layout:
    """The free parameters: those that `free` names, by default all except `FIXED`.

    Args:
        form: the device.
        free: dotted names.
        knots: for cut tables, the indices of the remaining knots.

    Raises:
        ValueError: if a name matches no parameter.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(form)
    names = [dotted(path) for path, _ in leaves]
    for name in free or ():
        if not any(covers(name, n) for n in names):
            checks.fail("free", "name parameters", repr(name), f"Known: {names}.")
    chosen = [
        (i, name)
        for i, name in enumerate(names)
        if name.split(".")[-1] not in FIXED
        and (free is None or any(covers(f, name) for f in free))
    ]
    held = form.drift.shared(form.programming)
    labels, places, domains = [], [], []
    for i, name in chosen:
        for index in np.ndindex(leaves[i][1].shape):
            if name in held and (held[name] is None or index[0] == held[name]):
                continue
            shown = [knots[name][j] for j in index] if name in knots else index
            labels.append(name + "".join(f"[{j}]" for j in shown))
            places.append((i, index))
            domains.append(domain(form, name))
    return Layout(
        form=form, names=tuple(labels), places=tuple(places), domains=tuple(domains)
    )


def domain(form: Device, name: str) -> tuple[float, float]:
    """The interval of the parameter with that dotted name, as declared."""
    record, bounds = form, REAL
    for part in name.split("."):
        field = next(f for f in dataclasses.fields(record) if f.name == part)
        if not field.metadata.get("inherited"):
            bounds = field.metadata.get("within", REAL)
        record = getattr(record, part)
    return bounds
