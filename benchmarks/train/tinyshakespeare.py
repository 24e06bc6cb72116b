"""Train the character language model and write its weights.

Noise on the weights keeps it from learning the text by heart (Graves, NeurIPS 2011).
They are bounded, for the noise of a memory counts in the largest of them.

python benchmarks/train/tinyshakespeare.py DATA
"""

import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from loop import optimizer, train

from anajax.analysis.metrics import bits_per_character, cross_entropy
from anajax.analysis.workload import pure
from anajax.rng import Stage, stream
from anajax.training import clip_weights, gaussian_noise
from anajax.workloads import characters, weights

SEED, STEPS, BATCH, TIME, RATE = 0, 8000, 32, 96, 8e-3
NOISE = 0.04  # of the largest weight of each matrix
CLIP = 2.0  # standard deviations


def main(data):
    start = time.perf_counter()
    indices, held_out, _ = characters.text(data)
    indices = jnp.asarray(indices)
    model = characters.build(SEED)
    params, apply = pure(model)
    noise = gaussian_noise(NOISE)

    def loss(params, key):
        first = jax.random.randint(
            stream(key, Stage.DATA), (BATCH, 1), 0, indices.size - TIME - 1
        )
        rows = indices[first + jnp.arange(TIME + 1)]
        noisy = noise(params, stream(key, Stage.CHIP))
        return cross_entropy(apply(noisy, rows[:, :-1]), rows[:, 1:]).mean()

    tx = optax.chain(optimizer(RATE, STEPS), clip_weights(sigmas=CLIP))
    params = train(params, loss, tx, seed=SEED, steps=STEPS)
    nnx.update(model, params)
    x, y = map(jnp.asarray, characters.windows(held_out))
    score = jax.jit(lambda x, y: bits_per_character(apply(params, x), y))
    bits = jnp.concatenate(
        [score(x[i : i + 64], y[i : i + 64]) for i in range(0, len(x), 64)]
    )
    notes = {
        "script": "benchmarks/train/tinyshakespeare.py",
        "seed": SEED,
        "steps": STEPS,
        "weight_noise": NOISE,
        "clip": CLIP,
        "split": characters.SPLIT,
        "test_bits_per_character": f"{bits.mean():.4f}",
    }
    path = weights.write("tinyshakespeare_lstm", model, notes)
    seconds = time.perf_counter() - start
    print(f"test {bits.mean():.4f} bits per character")
    print(f"{path} {path.stat().st_size} bytes, {seconds:.0f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
