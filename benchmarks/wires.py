"""The wire solver: times, accuracy, loss of output, error of the cheap estimate.

Usage: python benchmarks/wires.py [--rounds 7]

Cells uniform in 0.25 to 25 uS, inputs uniform in 0 to 1 V, float32, jitted. Times are
medians and fastest of the rounds; ratios are medians over rounds. Accuracy is against a
direct nodal solution in double precision (tests/nodal.py). Writes
benchmarks/results/wires.csv.
"""

import argparse
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from timing import in_turn, machine, write_csv

from anajax.crossbar.wires import Wires, attenuated_matrix, effective_matrix, solve

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from nodal import nodal  # noqa: E402


def current(g, v, wires):
    return solve(g, v, wires).current


def gradient(g, v, wires):
    return jax.grad(lambda g: jnp.sum(current(g, v, wires) ** 2))(g)


def error(got, want):
    """Largest error, relative to the largest current."""
    return np.max(np.abs(np.asarray(got, float) - want)) / np.max(np.abs(want))


def measure(n, ohm, rounds):
    """One row of the table."""
    random = np.random.default_rng(n)
    g = random.uniform(0.25, 25, (n, n))
    v = random.uniform(0, 1, (100, n))
    wires = Wires(row=ohm, column=ohm)
    g32, v32 = jnp.asarray(g, jnp.float32), jnp.asarray(v, jnp.float32)
    one, cached = jax.jit(current), jax.jit(effective_matrix)
    estimate, slope = jax.jit(attenuated_matrix), jax.jit(gradient)
    cases = {
        "one": (one, (g32, v32[0], wires)),
        "hundred": (one, (g32, v32, wires)),
        "gradient_of_one": (slope, (g32, v32[0], wires)),
        "gradient_of_hundred": (slope, (g32, v32, wires)),
        "matrix": (cached, (g32, wires)),
        "estimate": (estimate, (g32, wires)),
    }
    times = in_turn(cases, rounds)
    want = nodal(g * 1e-6, v[:4], ohm, ohm)[0] * 1e6
    ideal = v @ g
    exact = v @ np.asarray(cached(g32, wires), float)
    guess = v @ np.asarray(estimate(g32, wires), float)
    row = {"n": n, "ohm": ohm, "iterations": int(solve(g32, v32[0], wires).iterations)}
    for name, t in times.items():
        row[f"{name}_ms"] = f"{np.median(t):.2f}"
        row[f"{name}_fastest_ms"] = f"{t.min():.2f}"
    for of in ("one", "hundred"):
        ratio = np.median(times[f"gradient_of_{of}"] / times[of])
        row[f"gradient_over_forward_{of}"] = f"{ratio:.2f}"
    return row | {
        "error_of_solve": f"{error(one(g32, v32[:4], wires), want):.1e}",
        "error_of_matrix": f"{error(exact[:4], want):.1e}",
        "error_of_no_wires": f"{error(ideal, exact):.1e}",
        "error_of_estimate": f"{error(guess, exact):.1e}",
        "mean_loss_percent": f"{100 * np.mean((ideal - exact) / ideal):.2f}",
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    print(machine())
    rows = []
    for n in (64, 128, 256):
        for ohm in (0.35, 1.0, 2.5, 5.0):
            rows.append(measure(n, ohm, rounds))
            print(", ".join(f"{k} {v}" for k, v in rows[-1].items()), flush=True)
    write_csv("wires.csv", rows)


if __name__ == "__main__":
    main()
