"""Search of a programming strategy: gradients against differential evolution.

The reference problem (PCM, Gaussian weights of sd 0.3, 11 knots on |u|, six times):
cold gradient searches over many seeds, SciPy's differential evolution on the same
objective with half a million evaluations, hand strategies, and the wall times of all
in one run. Writes benchmarks/results/strategy_search.csv.

    python benchmarks/strategy_search.py [--seeds 100] [--evaluations 500000]
"""

import argparse
import csv
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from anajax import devices
from anajax.mapping import density
from anajax.mapping import hand as strategies
from anajax.mapping.weight_error import tabulated_error
from anajax.programming import evolve_strategy, make_objective, optimize_strategy

TIMES = jnp.array([1.0, 60.0, 3600.0, 86400.0, 7 * 86400.0, 30 * 86400.0])
OUT = Path(__file__).parent / "results" / "strategy_search.csv"


def timed(f):
    start = time.perf_counter()
    result = jax.block_until_ready(f())
    return result, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--evaluations", type=int, default=500_000)
    args = parser.parse_args()
    device, weights = devices.pcm(), density.gaussian(0.3)
    objective = make_objective(device, density.merged(weights), TIMES)
    rows = []

    def row(method, value, wall, note=""):
        rows.append((method, f"{1e4 * float(value):.4f}", f"{wall:.3f}", note))
        print(*rows[-1], sep="  ", flush=True)

    hand = {
        "single_pair": strategies.single_pair(device),
        "msp_first F=2": strategies.msp_first(device),
        "lsp_first F=2": strategies.lsp_first(device),
    }
    for name, strategy in hand.items():
        mse = tabulated_error(strategy, objective.table, weights).mse
        row(name, jnp.mean(mse), 0.0, "by hand")
    for label in ("first call", "again"):
        tuned, wall = timed(
            lambda: strategies.tune_strategy(
                device, weights, TIMES, build=strategies.lsp_first
            )
        )
        row(f"lsp_first tuned, {label}", tuned.value, wall)

    for move in (False, True):
        values, walls = [], []
        for seed in range(args.seeds):
            found, wall = timed(
                lambda seed=seed, move=move: optimize_strategy(
                    device, weights, TIMES,
                    key=jax.random.key(seed), move_knots=move,
                )
            )  # fmt: skip
            values.append(1e4 * float(found.value))
            walls.append(wall)
        kind = "knots move" if move else "uniform knots"
        reached = int(np.sum(np.array(values) <= 6.661 + 5e-4))
        note = f"{reached} of {args.seeds} seeds reach 6.661"
        row(f"gradient, {kind}, first call", values[0] / 1e4, walls[0], "compiles")
        row(
            f"gradient, {kind}, median", np.median(values) / 1e4, np.median(walls), note
        )
        row(f"gradient, {kind}, worst", max(values) / 1e4, max(walls[1:]))
        median = np.median(walls[1:])

    population = 15
    generations = max(1, args.evaluations // (population * 32))
    found, wall = timed(
        lambda: evolve_strategy(
            objective,
            device,
            key=jax.random.key(0),
            population=population,
            generations=generations,
        )
    )
    count = int(found.info["evaluations"])
    note = f"{count} evaluations, {wall / median:.0f}x the gradient"
    row("differential evolution", found.value, wall, note)
    with OUT.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("method", "J_percent2", "wall_s", "note"))
        writer.writerows(rows)


if __name__ == "__main__":
    main()
