"""Programs learned from the network's own loss, against all that came before.

On three networks, at the noise of PCM and three times it, one month after programming:
the best hand strategy (least-significant first, F and K tuned, per layer), the optimum
of the weight error per layer, and, at the same number of gradient steps, batches and
chips: the strategy end to end, per-weight targets, hardware-aware training (weights and
digital parameters through the device's noise, strategy tuned before and after), and all
jointly. Inputs are the training split's, the reference is the digital network; what is
reported is the accuracy on the test split of chips that no search has seen, by the
per-device sampler; also with the same targets on HERMES, which none was tuned to.
Rows go to benchmarks/results/targets.csv; rows that are there are not run again.

    python benchmarks/targets.py [--networks digits ...] [--seeds 3] [--data DIR]
    python benchmarks/targets.py --table     # mean and standard error over seeds
"""

import argparse
import csv
import dataclasses
import functools
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from anajax import chip, devices, training, workloads
from anajax._core.tree import replace
from anajax.analysis.evaluate import evaluate
from anajax.analysis.workload import evaluate as metric_of_items
from anajax.analysis.workload import (
    labels_loss,
    shuffled,
    training_inputs,
    training_labels,
)
from anajax.mapping import density
from anajax.mapping import hand as strategies
from anajax.programming import fisher_information, optimize_strategy, optimize_targets
from anajax.programming.end_to_end.layer_by_layer import (
    optimize_layer_by_layer,
    units_of,
)
from anajax.rng import Stage, stream

MONTH = jnp.array([30 * 86400.0])
OUT = Path(__file__).parent / "results" / "targets.csv"
NETWORKS = {"digits": 360, "kws_lstm_s_speakers": 1000, "fashion_resnet8": 500}
BATCH = {"fashion_resnet8": 32}
LEARN = {
    "end-to-end strategy": ("strategy",),
    "per-weight targets": ("weights",),
    "joint": ("strategy", "columns", "weights", "digital"),
}
ARMS = ("hand", "weight error", *LEARN, "hardware-aware")
FROM_LABELS = {
    "targets from labels": LEARN["per-weight targets"],
    "joint from labels": LEARN["joint"],
}
EXTRA = ("weight error by Fisher", "layer by layer", *FROM_LABELS)
"""More arms, by --arms: squared errors weighed by the Fisher information of each
weight; strategy, columns and weights unit by unit, the steps shared out; learned from
the labels of the training split instead of the digital network's outputs."""
FIELDS = (
    "network", "noise", "seed", "arm", "steps", "digital", "month_mean",
    "month_stderr", "hermes_mean", "hermes_stderr", "wall_s",
)  # fmt: skip
CHIPS_PER_STEP = 2
# By network: steps, rate of weights, and of hardware-aware training rate and clip (100:
# none); chosen with --validate, on one seed at three times the noise.
CHOSEN = {
    "digits": (400, 1e-2, 1e-2, 2.5),
    "kws_lstm_s_speakers": (200, 3e-3, 3e-3, 100.0),
    "fashion_resnet8": (200, 3e-3, 1e-3, 100.0),
}
SETUPS = {}
"""Workload, device and hand strategies by network and noise."""


def held_out(work, items):
    """The workload with a part of its training split in place of the test split."""
    order = shuffled(len(work.train_x), None)  # files may be sorted by class
    train_x, train_y = work.train_x[order], work.train_y[order]
    cut = len(order) * 4 // 5
    x, y = train_x[cut:][:items], train_y[cut:][:items]
    return dataclasses.replace(
        work,
        x=jnp.asarray(x),
        y=jnp.asarray(y),
        train_x=train_x[:cut],
        train_y=train_y[:cut],
    )


def tune_strategy(device, params):
    """The best F and K of least-significant first, layer by layer."""
    return {
        path: strategies.tune_strategy(
            device, density.from_weights(w), MONTH, build=strategies.lsp_first
        ).strategy
        for path, w in chip.weights(params).items()
    }


def weight_error_optimum(device, params, hand, key):
    return {
        path: optimize_strategy(
            device, density.from_weights(w), MONTH, key=key, warm=(hand[path],)
        ).strategy
        for path, w in chip.weights(params).items()
    }


def fisher_optimum(work, device, hand, key):
    importance = fisher_information(
        work.apply, work.params, training_inputs(work, 512), key=key
    )
    return {
        path: optimize_strategy(
            device,
            density.from_weights(w, importance=[importance[path]]),
            MONTH,
            key=key,
            warm=(hand[path],),
        ).strategy
        for path, w in chip.weights(work.params).items()
    }


def layer_by_layer(work, device, hand, network, steps, key, rate):
    x = training_inputs(work)
    units = units_of(work.model, x)
    return optimize_layer_by_layer(
        units, work.params, device, hand, x, MONTH, key=key,
        learn=("strategy", "columns", "weights"), steps=steps // len(units),
        chips=CHIPS_PER_STEP, batch=BATCH.get(network, 64), weight_rate=rate,
    )  # fmt: skip


@functools.cache
def train_through(network, noise_scale, steps, rate, sigmas):
    """Training through the noise of tuned strategies; one trace for all seeds."""
    work, device, hand = SETUPS[network, noise_scale]
    options = training.TrainOptions(
        steps=steps,
        chips=CHIPS_PER_STEP,
        batch=BATCH.get(network, 64),
        rate=rate,
        clip=sigmas,
    )
    noise, inputs = training.device_noise(device, hand, MONTH), training_inputs(work)
    return training.trainer(work.apply, work.params, inputs, noise, options)


def build(arm, network, noise, key, steps, rate, hwa_rate, sigmas):
    """Parameters and layers (or strategies) of an arm."""
    work, device, hand = SETUPS[network, noise]
    if arm == "hand":
        return work.params, hand
    if arm == "weight error":
        return work.params, weight_error_optimum(device, work.params, hand, key)
    if arm == "weight error by Fisher":
        return work.params, fisher_optimum(work, device, hand, key)
    if arm == "layer by layer":
        found = layer_by_layer(work, device, hand, network, steps, key, rate)
        return found.params, found.layers
    if arm == "hardware-aware":
        params = train_through(network, noise, steps, hwa_rate, sigmas)(key)
        return params, tune_strategy(device, params)
    goal = {}
    if arm in FROM_LABELS:
        goal = {"loss": labels_loss(work), "labels": training_labels(work)}
    found = optimize_targets(
        work.apply, work.params, device, hand, training_inputs(work), MONTH, **goal,
        key=key, learn=(LEARN | FROM_LABELS)[arm], steps=steps, chips=CHIPS_PER_STEP,
        batch=BATCH.get(network, 64),
        weight_rate=rate,
    )  # fmt: skip
    return found.params, found.layers


def on_range(layers, device, other):
    """The same targets on the range of another device."""
    stretch = (other.g_max - other.g_min) / (device.g_max - device.g_min)
    return {
        path: replace(
            layer,
            targets=other.g_min + stretch * (layer.targets - device.g_min),
            coefficients=layer.coefficients / stretch,
        )
        for path, layer in layers.items()
    }


@functools.cache
def digital_metric(network, metric):
    work = next(w for (name, _), (w, *_) in SETUPS.items() if name == network)
    return float(jax.jit(metric)(work.params))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--noise", type=float, nargs="+", default=[1, 3])
    parser.add_argument("--steps", type=int, help="by default as chosen, or 400")
    parser.add_argument("--chips", type=int, default=25)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--arms", nargs="+", default=list(ARMS), choices=(*ARMS, *EXTRA)
    )
    parser.add_argument("--rate", type=float, help="of weights, for all arms")
    parser.add_argument("--sigmas", type=float, help="clip in training")
    parser.add_argument(
        "--validate",
        action="store_true",
        help="train on 4/5 of the training split and report on the rest, other chips",
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--table", action="store_true", help="only print a table")
    args = parser.parse_args()
    if args.table:
        return table(args.out)
    done = set()
    if args.out.exists():
        with args.out.open() as file:
            done = {tuple(r[f] for f in FIELDS[:5]) for r in csv.DictReader(file)}
    else:
        args.out.write_text(",".join(FIELDS) + "\n")
    for network in args.networks:
        work = workloads.load(network, data=args.data, items=NETWORKS[network])
        if args.validate:
            work = held_out(work, NETWORKS[network])

        def metric(params, work=work):
            return jnp.mean(metric_of_items(work, params))

        given = args.steps, args.rate, args.rate, args.sigmas
        best = CHOSEN.get(network, CHOSEN["digits"])
        pairs = zip(given, best, strict=True)
        settings = tuple(b if g is None else g for g, b in pairs)
        for noise in args.noise:
            device = devices.scale_noise(
                devices.pcm(), programming=noise, drift_spread=noise, read=noise
            )
            SETUPS[network, noise] = work, device, tune_strategy(device, work.params)
            for seed in range(args.seeds):
                for arm in args.arms:
                    row = (network, f"{noise:g}", str(seed), arm, str(settings[0]))
                    if row not in done:
                        measure(row, args, settings, metric)


def table(path):
    """Print mean and standard error over seeds of all rows, as Markdown."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    arms = ("hand", "weight error", *EXTRA, *LEARN, "hardware-aware")
    print("| network, noise |", " | ".join(arms), "| digital |")
    print("|---" * (len(arms) + 2) + "|")
    for network, noise in dict.fromkeys((r["network"], r["noise"]) for r in rows):
        here = [r for r in rows if (r["network"], r["noise"]) == (network, noise)]
        titles = {"month_mean": f"{noise}x", "hermes_mean": f"from {noise}x to HERMES"}
        for name, title in titles.items():
            cells = [spread(here, arm, name) for arm in arms]
            print(f"| {network}, {title} |", " | ".join(cells), end=" | ")
            print(here[0]["digital"], "|")


def spread(rows, arm, name):
    values = np.array([float(r[name]) for r in rows if r["arm"] == arm])
    if len(values) < 2:
        return ""
    return f"{values.mean():.1f} ± {values.std(ddof=1) / np.sqrt(len(values)):.1f}"


def measure(row, args, settings, metric):
    network, noise, arm = row[0], float(row[1]), row[3]
    work, device, _ = SETUPS[network, noise]
    key = jax.random.key(int(row[2]) + 1000 * args.validate)
    start = time.perf_counter()
    params, program = build(
        arm,
        network,
        noise,
        stream(key, Stage.TRAIN),
        *settings,
    )
    params, program = jax.block_until_ready((params, program))
    wall = time.perf_counter() - start
    layers = program
    if not isinstance(next(iter(program.values())), chip.LayerProgram):
        layers = chip.encode_weights(params, program)
    hermes = devices.pcm_hermes()
    values = []
    for target, given in ((device, layers), (hermes, on_range(layers, device, hermes))):
        result = evaluate(
            metric, params, target, given, MONTH, chips=args.chips,
            key=stream(key, Stage.CHIP),
        )  # fmt: skip
        accuracy = 100 * np.asarray(result.metric)[:, 0]
        values += [accuracy.mean(), accuracy.std(ddof=1) / np.sqrt(args.chips)]
    digital = 100 * digital_metric(network, metric)
    cells = [*row, f"{digital:.2f}", *(f"{v:.2f}" for v in values), f"{wall:.1f}"]
    print(*cells, sep="  ", flush=True)
    with args.out.open("a", newline="") as file:
        csv.writer(file).writerow(cells)


if __name__ == "__main__":
    main()
