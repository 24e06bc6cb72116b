"""Noise of large networks: each weight from a table of its mean and deviation."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from anajax import chip, rng
from anajax._core import checks
from anajax._core.normal import normal16
from anajax._core.tree import pytree, static
from anajax._core.types import JArray, PRNGKey, PyTree
from anajax.crossbar.converters import Number
from anajax.mapping.layout import Layout
from anajax.mapping.strategy import Normalize, normalized
from anajax.mapping.weight_table import WeightTable
from anajax.training.noise import Noise, toward


def table_noise(
    tables: Mapping[str, WeightTable],
    layouts: Mapping[str, Layout],
    *,
    normalize: Normalize = "layer",
    digital: Mapping[str, JArray | np.ndarray] | None = None,
    through: bool = False,
) -> Noise:
    """Weights with the mean and variance that they have on a chip, drawn as normals.

    Each key is a chip, read at one of the times of the tables. Tables are data: noise
    of another device or strategy shares a trace.

    Args:
        tables: of each weight array by path, from `mapping.weight_table`; of a stack of
            layers with one axis more, in front of all others.
        layouts: what the axes of these arrays are, such as `report.layouts`.
        normalize: whose largest |weight| fills the range, see `mapping.normalized`.
        digital: by path, which weights are kept digital (without noise, and left out
            where the largest is looked for), such as from `mapping.outliers`.
        through: whether the gradient goes through scales and tables, so that a large
            weight answers for the noise of those that share its range, or straight to
            the weight itself.

    Raises:
        ValueError: if an array has no layout, or another word is given.
    """
    checks.word("normalize", normalize, Normalize)
    missing = sorted(set(tables) - set(layouts))
    if missing:
        remedy = "Pass the layouts of `analog(...).report(...)`."
        checks.fail("layouts", "have all arrays", f"none for {missing}", remedy)
    masks = {path: jnp.asarray(v, bool) for path, v in (digital or {}).items()}
    axes = tuple((path, layouts[path]) for path in tables)
    how = {"axes": axes, "normalize": normalize, "through": through}
    return _TableNoise(tables=dict(tables), digital=masks, **how)


@pytree
class _TableNoise:
    """What `table_noise` gives."""

    tables: dict[str, WeightTable]
    digital: dict[str, JArray]
    axes: tuple[tuple[str, Layout], ...] = static()
    normalize: Normalize = static()
    through: bool = static()

    def __call__(self, params: PyTree, key: PRNGKey, strength: Number = 1.0) -> PyTree:
        def select(path: str, _: object) -> bool:
            return path in self.tables

        times = next(iter(self.tables.values())).mean.shape[-2]
        index = jr.randint(rng.stream(key, rng.Stage.TIME), (), 0, times)
        given = chip.weights(params, select=select)
        new = {
            path: self._drawn(path, layout, given[path], index, key)
            for path, layout in self.axes
        }
        return toward(params, new, strength, select, through=self.through)

    def _drawn(
        self, path: str, layout: Layout, w: JArray, index: JArray, key: PRNGKey
    ) -> JArray:
        gone = self.digital.get(path)

        def one(w: JArray) -> JArray:
            kept = w if gone is None else jnp.where(gone, 0, w)
            own = normalized(kept, self.normalize, layout, path=path)
            mean, sd = self._moments(path, own.u, index, layout)
            noise = normal16(rng.path_key(key, path), w.shape, w.dtype)
            new = own.unit * (mean + sd * noise)
            return new if gone is None else jnp.where(gone, w, new)

        return jax.checkpoint(one)(w if self.through else jax.lax.stop_gradient(w))

    def _moments(
        self, path: str, u: JArray, index: JArray, layout: Layout
    ) -> tuple[JArray, JArray]:
        table = self.tables[path]
        if table.mean.ndim == 2:
            return table.moments(u, time=index)
        matrices = layout.matrices(u, path)
        found = jax.vmap(lambda t, v: t.moments(v, time=index))(table, matrices)
        mean, sd = (layout.restored(v, u.shape) for v in found)
        return mean, sd
