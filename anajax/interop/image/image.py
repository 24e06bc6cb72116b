"""The contents of a chip image: targets by layer, and how to read them back."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from anajax import chip
from anajax._core import checks
from anajax._core.types import JArray, PyTree
from anajax.chip import LayerProgram, Scope
from anajax.crossbar.converters import ContinuousBits
from anajax.crossbar.periphery import IO, ConstantScale, OutputNoise, stacked
from anajax.crossbar.tiling import TileRule
from anajax.devices.base import Device
from anajax.layer import combined
from anajax.transformation import Rule

NUMBERS = {
    "coefficients": "1/uS", "offset": "1", "w_max": "1", "column": "1", "drift": "1",
    "t0": "s",
}  # fmt: skip
"""What an image holds for a layer besides targets, with units; see `LayerProgram`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Product:
    """The converters of one product of inputs and weights."""

    name: str
    weights: tuple[str, ...]
    """Paths of the weights in the product."""
    dac_bits: float | None = None
    adc_bits: float | None = None
    arrays: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """`input_scale`, `dac_bound`, `adc_bound` and `output_noise`, if present."""

    def io(self) -> IO:
        """The periphery of the product."""
        parts: dict[str, Any] = {}
        if "input_scale" in self.arrays:
            parts["scaling"] = ConstantScale(value=self._array("input_scale"))
        for kind, bits in (("dac", self.dac_bits), ("adc", self.adc_bits)):
            if bits is not None:
                codes = 2.0 ** (bits - 1) - 1
                bound = self._array(f"{kind}_bound")
                parts[kind] = ContinuousBits(bound=bound, codes=codes)
        if "output_noise" in self.arrays:
            parts["noise"] = OutputNoise(sd=self._array("output_noise"))
        return IO(**parts)

    def _array(self, kind: str) -> JArray:
        return jnp.asarray(self.arrays[kind])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Image:
    """Everything needed to program a chip and read it as a network.

    Example:
        >>> layers = anajax.chip.encode_weights(params, strategy)
        >>> image = Image(layers=layers, device=device)
        >>> image.weights()["kernel"].shape
        (6, 4)
    """

    layers: Mapping[str, LayerProgram]
    """Targets, by path of the weight."""
    device: Device
    """Device model that they were chosen for."""
    digital: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Parameters that stay digital, by path."""
    network: str = ""
    strategy: str = ""
    seed: int | None = None
    tiles: TileRule = TileRule(rows=512, columns=512)  # noqa: RUF009
    """Largest tile."""
    groups: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Number of matrices side by side in the columns of a weight (a grouped
    convolution), by path, where there are several."""
    periphery: tuple[Product, ...] = ()
    """Converters, if there are any."""
    scope: Scope = "layer"
    """Which weights share one drift compensation factor."""
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Versions of the software that made it."""

    def __post_init__(self) -> None:
        checks.word("scope", self.scope, Scope)

    def weights(self) -> dict[str, JArray]:
        """The weights given by the targets, before any error, by path."""
        return {
            path: chip.finish(layer, combined(layer.targets, layer))
            for path, layer in self.layers.items()
        }

    def insert(self, params: PyTree) -> PyTree:
        """Parameters of the network with those of the image inserted."""
        digital = {path: jnp.asarray(v) for path, v in self.digital.items()}
        return chip.insert(params, digital | self.weights())

    def rules(self) -> list[Rule]:
        """Rules for the network on these tiles: `anajax.analog(apply, rules)`.

        Its products use the converters of the image if it is called with `ranges`.

        Example:
            >>> f = anajax.analog(apply, image.rules())
            >>> y = f(image.insert(params), x, ranges=image.ranges())
        """
        paths = "|".join(re.escape(path) for path in self.layers)
        io = self.periphery[0].io() if self.periphery else IO()
        digital = Rule(rf"(?!(?:{paths})$).*", digital=True)
        return [digital, Rule(".*", tiles=self.tiles, io=io)]

    def ranges(self) -> dict[str, IO]:
        """The periphery of each product, by its name."""
        return {product.name: stacked(product.io()) for product in self.periphery}

    def reference(self, path: str) -> np.ndarray:
        """Mean |analog part| of the ideal targets, of a layer or of each column."""
        layer = self.layers[path]
        size = jnp.abs(combined(layer.targets, layer))
        if self.scope == "column":
            return np.asarray(layer.layout.per_column(jnp.mean, size, path))
        return np.asarray(layer.layout.per_layer(jnp.mean, size))
