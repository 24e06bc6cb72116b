# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own retention law, from fit to network
#
# A memory loses charge as a stretched exponential, a law that no built-in model has. It
# is written once, as a record with a few methods. Then it is sampled, compared with its
# exact moments, fitted to measurements, and used for a network, like any other memory.

# %%
import os
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import anajax
from anajax import devices, strategies, workloads
from anajax.devices import quadrature
from anajax.devices.curves import Constant, Polynomial

FAST = bool(os.environ.get("FAST"))  # a small size, for tests

# %% [markdown]
# ## The law
# `init` draws the fixed state of a cell and `evolve` ages it. `nodes` describes the
# same distribution by quadrature nodes, so that means and variances need no samples.


# %%
@devices.pytree
class StretchedLoss(devices.AbstractDrift):
    """g(t) = g_P exp(-(t / tau)^stretch), tau = median exp(spread z), z ~ N(0, 1)."""

    median: Any = devices.within(0.0)
    """Lifetime of the middle cell, s."""
    spread: Any = devices.within(0.0)
    """Of ln tau between cells (device to device)."""
    stretch: Any = devices.within(0.0, 1.0)

    def init(self, target, programmed, *, key):
        return jax.random.normal(key, jnp.shape(target), jnp.result_type(target))

    def evolve(self, target, programmed, state, *, t):
        return programmed * self._kept(state, t)

    def nodes(self, target, programmed, *, t):
        z = quadrature.standard_normal(target)
        value = programmed[..., None] * self._kept(z.value, t)
        return devices.Nodes(value=value, weight=z.weight)

    def _kept(self, z, t):
        return jnp.exp(
            -((t / (self.median * jnp.exp(self.spread * z))) ** self.stretch)
        )


def my_memory(*, g_max=30.0, spread=0.8):
    return devices.Device(
        name="my_memory",
        g_min=0.0,
        g_max=g_max,
        programming=devices.GaussianProgramming(
            sd=Polynomial(coefficients=[0.3, 0.9]), g_max=g_max
        ),
        drift=StretchedLoss(median=5e6, spread=spread, stretch=0.6),
        read=devices.GaussianRead(sd_curve=Constant(value=0.1), g_max=g_max),
        source="made up for this notebook",
        valid_times=(0.0, 1e7),
    )


devices.register(StretchedLoss, my_memory)
device = my_memory()

# %% [markdown]
# ## Samples and exact moments
# Lines are single cells of one chip. The band is the exact mean plus and minus one
# standard deviation over cells.

# %%
t = np.geomspace(1e3, 1e7, 6 if FAST else 30)
cells = anajax.program(device, jnp.full(20, 20.0), key=jax.random.key(0))
aged = jax.vmap(lambda t: anajax.age(device, cells, t=t).g)(jnp.asarray(t))
exact = [anajax.conductance_moments(device, jnp.asarray(20.0), t=float(v)) for v in t]
mean = np.array([m.mean for m in exact])
sd = np.sqrt([m.var for m in exact])
plt.fill_between(t, mean - sd, mean + sd, alpha=0.3)
plt.plot(t, mean), plt.plot(t, aged, color="0.4", lw=0.5)
plt.xscale("log"), plt.xlabel("time since the first read (s)")
plt.ylabel("conductance (µS)")
plt.show()

# %% [markdown]
# ## Fitted to measurements
# The likelihood follows from the nodes; no more code is needed.

# %%
targets = np.random.default_rng(0).uniform(3, 30, 150 if FAST else 600)
table = devices.measure(device, targets, (1e5, 1e6), key=jax.random.key(1))
start = devices.vary(device, {"drift": 0.1}, key=jax.random.key(2))
fit = anajax.fit_device(table, form=start, free=["drift"], name="fitted")
for name in ("median", "spread", "stretch"):
    p, true = fit[f"drift.{name}"], float(getattr(device.drift, name))
    print(f"{name:8} true {true:10.4g}   fitted {p.value:10.4g} ± {p.se:.2g}")
path = Path(tempfile.mkdtemp()) / "mine.json"
devices.save_device(fit.device, path)  # in a config: `device: {file: mine.json}`
back = devices.load_device(path)
print(type(back.drift).__name__, "in", path.name)

# %% [markdown]
# ## A strategy for it, and a network on it
# Loss that all cells share is compensated. What matters is the spread of lifetimes: how
# does accuracy depend on it?

# %%
work = workloads.load("digits", items=40 if FAST else None)
density = anajax.weight_density(work.params)
month = 30 * 86400.0


@jax.jit
def metric(params):
    return jnp.mean(work.metric_fn(work.apply(params, work.x), work.y))


spreads = [0.4, 1.6] if FAST else [0.2, 0.4, 0.8, 1.2, 1.6]
ways = {"single pair": strategies.single_pair, "two pairs": strategies.lsp_first}
for name, build in ways.items():
    mean, error = [], []
    for spread in spreads:
        memory = my_memory(spread=spread)
        found = anajax.evaluate(
            metric, work.params, memory, build(memory), [month],
            chips=2 if FAST else 10, key=jax.random.key(3),
        )  # fmt: skip
        values = 100 * np.asarray(found.metric)[:, 0]
        mean.append(values.mean())
        error.append(2 * values.std(ddof=1) / np.sqrt(len(values)))
    plt.errorbar(spreads, mean, error, marker="o", capsize=3, label=name)
plt.xlabel("spread of ln(lifetime) between cells"), plt.legend()
plt.ylabel("accuracy after a month (%)")
plt.show()
