"""Closed-loop programming against the open optimum, with what it costs.

The reference problem (PCM, Gaussian weights of sd 0.3, six times), one 256 x 256 tile a
chip: rms weight error in % of w_max by the per-device sampler, mean and standard error
over chips, drift compensated by the mean read-out. Product descent and write-verify get
the same pulse noise (0.3 uS; an assumption, as is the read noise of 0.2 uS of
write-verify); single shots have the error of PCM. Writes
benchmarks/results/closed_loop.csv.

    python benchmarks/closed_loop.py [--chips 8]
"""

import argparse
import csv
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from anajax import devices
from anajax.devices import program, write_verified
from anajax.mapping import density
from anajax.mapping import hand as strategies
from anajax.mapping.strategy import encode
from anajax.programming import (
    ProductDescent,
    follow_open,
    optimize_closed_loop,
    optimize_strategy,
    program_by_products,
    program_closed_loop,
)
from anajax.programming.search.objective import cells_error

TIMES = jnp.array([1.0, 60.0, 3600.0, 86400.0, 7 * 86400.0, 30 * 86400.0])
OUT = Path(__file__).parent / "results" / "closed_loop.csv"
PULSE, VERIFY, SIZE = 0.3, 0.2, 256


def ways(device, weights):
    """Name, strategy that reads back, programming `(u, key) -> cells`, and cost."""
    msp = strategies.msp_first(device)
    best = optimize_strategy(device, weights, TIMES, key=jr.key(0)).strategy
    yield "most significant first, open", msp, open_loop(device, msp), (4, 0, 0)
    yield "open optimum", best, open_loop(device, best), (4, 0, 0)
    for name, start in (("most significant first", msp), ("open optimum", best)):
        policy = follow_open(start, device)
        loop = closed(device, policy)
        yield f"{name}, residual added", policy.strategy, loop, (4, 2, 0)
    for reads in (1, 4):
        policy = optimize_closed_loop(
            device, weights, TIMES, start=best, key=jr.key(1), reads=reads
        ).strategy
        name = f"closed loop, optimised, {reads} verify reads"
        cost = (4, policy.verify_reads, 0)
        yield name, policy.strategy, closed(device, policy), cost
    verified = write_verified(
        device, pulse=PULSE, verify=VERIFY, band=PULSE, gain=0.7, budget=8
    )
    effort = verified.programming.effort(encode(best, weights.u))
    pulses = float(jnp.sum(weights.probability @ effort.pulses))
    cost = (pulses, pulses + 4, 0)
    yield "write-verify of every device", best, open_loop(verified, best), cost
    trim = ProductDescent(pulse=PULSE, threshold=0.6, turns=8, vectors=1024)

    def by_products(u, key):
        return program_by_products(trim, device, best, u, key=key).cells

    u = jnp.clip(0.3 * jr.normal(jr.key(2), (SIZE, SIZE)), -1, 1)
    pulses = program_by_products(trim, device, best, u, key=jr.key(3)).pulses
    cost = (4 + float(pulses.mean()), 0, trim.turns * trim.vectors)
    yield "product descent", best, by_products, cost


def open_loop(device, strategy):
    return lambda u, key: program(device, encode(strategy, u), key=key)


def closed(device, policy):
    return lambda u, key: program_closed_loop(policy, device, u, key=key)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chips", type=int, default=8)
    args = parser.parse_args()
    device, weights = devices.pcm(), density.gaussian(0.3)
    rows = []
    for name, strategy, write, cost in ways(device, weights):

        @jax.jit
        def rms(i, strategy=strategy, write=write):
            key = jr.fold_in(jr.key(7), i)
            draws = 0.3 * jr.truncated_normal(
                jr.fold_in(key, 0), -1 / 0.3, 1 / 0.3, (SIZE, SIZE)
            )
            key = jr.fold_in(key, 1)
            cells = write(draws, key)
            share = jnp.ones_like(draws)
            mse = cells_error(strategy, device, cells, draws, share, TIMES, key)
            return 100 * jnp.sqrt(mse)

        values = np.array([rms(i) for i in range(args.chips)])
        mean, error = values.mean(0), values.std(0, ddof=1) / np.sqrt(args.chips)
        numbers = [f"{v:.4f}" for i in (0, 3, 5) for v in (mean[i], error[i])]
        rows.append((name, *numbers, *(f"{c:.2f}" for c in cost)))
        print(*rows[-1], sep="  ", flush=True)
    with OUT.open("w", newline="") as file:
        writer = csv.writer(file)
        times = ("1s", "1d", "1month")
        heads = [f"rms_{t}{s}" for t in times for s in ("", "_stderr")]
        cost = ("pulses_per_weight", "reads_per_weight", "products_per_tile")
        writer.writerow(("programming", *heads, *cost))
        writer.writerows(rows)


if __name__ == "__main__":
    main()
