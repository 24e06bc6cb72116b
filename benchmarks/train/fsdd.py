"""Train the spoken-digit LSTM and write its weights.

python benchmarks/train/fsdd.py DATA
"""

import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx
from loop import arrays, optimizer, train

from anajax.analysis.metrics import correct, cross_entropy
from anajax.analysis.workload import pure
from anajax.workloads import spoken_digits, weights

SEED, STEPS, BATCH, RATE, DECAY = 0, 2000, 64, 4e-3, 1e-2


def augment(x, key):
    """Features `[n time mel]`: louder or softer, moved in time and band, noisy."""
    gain, move, band, noise = jax.random.split(key, 4)
    n = x.shape[0]

    def shifted(clip, step, bands):
        clip = jnp.roll(clip, step, axis=0)
        return jnp.roll(clip, bands, axis=1)

    x = jax.vmap(shifted)(
        x,
        jax.random.randint(move, (n,), -6, 3),
        jax.random.randint(band, (n,), -1, 2),
    )
    x = x + 0.2 * jax.random.normal(gain, (n, 1, 1))
    return x + 0.2 * jax.random.normal(noise, x.shape)


def main(data):
    start = time.perf_counter()
    train_x, train_y, x, y = arrays(spoken_digits.clips(data))
    print(f"features: mean {train_x.mean():.2f}, sd {train_x.std():.2f}")
    model = spoken_digits.build(SEED)
    params, apply = pure(model)

    def loss(params, key):
        pick, change = jax.random.split(key)
        rows = jax.random.randint(pick, (BATCH,), 0, train_y.size)
        logits = apply(params, augment(train_x[rows], change))
        return cross_entropy(logits, train_y[rows]).mean()

    tx = optimizer(RATE, STEPS, decay=DECAY)
    params = train(params, loss, tx, seed=SEED, steps=STEPS)
    nnx.update(model, params)
    accuracy = float(correct(apply(params, x), y).mean())
    fit = float(correct(apply(params, train_x), train_y).mean())
    notes = {
        "script": "benchmarks/train/fsdd.py",
        "seed": SEED,
        "steps": STEPS,
        "split": spoken_digits.SPLIT,
        "test_accuracy": f"{accuracy:.4f}",
    }
    path = weights.write("fsdd_lstm", model, notes)
    seconds = time.perf_counter() - start
    print(f"test {accuracy:.4f} train {fit:.4f}")
    print(f"{path} {path.stat().st_size} bytes, {seconds:.0f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
