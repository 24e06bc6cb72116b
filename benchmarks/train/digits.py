"""Train the quickstart network on handwritten digits and write its weights.

python benchmarks/train/digits.py
"""

import time

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from loop import arrays

from anajax.analysis.metrics import correct, cross_entropy
from anajax.analysis.workload import pure
from anajax.rng import Stage, stream
from anajax.workloads import weights
from anajax.workloads.digits import SPLIT, DigitsNet, digits_data

SEED, EPOCHS, BATCH, RATE = 0, 80, 64, 3e-3


def shift(x, key):
    """Images `[n 8 8 1]`, each moved by -1, 0 or 1 pixel in both directions."""
    moves = jax.random.randint(key, (x.shape[0], 2), 0, 3)
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))

    def cut(image, move):
        return jax.lax.dynamic_slice(image, (*move, 0), (8, 8, 1))

    return jax.vmap(cut)(padded, moves)


def main():
    start = time.perf_counter()
    train_x, train_y, x, y = arrays(digits_data())
    model = DigitsNet(rngs=nnx.Rngs(SEED))
    params, apply = pure(model)
    steps = train_y.size // BATCH
    schedule = optax.cosine_decay_schedule(RATE, EPOCHS * steps)
    optimizer = optax.adamw(schedule, weight_decay=1e-3)

    @jax.jit
    def epoch(carry, key):
        order = jax.random.permutation(stream(key, Stage.DATA, 0), train_y.size)
        batches = order[: steps * BATCH].reshape(steps, BATCH)

        def step(carry, inputs):
            params, state = carry
            rows, i = inputs
            batch = shift(train_x[rows], stream(key, Stage.DATA, i + 1))

            def loss(p):
                return cross_entropy(apply(p, batch), train_y[rows]).mean()

            value, grads = jax.value_and_grad(loss)(params)
            updates, state = optimizer.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), value

        return jax.lax.scan(step, carry, (batches, jnp.arange(steps)))

    carry = params, optimizer.init(params)
    root = stream(jax.random.key(SEED), Stage.TRAIN)
    for i in range(EPOCHS):
        carry, losses = epoch(carry, stream(root, Stage.TRAIN, i))
    params = carry[0]
    nnx.update(model, params)
    accuracy = float(correct(apply(params, x), y).mean())
    train = float(correct(apply(params, train_x), train_y).mean())
    notes = {
        "script": "benchmarks/train/digits.py",
        "seed": SEED,
        "epochs": EPOCHS,
        "split": SPLIT,
        "test_accuracy": f"{accuracy:.4f}",
    }
    path = weights.write("digits", model, notes)
    seconds = time.perf_counter() - start
    print(f"test {accuracy:.4f} train {train:.4f} loss {losses.mean():.4f}")
    print(f"{path} {path.stat().st_size} bytes, {seconds:.0f} s")


if __name__ == "__main__":
    main()
