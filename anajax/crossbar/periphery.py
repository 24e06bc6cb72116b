"""The periphery of a tile: input scaling, bit slices, noise, re-reads, and `IO`.

Steps of a product: scale the input, convert it (DAC), multiply, add noise, convert the
sums (ADC), undo the scale. `IO` combines these parts; each part is a small record, and
a missing part is also a record (`NoScaling`, `Ideal`, `NoNoise`, ...).

Quantities here have no unit: an input of 1 is the full read voltage, an output of 1 is
the current of one cell of weight 1 at full input.
"""

import abc
import math

import jax
import jax.numpy as jnp
import numpy as np

from anajax._core import checks
from anajax._core.tree import pytree, static
from anajax._core.types import Float, JArray
from anajax.crossbar.converters import (
    AbstractConverter,
    Ideal,
    Number,
    SelfRanging,
    Uniform,
    straight_through,
    uniform,
)

# --- input scaling ------------------------------------------------------------------


class AbstractScaling(abc.ABC):
    """The number that divides an input vector and multiplies its result."""

    @abc.abstractmethod
    def scale(self, x: Float[JArray, "*batch rows"]) -> Float[JArray, "*#batch 1"]:
        """One positive scale per vector (or one that broadcasts)."""


@pytree
class NoScaling(AbstractScaling):
    """Inputs go to the DAC as they are."""

    def scale(self, x: Float[JArray, "*batch rows"]) -> Float[JArray, "*#batch 1"]:
        return jnp.ones((1,) * x.ndim, x.dtype)


@pytree
class AbsMax(AbstractScaling):
    """The largest magnitude in each vector (per row tile), at most `cap`.

    A vector of zeros is scaled by 1. No gradient flows through the scale: with a
    straight-through DAC, its effect on the product cancels.
    """

    cap: Number = math.inf
    """Upper limit of the scale; larger inputs clip."""

    def __post_init__(self) -> None:
        if checks.concrete(self.cap) and not np.all(np.asarray(self.cap) > 0):
            checks.fail("cap", "be positive", self.cap, "Infinity means no cap.")

    def scale(self, x: Float[JArray, "*batch rows"]) -> Float[JArray, "*#batch 1"]:
        largest = jnp.max(jnp.abs(x), axis=-1, keepdims=True)
        scale = jnp.minimum(largest, jnp.asarray(self.cap, x.dtype))
        return jax.lax.stop_gradient(jnp.where(scale > 0, scale, 1))


def _per_tile(scale: JArray, x: JArray) -> Float[JArray, "*#batch 1"]:
    scale = jnp.asarray(scale, x.dtype)
    return scale.reshape(scale.shape + (1,) * (x.ndim - scale.ndim))


@pytree
class ConstantScale(AbstractScaling):
    """One fixed scale for all inputs, without a gradient."""

    value: Number
    """The scale in units of the input: one, or one per row tile."""

    def __post_init__(self) -> None:
        checks.positive("value", self.value)

    def scale(self, x: Float[JArray, "*batch rows"]) -> Float[JArray, "*#batch 1"]:
        return jax.lax.stop_gradient(_per_tile(self.value, x))


@pytree
class LearnedRange(AbstractScaling):
    """One trained input range for all inputs; values beyond it clip.

    The gradient with respect to `range` comes from clipped inputs (+-1 each) and from
    the rounding residual of all others. Initialize it with a quantile of real inputs.
    """

    range: Number
    """Range in units of the input: one, or one per row tile. Keep it positive."""

    def __post_init__(self) -> None:
        checks.positive("range", self.range)

    def scale(self, x: Float[JArray, "*batch rows"]) -> Float[JArray, "*#batch 1"]:
        return _per_tile(self.range, x)


# --- noise at the product -----------------------------------------------------------


@pytree
class NoNoise:
    """No random part."""


@pytree
class OutputNoise:
    """Gaussian noise at the input of the ADC, drawn for each conversion."""

    sd: Number
    """Standard deviation, in units of one cell of weight 1 at full input."""

    def __post_init__(self) -> None:
        checks.positive("sd", self.sd, strictly=False)


@pytree
class WeightNoise:
    """Read noise for weights that are not given as devices: sd `sd * sqrt(|w|)` each.

    Drawn for each product and referred to the output,
    y_i += sd sqrt(sum_j |w_ij| x_j^2) xi (the form used for PCM in hardware-aware
    training; Rasch et al., Nat. Commun. 14, 5282, 2023).
    """

    sd: Number
    """Standard deviation of a cell of weight 1."""

    def __post_init__(self) -> None:
        checks.positive("sd", self.sd, strictly=False)


# --- bound management and slicing ---------------------------------------------------


@pytree
class NoBoundManagement:
    """Each vector is read once; clipped values stay clipped."""


@pytree
class BoundManagement:
    """Read again with half the input as long as any output of the vector overflows.

    Decided per vector and per tile, on the ADC's rounded value; the number of reads is
    limited. Every read has its own noise.
    """

    max_halvings: int = static(default=4)
    """How often the input may be halved (4: at most 5 reads, down to 1/16 of the
    input)."""

    def __post_init__(self) -> None:
        if self.max_halvings < 1 or self.max_halvings != int(self.max_halvings):
            rule = "be an integer of at least 1"
            checks.fail(
                "max_halvings", rule, self.max_halvings, "Or use NoBoundManagement."
            )


class AbstractSlicing(abc.ABC):
    """How the DAC applies a number: at once, or in several reads."""

    @abc.abstractmethod
    def split(
        self, x: Float[JArray, "*shape"], dac: AbstractConverter
    ) -> tuple[Float[JArray, "slices *shape"], Float[JArray, "slices"]]:
        """What each read applies, and the digital factor for its result.

        `tensordot(factors, slices, 1)` equals `dac(x)` up to float rounding, and its
        derivative in `x` is that of `dac`.
        """


@pytree
class WholeInput(AbstractSlicing):
    """The DAC applies a whole input code at once."""

    def split(
        self, x: Float[JArray, "*shape"], dac: AbstractConverter
    ) -> tuple[Float[JArray, "slices *shape"], Float[JArray, "slices"]]:
        return dac(x)[None], jnp.ones(1, x.dtype)


@pytree
class BitSlices(AbstractSlicing):
    """Inputs applied in slices of `bits` bits, added digitally with their powers of 2.

    Sign and magnitude: each slice is one read of the digits of |code|, at full input
    for the largest digit, with the sign of the code. Each read has its own noise and
    its own conversion. `bits=1` is bit-serial. Needs a `Uniform` DAC.
    """

    bits: int = static(default=1)
    """Magnitude bits per slice."""

    def __post_init__(self) -> None:
        if self.bits < 1 or self.bits != int(self.bits):
            checks.fail("bits", "be an integer of at least 1", self.bits, "Use 1.")

    def split(
        self, x: Float[JArray, "*shape"], dac: AbstractConverter
    ) -> tuple[Float[JArray, "slices *shape"], Float[JArray, "slices"]]:
        assert isinstance(dac, Uniform)  # IO has checked it
        code = dac.encode(x)
        digits, base = self.digits(dac.codes), 2**self.bits
        magnitude = jnp.abs(jax.lax.stop_gradient(code))
        largest = jnp.asarray(dac.bound, x.dtype) / (base - 1)
        parts = [jnp.floor(magnitude / base**i) % base for i in range(digits)]
        factors = np.array([base**i for i in range(digits)], float)
        factors = factors * (base - 1) / dac.codes
        even = code * dac.step(x.dtype) / factors.sum()
        even = jnp.broadcast_to(even, (digits, *even.shape))
        values = jnp.sign(code) * jnp.stack(parts) * largest
        return straight_through(values, even), jnp.asarray(factors, x.dtype)

    def digits(self, codes: int) -> int:
        """Number of slices for codes up to `codes`."""
        return math.ceil(int(codes).bit_length() / self.bits)


# --- voltage lost on wires, closed form ---------------------------------------------


@pytree
class NoIRDrop:
    """No wire resistance, or resistance included in the matrix itself (`wires`)."""


@pytree
class IRDrop:
    """Voltage lost along the wires, per vector and output, by the formula of aihwkit.

    With a = n/gamma sum_j |w_j| |x_j| and c = a (0.05 a^2 - 0.2 a + 0.5), n inputs j =
    0..n-1: y -= scale c sum_j w_j x_j (1 - (1 - j/n)^2). A fit for hardware-aware
    training at small losses; `wires` solves the circuit itself.
    """

    scale: Number = 1.0
    """Factor on the loss; 0 turns it off."""
    gamma: Number = 1 / (0.35 * 5e-6)
    """Conductance of a wire segment over that of weight 1 (0.35 Ohm, 5 uS)."""

    def __post_init__(self) -> None:
        checks.positive("scale", self.scale, strictly=False)
        checks.positive("gamma", self.gamma)


# --- the bundle ---------------------------------------------------------------------


@pytree
class IO:
    """Everything that happens to numbers at the edge of a tile."""

    scaling: AbstractScaling = NoScaling()
    """How inputs are scaled to the range of the DAC."""
    dac: AbstractConverter = Ideal()
    """Input converter."""
    slicing: AbstractSlicing = WholeInput()
    """Inputs applied at once, or in slices of bits."""
    weight_noise: NoNoise | WeightNoise = NoNoise()
    """Read noise, for weights that are not given as devices."""
    noise: NoNoise | OutputNoise = NoNoise()
    """Noise before the ADC."""
    adc: AbstractConverter = Ideal()
    """Output converter, one conversion per tile and column."""
    bounds: NoBoundManagement | BoundManagement = NoBoundManagement()
    """What to do when the ADC overflows."""
    drop: NoIRDrop | IRDrop = NoIRDrop()
    """Voltage lost along the wires, by a formula."""

    def __post_init__(self) -> None:
        if isinstance(self.slicing, BitSlices) and not isinstance(self.dac, Uniform):
            got = type(self.dac).__name__
            checks.fail("dac", "be Uniform for sliced inputs", got, "Or WholeInput().")


def ideal() -> IO:
    """No periphery at all: a product equals the digital one."""
    return IO()


def bits(dac: int = 8, adc: int = 8, *, adc_range: Number | None = None) -> IO:
    """Converters with these bits and nothing else: no noise, no clipping.

        hardware = anajax.analog(apply, Rule(".*", io=periphery.bits(dac=8, adc=8)))

    The largest magnitude of each input vector (per row tile) sets the range of the DAC.
    The largest column sum of each vector and tile sets the range of the ADC, for
    weights of any magnitude. Real ADCs have a fixed range: pass it here, or have
    `calibrate` of an analog function, or `calibrate_ranges` of a network, find it from
    data.

    Args:
        dac: bits of the inputs, including the sign; at least 2.
        adc: bits of the column sums, including the sign; at least 2.
        adc_range: largest column sum that the ADC converts, in units of one cell of
            weight 1 at full input; larger ones clip. `None`: set for each read.

    Raises:
        ValueError: for fewer than 2 bits or a range that is not positive.
    """
    bound = 1.0 if adc_range is None else adc_range
    converter = uniform(adc, bound)
    if adc_range is None:
        converter = SelfRanging(steps=converter.steps)
    return IO(scaling=AbsMax(), dac=uniform(dac, 1.0), adc=converter)


def standard() -> IO:
    """The default of aihwkit: 7-bit DAC, 9-bit ADC to 12, noise 0.06, abs-max.

    aihwkit also reads again if an ADC overflows: for that, add `BoundManagement()`.
    """
    return IO(
        scaling=AbsMax(),
        dac=uniform(7, 1.0),
        adc=uniform(9, 12.0),
        noise=OutputNoise(sd=0.06),
    )


def training(input_range: Number = 1.0) -> IO:
    """The standard of aihwkit for hardware-aware training: 8-bit DAC and ADC.

    ADC range 10, output noise 0.04, weight noise 0.0175, IR drop by formula and a
    learned input range. In aihwkit, tiles then have at most 512 inputs, and each column
    is scaled to a largest weight of 1 (`crossbar.from_weights(...,
    normalize="column")`).

    Args:
        input_range: initial value of the learned range, in units of the input.
    """
    return IO(
        scaling=LearnedRange(range=input_range),
        dac=uniform(8, 1.0),
        weight_noise=WeightNoise(sd=0.0175),
        noise=OutputNoise(sd=0.04),
        adc=uniform(8, 10.0),
        drop=IRDrop(),
    )


def stacked(io: IO) -> IO:
    """The periphery of a stack, with a leading layer axis on each array.

    Args:
        io: of one layer, or of a stack with one input scale per layer.
    """
    scaling = io.scaling
    lead = jnp.shape(scaling.value) if isinstance(scaling, ConstantScale) else ()

    def led(leaf: JArray) -> JArray:
        there = jnp.shape(leaf)[: len(lead)] == lead
        return leaf if there else jnp.broadcast_to(leaf, (*lead, *jnp.shape(leaf)))

    return jax.tree.map(led, io)
