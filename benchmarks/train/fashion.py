"""Train a residual network on Fashion-MNIST and write its weights.

python benchmarks/train/fashion.py [--depth 32] [--epochs 12] [--small 6] [--data DIR]

The first `small` epochs see images of half the size, at a quarter of the cost. There is
a checkpoint under `runs/` every hundred steps; a run that was stopped goes on there.
"""

import argparse
import functools
import os
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from loop import arrays
from safetensors.numpy import load_file, save_file

from anajax.analysis.metrics import correct, cross_entropy
from anajax.rng import Stage, stream
from anajax.workloads import images, weights

SEED, BATCH, RATE, DECAY = 0, 128, 0.1, 5e-4


def augment(x, key):
    """Images, half of them mirrored, each moved by up to two pixels."""
    flip, move = jax.random.split(key)
    n, rows, cols, _ = x.shape
    mirrored = jax.random.bernoulli(flip, shape=(n, 1, 1, 1))
    x = jnp.where(mirrored, x[:, :, ::-1], x)
    edge = x.min()
    x = jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), constant_values=edge)

    def cut(image, shift):
        return jax.lax.dynamic_slice(image, (*shift, 0), (rows, cols, 1))

    return jax.vmap(cut)(x, jax.random.randint(move, (n, 2), 0, 5))


def decayed(params):
    """Weight decay acts on kernels only."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


def halved(x):
    """Images of half the size: means over squares of two pixels."""
    n, rows, cols, channels = x.shape
    return x.reshape(n, rows // 2, 2, cols // 2, 2, channels).mean(axis=(2, 4))


def save(path, carry, step):
    leaves = [np.asarray(step), *map(np.asarray, jax.tree.leaves(carry))]
    part = path.with_suffix(".part")
    save_file({f"{i:04}": leaf for i, leaf in enumerate(leaves)}, part)
    os.replace(part, path)


def resume(path, carry):
    """The checkpoint and its number of steps, or `carry` and zero."""
    if not path.exists():
        return carry, 0
    file = load_file(path)
    step, *leaves = [jnp.asarray(file[name]) for name in sorted(file)]
    return jax.tree.unflatten(jax.tree.structure(carry), leaves), int(step)


def main(depth, epochs, small, data):
    train_x, train_y, x, y = arrays(images.fashion_normalized(data))
    model = images.fashion_net(depth, SEED)
    model.train()
    graphdef, params, stats = nnx.split(model, nnx.Param, ...)
    params, stats = nnx.to_pure_dict(params), nnx.to_pure_dict(stats)
    steps = train_y.size // BATCH
    schedule = optax.warmup_cosine_decay_schedule(0, RATE, steps, epochs * steps)
    tx = optax.chain(
        optax.add_decayed_weights(DECAY, decayed),
        optax.sgd(schedule, momentum=0.9, nesterov=True),
    )

    def forward(params, stats, x, y):
        net = nnx.merge(graphdef, params, stats)
        loss = cross_entropy(net(x), y).mean()
        return loss, nnx.to_pure_dict(nnx.state(net, nnx.BatchStat))

    @functools.partial(jax.jit, static_argnames="small")
    def step(carry, rows, key, small):
        params, stats, state = carry
        batch = augment(train_x[rows], key)
        batch = halved(batch) if small else batch
        grad = jax.value_and_grad(forward, has_aux=True)
        (loss, stats), grads = grad(params, stats, batch, train_y[rows])
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), stats, state), loss

    root = stream(jax.random.key(SEED), Stage.TRAIN)
    checkpoint = Path("runs") / f"fashion_resnet{depth}_{epochs}_{small}.safetensors"
    checkpoint.parent.mkdir(exist_ok=True)
    carry, done = resume(checkpoint, (params, stats, tx.init(params)))
    start = time.perf_counter()
    for i in range(done, epochs * steps):
        epoch, within = divmod(i, steps)
        key = stream(root, Stage.TRAIN, epoch)
        if within == 0 or i == done:
            order = jax.random.permutation(stream(key, Stage.DATA, 0), train_y.size)
        rows = order[within * BATCH : (within + 1) * BATCH]
        key = stream(key, Stage.DATA, within + 1)
        carry, loss = step(carry, rows, key, small=epoch < small)
        if i % 100 == 99:
            save(checkpoint, carry, i + 1)
            seconds = time.perf_counter() - start
            print(f"epoch {epoch} step {i + 1} {loss:.3f} {seconds:.0f} s")
    nnx.update(model, carry[0])
    nnx.update(model, carry[1])
    model.eval()
    score = jax.jit(lambda x, y: correct(model(x), y))
    parts = [score(x[i : i + 500], y[i : i + 500]) for i in range(0, len(x), 500)]
    accuracy = float(jnp.concatenate(parts).mean())
    notes = {
        "script": "benchmarks/train/fashion.py",
        "arguments": f"--depth {depth} --epochs {epochs} --small {small}",
        "seed": SEED,
        "split": images.SPLIT,
        "test_accuracy": f"{accuracy:.4f}",
    }
    path = weights.write(f"fashion_resnet{depth}", model, notes)
    print(f"test {accuracy:.4f}")
    print(f"{path} {path.stat().st_size} bytes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--small", type=int, default=6)
    parser.add_argument("--data", type=Path, default=None)
    main(**vars(parser.parse_args()))
