"""Faults: stuck cells and dead lines, fixed for each chip."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array as JArray
from jaxtyping import Int8

from anajax import rng
from anajax._core import checks
from anajax._core.options import option
from anajax._core.tree import pytree
from anajax._core.types import PRNGKey
from anajax.devices.base import Device
from anajax.devices.stages import G, Number

HEALTHY, LOW, HIGH, DEAD = range(4)
Codes = Int8[JArray, "*cells"]


_FRACTION = "a fraction of cells or lines, 0 to 1"


@pytree
class Faults:
    """Fractions of cells and lines that do not work; drawn once for each chip.

    A stuck cell stays at `g_min` or `g_max` of its device, without drift, and has read
    noise. A cell on a dead line reads as 0. In arrays `[... in out device]`, a dead row
    silences all cells of one input, on all columns and devices; a dead column silences
    all cells of one output and one device (each device has its own bit line). Arrays
    with fewer than three axes have no layout: there, every cell is its own line, with
    the same probability. Faults affect only the read-out. Samples have no gradient with
    respect to the fractions, but moments do.

    Raises:
        ValueError: if a fraction is outside 0 to 1, or the stuck ones sum above 1.
    """

    stuck_low: Number = option(0.0, _FRACTION, least=0, most=1)
    """Fraction of cells at `g_min`."""
    stuck_high: Number = option(0.0, _FRACTION, least=0, most=1)
    """Fraction of cells at `g_max`."""
    dead_rows: Number = option(0.0, _FRACTION, least=0, most=1)
    """Fraction of dead rows (inputs)."""
    dead_columns: Number = option(0.0, _FRACTION, least=0, most=1)
    """Fraction of dead columns (output, device)."""

    def __post_init__(self) -> None:
        values = {
            "stuck_low": self.stuck_low,
            "stuck_high": self.stuck_high,
            "dead_rows": self.dead_rows,
            "dead_columns": self.dead_columns,
            "stuck_low + stuck_high": self.stuck_low + self.stuck_high,
        }
        for name, value in values.items():
            checks.positive(name, value, strictly=False)
            if checks.concrete(value) and np.any(np.asarray(value) > 1):
                checks.fail(name, "be at most 1", value, "Give fractions.")

    def draw(self, targets: G, *, key: PRNGKey) -> Codes:
        """The fault of each cell of one chip: 0 healthy, 1 low, 2 high, 3 dead."""
        shape, dtype = jnp.shape(targets), jnp.result_type(targets)
        u = jr.uniform(rng.stream(key, rng.Stage.FAULT, 0), shape, dtype)
        code = jnp.where(u >= 1 - self.stuck_high, HIGH, HEALTHY)
        code = jnp.where(u < self.stuck_low, LOW, code)
        row, column = _line_shapes(shape)
        for index, line, fraction in (
            (1, row, self.dead_rows),
            (2, column, self.dead_columns),
        ):
            u = jr.uniform(rng.stream(key, rng.Stage.FAULT, index), line, dtype)
            code = jnp.where(u < fraction, DEAD, code)
        return code.astype(jnp.int8)

    def apply(self, g: G, codes: Codes, device: Device) -> G:
        """Conductances, with those of faulty cells replaced."""
        g = jnp.where(codes == LOW, device.g_min, g)
        g = jnp.where(codes == HIGH, device.g_max, g)
        return self.silence(g, codes)

    def silence(self, g: G, codes: Codes) -> G:
        """Conductances, with those on dead lines set to 0."""
        return jnp.where(codes == DEAD, 0, g)

    def probabilities(self) -> tuple[Number, Number, Number, Number]:
        """Probabilities of a cell to be healthy, stuck low, stuck high, or dead."""
        alive = (1 - self.dead_rows) * (1 - self.dead_columns)
        healthy = 1 - self.stuck_low - self.stuck_high
        return (
            alive * healthy,
            alive * self.stuck_low,
            alive * self.stuck_high,
            1 - alive,
        )


def _line_shapes(shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if len(shape) < 3:
        return shape, shape
    *outer, rows, columns, devices = shape
    return (*outer, rows, 1, 1), (*outer, 1, columns, devices)


RECORDS = (Faults,)
