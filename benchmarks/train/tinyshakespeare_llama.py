"""Train the tiny character model of the Llama family and write its weights.

python benchmarks/train/tinyshakespeare_llama.py DATA
"""

import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from loop import optimizer, train

from anajax.analysis.metrics import cross_entropy
from anajax.chip import path_name
from anajax.rng import Stage, stream
from anajax.workloads import characters, weights
from anajax.workloads.language.verses import NAME, NET

SEED, STEPS, BATCH, TIME, RATE = 0, 1200, 10, 256, 4e-3


def main(data):
    start = time.perf_counter()
    indices, held_out, _ = characters.text(data)
    indices = jnp.asarray(indices)

    def loss(params, key):
        draw = stream(key, Stage.DATA)
        first = jax.random.randint(draw, (BATCH, 1), 0, indices.size - TIME - 1)
        rows = indices[first + jnp.arange(TIME + 1)]
        return cross_entropy(NET.logits(params, rows[:, :-1]), rows[:, 1:]).mean()

    params = NET.init(jax.random.key(SEED))
    tx = optimizer(RATE, STEPS, decay=0.01)
    params = train(params, loss, tx, seed=SEED, steps=STEPS)
    x, y = map(jnp.asarray, characters.windows(held_out))
    score = jax.jit(lambda x, y: cross_entropy(NET.logits(params, x), y))
    parts = [score(x[i : i + 64], y[i : i + 64]) for i in range(0, len(x), 64)]
    nats = float(jnp.concatenate(parts).mean())
    flat, _ = jax.tree_util.tree_flatten_with_path(params)
    arrays = {path_name(path): np.asarray(v) for path, v in flat}
    notes = {
        "script": "benchmarks/train/tinyshakespeare_llama.py",
        "seed": SEED,
        "steps": STEPS,
        "split": characters.SPLIT,
        "test_nats_per_character": f"{nats:.4f}",
    }
    path = weights.write_arrays(NAME, arrays, notes)
    print(f"test {nats:.4f} nats per character")
    print(f"{path} {path.stat().st_size} bytes, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
