"""Gradient descent with the noise of the device in four ways, for `gradients.py`."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import optax

from anajax import chip, rng
from anajax._core.normal import normal16
from anajax._core.tree import replace
from anajax.programming.end_to_end.learnable import (
    admissible,
    learned,
    paced,
)
from anajax.programming.end_to_end.task import layer_moments, noisy_weights
from anajax.programming.search.parameters import Bounds

MONTH = jnp.array([30 * 86400.0])
ARMS = ("full", "ideal", "gaussian", "still")
HELD, HELD_CHIPS, BATCH = 256, 8, 64


# --- a program, and its noise in four ways --------------------------------------------


def layers_of(unknown, task, cell):
    """Layers of a program; targets move by fractions of the range, and stay in it."""
    made = unknown["program"].layers(task.ideal, task.device, cell, t0=task.t0)
    low, high = task.device.g_min, task.device.g_max

    def moved(path, layer):
        far = layer.targets + (high - low) * unknown["cells"][path]
        inside = far + jax.lax.stop_gradient(jnp.clip(far, low, high) - far)
        return replace(layer, targets=inside)

    return {path: moved(path, layer) for path, layer in made.items()}


def drawn(layer, task, key, arm):
    """Weights of a chip; `arm` `[4]` is 1 for the kind of noise that is used."""
    stop, one = jax.lax.stop_gradient, jnp.asarray(1)
    full = noisy_weights(layer, task.table, one, key=key, t=task.times[0])
    still = noisy_weights(layer, task.table, 0 * one, key=key)
    plain = layer.targets @ layer.coefficients
    exact = chip.finish(layer, plain)
    w, alpha = layer_moments(layer, task.table, task.times)
    square = alpha[0] ** 2 * w.var[0] + (alpha[0] * w.mean[0] - plain) ** 2
    size = stop(jnp.sqrt(jnp.mean(square)))
    gaussian = chip.finish(layer, plain + size * normal16(key, plain.shape))
    every = full, exact + stop(full - exact), gaussian, still
    return sum(m * v for m, v in zip(arm, every, strict=True))


def loss_of(unknown, task, x, reference, key, arm, *, work, cell):
    """The divergence of one chip."""
    new = {
        path: drawn(layer, task, rng.path_key(key, path), arm)
        for path, layer in layers_of(unknown, task, cell).items()
    }
    params = chip.insert(task.params.tree, unknown["program"].digital)
    outputs = work.apply(chip.insert(params, new), x)
    return work.divergence_fn(outputs, reference)


made_layers = jax.jit(layers_of, static_argnums=2)


# --- runs -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, eq=False)
class Descents:
    """Everything that is learned on one network, on any device, with one trace."""

    work: object
    cell: object
    steps: int

    @functools.cached_property
    def optimizers(self):
        """Optimizers of the program and of the cells."""
        return paced(self.cell, Bounds()), optax.scale_by_adam()

    @functools.cached_property
    def metric(self):
        """Divergence and metric on the test items; one object for one trace."""
        work = self.work
        reference = jax.jit(work.apply)(work.params, work.x)

        def metric(params):
            outputs = work.apply(params, work.x)
            mean = jnp.mean(work.metric_fn(outputs, work.y))
            return jnp.stack([work.divergence_fn(outputs, reference), mean])

        return metric

    @functools.cached_property
    def step(self):
        """One step of several runs `[runs]` with the same batch and chips."""

        @jax.jit
        def steps(task, carry, i, what):
            runs = jax.vmap(lambda c, w: self._one(task, c, i, w))
            return runs(carry, what)

        return steps

    def _one(self, task, carry, i, what):
        unknown, (state, state_cells) = carry
        key = rng.stream(task.key, rng.Stage.TRAIN, i)
        pick = rng.stream(key, rng.Stage.DATA)
        rows = jr.randint(pick, (BATCH,), 0, task.inputs.shape[0])
        x = task.inputs[rows]
        reference = self.work.apply(task.params.tree, x)
        drawn_chip = rng.stream(key, rng.Stage.CHIP)

        def value(unknown):
            return loss_of(
                unknown, task, x, reference, drawn_chip, what["arm"], work=self.work,
                cell=self.cell,
            )  # fmt: skip

        grads = jax.grad(value)(unknown)
        share = 0.5 * (1 + jnp.cos(jnp.pi * i / self.steps)) * what["rate"]
        tied = admissible(grads["program"], what["parts"], self.cell)
        rates = jax.tree.map(lambda _: share, learned(()))
        program, cells = self.optimizers
        up, state = program.update(tied, state, unknown["program"], rates=rates)
        moved, state_cells = cells.update(grads["cells"], state_cells)
        new = {
            "program": optax.apply_updates(unknown["program"], up),
            "cells": jax.tree.map(
                lambda c, u: c - what["cells"] * share * u, unknown["cells"], moved
            ),
        }
        return new, (state, state_cells)

    @functools.cached_property
    def judge(self):
        """Held-out loss of several runs on one chip, with full noise."""

        @jax.jit
        def losses(task, unknown, x, key):
            reference = self.work.apply(task.params.tree, x)
            arm = jnp.eye(len(ARMS))[0]

            def one(u):
                return loss_of(
                    u, task, x, reference, key, arm, work=self.work, cell=self.cell
                )

            return jax.vmap(one)(unknown)

        return losses

    def run(self, task, begin, runs, at_once):
        """Programs of runs, and their held-out losses."""
        found, losses = [], []
        for first in range(0, len(runs), at_once):
            some = runs[first : first + at_once]
            full = some + some[-1:] * (min(at_once, len(runs)) - len(some))
            what = jax.tree.map(lambda *v: jnp.stack(v), *map(settings, full))
            start = (
                begin,
                (
                    self.optimizers[0].init(begin["program"]),
                    self.optimizers[1].init(begin["cells"]),
                ),
            )
            carry = copies(start, len(full))
            for i in range(self.steps):
                carry = self.step(task, carry, jnp.asarray(i), what)
            held = jnp.asarray(self.work.held_x[:HELD])
            apart = rng.path_key(task.key, "held_out")
            keys = rng.streams(apart, rng.Stage.CHIP, jnp.arange(HELD_CHIPS))
            values = sum(self.judge(task, carry[0], held, k) for k in keys)
            for j in range(len(some)):
                found.append(jax.tree.map(lambda v, j=j: v[j], carry[0]))
                losses.append(float(values[j]) / HELD_CHIPS)
        return found, losses


def copies(tree, count):
    """A pytree, repeated along a new axis."""
    return jax.tree.map(lambda v: jnp.stack([v] * count), tree)


def settings(run):
    """Settings of a run: what is learned, with which noise, at which rate."""
    what, arm, rate = run
    parts = jax.tree.map(jnp.asarray, learned([what] if what != "targets" else []))
    return {
        "parts": parts,
        "cells": jnp.asarray(float(what == "targets")),
        "arm": jnp.eye(len(ARMS))[ARMS.index(arm)],
        "rate": jnp.asarray(rate),
    }
