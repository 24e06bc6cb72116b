"""The training loop that the scripts in this folder share."""

import time

import jax
import jax.numpy as jnp
import optax

from anajax.rng import Stage, stream


def arrays(splits):
    """Training inputs and labels, then test inputs and labels, of a `Splits`."""
    parts = splits.train_x, splits.train_y, splits.x, splits.y
    return tuple(map(jnp.asarray, parts))


def optimizer(rate, steps, *, decay=0.0, clip=1.0):
    """AdamW with a warm-up of a twentieth, a cosine to zero, and clipped gradients."""
    schedule = optax.warmup_cosine_decay_schedule(0.0, rate, steps // 20, steps)
    adam = optax.adamw(schedule, weight_decay=decay)
    return optax.chain(optax.clip_by_global_norm(clip), adam)


def train(params, loss, tx, *, seed, steps, chunk=50, report=print):
    """Parameters after `steps` steps on `loss(params, key)`, `chunk` steps a call."""
    root = stream(jax.random.key(seed), Stage.TRAIN)

    def step(carry, i):
        params, state = carry
        value, grads = jax.value_and_grad(loss)(params, stream(root, Stage.TRAIN, i))
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), value

    run = jax.jit(lambda carry, indices: jax.lax.scan(step, carry, indices))
    carry, start = (params, tx.init(params)), time.perf_counter()
    for first in range(0, steps, chunk):
        indices = jnp.arange(first, min(first + chunk, steps))
        carry, losses = run(carry, indices)
        seconds = time.perf_counter() - start
        report(f"step {first + chunk} loss {losses.mean():.4f} {seconds:.0f} s")
    return carry[0]
