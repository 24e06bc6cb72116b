"""Search of a programming strategy: gradients against differential evolution.

The reference problem (PCM, Gaussian weights of sd 0.3, 11 knots on |u|, six times):
cold gradient searches over many seeds, SciPy's differential evolution on the same
objective with half a million evaluations, hand strategies, and the wall times of all
in one run. Then the layers of a network (the ResNet-32 for Fashion-MNIST, and 210 parts
of its matrices), each by that search and all by one program, from the same strategies
by hand. Writes benchmarks/results/strategy_search.csv; `--layers` only the rows of
layers.

    python benchmarks/strategy_search.py [--seeds 100] [--evaluations 500000] [--layers]
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
from anajax.programming import (
    evolve_strategy,
    make_objective,
    optimize_layers,
    optimize_strategy,
)
from anajax.workloads import weights as trained

TIMES = jnp.array([1.0, 60.0, 3600.0, 86400.0, 7 * 86400.0, 30 * 86400.0])
OUT = Path(__file__).parent / "results" / "strategy_search.csv"


def timed(f):
    start = time.perf_counter()
    result = jax.block_until_ready(f())
    return result, time.perf_counter() - start


def writer_of(rows):
    """Adds a row, and prints it."""

    def row(method, value, wall, note=""):
        rows.append((method, f"{1e4 * float(value):.4f}", f"{wall:.3f}", note))
        print(*rows[-1], sep="  ", flush=True)

    return row


def save(rows):
    """All rows as a table."""
    with OUT.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("method", "J_percent2", "wall_s", "note"))
        writer.writerows(rows)


def _of_layers(method):
    return method.startswith(("layers of", "210 matrices"))


def matrices():
    """Matrices `[rows, columns]` of the ResNet-32 for Fashion-MNIST, by path."""
    arrays, _ = trained.read("fashion_resnet32")
    return {p: w.reshape(-1, w.shape[-1]) for p, w in arrays.items() if w.ndim > 1}


def by_column(w):
    """The density of a matrix whose columns fill the range."""
    column = np.max(np.abs(w), 0) / np.max(np.abs(w))
    u = w / np.max(np.abs(w)) / np.where(column > 0, column, 1)
    return density.from_weights(u, importance=[np.broadcast_to(column**2, u.shape)])


def of_layers(row, name, layers, starts, steps, every):
    """One program for all layers, and the search of single ones for every `every`th."""
    device, key, warm = devices.pcm(), jax.random.key(0), {}
    for path, own in layers.items():
        found = strategies.tune_strategy(
            device, own, TIMES, build=strategies.lsp_first, f=(1, 8)
        )
        warm[path] = [found.strategy]

    def together():
        found = optimize_layers(
            device, layers, TIMES, warm=warm, key=key, hops=2 * starts, steps=steps
        )
        return {path: of_layer.value for path, of_layer in found.items()}

    def alone():
        return {
            path: optimize_strategy(
                device, layers[path], TIMES, warm=warm[path], key=key, starts=starts,
                steps=steps,
            ).value
            for path in list(layers)[::every]
        }  # fmt: skip

    for label, search in (("one program", together), ("each alone", alone)):
        results = []
        for again in ("first call", "again"):
            begin = time.process_time()
            values, wall = timed(search)
            results.append(values)
            note = f"{len(values)} layers, {time.process_time() - begin:.1f} s of CPU"
            mean = np.mean([float(v) for v in values.values()])
            row(f"{name}, {starts} starts, {label}, {again}", mean, wall, note)
        if search is together:
            best = results[-1]
    ratio = np.array([float(best[p]) / float(v) - 1 for p, v in results[-1].items()])
    mean = np.mean([float(best[p]) for p in results[-1]])
    note = f"over each alone {np.mean(ratio):+.1e}, at most {np.max(ratio):+.1e}"
    row(f"{name}, one program, those layers", mean, 0.0, note)


def rows_of_layers(row):
    """Layers of a network, and many parts of them."""
    every = matrices()
    of_layers(
        row,
        "layers of ResNet-32",
        {p: by_column(w) for p, w in every.items()},
        8,
        600,
        1,
    )
    parts = {
        f"{p} {i}": by_column(part)
        for p, w in every.items()
        for i, part in enumerate(np.array_split(w, 7, axis=1))
    }
    parts = dict(list(parts.items())[:210])
    of_layers(row, "210 matrices", parts, 3, 300, 7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--evaluations", type=int, default=500_000)
    parser.add_argument("--layers", action="store_true", help="only rows of layers")
    args = parser.parse_args()
    if args.layers:
        with OUT.open() as file:
            rows = [r for r in list(csv.reader(file))[1:] if not _of_layers(r[0])]
        rows_of_layers(writer_of(rows))
        save(rows)
        return
    device, weights = devices.pcm(), density.gaussian(0.3)
    objective = make_objective(device, density.merged(weights), TIMES)
    rows = []
    row = writer_of(rows)
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
    rows_of_layers(row)
    save(rows)


if __name__ == "__main__":
    main()
