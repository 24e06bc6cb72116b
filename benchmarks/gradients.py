"""When does the gradient through the device matter? Four kinds of noise, equal steps.

The learned parameters (the weights before they are encoded; the targets of all cells;
the tables of strategies; the digital parameters) descend the network's loss, one month
after programming, with the noise of the device in four ways:

    full      the reparametrized chain: programming, drift, read and compensation with
              their exact moments, differentiated
    ideal     the same noise forward, the gradient of ideal cells backward: the
              straight-through assumption of arXiv 2508.11940 and of most training
    gaussian  additive noise of the same size in each layer, independent of the device
    still     the moments of the first read: no drift

All use the same batches, chips and steps; each uses that of three learning rates which
has the lowest loss on held-out inputs and chips, with `full` noise. The reported
results are measured with the per-device sampler on test items and 25 other chips: the
divergence from the digital network, the metric, and how much larger the divergence is
than that of `full` (paired, chip by chip). Rows are written to
benchmarks/results/gradients.csv as soon as they are known; existing ones are not run
again.

    python benchmarks/gradients.py [--data DIR] [--at-once 48] [--limit-s 600]
    python benchmarks/gradients.py --quick --out quick.csv     # a small test
    python benchmarks/gradients.py --table                     # Markdown
"""

import argparse
import csv
import itertools
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from gradients_runs import ARMS, HELD, MONTH, Descents, made_layers

from anajax import chip, devices, rng, workloads
from anajax.analysis.evaluate import evaluate
from anajax.analysis.workload import set_aside, training_inputs
from anajax.mapping import density, hand
from anajax.programming.end_to_end.learnable import (
    start_from,
)
from anajax.programming.end_to_end.task import make_task

OUT = Path(__file__).parent / "results" / "gradients.csv"
NETWORKS = {"digits": 360, "fsdd_lstm": 300, "fashion_resnet8": 500}
"""Number of test items by network."""
DEVICES = {"pcm": devices.pcm, "pcm_hermes": devices.pcm_hermes}
RATES = {
    "weights": (1e-3, 3e-3, 1e-2),
    "targets": (1e-3, 3e-3, 1e-2),
    "strategy": (3e-3, 1e-2, 3e-2),
    "digital": (1e-3, 3e-3, 1e-2),
}
"""Learning rates, in units of w_max, the range, the tables and the parameters."""
FIELDS = (
    "network", "device", "noise", "seed", "learned", "arm", "rate", "steps", "loss",
    "loss_se", "beyond_full", "beyond_full_se", "metric", "metric_se", "digital",
    "chips", "items", "seconds", "card",
)  # fmt: skip


# --- what is reported -----------------------------------------------------------------


def on_test(descents, task, unknown, device, key, chips):
    """Divergence and metric of each chip `[chips 2]`, with the per-device sampler."""
    layers = made_layers(unknown, task, descents.cell)
    params = chip.insert(descents.work.params, unknown["program"].digital)
    found = evaluate(
        descents.metric, params, device, layers, MONTH, chips=chips,
        select=lambda path, _: path in task.ideal, key=rng.path_key(key, "test"),
    )  # fmt: skip
    return np.asarray(found.metric, float)[:, 0]


def setting(args, network, work, descents, name, noise, seed, done):
    """Rows of one device at one noise level."""
    begun = time.perf_counter()
    device = devices.scale_noise(
        DEVICES[name](), programming=noise, drift_spread=noise, read=noise
    )
    ideal = chip.normalized_weights(work.params)
    strategy = {
        path: hand.tune_strategy(
            device, density.from_weights(w), MONTH, build=hand.lsp_first
        ).strategy
        for path, w in chip.weights(work.params).items()
    }
    key = jr.key(seed)
    task = make_task(
        work.params, ideal, device, training_inputs(work), None, MONTH, ["weights"], key
    )
    program = start_from(strategy, device, work.params)
    cells = {
        path: jnp.zeros_like(layer.targets)
        for path, layer in program.layers(
            task.ideal, task.device, descents.cell
        ).items()
    }
    begin = {"program": program, "cells": cells}
    rates = {k: v[: args.rates] for k, v in RATES.items()}
    runs = [
        (what, arm, rate)
        for what, arm in itertools.product(args.learn, ARMS)
        for rate in rates[what]
    ]
    found, losses = descents.run(task, begin, runs, args.at_once)
    took = (time.perf_counter() - begun) / max(1, len(runs))
    shared = descents, task
    rest = device, key, args.chips
    start = on_test(*shared, begin, *rest)
    yield row("none", "start", 0.0, start, None, took)
    for what in args.learn:
        full = None
        for arm in ARMS:
            mine = [k for k, r in enumerate(runs) if r[:2] == (what, arm)]
            best = min(mine, key=lambda k: losses[k] if losses[k] >= 0 else np.inf)
            values = on_test(*shared, found[best], *rest)
            full = values if arm == "full" else full
            yield row(what, arm, runs[best][2], values, full, took * len(mine))


def row(what, arm, rate, values, full, took):
    """The numbers of a row."""
    mean, se = values.mean(0), values.std(0, ddof=1) / np.sqrt(len(values))
    more, more_se = "", ""
    if full is not None:
        apart = values[:, 0] - full[:, 0]
        more = f"{apart.mean():.6f}"
        more_se = f"{apart.std(ddof=1) / np.sqrt(len(apart)):.6f}"
    return what, arm, rate, mean, se, more, more_se, took


def main() -> None:
    args = options()
    if args.table:
        return table(args.out)
    begun, done = time.monotonic(), set()
    if args.out.exists():
        with args.out.open() as file:
            done = {tuple(r[f] for f in FIELDS[:4]) for r in csv.DictReader(file)}
    else:
        args.out.write_text(",".join(FIELDS) + "\n")
    card = jax.devices()[0].device_kind
    for network in args.networks:
        work = workloads.load(
            network, data=args.data, items=args.items or NETWORKS[network]
        )
        work = set_aside(work, HELD)
        cell = hand.lsp_first(devices.pcm()).cell
        descents = Descents(work, cell, args.steps)
        digital = 100 * float(jax.jit(descents.metric)(work.params)[1])
        for name, noise, seed in itertools.product(
            args.devices, args.noise, range(args.seeds)
        ):
            place = network, name, f"{noise:g}", str(seed)
            if place in done or time.monotonic() - begun > args.limit_s:
                continue
            for found in setting(
                args, network, work, descents, name, noise, seed, done
            ):
                what, arm, rate, mean, se, more, more_se, took = found
                cells = [
                    *place, what, arm, f"{rate:g}", args.steps, f"{mean[0]:.6f}",
                    f"{se[0]:.6f}", more, more_se, f"{100 * mean[1]:.3f}",
                    f"{100 * se[1]:.3f}", f"{digital:.3f}", args.chips, len(work.x),
                    f"{took:.1f}", card,
                ]  # fmt: skip
                print(f"{time.monotonic() - begun:6.0f} s", *cells, flush=True)
                with args.out.open("a", newline="") as file:
                    csv.writer(file).writerow(cells)


def table(path):
    """Print the divergence of each arm minus that of full noise, as Markdown."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    print("| network, device, noise | learned | start |", " | ".join(ARMS), "|")
    print("|---" * (3 + len(ARMS)) + "|")
    every = dict.fromkeys((r["network"], r["device"], r["noise"]) for r in rows)
    for place in every:
        here = [r for r in rows if (r["network"], r["device"], r["noise"]) == place]
        start = np.mean([float(r["loss"]) for r in here if r["arm"] == "start"])
        for what in dict.fromkeys(r["learned"] for r in here if r["arm"] != "start"):
            cells = []
            for arm in ARMS:
                own = [r for r in here if (r["learned"], r["arm"]) == (what, arm)]
                loss = np.mean([float(r["loss"]) for r in own])
                more = np.mean([float(r["beyond_full"]) for r in own])
                se = np.sqrt(np.sum([float(r["beyond_full_se"]) ** 2 for r in own]))
                note = f" ({more:+.4f} ± {se / len(own):.4f})" if arm != "full" else ""
                cells.append(f"{loss:.4f}{note}")
            where = f"{place[0]}, {place[1]}, {place[2]}x"
            print(f"| {where} | {what} | {start:.4f} |", " | ".join(cells), "|")


def options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--devices", nargs="+", default=list(DEVICES))
    parser.add_argument("--noise", type=float, nargs="+", default=[3.0, 1.0])
    parser.add_argument("--learn", nargs="+", default=list(RATES), choices=RATES)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rates", type=int, default=3, help="number to try")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--chips", type=int, default=25)
    parser.add_argument("--items", type=int)
    parser.add_argument("--at-once", type=int, help="runs side by side; 1 on a CPU")
    parser.add_argument("--limit-s", type=float, default=float("inf"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--quick", action="store_true", help="a small test")
    parser.add_argument("--table", action="store_true", help="only print a table")
    args = parser.parse_args()
    if args.quick:
        args.networks, args.devices, args.noise = ["digits"], ["pcm"], [3.0]
        args.steps, args.rates, args.chips, args.items = 3, 1, 2, 40
    if args.at_once is None:
        args.at_once = 1 if jax.default_backend() == "cpu" else 48
    return args


if __name__ == "__main__":
    main()
