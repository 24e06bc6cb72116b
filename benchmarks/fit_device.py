"""Coverage of the intervals of `fit_device`: every parametric preset, many fits.

Usage: python benchmarks/fit_device.py [--fits 100] [--cells 2000] [--only NAME ...]
       [--cpu-seconds 400]

Each fit simulates new cells with new targets, starts from constants that are off, and
counts how often the 95 % interval of each parameter holds its true value. Parameters
of which the data tell nothing (infinite standard error) are counted apart. Twice the
log likelihood ratio of the fit to the truth is chi-squared, of as many degrees of
freedom as there are parameters, if likelihood and search are right: its mean over the
fits is written too. With --cpu-seconds, a preset ends once that much is used. Writes
benchmarks/results/fit_device.csv, one line per parameter.
"""

import argparse
import csv
import time
from pathlib import Path

import jax
import jax.random as jr
import numpy as np

from anajax import devices
from anajax._core.tree import replace
from anajax.devices import fit_device, measure
from anajax.devices.fitting.parameters import layout

DAY = 86400.0
TIMES = (1.0, 60.0, 3600.0, DAY, 30 * DAY)
CASES = {
    "state_independent": (devices.state_independent(), TIMES),
    "pcm": (devices.pcm(), TIMES),
    "pcm_joshi": (devices.pcm_joshi(), TIMES),
    "pcm_hermes_1": (devices.pcm_hermes(devices=1), TIMES),
    "pcm_hermes_2": (devices.pcm_hermes(devices=2), TIMES),
    "reram_wan": (devices.reram_wan(), (30.0, 3600.0, DAY, 2 * DAY)),
    "reram_cmo": (devices.reram_cmo(), (1.0, 60.0, 3600.0, DAY)),
    "reram_milo": (devices.reram_milo(), (0.0,)),
    "flash_sonos": (devices.flash_sonos(), tuple(i * DAY for i in range(6))),
    "flash_floating_gate": (devices.flash_floating_gate(), TIMES),
    "mram_stt": (devices.mram_stt(stability=40.0, write_error=0.02), (1e7, 1e8, 3e8)),
}
FIELDS = ("preset", "parameter", "true", "mean_estimate", "mean_se", "coverage")
FIELDS += ("beyond_3_se", "determined", "fits", "form_rejected", "not_converged")
FIELDS += ("first_seconds", "median_seconds", "first_cpu_seconds", "mean_2llr")


def targets(device, cells, random):
    """Half the cells uniform in g, half uniform in log g; or the levels in turn."""
    if device.levels is not None:
        return random.choice(np.asarray(device.levels), cells)
    u = random.random(cells)
    x = np.where(np.arange(cells) % 2, u, 10 ** (2.5 * (u - 1)))
    return float(device.g_min) + (float(device.g_max) - float(device.g_min)) * x


def run(name, fits, cells, cpu_seconds):
    """One row per parameter of a preset."""
    device, times = CASES[name]
    device = replace(device, name="form", source="form")
    truth = np.asarray(layout(device, None).vector(), float)
    # a relaxation has to add to the error at 1 s, also where the search starts
    start = device if name == "reram_wan" else devices.vary(device, 0.05, key=jr.key(0))
    results, seconds, ratios, cpu, begun = [], [], [], [], time.process_time()
    for i in range(fits):
        if time.process_time() - begun > cpu_seconds:
            break
        random = np.random.default_rng([i, 2022])
        key = jr.fold_in(jr.key(2022), i)
        table = measure(device, targets(device, cells, random), times, key=key)
        began, used = time.perf_counter(), time.process_time()
        results.append(fit_device(table, form=start, name="form", source="form"))
        seconds.append(time.perf_counter() - began)
        cpu.append(time.process_time() - used)
        true = fit_device(table, form=device, name="form", source="form", steps=0)
        ratios.append(2 * (results[-1].log_likelihood - true.log_likelihood))
    for j, parameter in enumerate(results[0].parameters):
        value = np.array([r.parameters[j].value for r in results])
        se = np.array([r.parameters[j].se for r in results])
        known = np.isfinite(se)
        z = (value - truth[j])[known] / se[known]
        yield {
            "preset": name,
            "parameter": parameter.name,
            "true": f"{truth[j]:.6g}",
            "mean_estimate": f"{value[known].mean():.6g}" if known.any() else "",
            "mean_se": f"{se[known].mean():.3g}" if known.any() else "",
            "coverage": f"{np.mean(abs(z) < 1.959964):.3f}" if known.any() else "",
            "beyond_3_se": int(np.sum(abs(z) > 3)),
            "determined": int(known.sum()),
            "fits": len(results),
            "form_rejected": sum(r.form_rejected for r in results),
            "not_converged": sum(not r.converged for r in results),
            "first_seconds": f"{seconds[0]:.1f}",
            "median_seconds": f"{np.median(seconds):.2f}",
            "first_cpu_seconds": f"{cpu[0]:.1f}",
            "mean_2llr": f"{np.mean(ratios):.1f}",
        }
    jax.clear_caches()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", type=int, default=100)
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--cpu-seconds", type=float, default=float("inf"))
    parser.add_argument("--only", nargs="*", default=list(CASES))
    arguments = parser.parse_args()
    path = Path(__file__).parent / "results" / "fit_device.csv"
    path.parent.mkdir(exist_ok=True)
    kept = []
    if path.exists():
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        kept = [r for r in rows if r["preset"] not in arguments.only]
    for name in arguments.only:
        kept += run(name, arguments.fits, arguments.cells, arguments.cpu_seconds)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            writer.writerows(kept)
        mine = [r for r in kept if r["preset"] == name and r["coverage"]]
        share = np.average(
            [float(r["coverage"]) for r in mine],
            weights=[r["determined"] for r in mine],
        )
        print(f"{name}: coverage {share:.3f} over {len(mine)} parameters, ", end="")
        print(f"first fit {mine[0]['first_seconds']} s", flush=True)


if __name__ == "__main__":
    main()
