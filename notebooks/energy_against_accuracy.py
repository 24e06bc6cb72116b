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
# # Energy against accuracy
#
# The array of an analog chip uses V² G t for each device, read and input, so small
# conductances save energy. How much accuracy do they cost? This notebook computes the
# energy of one inference on a published chip, then searches for strategies that take
# energy into account.

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import anajax
from anajax import strategies, workloads
from anajax.costs import Energy, calibrated, costs, hermes

FAST = bool(os.environ.get("FAST"))  # a small size, for tests

# %% [markdown]
# ## Energy of one inference
# The basis states which model the numbers come from, and what it is calibrated on. Do
# not compare numbers with different bases.

# %%
work = workloads.load("digits", items=40 if FAST else None)
device, month = anajax.devices.pcm(), 30 * 86400.0
chip = calibrated(hermes())
x = work.calibration[:8]


def bill(strategy):
    return costs(
        work.apply, work.params, x, chip=chip, device=device, strategy=strategy,
        times=[0.0, month],
    )  # fmt: skip


two = strategies.lsp_first(device)
found = bill(two)
print(found.basis)
print(found.table())

# %% [markdown]
# ## Where the energy goes
# By component, right after programming and a month later: drift lowers the energy of
# the array, and of nothing else.

# %%
parts = {name: np.asarray(e).sum(0) for name, e in found.energy.items()}
bottom = np.zeros(2)
for name, energy in parts.items():
    plt.bar(["at first", "after a month"], energy, bottom=bottom, label=name)
    bottom += energy
plt.ylabel("energy of one inference (µJ)")
plt.legend(bbox_to_anchor=(1.02, 0.5), loc="center left")
plt.show()

# %% [markdown]
# ## Strategies that take energy into account
# `Energy(weight=...)` adds the energy of the array to the error that the search
# minimizes. The simplest alternative is a hand-designed strategy with a smaller scale
# K.

# %%
density = anajax.weight_density(work.params)


@jax.jit
def metric(params):
    return jnp.mean(work.metric_fn(work.apply(params, work.x), work.y))


def measured(strategy):
    result = anajax.evaluate(
        metric, work.params, device, strategy, [month],
        chips=2 if FAST else 15, key=jax.random.key(0),
    )  # fmt: skip
    values = 100 * np.asarray(result.metric)[:, 0]
    array = float(np.asarray(bill(strategy).energy["array"])[:, 1].sum())
    return array, values.mean(), 2 * values.std(ddof=1) / np.sqrt(len(values))


ways = {"by hand, K turned down": [], "searched with energy": []}
for k in [1.0] if FAST else [1.0, 0.8, 0.6, 0.4, 0.25]:
    ways["by hand, K turned down"].append(strategies.lsp_first(device, k=k))
for weight in [0.008] if FAST else [0.0005, 0.002, 0.008, 0.032, 0.128]:
    best = anajax.optimize_strategy(
        device, density, [month], key=jax.random.key(1), warm=[two],
        starts=0 if FAST else 2, steps=5 if FAST else 300, energy=Energy(weight=weight),
    )  # fmt: skip
    ways["searched with energy"].append(best.strategy)

for name, tried in ways.items():
    energy, mean, error = np.transpose([measured(s) for s in tried])
    plt.errorbar(1e3 * energy, mean, error, marker="o", capsize=3, label=name)
plt.legend()
plt.xlabel("energy of the array, one inference (nJ)")
plt.ylabel("accuracy after a month (%)")
plt.show()

# %% [markdown]
# On this network the search saves no more than the hand-designed strategy with a
# smaller K; on an LSTM it does (`benchmarks/costs.py`). A study varies more parameters:
# `anajax run configs/pareto.yaml`. Where error bars overlap, prefer the strategy with
# less energy.
