"""How often to program again and to recalibrate, against the errors themselves."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from anajax import devices, strategies, weight_error
from anajax._core.tree import replace
from anajax.costs import calibrated, costs, hermes, upkeep
from anajax.mapping import density

DAY = 86400.0
NORMAL = density.gaussian(0.3, points=41)


@pytest.fixture(scope="module")
def found():
    device = devices.state_independent()
    plan = strategies.single_pair(device)
    chip = replace(calibrated(hermes()), pulse_energy=100.0, verify_energy=1.0)
    params = {"w": jr.normal(jr.key(0), (8, 4))}
    got = costs(
        lambda p, x: x @ p["w"], params, jnp.ones((2, 8)), chip=chip, device=device,
        strategy=plan, times=[0.0],
    )  # fmt: skip
    options = {
        "inferences": 100.0, "reprogram": (DAY, 10 * DAY, 100 * DAY),
        "recalibrate": (DAY, np.inf), "extrapolate": True,
    }  # fmt: skip
    return got, device, plan, options


def test_the_least_energy_that_keeps_the_error(found):
    got, device, plan, options = found
    loose = upkeep(got, device, plan, NORMAL, required=1.0, **options)
    assert (loose.best.reprogram, loose.best.recalibrate) == (100 * DAY, np.inf)
    worst = {(p.reprogram, p.recalibrate): p.rms for p in loose.plans}
    assert worst[100 * DAY, np.inf] > worst[DAY, np.inf]
    assert worst[100 * DAY, DAY] < worst[100 * DAY, np.inf]
    tight = upkeep(
        got, device, plan, NORMAL, required=worst[100 * DAY, DAY] * 1.001, **options
    )
    kept = [p for p in tight.plans if p.rms <= tight.required]
    assert tight.best.total == min(p.total for p in kept) > loose.best.total
    assert upkeep(got, device, plan, NORMAL, required=1e-6, **options).best is None
    assert "calibrated on HERMES" in tight.table()


def test_energies_and_errors_of_a_plan_by_hand(found):
    """Never recalibrated: the error without compensation; 365.25 programmings."""
    got, device, plan, options = found
    plans = upkeep(got, device, plan, NORMAL, required=1.0, **options).plans
    one = next(p for p in plans if p.reprogram == DAY and np.isinf(p.recalibrate))
    raw = weight_error(
        device, plan, NORMAL, jnp.array([DAY]), compensation="none", extrapolate=True
    )
    assert one.rms == pytest.approx(float(raw.rms[0]), rel=1e-4)
    assert one.programming == pytest.approx(365.25 * got.programming)
    assert one.recalibration == 0.0
    most = 365.25 * 100 * float(got.per_inference[0])
    assert 0.5 * most < one.inference < most  # conductances drift down
    daily = next(p for p in plans if p.reprogram == 10 * DAY and p.recalibrate == DAY)
    wanted = 365.25 * float(got.recalibration[0])
    assert daily.recalibration == pytest.approx(wanted, rel=1e-5)


def test_bad_input_is_named(found):
    got, device, plan, options = found
    for change, match in (
        ({"required": 0.0}, "`required` must be positive"),
        ({"reprogram": (2 * 365.25 * DAY,)}, "`reprogram` must be intervals"),
        ({"recalibrate": ()}, "`recalibrate` must have an interval"),
    ):
        given = options | {"required": 1.0} | change
        with pytest.raises(ValueError, match=match):
            upkeep(got, device, plan, NORMAL, **given)
