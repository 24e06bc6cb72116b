"""Hardware-aware training of the quickstart network at three times the PCM's noise.

Two runs per seed from the same trained weights, with the same steps, batches, rates and
augmentation: plain fine-tuning, and fine-tuning with the device's own noise after a
month and weights clipped. Both go on 25 chips with their own tuned least-significant
first strategy per layer, and are read after one month. Writes
benchmarks/results/hardware_aware.csv (accuracies in %, mean and standard error over
chips; `recovered` = share of the accuracy that plain fine-tuning loses on the chip).

    python benchmarks/hardware_aware.py [--steps 2640] [--chips 25] [--seeds 3]
"""

import argparse
import csv
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from anajax import chip, density, devices, strategies, training, workloads
from anajax.devices import scale_noise
from anajax.rng import Stage, stream
from anajax.studies.evaluate import evaluate
from anajax.workloads.base import correct, cross_entropy

MONTH = 30 * 86400.0
TIMES = jnp.array([60.0, 3600.0, 86400.0, 7 * 86400.0, MONTH])
OUT = Path(__file__).parent / "results" / "hardware_aware.csv"
BATCH, RATE, SIGMAS = 64, 8e-3, 2.0


def shift(x, key):
    """Images `[n 8 8 1]`, each moved by -1, 0 or 1 pixel in both directions."""
    moves = jax.random.randint(key, (x.shape[0], 2), 0, 3)
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    cut = jax.vmap(lambda v, m: jax.lax.dynamic_slice(v, (*m, 0), (8, 8, 1)))
    return cut(padded, moves)


def tuned(device, params):
    """The best F and K of least-significant first, layer by layer."""
    return {
        path: strategies.tuned(
            strategies.lsp_first, device, density.from_weights(w), TIMES[-1:]
        ).strategy
        for path, w in chip.weights(params).items()
    }


def fine_tune(work, noise, steps, key):
    """Parameters after `steps` steps; `noise(params, key, strength)` or None."""
    x, y = jnp.asarray(work.train_x), jnp.asarray(work.train_y)
    schedule = optax.cosine_decay_schedule(RATE, steps)
    clip = training.clip_weights(sigmas=SIGMAS) if noise else optax.identity()
    optimizer = optax.chain(optax.adam(schedule), clip)
    ramp = training.noise_ramp(max(1, steps // 4), start=0.3)

    def loss(params, rows, key, i):
        batch = shift(x[rows], stream(key, Stage.DATA, 1))
        if noise:
            params = noise(params, stream(key, Stage.TRAIN), strength=ramp(i))
        return cross_entropy(work.apply(params, batch), y[rows]).mean()

    @jax.jit
    def run(params):
        def step(carry, i):
            params, state = carry
            k = stream(key, Stage.TRAIN, i)
            rows = jax.random.randint(stream(k, Stage.DATA), (BATCH,), 0, y.size)
            grads = jax.grad(loss)(params, rows, k, i)
            updates, state = optimizer.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), None

        start = params, optimizer.init(params)
        return jax.lax.scan(step, start, jnp.arange(steps))[0][0]

    return jax.block_until_ready(run(work.params))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2640)
    parser.add_argument("--chips", type=int, default=25)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    device = scale_noise(devices.pcm(), programming=3, drift_spread=3, read=3)
    work = workloads.load("digits")
    metric = partial(_accuracy, work.apply, work.x, work.y)
    noise = training.device_noise(device, tuned(device, work.params), TIMES[-1:])
    rows = []
    for seed in range(args.seeds):
        key = jax.random.key(seed)
        means = {}
        for name, used in (("plain", None), ("hardware-aware", noise)):
            start = time.perf_counter()
            params = fine_tune(work, used, args.steps, key)
            wall = time.perf_counter() - start
            result = evaluate(
                metric, params, device, tuned(device, params), TIMES[-1:],
                chips=args.chips, key=stream(key, Stage.CHIP),
            )  # fmt: skip
            values = 100 * np.asarray(result.metric)[:, 0]
            error = values.std(ddof=1) / np.sqrt(args.chips)
            digital = 100 * float(metric(params))
            means[name] = digital, values.mean()
            lost = means["plain"][0] - means["plain"][1]
            share = (values.mean() - means["plain"][1]) / lost
            rows.append(
                (seed, name, args.steps, f"{digital:.2f}", f"{values.mean():.2f}",
                 f"{error:.2f}", f"{share:.3f}", f"{wall:.1f}")
            )  # fmt: skip
            print(*rows[-1], sep="  ", flush=True)
    OUT.parent.mkdir(exist_ok=True)
    with OUT.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["seed", "training", "steps", "digital", "month_mean", "month_stderr",
             "recovered", "train_s"]
        )  # fmt: skip
        writer.writerows(rows)


def _accuracy(apply, x, y, params):
    return correct(apply(params, x), y).mean()


if __name__ == "__main__":
    main()
