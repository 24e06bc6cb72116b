"""Array energy of energy-aware strategies against hand strategies, at equal error.

Usage: python benchmarks/costs.py

Two networks of the package (digits; an LSTM on spoken digits), PCM and a ReRAM, one
month after programming. The error is the expected rms weight error; an energy-aware
strategy has the best hand strategy's error as its ceiling. Energy is that of the array,
relative to all devices at g_max and with every weight met alike: bottom-up and not
calibrated; no converters. Writes benchmarks/results/costs.csv.
"""

import csv
from pathlib import Path

import jax
import jax.numpy as jnp
from safetensors.numpy import load_file

from anajax import devices, strategies, tune_strategy, weight_density
from anajax.costs import Energy
from anajax.costs.objective import strategy_share
from anajax.mapping.weight_error import moment_table, tabulated_error
from anajax.programming import optimize_strategy
from anajax.workloads.weights import FOLDER

MONTH = jnp.array([30 * 86400.0])
NETWORKS = ("digits", "fsdd_lstm")
DEVICES = {"pcm": devices.pcm, "reram_wan": devices.reram_wan}
BUILDERS = (strategies.lsp_first, strategies.msp_first, strategies.equal_split)
FIELDS = ("network", "device", "strategy", "rms_percent", "array_energy_percent")
WEIGHTS = (1e-3, 3e-3)
"""Of the relative energy, in w_max^2."""


def density_of(network):
    return weight_density(load_file(FOLDER / f"{network}.safetensors"))


def rows(network, name):
    device, density = DEVICES[name](), density_of(network)
    table = moment_table(device, MONTH, extrapolate=True)

    def row(label, strategy):
        error = tabulated_error(strategy, table, density)
        share = strategy_share(strategy, table, density, jnp.ones(1))
        numbers = 100 * float(error.rms[0]), 100 * float(share)
        texts = (f"{v:.3f}" for v in numbers)
        return dict(zip(FIELDS, (network, name, label, *texts), strict=True)), error.mse

    options = {"extrapolate": True}
    hand = [tune_strategy(device, density, MONTH, build=b, **options).strategy
            for b in BUILDERS]  # fmt: skip
    found = [row(f"hand, {s.name}", s) for s in hand]
    yield from (r for r, _ in found)
    best = min(range(len(hand)), key=lambda i: float(found[i][1][0]))
    options |= {"key": jax.random.key(0), "starts": 4, "warm": hand}
    yield row("optimized for error", optimize_strategy(
        device, density, MONTH, **options).strategy)[0]  # fmt: skip
    for weight in WEIGHTS:
        spare = optimize_strategy(
            device, density, MONTH, ceiling=found[best][1],
            energy=Energy(weight=weight), **options,
        )  # fmt: skip
        yield row(f"energy-aware, weight {weight:g}", spare.strategy)[0]


def main():
    path = Path(__file__).parent / "results" / "costs.csv"
    every = [r for n in NETWORKS for d in DEVICES for r in rows(n, d)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(every)
    for r in every:
        print(*r.values(), sep=", ")


if __name__ == "__main__":
    main()
