"""What everything takes on one accelerator: a row for each work, written as it comes.

    python benchmarks/gpu.py [--out DIR] [--seconds 150] [--tiny] [--only WORDS ...]

Each row has the first call (with its compiling), the median and the fastest of the
next ones, the ratio of medians to the plain product, pass or step of the same rows
(taken in turn), and a rate or an error. Needs no data and no network. What was done is
not done again with the same `--out`; no work is begun after `--seconds`.
`benchmarks/gpu.sh` runs this and a part of the tests.
"""

import argparse
import csv
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from flax import nnx
from layers import BITS8, Mlp, step

import anajax
from anajax import chip, devices, strategies, training
from anajax.analysis.expected import targets
from anajax.analysis.hardware import Periphery
from anajax.analysis.network import AnalogNetwork
from anajax.analysis.workload import Splits, workload
from anajax.crossbar import periphery
from anajax.crossbar import product as cb
from anajax.mapping import density
from anajax.nn.convert import functional, to_analog
from anajax.programming import optimize_layers
from anajax.transformation import Rule
from anajax.workloads import resnet

FIELDS = (
    "work", "case", "first_s", "median_ms", "fastest_ms", "ratio", "note", "device",
    "jax",
)  # fmt: skip
TIMES = np.array([1.0, 60.0, 3600.0, 86400.0, 604800.0, 2.6e6, 3.15e7])
DEVICE = devices.pcm()


class Size:
    """How large everything is."""

    def __init__(self, tiny):
        self.rounds = 3 if tiny else 15
        self.program = (64, 128) if tiny else (1024, 8192)
        self.items, self.chips, self.batch = (64, 2, 32) if tiny else (10_000, 25, 1000)
        self.side, self.vectors = (64, 16) if tiny else (1024, 128)
        self.images, self.depth = (4, 8) if tiny else (200, 32)
        self.steps = 5 if tiny else 600


def kind():
    """The card (or processor) of the default backend."""
    return jax.devices()[0].device_kind


def timed(cases, rounds):
    """First call (s) and the next ones (ms) of each case, taken in turn."""
    first, then = {}, {name: [] for name in cases}
    for name, run in cases.items():
        start = time.perf_counter()
        jax.block_until_ready(run())
        first[name] = time.perf_counter() - start
    for _ in range(rounds):
        for name, run in cases.items():
            start = time.perf_counter()
            jax.block_until_ready(run())
            then[name].append(1e3 * (time.perf_counter() - start))
    return first, then


def rows_of(cases, rounds, notes=None):
    """Rows of cases; ratios to the first of them."""
    first, then = timed(cases, rounds)
    plain = np.median(next(iter(then.values())))
    for name, found in then.items():
        median = float(np.median(found))
        note = (notes or {}).get(name, lambda ms: "")(median)
        yield {
            "case": name, "first_s": f"{first[name]:.2f}", "median_ms": f"{median:.4g}",
            "fastest_ms": f"{min(found):.4g}", "ratio": f"{median / plain:.2f}",
            "note": note,
        }  # fmt: skip


# --- devices --------------------------------------------------------------------------


def programming(size):
    """Program, and drift and read at one time, of one and of two pairs."""
    for side in size.program:
        for pairs, way in ((1, strategies.single_pair), (2, strategies.lsp_first)):
            yield from _programming(size, side, pairs, way(DEVICE))


def _programming(size, side, pairs, strategy):
    key = anajax.key(0)
    params = {"w": jr.normal(jr.key(0), (side, side))}
    layers = chip.encode_weights(params, strategy)
    write = jax.jit(lambda layers, key: chip.program(DEVICE, layers, key=key))
    look = jax.jit(lambda chip_: chip.read(DEVICE, chip_, t=86400.0, index=1))
    made = []
    words = f"{pairs} pair{'s' * (pairs > 1)} a weight, {side} x {side}"

    def program():
        made[:] = [write(layers, key)]
        return made

    def rate(ms):
        return f"{side * side / ms / 1e6:.3g} G weights/s"

    cases = {
        f"normals, as many as devices, {words}": jax.jit(
            lambda: anajax.rng.normal(key, (side, side, 2 * pairs))
        ),
        f"program, {words}": program,
        f"drift and read, {words}": lambda: look(made[0]),
    }
    yield from rows_of(cases, size.rounds, dict.fromkeys(cases, rate))


def same_bits(size):
    """Words, normals and chips of a CPU beside those of the default backend."""
    side = size.program[0]
    params = {"w": np.asarray(jr.normal(jr.key(0), (side, side)))}

    def draw(device):
        with jax.default_device(device):
            key = anajax.key(7)
            words = jr.bits(key, (side, side), jnp.uint32)
            read = anajax.perturb(
                params, DEVICE, strategies.lsp_first(DEVICE), t=86400.0, key=key
            )["w"]
            normals = anajax.rng.normal(key, (side, side))
            return [np.asarray(v) for v in (words, normals, read)]

    here, there = draw(jax.devices()[0]), draw(jax.devices("cpu")[0])
    for name, a, b in zip(("words", "normals", "weights"), here, there, strict=True):
        apart = np.max(np.abs(a.astype(float) - b.astype(float)))
        note = f"{np.mean(a == b):.6f} equal bits, largest difference {apart:.2g}"
        yield {"case": f"{name} of a CPU and of this backend", "note": note}


# --- networks -------------------------------------------------------------------------


def study_mlp(size):
    """An MLP on chips at seven times, without and with converters, over plain JAX."""
    model = Mlp([784, 512, 256, 10], nnx.Rngs(0))
    x = jr.normal(jr.key(1), (size.items, 784))
    y = jnp.argmax(model(x), -1)
    batches = x.reshape(-1, size.batch, 784), y.reshape(-1, size.batch)
    apply, rule = {}, Rule(".*", io=periphery.standard())
    params, apply["no converters"] = functional(model)
    _, apply["default converters"] = functional(to_analog(model, [rule]).model)
    chips, strategy = size.chips, strategies.single_pair(DEVICE)
    chunk = 1 if jax.default_backend() == "cpu" else chips

    def accuracy(run, params, data, *key):
        def one(batch):
            x, y = batch
            own = {"key": key[0]} if key else {}
            return jnp.mean(jnp.argmax(run(params, x, **own), -1) == y)

        return jnp.mean(jax.lax.map(one, data))

    @jax.jit
    def plain(params, data):
        def again(total, i):
            shifted = jax.tree.map(lambda w: w * (1 + 1e-6 * i), params)
            own = accuracy(apply["no converters"], shifted, data)
            return total + own, None

        return jax.lax.scan(again, 0.0, jnp.arange(chips * len(TIMES)) * 1.0)[0]

    def study(words, keyed):
        metric = jax.tree_util.Partial(
            lambda data, params, *key: accuracy(apply[words], params, data, *key),
            batches,
        )
        return lambda: anajax.evaluate(
            metric, params, DEVICE, strategy, TIMES, chips=chips, key=anajax.key(2),
            keyed=keyed, chunk=chunk,
        ).metric  # fmt: skip

    what = f"study of an MLP, {size.items} items, {chips} chips x 7 times, "
    return rows_of(
        {
            what + "plain passes": lambda: plain(params, batches),
            what + "no converters": study("no converters", False),
            what + "default converters": study("default converters", True),
        },
        min(size.rounds, 7),
    )


def products(size):
    """Batches through a square matrix."""
    for times in (1, 4):
        side, vectors = times * size.side, times * times * size.vectors
        yield from rows_of(_products(side, vectors), 4 * size.rounds)


def _products(side, vectors):
    random = np.random.default_rng(0)
    x = jnp.asarray(random.normal(size=(vectors, side)), jnp.float32)
    w = jnp.asarray(random.normal(size=(side, side)) / 30, jnp.float32)
    mvm = jax.jit(lambda t, x, io, key: cb.mvm(t, x, io, key=key))
    plain, noisy = jax.jit(jnp.matmul), periphery.standard()
    tiles = cb.from_weights(w, cb.TileRule(rows=512, columns=512))
    key, words = anajax.key(0), f"batch {vectors} through {side} x {side}"
    return {
        f"plain product, {words}": lambda: plain(x, w),
        f"8-bit converters, {words}": lambda: mvm(tiles, x, BITS8, key),
        f"default converters and noise, {words}": lambda: mvm(tiles, x, noisy, key),
    }


def steps(size):
    """A training step of the MLP, with weight noise and converters."""
    x, y = jr.normal(jr.key(0), (128, 784)), jr.randint(jr.key(1), (128,), 0, 10)
    rule = Rule(".*", io=BITS8)
    sizes = [784, 512, 256, 10]
    plain, noisy = step(sizes, rule, training.gaussian_noise(0.05), x, y)
    names = "training step, plain", "training step, weight noise and converters"
    return rows_of(dict(zip(names, (plain, noisy), strict=True)), 4 * size.rounds)


def study_resnet(size):
    """A ResNet behind 8-bit converters, one chip at seven times, norms measured."""
    random = np.random.default_rng(0)
    images = random.normal(size=(size.images, 32, 32, 3)).astype(np.float32)
    labels = np.zeros(size.images, int)
    splits = Splits(
        x=images, y=labels, train_x=images, train_y=labels, place="drawn", split=""
    )
    model = resnet.ResNet(size.depth, rngs=nnx.Rngs(0))
    model.eval()
    work = workload(
        model, splits, metric="accuracy", items=None, weights="drawn", name="resnet",
        modality="image", batch=size.images,
    )  # fmt: skip
    network = AnalogNetwork(
        work=work, periphery=Periphery(dac_bits=8, adc_bits=8), norms=True,
        normalize="column",
    )  # fmt: skip
    start = time.perf_counter()
    metric, report = network.metric(work.params), network.report
    ranges = f"ranges found in {time.perf_counter() - start:.1f} s"
    strategy, key = strategies.lsp_first(DEVICE), anajax.key(3)
    layers = targets(work.params, strategy, DEVICE, "column", report.layouts)

    @jax.jit
    def digital(params, x):
        def again(total, i):
            shifted = jax.tree.map(lambda w: w * (1 + 1e-6 * i), params)
            return total + jnp.sum(work.apply(shifted, x)), None

        return jax.lax.scan(again, 0.0, jnp.arange(len(TIMES)) * 1.0)[0]

    def study():
        return anajax.evaluate(
            metric, work.params, DEVICE, layers, TIMES, chips=1, key=key, keyed=True,
            select=report,
        ).metric  # fmt: skip

    what = f"ResNet-{size.depth}, {size.images} images, one chip x 7 times, "
    plain, analog = what + "digital passes", what + "8-bit, norms measured"
    cases = {plain: lambda: digital(work.params, work.x), analog: study}
    return rows_of(cases, min(size.rounds, 7), {analog: lambda ms: ranges})


def search(size):
    """The search of a strategy for the reference problem."""
    weights = density.gaussian(0.3)

    def found():
        return anajax.optimize_strategy(
            DEVICE, weights, TIMES, key=jr.key(0), steps=size.steps
        ).value

    return rows_of({"search of a strategy, 8 starts": found}, 3)


def search_layers(size):
    """The searches of a network's layers, of normal weights of many deviations."""
    deviations = np.geomspace(0.08, 0.4, 32)
    layers = {f"{d:.4f}": density.gaussian(float(d)) for d in deviations}
    warm = dict.fromkeys(layers, [strategies.lsp_first(DEVICE)])

    def found():
        every = optimize_layers(
            DEVICE, layers, TIMES, warm=warm, key=jr.key(0), steps=size.steps
        )
        return [found.value for found in every.values()]

    return rows_of({"search of 32 strategies, 16 hops": found}, 1)


WORKS = {
    "bits": same_bits,
    "mlp": study_mlp,
    "program": programming,
    "products": products,
    "step": steps,
    "resnet": study_resnet,
    "layers": search_layers,
    "search": search,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--name", default="gpu")
    parser.add_argument("--seconds", type=float, default=150)
    parser.add_argument("--tiny", action="store_true", help="to try the script")
    parser.add_argument("--only", nargs="*", choices=WORKS, default=list(WORKS))
    args = parser.parse_args()
    begin, path = time.monotonic(), args.out / f"{args.name}.csv"
    done, failed = path.with_suffix(".done"), []
    args.out.mkdir(parents=True, exist_ok=True)
    print(f"{kind()}, jax {jax.__version__}", flush=True)
    for name in args.only:
        if done.exists() and name in done.read_text().split():
            continue
        if time.monotonic() - begin > args.seconds:
            print(f"no time for {name}", flush=True)
            continue
        if _write(path, name, Size(args.tiny)):
            with done.open("a") as file:
                file.write(f"{name}\n")
        else:
            failed.append(name)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def _write(path, name, size):
    """The rows of one work, and whether they are all there; one that fails says why."""
    rows = list(csv.DictReader(path.open())) if path.exists() else []
    rows = [row for row in rows if row["work"] != name]

    def write(row):
        rows.append({"work": name} | row)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    try:
        for row in WORKS[name](size):
            write(row | {"device": kind(), "jax": jax.__version__})
            print(*(row.get(f, "") for f in FIELDS[1:-2]), sep="  ", flush=True)
    except Exception as error:  # the other works go on
        text = f"failed: {type(error).__name__} {error!s:.300}"
        print(f"{name} {text}", flush=True)
        write({"case": name, "note": text.replace("\n", " ")})
        return False
    return True


if __name__ == "__main__":
    main()
