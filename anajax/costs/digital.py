"""Digital components: additions after the converters, and row lines."""

import jax.numpy as jnp
import numpy as np

from anajax._core import checks
from anajax._core.tree import pytree, static
from anajax._core.types import Float, JArray
from anajax.costs.ranges import inside
from anajax.crossbar.converters import Number

Scalar = Float[JArray, "..."]

STILLMAKER = {
    130: (7.171, -6.709, 2.904), 90: (4.762, -4.781, 2.092),
    65: (3.755, -4.398, 1.975), 45: (1.103, -0.362, 0.2767),
    32: (0.9559, -0.7823, 0.471), 20: (0.373, -0.1582, 0.04104),
    16: (0.2958, -0.1241, 0.03024), 14: (0.2363, -0.09675, 0.02239),
    10: (0.2068, -0.09311, 0.02375), 7: (0.1776, -0.09097, 0.02447),
}  # fmt: skip
"""By node in nm, a, b, c of the gate energy a V^2 + b V + c."""


def gate_energy(node: Number, voltage: Number) -> Scalar:
    """Energy of digital logic in arbitrary units, for comparing nodes.

    a V^2 + b V + c of the node; between nodes, linear in ln(node) of ln(energy).
    Stillmaker and Baas, Integration 58, 74 (2017).

    Args:
        node: nm, 7 to 130.
        voltage: supply, V.
    """
    inside("node", node, 7.0, 130.0, of="Stillmaker and Baas", unit="nm")
    inside("voltage", voltage, 0.5, 1.4, of="Stillmaker and Baas", unit="V")
    nodes = np.array(sorted(STILLMAKER), float)
    a, b, c = np.array([STILLMAKER[int(n)] for n in nodes]).T
    energy = a * voltage**2 + b * voltage + c
    at = jnp.interp(jnp.log(node), np.log(nodes), jnp.log(energy))
    return jnp.exp(at)


@pytree
class Adder:
    """An addition of 32 bits and the register that holds its result.

    0.21 pJ and 32 x 0.009 pJ at 40 nm (Aladdin), scaled by `gate_energy` from an
    assumed 0.9 V.
    """

    name = "adder"
    node: Number
    """Node, nm."""
    voltage: Number = 0.9
    """Supply, V."""
    source: str = static(default="Aladdin 40 nm; Stillmaker and Baas 2017")

    def __post_init__(self) -> None:
        self.energy()

    def energy(self) -> Scalar:
        """Energy of one addition, pJ."""
        at_40 = gate_energy(40.0, 0.9)
        return (0.21 + 32 * 0.009) * gate_energy(self.node, self.voltage) / at_40


@pytree
class Lines:
    """A row line: E = (C_cell devices + C_end) V^2 each time it is driven."""

    name = "row lines"
    cell: Number
    """fF per device on the line."""
    end: Number
    """Additional capacitance at the end, fF."""
    voltage: Number
    """Voltage of the line, V."""
    source: str = static()

    def __post_init__(self) -> None:
        checks.positive("cell", self.cell, strictly=False)
        checks.positive("end", self.end, strictly=False)
        checks.positive("voltage", self.voltage)

    def energy(self, devices: Number) -> Scalar:
        """Energy of driving one row, pJ."""
        return 1e-3 * (self.cell * devices + self.end) * self.voltage**2


def column_energy(
    rows: Number, bits_in: Number, bits_weight: Number, tops_per_watt: Number
) -> Scalar:
    """Energy of one column of a published chip, pJ: 2 N B_x B_w E_OP1.

    E_OP1 = 1 / (TOPS/W at 1 x 1 bit), as counted in the table of N. Shanbhag's group
    (UIUC, IMC benchmarking); B_w is the value assumed by its authors.

    Args:
        rows: N, number of summed rows.
        bits_in: B_x.
        bits_weight: B_w.
        tops_per_watt: normalized to 1 x 1 bit.
    """
    for name, value in (("rows", rows), ("tops_per_watt", tops_per_watt)):
        checks.positive(name, value)
    return 2 * rows * bits_in * bits_weight / jnp.asarray(tops_per_watt)


def supply_factor(voltage: Number, reference: Number, *, square: Number) -> Scalar:
    """Energy at one supply relative to another: a quadratic and a linear share.

    Charging capacitances takes C V^2. That the rest is proportional to V, as for a bias
    current over a fixed time, is an assumption without a source. On the one chip that
    it was tested on (C-2C, Wang, VLSI 2022; with MAC and DAC, 62 % of its energy, taken
    as quadratic), one k matches the five published supplies within 10 %; a purely
    quadratic law misses one by 17 %.

    Args:
        voltage: V.
        reference: voltage for which the shares are given, V.
        square: quadratic share.
    """
    for name, value in (("voltage", voltage), ("reference", reference)):
        checks.positive(name, value)
    inside("square", square, 0.0, 1.0, of="a share")
    ratio = jnp.asarray(voltage) / reference
    return square * ratio**2 + (1 - square) * ratio
