"""Energy of one conversion: ADC models by name, and DACs.

The models differ by a factor of 8 to 20 from each other and from measured chips, so
each states what it is, its source and its range of validity, and refuses anything
outside it. All are smooth functions, except for two kinks of one model, which can be
smoothed.

    adc = andrulis(node=28)
    adc.energy(Conversion(bits=8.0, rate=1e6))  # 1.33 pJ
"""

import abc
from typing import Any

import jax.numpy as jnp

from anajax._core import checks
from anajax._core.tree import pytree, static
from anajax._core.types import Float, JArray
from anajax.costs.ranges import given, inside
from anajax.crossbar.converters import Number

Scalar = Float[JArray, "..."]


@pytree
class Conversion:
    """Conversion parameters; models require those that they need."""

    bits: Number
    """Resolution, effective bits."""
    rate: Any = None
    """Conversions per second of one converter."""
    rows: Any = None
    """Rows of the column that is converted."""
    column: Any = None
    """Total conductance of the devices of that column, uS."""
    read_voltage: Any = None
    """V, across the devices."""

    def __post_init__(self) -> None:
        checks.finite("bits", self.bits)
        if checks.concrete(self.bits) and jnp.min(self.bits) < 1:
            checks.fail("bits", "be at least 1", float(jnp.min(self.bits)), "Add bits.")


class AbstractADC(abc.ABC):
    """A model of the energy of one conversion."""

    name: str
    """Name of the model."""
    source: str
    """Where its equation and constants come from."""
    holds_array: bool = False
    """Whether the read current of the array is already included."""

    @abc.abstractmethod
    def energy(self, what: Conversion) -> Scalar:
        """Energy of one conversion, pJ.

        Raises:
            ValueError: outside its range of validity, or if a parameter is missing.
        """

    def area(self, what: Conversion) -> Scalar | None:
        """Area of one converter, um^2; `None` if the model has none."""
        return None

    def delay(self, what: Conversion) -> Scalar | None:
        """Time of one conversion, s; `None` if the model has none."""
        return None


@pytree
class SurveyFloor(AbstractADC):
    """The best published ADCs at any node and speed: a lower bound, not a forecast.

    E [pJ] = 0.267 + 0.1446e-6 4^b: the mean of the three best of the survey.
    """

    name = "survey_floor"
    source = "B. Murmann, ADC Performance Survey 1997-2025, envelope of its energy plot"
    bits: tuple[float, float] = static(default=(4.0, 12.0))
    """Bits that it is valid for."""

    def energy(self, what: Conversion) -> Scalar:
        inside("bits", what.bits, *self.bits, of=self.name)
        return 0.267 + 0.1446e-6 * 4.0 ** jnp.asarray(what.bits)


@pytree
class Andrulis(AbstractADC):
    """A regression on the survey for one node and speed; deliberately optimistic.

    With f in samples/s, b bits and t in nm: FOM = min(213.78 - 2.872 ln f,
    128.31 + 3.2205 ceil(b)) dB, E = 10^((6.0206 b + 1.7609 - FOM) / 10) / 2
    exp(24.5794 + 1.8800 ln t - 2.8291 ln b) pJ. With `smooth`, the minimum is
    -s ln(exp(-x/s) + exp(-y/s)) with s = 1 dB and b is not rounded up: up to 3.2 dB
    above the regression within a bit, and 0.7 dB where both limits meet.
    """

    name = "andrulis"
    source = "T. Andrulis, J. Emer, V. Sze, arXiv 2404.06553, as in hwcomponents-adc"
    node: Number
    """nm."""
    smooth: bool = static(default=False)
    """Whether the two kinks are smoothed, for gradients."""
    nodes: tuple[float, float] = static(default=(14.0, 130.0))
    """Nodes that it is valid for, nm."""
    bits: tuple[float, float] = static(default=(4.0, 12.0))
    """Bits that it is valid for."""
    rates: tuple[float, float] = static(default=(1.0, 1e10))
    """Samples/s that it is valid for."""

    def __post_init__(self) -> None:
        inside("node", self.node, *self.nodes, of=self.name, unit="nm")

    def energy(self, what: Conversion) -> Scalar:
        rate = given("rate", what.rate, of=self.name, unit="samples/s")
        inside("bits", what.bits, *self.bits, of=self.name)
        inside("rate", rate, *self.rates, of=self.name, unit="samples/s")
        bits = jnp.asarray(what.bits)
        fast = 213.7806687 - 2.8719030 * jnp.log(rate)
        whole = bits if self.smooth else jnp.ceil(bits)
        slow = 128.3068287 + 3.2205134 * whole
        soft = -jnp.logaddexp(-fast, -slow)
        merit = soft if self.smooth else jnp.minimum(fast, slow)
        ratio = 6.0206 * bits + 1.7609
        scale = 26.0496216 + 1.8800369 * jnp.log(self.node) - 1.4702022
        scale = scale - 2.8291256 * jnp.log(bits)
        return 10 ** ((ratio - merit) / 10) / 2 * jnp.exp(scale)

    def area(self, what: Conversion) -> Scalar:
        logs = 0.9932795 * jnp.log(self.node) + 0.1807154 * jnp.log(what.rate)
        return jnp.exp(1.3461916 + logs + 0.2991243 * jnp.log(self.energy(what)))


NEUROSIM = {
    130: (8.4483, 65.243, 0.16938), 90: (5.9869, 37.462, 0.144323),
    65: (3.7506, 25.844, 0.121272), 45: (2.1691, 16.693, 0.100225),
    32: (1.1294, 8.8998, 0.079449), 22: (0.538, 4.3753, 0.072341),
    14: (0.3132, 2.5681, 0.061085), 10: (0.1823, 1.5073, 0.05158),
    7: (0.1061, 0.8847, 0.043555), 5: (0.0645, 0.5511, 0.0388),
    3: (0.0333, 0.2849, 0.0388), 2: (0.0207, 0.1764, 0.0313),
    1: (0.0101, 0.0843, 0.0288),
}  # fmt: skip
"""By node in nm: uW per bit, uW, and V^2, of the low-power flavor."""


@pytree
class NeuroSimSAR(AbstractADC):
    """A simulated SAR ADC that includes the read current of its column.

    P = (a b + c) uW + C G_column, with the column's conductance G times 2 V_read (the
    fit is for 0.5 V); E = P (b + 1) ns, delay (b + 1) ns. The energy of the array must
    not be added again.
    """

    name = "neurosim_sar"
    source = "DNN+NeuroSim V1.4, low-power fits (simulated: PTM, FinFET, nanosheet)"
    holds_array = True
    node: int = static()
    """Node, nm; one of the fitted nodes."""
    bits: tuple[float, float] = static(default=(1.0, 12.0))
    """Bits that it is valid for."""

    def __post_init__(self) -> None:
        if self.node not in NEUROSIM:
            known = ", ".join(map(str, NEUROSIM))
            rule = f"be one of {known} nm, the fits of {self.name}"
            checks.fail("node", rule, f"{self.node} nm", "Choose the nearest one.")

    def energy(self, what: Conversion) -> Scalar:
        inside("bits", what.bits, *self.bits, of=self.name)
        column = given("column", what.column, of=self.name, unit="uS")
        voltage = given("read_voltage", what.read_voltage, of=self.name, unit="V")
        per_bit, fixed, square = NEUROSIM[self.node]
        microwatts = per_bit * what.bits + fixed + square * column * voltage / 0.5
        return microwatts * (what.bits + 1) * 1e-3

    def delay(self, what: Conversion) -> Scalar:
        return (jnp.asarray(what.bits) + 1) * 1e-9


@pytree
class KULeuven(AbstractADC):
    """The ADC of ZigZag-IMC at 28 nm: E [fJ] = (100 b + 4^b / 1000) V^2.

    Area 10^(1.206 - 0.0369 b) 2^b um^2, delay b (0.00653 rows + 0.640) ns. From 12 bits
    on, the source uses another fit of the area, eleven times lower, so this model ends
    at 11.
    """

    name = "ku_leuven"
    source = "P. Houshmand, J. Sun, M. Verhelst, arXiv 2305.18335 (ZigZag-IMC), 28 nm"
    voltage: Number = 0.9
    """Supply, V."""
    node: Number = 28.0
    """Node, nm; its converters do not scale down to 22."""
    nodes: tuple[float, float] = static(default=(22.0, 28.0))
    """Nodes that it is valid for, nm."""
    bits: tuple[float, float] = static(default=(1.0, 11.0))
    """Bits that it is valid for."""

    def __post_init__(self) -> None:
        inside("node", self.node, *self.nodes, of=self.name, unit="nm")
        checks.positive("voltage", self.voltage)

    def energy(self, what: Conversion) -> Scalar:
        inside("bits", what.bits, *self.bits, of=self.name)
        bits = jnp.asarray(what.bits)
        return 1e-3 * (100 * bits + 1e-3 * 4.0**bits) * self.voltage**2

    def area(self, what: Conversion) -> Scalar:
        bits = jnp.asarray(what.bits)
        return 10 ** (1.206 - 0.0369 * bits) * 2.0**bits

    def delay(self, what: Conversion) -> Scalar:
        rows = given("rows", what.rows, of=self.name, unit="rows")
        return 1e-9 * jnp.asarray(what.bits) * (0.00653 * rows + 0.640)


@pytree
class DAC:
    """A capacitive DAC: E = C b V^2 per input code; no area, no delay.

    50 fF per bit at 28 nm (ZigZag-IMC, arXiv 2305.18335).
    """

    name = "capacitive DAC"
    voltage: Number = 0.9
    """V."""
    capacitance: Number = 50.0
    """fF per bit."""
    source: str = static(default="ZigZag-IMC, arXiv 2305.18335, 28 nm")

    def __post_init__(self) -> None:
        checks.positive("voltage", self.voltage)
        checks.positive("capacitance", self.capacitance, strictly=False)

    def energy(self, bits: Number) -> Scalar:
        """Energy of one conversion, pJ."""
        inside("bits", bits, 1.0, 16.0, of=self.name)
        return 1e-3 * self.capacitance * bits * self.voltage**2


def survey_floor() -> SurveyFloor:
    """The best of the ADC survey, without a node."""
    return SurveyFloor()


def andrulis(node: Number, *, smooth: bool = False) -> Andrulis:
    """The regression of Andrulis, Emer and Sze for a node in nm."""
    return Andrulis(node=node, smooth=smooth)


def neurosim_sar(node: int) -> NeuroSimSAR:
    """The SAR ADC of NeuroSim for a node in nm; includes the array."""
    return NeuroSimSAR(node=node)


def ku_leuven(voltage: Number = 0.9, node: Number = 28.0) -> KULeuven:
    """The ADC of ZigZag-IMC for a supply in V."""
    return KULeuven(voltage=voltage, node=node)


ADCS = {
    make.__name__: make for make in (survey_floor, andrulis, neurosim_sar, ku_leuven)
}
"""ADC models by name."""
