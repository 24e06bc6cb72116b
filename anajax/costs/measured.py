"""Closed forms of measured chips, for checks of models and of papers.

Their values are measured: there is no calibration, and they are valid only for the
precisions, network and strategy that the fit covers.
"""

from typing import NamedTuple

from anajax._core import checks

CORES, OPS = 48, 65536
"""Number of NeuRRAM cores, and operations of one product on a core: 2 x 128 x 256."""


class NeuRRAM(NamedTuple):
    """Time and energy of a product of all 48 cores."""

    time: float
    """us."""
    word_lines: float
    """fJ per operation."""
    neurons: float
    """fJ per operation."""
    inputs: float
    """fJ per operation."""
    basis: str = (
        "fit to measured figures of NeuRRAM (Wan et al., Nature 608, 504, 2022)"
    )

    @property
    def tops(self) -> float:
        """Throughput, 10^12 operations/s."""
        return CORES * OPS / self.time / 1e6

    @property
    def tops_per_watt(self) -> float:
        """Operations per pJ."""
        return 1e3 / (self.word_lines + self.neurons + self.inputs)


def neurram(bits_in: int, bits_out: int, *, phases: int | None = None) -> NeuRRAM:
    """NeuRRAM by precision: bit-serial inputs in one phase or two, integrating neurons.

    With n = max(1, B_x - 1) magnitude bits in phases of p bits, S = sum(2^p - 1)
    integration steps and A conversion steps: T = 0.27 S + 0.3 A + 0.3 phases us;
    word lines 1.538 + 7.053 n, neurons 8.906 n + 0.674 A, inputs 3.825 n fJ/op.
    Each phase converts the output bits that remain after those of the earlier phases.

    Args:
        bits_in: 1 to 8, including the sign.
        bits_out: 3 to 10, including the sign.
        phases: 1 or 2; by default one for up to three magnitude bits, else two.

    Raises:
        ValueError: outside the measured range.
    """
    for name, value, low, high in (("bits_in", bits_in, 1, 8),
                                   ("bits_out", bits_out, 3, 10)):  # fmt: skip
        if not low <= value <= high or value != int(value):
            rule = f"be a whole number of {low} to {high}, as measured on NeuRRAM"
            checks.fail(name, rule, value, "Choose one of these.")
    bits = max(1, int(bits_in) - 1)
    phases = (1 if bits <= 3 else 2) if phases is None else phases
    if phases not in (1, 2) or phases > bits:
        rule = f"be 1 or 2, and at most the {bits} magnitude bits"
        checks.fail("phases", rule, phases, "Leave it out.")
    parts = [bits] if phases == 1 else [-(-bits // 2), bits // 2]
    done = [sum(parts[:i]) for i in range(phases)]
    steps = sum(2**p - 1 for p in parts)
    conversions = sum(max(bits_out - d, 0) for d in done)
    return NeuRRAM(
        time=0.27 * steps + 0.3 * conversions + 0.3 * phases,
        word_lines=1.538 + 7.053 * bits,
        neurons=8.906 * bits + 0.674 * conversions,
        inputs=3.825 * bits,
    )
