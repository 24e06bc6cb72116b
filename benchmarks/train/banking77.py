"""Fit a linear layer to MiniLM-L6 embeddings of BANKING77 and write its weights.

python benchmarks/train/banking77.py DATA

The embeddings take some minutes and are kept in `runs/banking77.npz`.
"""

import sys
import time
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from sklearn.linear_model import LogisticRegression

from anajax.workloads import intents, minilm, weights

BATCH, INVERSE_PENALTY = 64, 20.0


def embed(encoder, tokens):
    """Embeddings of all sentences, batched by length, padded to a multiple of 8."""
    forward = jax.jit(lambda x: encoder(x))
    length = (tokens != minilm.PAD).sum(axis=1)
    order, start = np.argsort(length, kind="stable"), time.perf_counter()
    out = np.zeros((len(tokens), minilm.WIDTH), np.float32)
    for i in range(0, len(order), BATCH):
        rows = order[i : i + BATCH]
        batch = np.zeros((BATCH, -(-length[rows].max() // 8) * 8), np.int32)
        batch[:, 0] = 1
        width = min(batch.shape[1], tokens.shape[1])
        batch[: len(rows), :width] = tokens[rows, :width]
        out[rows] = forward(batch)[: len(rows)]
        if i % (20 * BATCH) == 0:
            print(f"{i} of {len(order)}, {time.perf_counter() - start:.0f} s")
    return out


def embeddings(parts, encoder, cache):
    """Embeddings of the training and the test sentences, from the cache if there."""
    if not cache.exists():
        cache.parent.mkdir(exist_ok=True)
        train, test = embed(encoder, parts.train_x), embed(encoder, parts.x)
        np.savez(cache, train=train, test=test)
    with np.load(cache) as file:
        return file["train"], file["test"]


def main(data):
    folder, _ = minilm.files(data)
    parts = intents.splits(data, folder / "tokenizer.json")
    encoder = minilm.load_encoder(folder / "model.safetensors")
    train, test = embeddings(parts, encoder, Path("runs/banking77.npz"))
    fit = LogisticRegression(C=INVERSE_PENALTY, max_iter=2000)
    fit.fit(train, parts.train_y)
    accuracy = fit.score(test, parts.y)
    head = nnx.Dict(linear=nnx.Linear(minilm.WIDTH, intents.CLASSES, rngs=nnx.Rngs(0)))
    kernel, bias = fit.coef_.T.astype(np.float32), fit.intercept_.astype(np.float32)
    nnx.update(head, {"linear": {"kernel": kernel, "bias": bias}})
    notes = {
        "script": "benchmarks/train/banking77.py",
        "seed": "none (convex)",
        "penalty": f"logistic regression, C = {INVERSE_PENALTY}",
        "split": intents.SPLIT,
        "test_accuracy": f"{accuracy:.4f}",
    }
    path = weights.write("banking77_head", head, notes)
    print(f"test {accuracy:.4f} train {fit.score(train, parts.train_y):.4f}")
    print(f"{path} {path.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
