"""Recovery of made deviations by `fit_device`: many fits, few shapes.

Usage: python benchmarks/fit_recovery.py [--fits 100] [--only programming drift ...]

Programming: 600 cells, targets uniform in 20 to 220 uS, an error N(0, sd), tables
without drift and read noise, 1 and 4 reads a cell. Drift: 600 cells of 2.5 to 25 uS
with tables of the mean and the spread of the exponent, of the error and of the noise,
each read at three times. Relaxation: 300 cells whose deviation and mean grow with the
logarithm of time, with read noise, each read at four times. Fits of one shape share
their traces. Written, one line per case: the least number of fits, over parameters,
whose estimate is within 3 of its own standard errors; the number of fits where all
are; and the fits whose likelihood is below that of the truth, that did not converge,
or whose form is rejected. Writes benchmarks/results/fit_recovery.csv.
"""

import argparse
import csv
import time
from pathlib import Path

import jax.random as jr
import numpy as np

from anajax._core.tree import replace
from anajax.devices import fit_device, measure, table_form
from anajax.devices.curves import Constant, Table
from anajax.devices.drift import NoDrift
from anajax.devices.fitting.parameters import layout
from anajax.devices.programming import GaussianProgramming
from anajax.devices.read_noise import GaussianRead, NoReadNoise
from anajax.devices.relaxation import LogTime, RelaxationDrift

DEVIATIONS = (0.1, 0.3, 0.7, 1.0, 2.0, 4.0, 8.0)
CELLS = 600
CASES = ["programming", "relaxation", "drift"]
FIELDS = ("case", "sd", "reads", "fits", "least_within_3_se", "all_within_3_se")
FIELDS += ("below_truth", "not_converged", "form_rejected", "seconds_a_fit")


def made(sd, reads, seed):
    """Cells with a programming error alone, in the columns of `fit_device`."""
    random = np.random.default_rng([seed, reads, int(10 * sd)])
    target = random.uniform(20, 220, CELLS)
    programmed = np.maximum(target + sd * random.normal(size=CELLS), 0)
    cell = np.repeat(np.arange(CELLS), reads)
    return {
        "cell": cell,
        "target": target[cell],
        "programmed": programmed[cell],
        "time": np.tile(100.0 * np.arange(reads), CELLS),
        "read": programmed[cell],
    }


def with_deviation(form, sd):
    """The form whose deviation is `sd` uS everywhere."""
    table = replace(form.programming.sd, value=np.full(form.programming.sd.x.shape, sd))
    return replace(form, programming=replace(form.programming, sd=table))


def drifting():
    """A device of tables, and the form of these that knows none of their values."""
    x = [0.1, 0.5, 1.0]
    form = table_form(g_max=25.0, knots=x)
    drift = replace(
        form.drift,
        nu_mean=Table(x=x, value=[0.09, 0.06, 0.03]),
        nu_sd=Table(x=x, value=[0.03, 0.02, 0.01]),
    )
    programming = replace(form.programming, sd=Table(x=x, value=[0.3, 0.6, 0.9]))
    return replace(form, drift=drift, programming=programming), form


def relaxing(sd, growth, shift, noise, error):
    """A device whose cells relax with the logarithm of time."""
    drift = RelaxationDrift(
        spread=LogTime(slope=growth, offset=sd),
        shift=LogTime(slope=shift, offset=0.1),
        g_max=200.0,
    )
    return replace(
        table_form(g_max=200.0, knots=2),
        programming=GaussianProgramming(sd=Constant(value=error), g_max=200.0),
        drift=drift,
        read=GaussianRead(sd_curve=Constant(value=noise), g_max=200.0),
    )


def cases(only):
    """Name, deviation, reads, truth, form, and the table of a seed."""
    quiet = replace(table_form(g_max=220.0), drift=NoDrift(), read=NoReadNoise())
    if "programming" in only:
        for reads in (1, 4):
            for sd in DEVIATIONS:
                truth = with_deviation(quiet, sd)
                yield "programming", sd, reads, truth, quiet, made
    if "relaxation" in only:
        truth = relaxing(1.0, 0.3, -0.2, 0.5, 1.0)

        def relaxed(sd, reads, seed):
            target = np.random.default_rng(seed).uniform(20, 200, CELLS // 2)
            times = (1.0, 60.0, 3600.0, 86400.0)
            return measure(truth, target, times, key=jr.fold_in(jr.key(19), seed))

        form = relaxing(0.1, 0.05, 0.0, 0.1, 0.3)
        yield "relaxation", "", 4, truth, form, relaxed
    if "drift" in only:
        truth, form = drifting()

        def table(sd, reads, seed):
            target = np.random.default_rng(seed).uniform(2.5, 25, CELLS)
            times = (1.0, 1e3, 1e6)
            return measure(truth, target, times, key=jr.fold_in(jr.key(18), seed))

        yield "drift", "", 3, truth, form, table


def run(name, sd, reads, truth, form, table, fits):
    """One line of the result."""
    true, began = np.asarray(layout(truth, None).vector(), float), time.perf_counter()
    within, counts = [], np.zeros(3, int)
    for seed in range(fits):
        data = table(sd, reads, seed)
        result = fit_device(data, form=form)
        least = fit_device(data, form=truth, steps=0).log_likelihood
        value = np.array([p.value for p in result.parameters])
        se = np.array([p.se for p in result.parameters])
        within.append(abs(value - true) < 3 * se)
        below = result.log_likelihood < least - 1e-3
        counts += below, not result.converged, result.form_rejected
    seconds = (time.perf_counter() - began) / fits
    least, every = np.sum(within, 0).min(), int(np.all(within, -1).sum())
    line = (name, sd, reads, fits, least, every, *counts, f"{seconds:.2f}")
    return dict(zip(FIELDS, line, strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", type=int, default=100)
    parser.add_argument("--only", nargs="*", default=CASES)
    arguments = parser.parse_args()
    path = Path(__file__).parent / "results" / "fit_recovery.csv"
    kept = []
    if path.exists():
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        kept = [r for r in rows if r["case"] not in arguments.only]
    for case in cases(arguments.only):
        kept.append(run(*case, arguments.fits))
        print(kept[-1], flush=True)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            writer.writerows(kept)


if __name__ == "__main__":
    main()
