"""Array energy at equal accuracy a month after programming: by hand, energy-aware.

Two networks of the package (digits; an LSTM on spoken digits), PCM and a ReRAM. Which
strategies are compared is decided on chips of their own (`CHOOSE`), all figures are of
other chips (`JUDGE`), paired chip by chip with the best hand strategy:

- best by hand: the hand strategy, F and K tuned on the weight error, of the highest
  accuracy;
- frugal by hand: of the tuned hand strategies, and those at less than the tuned K, the
  one of the least energy whose mean accuracy is no lower than that of the best;
- energy-aware: the same choice among `optimize_strategy(energy=Energy(weight=...))`.

Energy is that of the array for one inference, exact for 64 calibration inputs: bottom-
up, not calibrated, at an assumed 0.2 V and 128 ns, without converters. Ratios need
neither. Rows go to benchmarks/results/costs.csv.

    python benchmarks/costs.py [--data DIR]
"""

import argparse
import csv
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from anajax import (
    Rule,
    analog,
    chip,
    devices,
    strategies,
    tune_strategy,
    weight_density,
    workloads,
)
from anajax.analysis.evaluate import evaluate
from anajax.analysis.workload import evaluate as metric_of_items
from anajax.costs import Energy, array_energy
from anajax.costs import loads as loads_of
from anajax.costs.array import mean_conductances
from anajax.crossbar import periphery
from anajax.mapping.weight_error import moment_table, tabulated_error
from anajax.programming import optimize_strategy

MONTH = jnp.array([30 * 86400.0])
NETWORKS = ("digits", "fsdd_lstm")
DEVICES = {"pcm": devices.pcm, "reram_wan": devices.reram_wan}
BUILDERS = (strategies.lsp_first, strategies.msp_first, strategies.equal_split)
SCALES = (1.0, 0.8, 0.65, 0.5, 0.35)
"""Of the tuned K."""
WEIGHTS = (2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2)
"""Of the relative energy, in w_max^2."""
CHOOSE, JUDGE = np.arange(1000, 1096), np.arange(2000, 2096)
"""Chips that strategies are chosen on, and others that figures are of."""
FIELDS = (
    "network", "device", "which", "strategy", "rms_percent", "accuracy", "accuracy_se",
    "minus_best", "minus_best_se", "array_energy_nj", "energy_of_best",
)  # fmt: skip


class Bench:
    """One network on one device."""

    def __init__(self, work, device):
        self.work, self.device = work, device
        self.metric = lambda params: jnp.mean(metric_of_items(work, params))
        self.table = moment_table(device, MONTH, extrapolate=True)
        self.density = weight_density(work.params)
        function = analog(work.apply, Rule(".*", io=periphery.bits(8)))
        self.report = function.report(work.params, work.calibration[:1])
        self.met = loads_of(function, work.params, work.calibration[:64], drive="width")

    def layers(self, strategy):
        return chip.encode_weights(self.work.params, strategy, select=self.report)

    def energy(self, strategy):
        """Of the array in one inference, nJ."""
        mean = mean_conductances(self.layers(strategy), self.table, 1)
        each = array_energy(self.met, mean, voltage=0.2, pulse=128e-9)
        return 1e3 * float(sum(each.values()))

    def accuracy(self, strategy, chips):
        """Of each chip."""
        found = evaluate(
            self.metric, self.work.params, self.device, self.layers(strategy), MONTH,
            chips=chips, key=jax.random.key(0), select=self.report, extrapolate=True,
        )  # fmt: skip
        return np.asarray(found.metric)[:, 0]

    def rms(self, strategy):
        error = tabulated_error(strategy, self.table, self.density)
        return 100 * float(error.rms[0])

    def by_hand(self):
        """Tuned hand strategies, and the same at less of the range."""
        for build in BUILDERS:
            found = tune_strategy(
                self.device, self.density, MONTH, build=build, extrapolate=True
            )
            f, k = found.info["f"], float(found.info["k"])
            for share in SCALES:
                strategy = build(self.device, f=f, k=share * k)
                yield f"{found.strategy.name}, K x {share:g}", strategy

    def aware(self):
        """Energy-aware strategies, from the hand strategies and two random starts."""
        warm = [s for n, s in self.by_hand() if n.endswith("x 1")]
        for weight in WEIGHTS:
            found = optimize_strategy(
                self.device, self.density, MONTH, key=jax.random.key(0), starts=2,
                warm=warm, steps=400, energy=Energy(weight=weight), extrapolate=True,
            )  # fmt: skip
            yield f"weight {weight:g}", found.strategy


def mean_se(values):
    return values.mean(), values.std(ddof=1) / np.sqrt(values.size)


def rows(work, name):
    bench = Bench(work, DEVICES[name]())
    hand, aware = dict(bench.by_hand()), dict(bench.aware())
    every = {
        label: (s, bench.energy(s), bench.accuracy(s, CHOOSE))
        for label, s in (hand | aware).items()
    }
    tuned = [label for label in hand if label.endswith("x 1")]
    best = max(tuned, key=lambda label: every[label][2].mean())

    def frugal(labels):
        """The least energy among those that are no less accurate."""
        least = every[best][2].mean()
        kept = [label for label in labels if every[label][2].mean() >= least]
        return min(kept or labels, key=lambda label: every[label][1])

    chosen = {"best by hand": best, "frugal by hand": frugal(hand)}
    chosen["energy-aware"] = frugal(aware)
    reference = bench.accuracy(every[best][0], JUDGE)
    for which, label in chosen.items():
        strategy, energy, _ = every[label]
        found = reference if label == best else bench.accuracy(strategy, JUDGE)
        numbers = (
            bench.rms(strategy), *(100 * v for v in mean_se(found)),
            *(100 * v for v in mean_se(found - reference)), energy,
            energy / every[best][1],
        )  # fmt: skip
        texts = (f"{v:.3f}" for v in numbers)
        yield dict(zip(FIELDS, (work.name, name, which, label, *texts), strict=True))
    for label, (_, energy, accuracy) in every.items():
        print(f"  {label}: {energy:.3g} nJ, {100 * accuracy.mean():.2f} %", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    asked = parser.parse_args()
    path = Path(__file__).parent / "results" / "costs.csv"
    every = []
    for network in NETWORKS:
        work = workloads.load(network, data=asked.data)
        for name in DEVICES:
            for row in rows(work, name):
                print(*row.values(), sep=", ", flush=True)
                every.append(row)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(every)


if __name__ == "__main__":
    main()
