"""Between the cells of a chip and the products of a network."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from anajax import chip
from anajax._core.types import JArray, PyTree
from anajax.crossbar.periphery import IO, stacked
from anajax.crossbar.tiling import through_wires
from anajax.crossbar.wires import Wires
from anajax.devices.base import Device
from anajax.transformation import AnalogChip


@dataclasses.dataclass(frozen=True)
class Wired:
    """Effective conductances of a layer, with wire resistance."""

    network: Any

    def __call__(self, wires: Wires, path: str, g: JArray) -> JArray:
        entry = next(p for p in self.network.report.analog if p.path == path)
        shape = entry.matrices
        planes = jax.vmap(shape, -1, -1)(g)  # [groups rows columns devices]
        tiles = self.network.periphery.tiles
        one = functools.partial(through_wires, rule=tiles, wires=wires)
        acting = jnp.stack([one(p) for p in planes])
        back = jax.linear_transpose(shape, g[..., 0])
        return jax.vmap(lambda m: back(m)[0], -1, -1)(acting)


@dataclasses.dataclass(frozen=True)
class Cells:
    """Individual cells of a chip in the products of the network."""

    network: Any
    shifted: bool

    def __call__(
        self,
        ios: Mapping[str, IO],
        device: Device,
        part: chip.Chip,
        params: PyTree,
        through: chip.Through | None,
    ) -> AnalogChip:
        sites = self.network.sites.values()
        return AnalogChip(
            params=params,
            device=device,
            programmed=part,
            sites={p: site for site in tuple(sites)[::-1] for p in site.layouts},
            ranges={name: stacked(io) for name, io in ios.items()},
            combine="analog",
            scope=self.network.scope,  # pyright: ignore[reportArgumentType]
            shifted=self.shifted,
            extrapolate=True,
            through=through,
        )
