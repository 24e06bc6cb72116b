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
# # A network over a year
#
# A small convolutional network reads handwritten digits. Its weights go into
# phase-change memory; then the chip lies on the shelf. How many digits does it read
# correctly after an hour, a month, a year, and how much does that depend on how the
# weights were programmed? Bands are two standard errors of the mean over chips.

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import anajax
from anajax import strategies, workloads

FAST = bool(os.environ.get("FAST"))  # a small size, for tests
CHIPS = 2 if FAST else 25
work = workloads.load("digits", items=40 if FAST else None)
device = anajax.devices.pcm()
names = {"1 s": 1.0, "1 h": 3600.0, "1 day": 86400.0, "30 days": 30 * 86400.0}
names = {"1 s": 1.0} if FAST else names
names["1 year"] = 365 * 86400.0
times = np.array(list(names.values()))


@jax.jit
def metric(params):
    return jnp.mean(work.metric_fn(work.apply(params, work.x), work.y))


digital = float(metric(work.params))
print(f"{100 * digital:.2f} % of {len(work.x)} test digits are right without a chip")

# %% [markdown]
# ## The weights, and three ways to program them
# Most weights are small compared with the largest of their layer. With a single pair,
# most of the conductance range serves the few large weights. Two pairs of different
# significance can do better if small weights use the least significant pair alone.

# %%
density = anajax.weight_density(work.params)
plt.bar(density.u, 100 * density.probability, width=2 / len(density.u))
plt.xlabel("weight / w_max of its layer"), plt.ylabel("share of weights (%)")
plt.show()

# %%
tuned = strategies.tune_strategy(device, density, times, build=strategies.lsp_first)
best = anajax.optimize_strategy(
    device,
    density,
    times,
    key=jax.random.key(0),
    warm=[tuned.strategy],
    starts=0 if FAST else 4,
    steps=5 if FAST else 400,
)
ways = {
    "single pair": strategies.single_pair(device),
    "least significant first, tuned": tuned.strategy,
    "optimized": best.strategy,
}
f, k = float(best.info["f"][0]), float(best.info["k"])
print(f"optimized: F = {f:.2f}, K / K_max = {k:.2f}")

# %% [markdown]
# ## The year
# Every chip is programmed once and read at all times. All strategies are tested on the
# same chips (the same random numbers), so their differences are more certain than the
# bands suggest.

# %%
found = {
    name: anajax.evaluate(
        metric, work.params, device, way, times, chips=CHIPS, key=jax.random.key(1)
    )
    for name, way in ways.items()
}


def band(values, scale=100, **style):
    """Mean over chips ± two standard errors, over the times."""
    values = scale * np.asarray(values)
    mean, se = values.mean(0), values.std(0, ddof=1) / np.sqrt(len(values))
    (line,) = plt.plot(times, mean, marker=".", **style)
    plt.fill_between(
        times, mean - 2 * se, mean + 2 * se, color=line.get_color(), alpha=0.2
    )


for name, result in found.items():
    band(result.metric, label=name)
plt.axhline(100 * digital, color="k", ls=":", label="digital")
plt.xscale("log"), plt.xticks(times, names), plt.minorticks_off(), plt.legend()
plt.xlabel("time since the first read"), plt.ylabel("accuracy (%)")
plt.show()

# %% [markdown]
# ## Is the difference real?
# The optimized strategy minus the tuned one, chip by chip. The search minimizes the
# weight error, not the error rate: where the band includes zero, no gain is shown.

# %%
a, b = (found[n].metric for n in ("optimized", "least significant first, tuned"))
band(a - b, color="C2")
plt.axhline(0, color="k", lw=0.8)
plt.xscale("log"), plt.xticks(times, names), plt.minorticks_off()
plt.xlabel("time since the first read"), plt.ylabel("difference (points of accuracy)")
plt.show()

# %% [markdown]
# ## What drift compensation does
# One factor per layer compensates for the common part of the drift. Without it, the
# signal of every layer shrinks; with it, only the spread between cells remains.

# %%
for scope, color in (("layer", "C1"), ("none", "C3")):
    result = anajax.evaluate(
        metric,
        work.params,
        device,
        tuned.strategy,
        times,
        chips=CHIPS,
        key=jax.random.key(1),
        scope=scope,
    )
    band(result.weight_rms_error, label=f"compensation: {scope}", color=color)
plt.xscale("log"), plt.xticks(times, names), plt.minorticks_off(), plt.legend()
plt.xlabel("time since the first read"), plt.ylabel("rms weight error (% of w_max)")
plt.show()
