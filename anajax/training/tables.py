"""Noise for large networks: each weight from a table of its mean and deviation."""

import dataclasses
import functools
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
    by_layer: bool = False,
) -> Noise:
    """Weights with their mean and variance on a chip, drawn from normal distributions.

    Each key is a chip, read at one of the times of the tables. Tables are data: noise
    of another device or strategy shares the trace.

    Args:
        tables: tables of each weight array by path, from `mapping.weight_table`; for a
            stack of layers with one more leading axis.
        layouts: meaning of the axes of these arrays, such as `report.layouts`.
        normalize: which weights share a full scale, see `mapping.normalized`.
        digital: by path, which weights are kept digital (without noise, and left out
            when the largest is determined), such as from `mapping.outliers`.
        through: whether the gradient passes through scales and tables, so that a large
            weight accounts for the noise of the weights that share its range, or is
            applied straight-through to the weight itself.
        by_layer: whether the layers of a stack are drawn one after the other, with a
            tenth of the memory; slightly slower on a GPU.

    Raises:
        ValueError: if an array has no layout, or `normalize` is unknown.
    """
    checks.word("normalize", normalize, Normalize)
    missing = sorted(set(tables) - set(layouts))
    if missing:
        remedy = "Pass the layouts of `analog(...).report(...)`."
        checks.fail("layouts", "have all arrays", f"none for {missing}", remedy)
    masks = {path: jnp.asarray(v, bool) for path, v in (digital or {}).items()}
    axes = tuple((path, layouts[path]) for path in tables)
    return _TableNoise(
        tables=dict(tables), digital=masks, axes=axes, normalize=normalize,
        through=through, by_layer=by_layer,
    )  # fmt: skip


@pytree
class _TableNoise:
    """What `table_noise` gives."""

    tables: dict[str, WeightTable]
    digital: dict[str, JArray]
    axes: tuple[tuple[str, Layout], ...] = static()
    normalize: Normalize = static()
    through: bool = static()
    by_layer: bool = static()

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
        table, gone = self.tables[path], self.digital.get(path)
        w = w if self.through else jax.lax.stop_gradient(w)
        key = rng.path_key(key, path)
        if not (self.by_layer and table.mean.ndim == 3):
            one = functools.partial(self._noisy, layout=layout, index=index, path=path)
            return jax.checkpoint(one)(table, w, gone, key)
        alone = dataclasses.replace(layout, stack=(), rows=(0,), columns=(1,))
        one = functools.partial(self._noisy, layout=alone, index=index, path=path)
        matrices = layout.matrices(w, path)
        masks = None if gone is None else layout.matrices(gone, path)
        keys = rng.streams(key, rng.Stage.LAYER, jnp.arange(len(matrices)))
        each = jax.checkpoint(lambda given: one(*given))
        found = jax.lax.map(each, (table, matrices, masks, keys))
        return layout.restored(found, w.shape)

    def _noisy(
        self,
        table: WeightTable,
        w: JArray,
        gone: JArray | None,
        key: PRNGKey,
        *,
        layout: Layout,
        index: JArray,
        path: str,
    ) -> JArray:
        """Weights of one layer, or of a stack, as a chip has them."""
        kept = w if gone is None else jnp.where(gone, 0, w)
        own = normalized(kept, self.normalize, layout, path=path)
        mean, sd = _moments(table, own.u, index, layout, path)
        new = own.unit * (mean + sd * normal16(key, w.shape, w.dtype))
        return new if gone is None else jnp.where(gone, w, new)


def _moments(
    table: WeightTable, u: JArray, index: JArray, layout: Layout, path: str
) -> tuple[JArray, JArray]:
    """Mean and deviation of normalized weights, of each layer of a stack by its own."""
    if table.mean.ndim == 2:
        return table.moments(u, time=index)
    matrices = layout.matrices(u, path)
    found = jax.vmap(lambda t, v: t.moments(v, time=index))(table, matrices)
    mean, sd = (layout.restored(v, u.shape) for v in found)
    return mean, sd
