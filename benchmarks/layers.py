"""Analog layers against plain JAX: ratios of wall times, measured in one run.

Forward: 1024 x 1024, batch 128, 8-bit DAC and ADC. Training step: the 784-512-256-10
MLP, batch 128, Adam, with fresh weight noise and 8-bit converters. Repeats are
interleaved, so that both sides meet the same load; the ratio is of the medians, and of
the minima. Writes benchmarks/results/layers.csv.

    python benchmarks/layers.py [--repeats 200]
"""

import argparse
import csv
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from anajax import training
from anajax.crossbar import periphery
from anajax.nn.convert import functional, to_analog
from anajax.transformation import Rule

OUT = Path(__file__).parent / "results" / "layers.csv"
BITS8 = periphery.IO(
    scaling=periphery.AbsMax(),
    dac=periphery.uniform(8, 1.0),
    adc=periphery.uniform(8, 12.0),
)


class Mlp(nnx.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, sizes, rngs):
        pairs = zip(sizes[:-1], sizes[1:], strict=True)
        self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in pairs])

    def __call__(self, x):
        """Outputs for inputs `[n in]`."""
        for layer in self.layers[:-1]:
            x = jax.nn.relu(layer(x))
        return self.layers[-1](x)


def interleaved(functions, repeats):
    """Seconds `[functions repeats]` of each function, taken in turn."""
    for f in functions:
        jax.block_until_ready(f())
    times = np.zeros((len(functions), repeats))
    for r in range(repeats):
        for i, f in enumerate(functions):
            start = time.perf_counter()
            jax.block_until_ready(f())
            times[i, r] = time.perf_counter() - start
    return times


def forward(sizes, rule, x):
    """The digital and the analog forward pass, compiled."""
    model = Mlp(sizes, nnx.Rngs(0))
    runs = []
    for m in (model, to_analog(model, [rule]).model):
        params, apply = functional(m)
        run = jax.jit(apply)
        runs.append(lambda run=run, params=params: run(params, x))
    return runs


def step(sizes, rule, noise, x, y):
    """The digital and the analog training step, compiled."""
    model = Mlp(sizes, nnx.Rngs(0))
    optimizer, key, runs = optax.adam(1e-3), jax.random.key(0), []
    for m, used in ((model, None), (to_analog(model, [rule]).model, noise)):
        params, apply = functional(m)

        def loss(params, x, y, key, apply=apply, used=used):
            p = used(params, key) if used else params
            logits = apply(p, x)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        @jax.jit
        def run(params, state, x, y, key, loss=loss):
            updates, state = optimizer.update(jax.grad(loss)(params, x, y, key), state)
            return optax.apply_updates(params, updates), state

        state = optimizer.init(params)
        runs.append(lambda run=run, p=params, s=state: run(p, s, x, y, key))
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=200)
    repeats = parser.parse_args().repeats
    rng = np.random.default_rng(0)
    one, mlp = [1024, 1024], [784, 512, 256, 10]
    x = [jnp.asarray(rng.normal(size=(128, s[0])), jnp.float32) for s in (one, mlp)]
    y = jnp.asarray(rng.integers(0, 10, 128))
    plain, column = Rule(".*", io=BITS8), Rule(".*", io=BITS8, normalize="column")
    gaussian = training.gaussian_noise(0.05)
    cases = {
        "forward 1024x1024, batch 128, 8-bit IO": forward(one, plain, x[0]),
        "forward, columns normalized": forward(one, column, x[0]),
        "step 784-512-256-10, weight noise and IO": step(mlp, plain, gaussian, x[1], y),
        "the same, IO without weight noise": step(mlp, plain, None, x[1], y),
    }
    rows = []
    for name, runs in cases.items():
        times = 1e3 * interleaved(runs, repeats)
        median, least = np.median(times, 1), np.min(times, 1)
        numbers = (*median, median[1] / median[0], *least, least[1] / least[0])
        rows.append((name, *(f"{v:.3f}" for v in numbers)))
        print(*rows[-1], sep="  ", flush=True)
    OUT.parent.mkdir(exist_ok=True)
    with OUT.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["case", "digital_ms", "analog_ms", "ratio", "digital_min_ms",
             "analog_min_ms", "ratio_of_minima"]
        )  # fmt: skip
        writer.writerows(rows)


if __name__ == "__main__":
    main()
