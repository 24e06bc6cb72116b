"""Fits of made data: what is found is what was put in, or it is said why not."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from anajax import devices
from anajax._core.tree import inherited, pytree, replace, within
from anajax.devices import fit_device, measure, table_form
from anajax.devices.curves import Constant, Polynomial, Table
from anajax.devices.drift import NoDrift
from anajax.devices.fitting import guesses
from anajax.devices.fitting.ascent import _doubted
from anajax.devices.fitting.continuous import ContinuousLikelihood
from anajax.devices.fitting.measurements import UNITS, group
from anajax.devices.fitting.parameters import domain, layout
from anajax.devices.fitting.search import TOLERANCE, Found, Point, look
from anajax.devices.read_noise import NoReadNoise
from anajax.devices.relaxation import LogTime, RelaxationDrift

QUIET = replace(table_form(g_max=220.0), drift=NoDrift(), read=NoReadNoise())
SMALL = replace(table_form(g_max=220.0, knots=2), drift=NoDrift(), read=NoReadNoise())


def made(sd, *, reads=1, cells=600, seed=0):
    """Cells with a programming error of `sd` uS alone."""
    random = np.random.default_rng([seed, reads, int(10 * sd)])
    target = random.uniform(20, 220, cells)
    programmed = target + sd * random.normal(size=cells)
    cell = np.repeat(np.arange(cells), reads)
    return {
        "cell": cell,
        "target": target[cell],
        "programmed": programmed[cell],
        "time": np.tile(100.0 * np.arange(reads), cells),
        "read": programmed[cell],
    }


def log_likelihood_of_truth(table, sd):
    _, first = np.unique(table["cell"], return_index=True)
    z = (table["programmed"] - table["target"])[first] / sd
    return np.sum(-(z**2) / 2 - np.log(sd * np.sqrt(2 * np.pi)))


@pytest.mark.parametrize("reads", [1, 4])
def test_deviations_are_found(reads):
    """Within 3 standard errors; 3 fits of 10 parameters each of 7 deviations."""
    far = 0
    for sd in (0.1, 0.3, 0.7, 1.0, 2.0, 4.0, 8.0):
        for seed in range(3):
            table = made(sd, reads=reads, seed=seed)
            result = fit_device(table, form=QUIET)
            assert result.converged, result.reason
            assert result.log_likelihood > log_likelihood_of_truth(table, sd)
            for p in result.parameters:
                true = sd if ".sd." in p.name else 0.0
                far += abs(p.value - true) > 3 * p.se
    assert far <= 3  # of 210; 3 in 1000 of a normal, more of skew deviations


def test_starts_far_off_end_at_the_same_maximum():
    table = made(0.7)
    ends = [
        fit_device(table, form=devices.scale_noise(QUIET, programming=factor))
        for factor in (1e-2, 1.0, 1e2)
    ]
    assert np.ptp([end.log_likelihood for end in ends]) < 2 * TOLERANCE
    assert all(end.converged for end in ends)


@pytest.mark.slow
def test_starts_from_the_data_do_not_depend_on_the_numbers_of_the_form():
    form = table_form(g_max=25.0, knots=2)
    target = np.random.default_rng(0).uniform(2.5, 25, 200)
    table = measure(form, target, (1.0, 1e3, 1e6), key=jr.key(0))
    found = []
    with jax.enable_x64(True):
        data = jax.tree.map(lambda v: jnp.asarray(v, float), group(table))
        for factor in (0.05, 1.0, 20.0):
            start = jax.tree.map(lambda v: jnp.asarray(np.asarray(v, float)), form)
            places = layout(start, None)
            moved = places.device(places.values(places.coordinates() + np.log(factor)))
            places = replace(places, form=moved)
            found.append(places.values(guesses.from_moments(places, data)))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=0.02, atol=2e-3)


def test_a_maximum_that_another_search_still_climbs_to_is_doubted():
    def end(value, converged):
        none = np.zeros(0)
        point = Point(none, value, none, np.zeros((0, 0)))
        return Found(point, converged, "" if converged else "it still grows")

    best = end(-10.0, True)
    for other, doubted in (
        (end(-9.9, False), True),
        (end(-10.0005, False), True),
        (end(-10.1, False), False),
        (end(-10.0, True), False),
    ):
        found = _doubted(best, [best, other])
        assert found.converged == (not doubted)
        text = "another start is equally good: it still grows"
        assert (text in found.reason) == doubted


def test_tables_and_ranges_end_where_the_targets_end():
    result = fit_device(made(1.0), form=QUIET)
    device = result.device
    low, high = (f(made(1.0)["target"]) for f in (np.min, np.max))
    assert abs(float(device.g_min) - low) < 1e-4 and abs(device.g_max - high) < 1e-3
    assert device.valid_times == (0.0, 0.0)
    knots = np.asarray(device.programming.sd.x) * 220
    assert abs(knots[0] - low) < 1e-4 and abs(knots[-1] - high) < 1e-3
    lost = {f"programming.{n}.value[0]" for n in ("sd", "shift")}
    assert set(result.undetermined) == lost
    for name in lost:
        assert "no target" in result.undetermined[name]
        assert np.isinf(result[name].se)
        assert result[name].value == pytest.approx(result[f"{name[:-3]}[1]"].value)


@pytest.mark.slow
def test_drift_tables_are_found():
    """Mean and spread of the exponent as tables: within 3 standard errors."""
    x = [0.1, 1.0]
    form = table_form(g_max=25.0, knots=x)
    drift = replace(
        form.drift,
        nu_mean=Table(x=x, value=[0.09, 0.03]),
        nu_sd=Table(x=x, value=[0.02, 0.008]),
    )
    programming = replace(form.programming, sd=Table(x=x, value=[0.3, 0.9]))
    truth = replace(form, drift=drift, programming=programming)
    target = np.random.default_rng(3).uniform(2.5, 25, 400)
    target[:2] = 2.5, 25.0
    table = measure(truth, target, (1.0, 1e3, 1e6), key=jr.key(1))
    result = fit_device(table, form=form)
    assert result.converged and not result.form_rejected, result.reason
    assert not result.undetermined
    true = np.asarray(layout(truth, None).vector())
    for p, value in zip(result.parameters, true, strict=True):
        assert abs(p.value - value) < 3 * p.se, p
    at_truth = fit_device(table, form=truth, steps=0)
    assert not at_truth.converged and "no steps" in at_truth.reason
    assert result.log_likelihood > at_truth.log_likelihood


def test_relaxation_is_found():
    """Deviation and mean that change with the logarithm of time; one read a cell."""

    def relaxing(sd, growth, shift):
        drift = RelaxationDrift(
            spread=LogTime(slope=growth, offset=sd),
            shift=LogTime(slope=shift, offset=0.1),
            g_max=220.0,
        )
        sd = Constant(value=sd)
        programming = replace(SMALL.programming, sd=sd, shift=None)
        return replace(SMALL, programming=programming, drift=drift)

    truth = relaxing(1.0, 0.3, -0.2)
    target = np.random.default_rng(0).uniform(20, 220, 300)
    table = measure(truth, target, (1.0, 60.0, 3600.0, 86400.0), key=jr.key(0))
    result = fit_device(table, form=relaxing(0.1, 0.05, 0.0))
    assert result.converged and not result.form_rejected, result.reason
    assert not result.undetermined
    true = np.asarray(layout(truth, None).vector())
    for p, value in zip(result.parameters, true, strict=True):
        assert abs(p.value - value) < 3 * p.se, p


def test_a_deviation_of_zero_is_said_to_be_at_its_bound():
    """Exponents without spread: the likelihood has no maximum inside."""
    form = devices.state_independent(nu=0.1, nu_sd=0.02)
    truth = replace(form, drift=replace(form.drift, nu_sd=form.drift.nu_mean))
    truth = replace(truth, drift=replace(truth.drift, spread_scale=0.0))
    for seed in range(9):
        target = np.random.default_rng(seed).uniform(5, 25, 100)
        table = measure(truth, target, (1.0, 1e3, 1e6), key=jr.key(seed))
        result = fit_device(table, form=form)
        assert result.converged, result.reason
        spread = result["drift.nu_sd.value"]
        assert spread.value >= 0
        if spread.undetermined:
            break
    assert "at its bound 0" in spread.undetermined
    assert np.isinf(spread.se) and spread.value < 1e-2
    mean = result["drift.nu_mean.value"]
    assert abs(mean.value - 0.1) < 3 * mean.se
    tiny = replace(form.drift, nu_sd=Constant(value=1e-12))
    deep = fit_device(table, form=replace(form, drift=tiny), steps=0)
    assert "at its bound 0" in deep["drift.nu_sd.value"].undetermined


def test_cells_far_from_all_others_count_in_full():
    """Exponents 18 and 90 spreads off: the likelihood of a dense integral, and its
    gradient."""
    form = devices.state_independent(nu=0.1, nu_sd=0.01)
    form = devices.scale_noise(form, read=0.1)
    times, t0 = np.array([10.0, 1e3, 1e5]), float(form.drift.t0)
    log_time = np.log1p(times / t0)
    reads = 10.0 * np.exp(-np.array([[0.1], [0.28], [1.0]]) * log_time)
    reads *= 1 + 0.02 * np.random.default_rng(0).normal(size=reads.shape)
    table = {"cell": np.repeat(range(3), 3), "target": np.full(9, 10.0)}
    table |= {"programmed": table["target"], "time": np.tile(times, 3)}
    table["read"] = reads.ravel()
    with jax.enable_x64(True):
        data = jax.tree.map(lambda v: jnp.asarray(v, float), group(table))
        double = jax.tree.map(lambda v: jnp.asarray(np.asarray(v, float)), form)
        places = layout(double, ["drift", "read"])
        at = np.asarray(places.coordinates())
        likelihood = ContinuousLikelihood()
        found = look(likelihood, places, at, data)
        step = 1e-4 * np.eye(at.size)
        ahead, behind = (
            [look(likelihood, places, at + side * h, data).value for h in step]
            for side in (1, -1)
        )
    nu = np.linspace(0.0, 2.0, 400_001)[:, None]
    g = 10.0 * np.exp(-nu * log_time)
    sd = np.asarray(form.read.sd(g, target=10.0, programmed=10.0, t=times), float)
    prior = norm.logpdf(nu, 0.1, 0.01)
    full = 3 * norm.logpdf(0.0, 0.0, float(form.programming.sd(jnp.ones(())).item()))
    for seen in reads:
        log = prior + norm.logpdf(seen, g, sd).sum(-1, keepdims=True)
        full += logsumexp(log) + np.log(5e-6)
    assert found.value == pytest.approx(full, abs=1e-3)
    slope = np.subtract(ahead, behind) / 2e-4
    np.testing.assert_allclose(found.gradient, slope, rtol=1e-4)


def test_what_scatters_needs_an_error_and_what_is_exact_has_none():
    table, low = (
        made(1.0, reads=2),
        replace(SMALL, programming=devices.ideal().programming),
    )
    noisy = table | {"read": table["read"] + np.random.default_rng(0).normal(size=1200)}
    with pytest.raises(ValueError, match="form.read.*scatter at reads"):
        fit_device(noisy, form=SMALL)
    with pytest.raises(ValueError, match="form.programming.*differ from t.*600 of"):
        fit_device(table, form=low)
    with pytest.raises(ValueError, match="form.read.*all reads are the programmed"):
        fit_device(table, form=table_form(g_max=220.0))


def test_reads_that_repeat_the_programmed_value_are_left_out(key):
    """A table whose reads at time 0 are the programmed values tells the same."""
    form = devices.state_independent()
    target = np.random.default_rng(0).uniform(1, 25, 100)
    table = measure(form, target, (1.0, 1e3, 1e6), key=key)
    first = {n: v[::3] for n, v in table.items()}
    first |= {"time": 0 * first["time"], "read": first["programmed"]}
    both = {n: np.concatenate([v, first[n]]) for n, v in table.items()}
    ends = [fit_device(t, form=form, steps=1) for t in (table, both)]
    assert ends[0].log_likelihood == pytest.approx(ends[1].log_likelihood, abs=1e-9)


@pytest.mark.parametrize("units", UNITS)
def test_units_are_converted(units):
    table = made(1.0, cells=20)
    given = dict(table)
    for name in ("target", "programmed", "read"):
        value = table[name]
        given[name] = 1e6 / value if units == "ohm" else value / UNITS[units]
    data, same = group(given, units=units), group(table)
    np.testing.assert_allclose(data.target, same.target, rtol=1e-5)
    np.testing.assert_allclose(data.read, same.read, rtol=1e-5)


def test_implausible_conductances_are_refused():
    table = made(1.0, cells=20)
    for factor in (1e-6, 1e6):
        given = {n: table[n] * factor for n in ("target", "programmed", "read")}
        with pytest.raises(
            ValueError, match="target.*0.001 to 10000 uS.*State the uni"
        ):
            fit_device(table | given, form=SMALL)
    for name in ("target", "programmed", "read"):
        with pytest.raises(ValueError, match=f"{name}.*not be negative"):
            fit_device(table | {name: -table[name]}, form=SMALL)
    below = table["read"] - 1.2 * np.min(table["read"])
    assert np.min(group(table | {"read": below}).read) == 0
    with pytest.raises(ValueError, match="programmed.*largest.*got 0 uS"):
        fit_device(table | {"programmed": 0 * table["read"]}, form=SMALL)
    with pytest.raises(ValueError, match="units.*be one of S, mS.*'siemens'"):
        group(table, units="siemens")


def test_few_cells_are_named():
    few = made(1.0, cells=4)
    with pytest.raises(ValueError, match="more cells than.*parameters, 4.*4 cells"):
        fit_device(few, form=SMALL)
    one = made(1.0, cells=50)
    with pytest.raises(ValueError, match="target.*at least two values.*100 uS alone"):
        fit_device(one | {"target": 0 * one["target"] + 100}, form=SMALL)


def test_a_form_that_starts_outside_its_domain_is_refused():
    table = replace(QUIET.programming.sd, value=-QUIET.programming.sd.value)
    form = replace(QUIET, programming=replace(QUIET.programming, sd=table))
    with pytest.raises(ValueError, match=r"programming.sd.value\[1\].*lie in 0 to inf"):
        fit_device(made(1.0), form=form)


def test_a_deviation_that_falls_below_zero_between_targets_is_no_maximum():
    """Two far groups: a parabola between them may dip where no cell tells."""
    dip = Polynomial(coefficients=[2.0, -8.2, 8.2])
    form = replace(SMALL, programming=replace(SMALL.programming, sd=dip, shift=None))
    table = made(1.0)
    near = (table["target"] < 40) | (table["target"] > 180)
    table = {n: v[near] for n, v in table.items()}
    result = fit_device(table, form=form, steps=0)
    assert not result.converged and "programming.sd is -" in result.reason


def test_records_declare_where_their_numbers_lie():
    """A user's own law as well: the fit asks the record, not a list of names."""

    @pytree
    class Shares:
        share: float = within(0.0, 1.0)
        lines: Table = within(0.0)
        free: float
        passed: float = inherited()

    own = Shares(
        share=1e-3, lines=Table(x=[0.0, 1.0], value=[0.0, 2.0]), free=-4.0, passed=1.0
    )
    device = replace(SMALL, read=own)
    assert domain(device, "read.lines.value") == (0.0, np.inf)
    assert domain(device, "read.passed") == (-np.inf, np.inf)
    places = layout(device, ["read"])
    at = places.coordinates()
    np.testing.assert_allclose(places.values(at), [1e-3, 2e-3, 2, -4, 1], rtol=1e-5)
    for far in (-50.0, 50.0):
        share, low, high, *_ = places.values(at + far)
        assert 0 <= share <= 1 and 0 <= low and 0 <= high
