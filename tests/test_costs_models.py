"""Models of converters and logic against their published tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anajax.costs import converters, digital
from anajax.costs.converters import (
    Conversion,
    andrulis,
    ku_leuven,
    neurosim_sar,
    survey_floor,
)

BITS = (4.0, 6.0, 8.0, 10.0, 12.0)
SLOW = {
    130: (12.9, 14.9, 23.9, 46.2, 100), 65: (3.50, 4.04, 6.49, 12.5, 27.2),
    40: (1.41, 1.62, 2.61, 5.03, 10.9), 28: (0.72, 0.83, 1.33, 2.57, 5.58),
    14: (0.195, 0.225, 0.362, 0.70, 1.52),
}  # fmt: skip
FAST = {130: (195, 1858), 65: (52.8, 505), 40: (21.2, 203), 28: (10.8, 104)}
AREA = {130: (15171, 52864), 65: (5161, 17983), 40: (2425, 8450), 14: (474, 1650)}


def energies(adc, rate=1e6):
    return [float(adc.energy(Conversion(bits=b, rate=rate))) for b in BITS]


@pytest.mark.parametrize("node", SLOW)
def test_andrulis_table(node):
    found = energies(andrulis(node))
    np.testing.assert_allclose(found, SLOW[node], rtol=0.01)


def test_andrulis_at_a_billion_samples_and_its_area():
    for node, wanted in FAST.items():
        found = energies(andrulis(node), 1e9)
        np.testing.assert_allclose(found[:3], SLOW[node][:3], rtol=0.01)
        np.testing.assert_allclose(found[3:], wanted, rtol=0.01)
    for node, wanted in AREA.items():
        rates = [Conversion(bits=8.0, rate=r) for r in (1e6, 1e9)]
        found = [float(andrulis(node).area(c)) for c in rates]
        np.testing.assert_allclose(found, wanted, rtol=0.01)


def test_survey_floor_and_ku_leuven_tables():
    wanted = (0.267, 0.268, 0.276, 0.419, 2.69)
    np.testing.assert_allclose(energies(survey_floor()), wanted, rtol=0.01)
    wanted = (0.324, 0.489, 0.701, 1.659)
    found = [float(ku_leuven().energy(Conversion(bits=b))) for b in BITS[:4]]
    np.testing.assert_allclose(found, wanted, rtol=0.01)
    at = Conversion(bits=8.0, rows=256.0)
    assert float(ku_leuven().delay(at)) == pytest.approx(18.5e-9, rel=0.01)
    assert float(ku_leuven().area(at)) == pytest.approx(2085, rel=0.01)


def test_neurosim_with_and_without_its_array():
    """256 devices of 5 uS at the 0.5 V that it is fit for."""
    for node, (alone, whole) in {14: (0.046, 0.75), 22: (0.078, 0.91),
                                 130: (1.2, 3.15)}.items():  # fmt: skip
        for column, wanted in ((0.0, alone), (256 * 5.0, whole)):
            what = Conversion(bits=8.0, column=column, read_voltage=0.5)
            found = float(neurosim_sar(node).energy(what))
            assert found == pytest.approx(wanted, rel=0.01)
    assert neurosim_sar(14).holds_array and not andrulis(14).holds_array


def test_softened_kinks_stay_close_and_smooth(x64):
    exact, soft = andrulis(28), andrulis(28, smooth=True)
    for rate in (1e6, 1e9):
        for bits in np.linspace(4, 12, 33):
            what = Conversion(bits=bits, rate=rate)
            ratio = 10 * np.log10(float(soft.energy(what) / exact.energy(what)))
            assert -1e-9 < ratio < 3.3
        slope = jax.grad(lambda b: soft.energy(Conversion(bits=b, rate=1e9)))
        step = 1e-5
        for bits in (6.0, 8.0, 9.3):
            ends = [
                soft.energy(Conversion(bits=bits + d, rate=1e9)) for d in (step, -step)
            ]
            difference = float(ends[0] - ends[1]) / (2 * step)
            assert float(slope(bits)) == pytest.approx(difference, rel=1e-6)


UIUC = {  # rows, B_x, B_w, TOPS/W at 1 x 1 bit, pJ for one column
    "HERMES core, VLSI 2021": (256, 8, 4, 336.0, 48.76),
    "Mythic, ISSCC 2022": (1024, 1, 8, 332.8, 49.2),
    "Correll, VLSI 2022": (256, 8, 4, 1324.8, 12.4),
    "Mochida 180 nm, VLSI 2018": (196, 1, 8, 20.7 * 8, 18.9),
    "Mochida 40 nm, VLSI 2018": (196, 1, 8, 66.5 * 8, 5.9),
    "Liu, ISSCC 2020": (784, 1, 1.5, 78.4 * 1.5, 20.0),
}


@pytest.mark.parametrize("chip", UIUC)
def test_energy_of_a_column_of_published_chips(chip):
    *given, wanted = UIUC[chip]
    assert float(digital.column_energy(*given)) == pytest.approx(wanted, rel=0.005)


def test_logic_scales_with_node_and_voltage():
    at = {n: float(digital.gate_energy(float(n), 0.9)) for n in digital.STILLMAKER}
    a, b, c = digital.STILLMAKER[45]
    assert at[45] == pytest.approx(a * 0.81 + b * 0.9 + c, rel=1e-5)
    assert at[32] < float(digital.gate_energy(40.0, 0.9)) < at[45]
    assert float(digital.Adder(node=40.0).energy()) == pytest.approx(0.498, rel=1e-5)
    row = digital.Lines(cell=2.1, end=48.0, voltage=1.8, source="NeuRRAM in CiMLoop")
    assert float(row.energy(256)) == pytest.approx(1.897, rel=1e-3)
    assert float(converters.DAC().energy(8)) == pytest.approx(0.324, rel=1e-5)


def test_outside_the_validity_is_named():
    what = Conversion(bits=8.0, rate=1e6)
    for call, match in (
        (lambda: andrulis(7), "`node` must lie in 14 to 130 nm.*andrulis: got 7 nm"),
        (lambda: neurosim_sar(28), "`node` must be one of 130, 90.*got 28 nm"),
        (lambda: ku_leuven(node=65.0), "`node` must lie in 22 to 28 nm"),
        (lambda: Conversion(bits=0.5), "`bits` must be at least 1: got 0.5"),
        (lambda: survey_floor().energy(Conversion(bits=2.0)), "`bits` must lie in 4"),
        (lambda: ku_leuven().energy(Conversion(bits=12.0)), "`bits` must lie in 1 to"),
        (lambda: andrulis(14).energy(Conversion(bits=8.0)), "`rate` must be given"),
        (lambda: andrulis(14).energy(Conversion(bits=8.0, rate=1e11)), "`rate` must"),
        (lambda: neurosim_sar(14).energy(what), "`column` must be given for neurosim"),
        (lambda: digital.Adder(node=3.0), "`node` must lie in 7 to 130 nm.*Stillmaker"),
        (lambda: digital.gate_energy(14.0, 5.0), "`voltage` must lie in 0.5 to 1.4 V"),
    ):
        with pytest.raises(ValueError, match=match):
            call()
    jax.jit(lambda b: andrulis(14).energy(Conversion(bits=b, rate=1e6)))(jnp.ones(()))
