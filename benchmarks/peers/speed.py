"""Works done by anajax and by aihwkit in turn, in one run: seconds and ratios.

    python3.12 -m venv peers && peers/bin/pip install aihwkit
    python benchmarks/peers/speed.py --peer peers/bin/python

Both sides program, drift and read one chip of PCM with one pair (or two) of devices a
weight; converters are aihwkit's default (7 and 9 bits, output noise 0.06) on tiles of
512 x 512, without reading again. Every round runs each side once, several times where
it is short. What is compiled is compiled before. Rows, of medians, go to
benchmarks/results/peers_speed.csv; CPU seconds are those of all threads.
"""

import argparse
import csv
import json
import subprocess
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

import anajax
from anajax import Rule, analog, devices, strategies, training
from anajax.crossbar import periphery
from anajax.crossbar.tiling import TileRule
from anajax.mapping.strategy import decode, encode

DEVICE = devices.pcm()
TIMES = (1.0, 3600.0, 86400.0)
RULE = Rule(".*", io=periphery.standard(), tiles=TileRule(rows=512, columns=512))
RESULTS = Path(__file__).parents[1] / "results" / "peers_speed.csv"
SHAPES = {"mlp": (4, 1000, 784), "cnn": (5, 200, 28, 28, 1), "lstm": (3, 100, 64, 40)}
"""Batches, items of a batch, and an item."""
FIELDS = (
    "work", "anajax_ms", "torch_tile_ms", "cpp_tile_ms", "torch_over_anajax",
    "cpp_over_anajax", "anajax_cpu_ms", "torch_tile_cpu_ms", "cpp_tile_cpu_ms",
)  # fmt: skip


# --- networks -------------------------------------------------------------------------


def drawn(*shapes):
    keys = jr.split(jr.key(0), len(shapes))
    return [
        jr.normal(k, s) / np.sqrt(np.prod(s[:-1]))
        for k, s in zip(keys, shapes, strict=True)
    ]


def mlp(params, x):
    for w in params[:-1]:
        x = jax.nn.relu(x @ w)
    return x @ params[-1]


def cnn(params, x):
    for w in params[:2]:
        axes = "NHWC", "HWIO", "NHWC"
        x = jax.lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=axes)
        x = jax.nn.relu(x)
        window = (1, 2, 2, 1)
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")
    return x.reshape(len(x), -1) @ params[2]


def lstm(params, x):
    into, again, head = params

    def cell(carry, x):
        c, h = carry
        i, f, g, o = jnp.split(x @ into + h @ again, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (c, h), None

    start = jnp.zeros((len(x), again.shape[0]))
    (_, h), _ = jax.lax.scan(cell, (start, start), x.swapaxes(0, 1))
    return h @ head


NETWORKS = {
    "mlp": (mlp, ((784, 512), (512, 256), (256, 10))),
    "cnn": (cnn, ((3, 3, 1, 16), (3, 3, 16, 32), (800, 10))),
    "lstm": (lstm, ((40, 400), (100, 400), (100, 10))),
}


# --- works ----------------------------------------------------------------------------


def programming(pairs):
    way = strategies.single_pair if pairs == 1 else strategies.equal_split
    strategy, w = way(DEVICE), jr.uniform(jr.key(0), (1000, 1000), minval=-1)
    key = anajax.key(1)

    @jax.jit
    def write(strategy, w, key):
        return devices.program(DEVICE, encode(strategy, w), key=key)

    @jax.jit
    def look(strategy, cells, key):
        aged = devices.age(DEVICE, cells, t=86400.0)
        return decode(strategy, devices.read(DEVICE, aged, t=86400.0, key=key))

    cells = write(strategy, w, key)
    return {
        "program": lambda: write(strategy, w, key),
        "drift and read": lambda: look(strategy, cells, key),
    }


def study(name, io):
    """One chip at all times, all items through it, as `evaluate` does it."""
    apply, shapes = NETWORKS[name]
    params, data = drawn(*shapes), jr.normal(jr.key(1), SHAPES[name])
    hardware = analog(apply, RULE)
    report = hardware.report(params, data[0])

    def metric(data, params, *key):
        def one(x):
            outs = hardware(params, x, key=key[0]) if io else apply(params, x)
            return jnp.sum(outs)

        return jnp.sum(jax.lax.map(one, data))

    held = jax.tree_util.Partial(metric, data)
    return lambda: anajax.evaluate(
        held, params, DEVICE, strategies.single_pair(DEVICE), TIMES, chips=1,
        key=anajax.key(2), keyed=io, select=report,
    ).metric  # fmt: skip


def step():
    apply, shapes = NETWORKS["mlp"]
    params, optimizer = drawn(*shapes), optax.sgd(1e-3)
    hardware, noise = analog(apply, RULE), training.gaussian_noise(0.05)
    x, y = jr.normal(jr.key(1), (128, 784)), jr.randint(jr.key(2), (128,), 0, 10)

    def loss(params, key):
        logits = hardware(noise(params, key), x, key=key)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    @jax.jit
    def run(params, state, key):
        updates, state = optimizer.update(jax.grad(loss)(params, key), state)
        return optax.apply_updates(params, updates), state

    state, key = optimizer.init(params), anajax.key(3)
    return lambda: run(params, state, key)


def forward():
    (w,) = drawn((1024, 1024))
    x, key = jr.normal(jr.key(1), (128, 1024)), anajax.key(2)
    hardware = analog(lambda w, x: x @ w, RULE)
    run = jax.jit(lambda w, x, key: hardware(w, x, key=key))
    return lambda: run(w, x, key)


def torch_shape(name):
    """Channels lead in torch."""
    shape = SHAPES[name]
    return [*shape[:2], shape[-1], *shape[2:-1]] if name == "cnn" else list(shape)


def works():
    """Label, our function, and what aihwkit is asked for."""
    for pairs in (1, 2):
        ours = programming(pairs)
        for name, run in ours.items():
            words = f"{name}, 1 M weights, {pairs} pair{'s' * (pairs > 1)}"
            yield words, run, {"work": name, "pairs": pairs}, 3
    yield "forward 1024 x 1024, batch 128", forward(), {"work": "forward"}, 20
    yield "training step, MLP, weight noise, converters", step(), {"work": "step"}, 10
    for name in NETWORKS:
        for io in (False, True):
            asked = {"work": name, "io": io, "times": TIMES, "shape": torch_shape(name)}
            words = f"study, {name}, {'default' if io else 'no'} converters"
            yield words, study(name, io), asked, 1


# --- in turn --------------------------------------------------------------------------


def ours(run, repeats):
    start = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        jax.block_until_ready(run())
    spent = time.perf_counter() - start[0], time.process_time() - start[1]
    return [s / repeats for s in spent]


class Peer:
    """A process of aihwkit that does what it is asked for."""

    def __init__(self, python):
        side = Path(__file__).with_name("aihwkit_speed_side.py")
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [python, side], stdin=pipe, stdout=pipe, text=True
        )

    def __call__(self, asked, repeats):
        self._process.stdin.write(json.dumps(asked | {"repeats": repeats}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def row(label, run, asked, repeats, peer, rounds):
    tiles = ("torch tile", "C++ tile") if "pairs" not in asked else ("torch tile",)
    jax.block_until_ready(run())  # compile
    found = {"anajax": [], **{tile: [] for tile in tiles}}
    for _ in range(rounds):
        found["anajax"].append(ours(run, repeats))
        for tile in tiles:
            found[tile].append(peer(asked | {"tile": tile}, repeats))
    wall, cpu = (
        {side: 1e3 * np.median(np.array(times)[:, i]) for side, times in found.items()}
        for i in range(2)
    )
    numbers = (
        wall["anajax"], wall["torch tile"], wall.get("C++ tile"),
        wall["torch tile"] / wall["anajax"],
        wall["C++ tile"] / wall["anajax"] if "C++ tile" in wall else None,
        cpu["anajax"], cpu["torch tile"], cpu.get("C++ tile"),
    )  # fmt: skip
    texts = ("" if v is None else f"{v:.4g}" for v in numbers)
    return dict(zip(FIELDS, (label, *texts), strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", required=True, help="a Python that has aihwkit")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--only", default="", help="works whose names have this in them"
    )
    asked = parser.parse_args()
    peer, rows = Peer(asked.peer), []
    for label, run, wanted, repeats in works():
        if asked.only in label:
            rows.append(row(label, run, wanted, repeats, peer, asked.rounds))
            print(*rows[-1].values(), sep=", ", flush=True)
    if asked.only:
        return
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
