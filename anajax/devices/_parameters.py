"""The free parameters of a device form as one vector, and back."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array as JArray
from jaxtyping import Float

from anajax import _checks
from anajax._tree import pytree, static
from anajax.devices._ties import tied, whole_deviation
from anajax.devices.base import Device
from anajax.devices.mram import RetentionFlips
from anajax.devices.variation import RANGE, SETTINGS, _covers, _dotted

FIXED = (*RANGE, *SETTINGS, "threshold", "growth")
"""Names that are settings of the experiment, or redundant with other parameters."""

Vector = Float[JArray, "parameters"]


@pytree
class Layout:
    """Which entries of which leaves of a form are free."""

    form: Any
    """A `Device`."""
    names: tuple[str, ...] = static()
    """Dotted places, with the index in brackets."""
    places: tuple[tuple[int, tuple[int, ...]], ...] = static()
    """Number of the leaf, and the index in it."""

    def vector(self) -> Vector:
        """The values of the form."""
        leaves = jax.tree.leaves(self.form)
        return jnp.asarray([leaves[i][index] for i, index in self.places])

    def device(self, vector: Vector) -> Device:
        """The form with these values."""
        leaves, tree = jax.tree.flatten(self.form)
        for value, (i, index) in zip(vector, self.places, strict=True):
            leaves[i] = leaves[i].at[index].set(value)
        return tied(jax.tree.unflatten(tree, leaves))


def layout(form: Device, free: Sequence[str] | None) -> Layout:
    """The free parameters: those that `free` names cover, by default all but `FIXED`.

    Raises:
        ValueError: if a name covers no parameter.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(form)
    names = [_dotted(path) for path, _ in leaves]
    for name in free or ():
        if not any(_covers(name, n) for n in names):
            _checks.fail("free", "name parameters", repr(name), f"Known: {names}.")
    chosen = [
        (i, name)
        for i, name in enumerate(names)
        if name.split(".")[-1] not in FIXED
        and (free is None or any(_covers(f, name) for f in free))
    ]
    held = _tied_places(form)
    labels, places = [], []
    for i, name in chosen:
        for index in np.ndindex(leaves[i][1].shape):
            if name in held and (held[name] is None or index[0] == held[name]):
                continue
            labels.append(name + "".join(f"[{j}]" for j in index))
            places.append((i, index))
    return Layout(form=form, names=tuple(labels), places=tuple(places))


def _tied_places(form: Device) -> dict[str, int | None]:
    """Leaves that follow others: a row of them, or all (None)."""
    if isinstance(form.drift, RetentionFlips):
        return {"programming.low": None, "programming.high": None}
    if whole_deviation(form) is None:
        return {}
    prefix = "drift.spread.total"
    return {f"{prefix}.{n}": 0 for n in ("coefficients", "amplitude", "width")}
