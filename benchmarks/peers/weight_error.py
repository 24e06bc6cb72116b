"""The same strategies programmed by anajax and by aihwkit: errors of weights.

    python3.12 -m venv peers && peers/bin/pip install aihwkit
    python benchmarks/peers/weight_error.py --peer peers/bin/python

Weights of a normal distribution (sd 0.3 of the largest) on phase-change memory (PCM of
Nandakumar 2019 in both); `interop.aihwkit.custom_pair` hands our strategies over. The
mean magnitude of all weights of a chip is brought back to that of its targets (global
drift compensation), alike for both. RMS errors in % of the largest weight, mean and
standard error over chips, go to benchmarks/results/peers_weight_error.csv.
"""

import argparse
import csv
import json
import subprocess
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import anajax
from anajax import devices, strategies
from anajax.interop.aihwkit import custom_pair
from anajax.mapping.strategy import decode, encode
from anajax.programming.search.parameters import Bounds

TIMES = {"1 s": 1.0, "1 h": 3600.0, "1 d": 86400.0, "30 d": 30 * 86400.0}
CHIPS, WEIGHTS, NODES = 12, 20_000, 201
RESULTS = Path(__file__).parents[1] / "results" / "peers_weight_error.csv"


def weights():
    """Normal, of a largest magnitude of 1."""
    drawn = np.random.default_rng(0).normal(0, 0.3, WEIGHTS)
    return np.append(np.clip(drawn, -1, 1), [-1.0, 1.0]).astype(np.float32)


def programs(device, w):
    """By hand, and the optimum that its converter can express: K <= K_max."""
    density = anajax.weight_density({"w": jnp.asarray(w)[:, None]}, layout="in_out")
    times = list(TIMES.values())
    hand = strategies.lsp_first(device, f=2.5)
    best = anajax.optimize_strategy(
        device, density, times, cell=anajax.pairs(2), key=jax.random.key(0),
        starts=2, steps=400, warm=[hand], box=Bounds(k=(0.3, 1.0)),
    )  # fmt: skip
    return {
        "single pair": strategies.single_pair(device),
        "two pairs alike": strategies.equal_split(device),
        "less significant pair first, F = 2.5": hand,
        "optimum": best.strategy,
    }


@jax.jit
def ours(device, strategy, w, times, key):
    """Weights `[times n]` of one chip."""
    program_key, read_key = jax.random.split(key)
    cells = devices.program(device, encode(strategy, w), key=program_key)

    def at(t, number):
        aged = devices.age(device, cells, t=t)
        fresh = jax.random.fold_in(read_key, number)
        return decode(strategy, devices.read(device, aged, t=t, key=fresh))

    return jax.vmap(at)(times, jnp.arange(times.size))


def errors(found, w):
    """RMS in % of the largest weight `[chips times]`, drift compensated."""
    size = np.mean(np.abs(w)) / np.mean(np.abs(found), -1, keepdims=True)
    return 100 * np.sqrt(np.mean((found * size - w) ** 2, -1))


def theirs(peer, w, arguments):
    asked = {
        "weights": w.tolist(), "times": list(TIMES.values()), "chips": CHIPS,
        "strategies": arguments,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "asked.json", Path(folder) / "made.npz"
        given.write_text(json.dumps(asked))
        side = Path(__file__).with_name("aihwkit_side.py")
        subprocess.run([peer, side, given, made], check=True)
        with np.load(made) as found:
            return dict(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", required=True, help="a Python that has aihwkit")
    asked = parser.parse_args()
    device, w = devices.pcm(), weights()
    made = programs(device, w)
    arguments = {n: custom_pair(s, device, nodes=NODES) for n, s in made.items()}
    other = theirs(asked.peer, w, arguments)
    keys, times = (
        jax.random.split(jax.random.key(1), CHIPS),
        jnp.array([*TIMES.values()]),
    )
    rows = []
    for name, strategy in made.items():
        own = np.array([ours(device, strategy, jnp.asarray(w), times, k) for k in keys])
        sides = [errors(each, w) for each in (own, other[name])]
        for i, label in enumerate(TIMES):
            row = {"strategy": name, "time": label}
            for side, found in zip(("anajax", "aihwkit"), sides, strict=True):
                row[side] = f"{found[:, i].mean():.3f}"
                row[f"{side}_se"] = f"{found[:, i].std(ddof=1) / CHIPS**0.5:.3f}"
            print(*row.values(), sep=", ", flush=True)
            rows.append(row)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
