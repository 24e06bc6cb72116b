"""SmolLM2-135M a month after programming: which proxy orders strategies, what is lost.

    python benchmarks/language_model.py order --data DIR   # language_model_order.csv
    python benchmarks/language_model.py choose --data DIR  # language_model_pairs.json
    python benchmarks/language_model.py gap --data DIR     # language_model_gap.csv
    python benchmarks/language_model.py learn --data DIR --out OUT --limit-s 300  # GPU
    python benchmarks/language_model.py cost --data DIR    # seconds and memory

`order`: on one chip with tabulated moments (`WeightTable`; the same draws for all), the
gap of strategies by hand, some of which clip, beside the expected errors of weights and
of outputs, their mean and geometric mean over layers; prints rank correlations.
`choose`: pairs of each layer, within a budget of two and of four.
`gap`: chips by the per-device sampler, four pairs a weight: alike in all layers, chosen
by layer, and by layer with one weight in two hundred kept digital. Gaps are in nats for
each token, on windows of WikiText-2; tiles have 64 rows, and each of their columns a
scale. Inputs are looked at on other text. Rows of `gap` that are there are not run
again. `learn`: see language_model_learn.py.
"""

import argparse
import csv
import dataclasses
import functools
import json
import os
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from language_model_arms import learn
from scipy.stats import spearmanr
from timing import write_csv

import anajax
from anajax import chip, devices, strategies, workloads
from anajax.analysis.expected import ExpectedError, OutputError, uniform
from anajax.crossbar.tiling import TileRule
from anajax.interop import gguf_file
from anajax.mapping.outliers import outliers
from anajax.mapping.weight_error import moment_table
from anajax.mapping.weight_table import weight_table
from anajax.programming import fisher_information
from anajax.transformation import Rule, analog, second_moments
from anajax.workloads.language import Tokenizer, smollm2

MONTH = np.array([30 * 86400.0])
ROWS, SHARE = 64, 0.005
DEVICES = {"pcm": devices.pcm(), "pcm_hermes": devices.pcm_hermes()}
ALIKE = {"pcm": (4.0, 2.0, 2.0), "pcm_hermes": (8.0, 4.0, 2.0)}
RESULTS = Path(__file__).parent / "results"
PAIRS, BUDGETS = RESULTS / "language_model_pairs.json", (2, 4)


class Setup:
    """The network, its test windows, and what its weights meet."""

    devices, month, alike = DEVICES, MONTH, ALIKE

    def __init__(self, data, windows, network="smollm2", blocks=None):
        work = workloads.load(network, data=data, items=windows)
        self.work = work = work if blocks is None else shortened(work, blocks)
        digital = rf"{work.digital}|.*/digital/.*"
        rules = [Rule(digital, digital=True), Rule(".*", tiles=TileRule(rows=ROWS))]
        self.function = analog(work.apply, rules)
        self.report = self.function.report(work.params, work.x[:1])
        self.nll = jax.jit(lambda p, x, y: work.loss_fn(work.apply(p, x), y))

    @functools.cached_property
    def digital(self):
        """Log-perplexity of the digital network."""
        return self.loss(self.work.params)

    def layouts(self, params):
        """What the axes of its kernels are, by path."""
        return self.function.report(params, self.work.x[:1]).layouts

    @functools.cached_property
    def moments(self):
        """Of the inputs of each layer."""
        batches = [self.work.calibration[:2], self.work.calibration[2:4]]
        return second_moments(self.function, self.work.params, batches)

    def loss(self, params):
        """Log-perplexity, window by window."""
        x, y = self.work.x, self.work.y
        every = [self.nll(params, x[i : i + 1], y[i : i + 1]) for i in range(len(x))]
        return float(np.mean([float(v[0]) for v in every]))

    def error(self, device, kind=OutputError):
        """Expected errors on a device."""
        more = {"moments": self.moments, "columns": 96} if kind is OutputError else {}
        return kind(
            params=self.work.params, layouts=self.report.layouts, device=device,
            times=MONTH, normalize="tile", **more,
        )  # fmt: skip

    def fisher(self):
        """Of each weight, on other text."""
        given, x = self.work.params, self.work.calibration[4:7]
        how = {"key": jax.random.key(5), "select": self.report}
        return fisher_information(self.work.apply, given, x, **how)

    def by_layer(self, name, pairs=4):
        """A strategy for each layer, so many pairs in the mean, as `choose` found."""
        if self.work.name != "smollm2":
            return strategies.lsp_first(DEVICES[name], f=ALIKE[name][-pairs + 1 :])
        kept = json.loads(PAIRS.read_text())[name][str(pairs)]
        return {
            f"blocks/{i}/{kernel}": self.choice(DEVICES[name], factors)
            for kernel, every in kept.items() for i, factors in enumerate(every)
            if f"blocks/{i}/{kernel}" in self.report.layouts
        }  # fmt: skip

    @staticmethod
    def choice(device, factors):
        """Least significant first; a single pair where there are no factors."""
        if not factors:
            return strategies.single_pair(device)
        return strategies.lsp_first(device, f=factors)

    def pairs(self, way):
        """Pairs of a weight, the mean over all."""
        if not isinstance(way, dict):
            return way.cell.devices / 2
        ideal = chip.weights(self.work.params, select=self.report)
        total = sum(w.size * way[p].cell.devices / 2 for p, w in ideal.items())
        return total / sum(w.size for w in ideal.values())

    def gone(self):
        """By path, which weights stay digital."""
        ideal = chip.weights(self.work.params, select=self.report)

        def one(path, w):
            rows = np.diagonal(np.asarray(self.moments[path]), axis1=1, axis2=2)
            how = {"share": SHARE, "importance": rows}
            return outliers(w, self.report.layouts[path], **how)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return dict(zip(ideal, pool.map(one, *zip(*ideal.items(), strict=True)),
                            strict=True))  # fmt: skip


def shortened(work, blocks):
    """A workload whose network is the first few blocks."""
    net = dataclasses.replace(work.apply.__self__, layers=blocks)
    params = work.params | {"blocks": work.params["blocks"][:blocks]}
    return dataclasses.replace(work, params=params, apply=net.logits)


def choose(setup):
    """The significance factors of each layer, by device, budget and kernel."""
    from anajax.studies.ways.budget import within_budget  # needs all packages

    found, fisher = {}, setup.fisher()
    for name, device in DEVICES.items():
        error = setup.error(device).by_loss(fisher)
        found[name] = {}
        for pairs in BUDGETS:
            ways = within_budget(error, device, None, pairs)
            found[name][str(pairs)] = kept = {}
            for path in sorted(ways, key=lambda p: int(p.split("/")[1])):
                factors = np.asarray(ways[path].significance)[:-1].tolist()
                kept.setdefault(path.rpartition("/")[2], []).append(factors)
            print(name, pairs, setup.pairs(ways), flush=True)
    PAIRS.write_text(json.dumps(found).replace("}, ", "},\n") + "\n")


def on_chip(setup, device, way, key, gone=None):
    """Parameters as a chip holds them; those that are gone are added digitally."""
    params, digital = setup.work.params, {}
    if gone is not None:
        ideal = chip.weights(params, select=setup.report)
        digital = {p: jnp.where(gone[p], w, 0) for p, w in ideal.items()}
        kept = {p: jnp.where(gone[p], 0, w) for p, w in ideal.items()}
        params = chip.insert(params, kept)
    how = {"t": MONTH[0], "key": key, "select": setup.report, "normalize": "tile"}
    noisy = anajax.perturb(params, device, way, **how)
    if gone is None:
        return noisy
    own = chip.weights(noisy, select=setup.report)
    return chip.insert(noisy, {p: own[p] + digital[p] for p in own})


def gap(setup, chips, arms=("alike", "by layer", "by layer, outliers digital")):
    """Rows of the gap of each chip."""
    path = RESULTS / "language_model_gap.csv"
    rows = list(csv.DictReader(path.open())) if path.exists() else []
    done = {(r["device"], r["arm"], r["chip"], r["windows"]) for r in rows}
    made, gone, windows = {}, None, str(len(setup.work.x))
    for index in range(chips):
        for name, device in DEVICES.items():
            for arm in arms:
                if (name, arm, str(index), windows) in done:
                    continue
                if name not in made and arm != "alike":
                    made[name] = setup.by_layer(name)
                if gone is None and "outliers" in arm:
                    gone = setup.gone()
                alike = strategies.lsp_first(device, f=ALIKE[name])
                way = alike if arm == "alike" else made[name]
                start = time.perf_counter()
                own = gone if "outliers" in arm else None
                noisy = on_chip(setup, device, way, anajax.key(index), own)
                lost = setup.loss(noisy) - setup.digital
                rows.append({
                    "device": name, "arm": arm, "chip": index, "windows": windows,
                    "pairs": f"{setup.pairs(way):.3f}",
                    "digital_weights": SHARE if own else 0,
                    "digital": f"{setup.digital:.4f}", "gap": f"{lost:.4f}",
                    "wall_s": f"{time.perf_counter() - start:.0f}",
                })  # fmt: skip
                write_csv(path.name, rows)
                print(rows[-1], flush=True)


def ways_to_order(device):
    """Strategies by hand, some of which clip."""
    make = strategies.lsp_first
    return {
        "single_pair": strategies.single_pair(device),
        "single_pair K 1.2": strategies.single_pair(device, k=1.2),
        "msp_first 2": strategies.msp_first(device, f=2.0),
        "equal_split": strategies.equal_split(device),
        **{f"lsp_first 2 K {k}": make(device, f=2.0, k=k)
           for k in (0.9, 1.0, 1.1, 1.2, 1.4)},
        "lsp_first 4": make(device, f=4.0),
        **{f"lsp_first 4 2 K {k}": make(device, f=(4.0, 2.0), k=k) for k in (1.0, 1.2)},
        **{f"lsp_first 4 2 2 K {k}": make(device, f=(4.0, 2.0, 2.0), k=k)
           for k in (1.0, 1.1)},
    }  # fmt: skip


def order(setup, device=DEVICES["pcm"]):
    """Rows of gaps and expected errors."""
    outputs, weights = setup.error(device), setup.error(device, ExpectedError)
    table, rows = moment_table(device, jnp.asarray(MONTH)), []
    ideal = chip.weights(setup.work.params, select=setup.report)
    how = {"select": setup.report, "normalize": "tile"}
    normal = chip.normalized_weights(ideal, **how | {"select": lambda *_: True},
                                     layout=setup.report.layouts)  # fmt: skip
    power = {
        p: float(jnp.sum((w / jnp.max(jnp.abs(w))) ** 2)) for p, w in ideal.items()
    }
    draw = jax.jit(lambda t, w, key: t.draw(w.u, time=0, key=key) * w.unit)
    for name, way in ways_to_order(device).items():
        noisy = {}
        for path, w in normal.items():
            moments = weight_table(uniform(way), table, outputs.density(path))
            noisy[path] = draw(moments, w, anajax.rng.path_key(anajax.key(0), path))
        lost = setup.loss(chip.insert(setup.work.params, noisy)) - setup.digital
        by_layer = [float(outputs.of_layer(p, way)[0]) for p in ideal]
        relative = [float(weights.of_layer(p, way)[0]) / power[p] for p in ideal]
        rows.append({"strategy": name, "gap": f"{lost:.4f}"} | {
            f"{kind}, {mean}": f"{np.sqrt(of(each)):.5f}"
            for kind, each in (("outputs", by_layer), ("weights", relative))
            for mean, of in (("mean", np.mean), ("geometric mean", geometric))
        })  # fmt: skip
        print(rows[-1], flush=True)
    write_csv("language_model_order.csv", rows)
    for kind in list(rows[0])[2:]:
        both = [[float(r[n]) for r in rows] for n in ("gap", kind)]
        print(f"rank correlation of {kind}: {spearmanr(*both)[0]:.3f}")


def geometric(values):
    """The geometric mean: each layer counts by ratios, however noisy it is."""
    return np.exp(np.mean(np.log(values)))


def cost(setup):
    """Seconds of a chip and of a window, and memory."""
    way = strategies.lsp_first(DEVICES["pcm"])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for index in range(2):
        start, work = time.perf_counter(), time.process_time()
        on_chip(setup, DEVICES["pcm"], way, anajax.key(index))
        wall, cpu = time.perf_counter() - start, time.process_time() - work
        print(f"perturb {wall:.1f} s, {cpu:.1f} s of all cores")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{(after - before) / 1e6:.2f} GB above what came before")


def learning_text(options, setup):
    """Windows to learn on, none of those that are looked at."""
    if options.network != "smollm2":
        return setup.work.train_x[:64]
    pieces = Tokenizer.of_gguf(gguf_file.metadata(smollm2.file(options.data)[0]))
    tokens = pieces.encode(smollm2.text(options.data, "valid"))
    count = len(tokens) // smollm2.TIME
    return tokens[: count * smollm2.TIME].reshape(count, smollm2.TIME)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("order", "choose", "gap", "cost", "learn"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--windows", type=int, default=4, help="40 to learn")
    parser.add_argument("--chips", type=int, default=5)
    of_learning = parser.add_argument_group("learn")
    of_learning.add_argument("--out", type=Path, default=RESULTS)
    of_learning.add_argument("--limit-s", type=float, default=300.0)
    of_learning.add_argument("--batch", type=int, default=8)
    of_learning.add_argument("--scale", type=float, default=1.0, help="of all times")
    of_learning.add_argument("--reads", type=int, default=4, help="of each chip")
    of_learning.add_argument("--rank", type=int, default=8, help="of adapters")
    of_learning.add_argument("--arms", nargs="*", help="some of those in ARMS")
    of_learning.add_argument("--optimizer", default="adam", help="or adafactor")
    of_learning.add_argument("--chip-dtype", default="float32", help="or bfloat16")
    of_learning.add_argument("--pad", action="store_true", help="compile less")
    of_learning.add_argument("--network", default="smollm2")
    of_learning.add_argument("--blocks", type=int, help="the first few alone, to try")
    options = parser.parse_args()
    options.begin = time.perf_counter()
    setup = Setup(options.data, options.windows, options.network, options.blocks)
    if options.what == "learn":
        learn(setup, learning_text(options, setup), options)
        return
    print(f"digital {np.exp(setup.digital):.2f}")
    if options.what == "gap":
        gap(setup, options.chips)
    else:
        {"order": order, "choose": choose, "cost": cost}[options.what](setup)


if __name__ == "__main__":
    main()
