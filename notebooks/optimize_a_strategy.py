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
# # Optimize a programming strategy, and look at it
#
# One weight becomes four conductances. Which four? For phase-change memory and normally
# distributed weights, this notebook compares hand-designed strategies with the minimum
# of the exact expected error, checks this optimum by enumeration, and finds the device
# parameter to which the error is most sensitive.

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import anajax
from anajax import strategies
from anajax.mapping.weight_error import moment_table

FAST = bool(os.environ.get("FAST"))  # a small size, for tests

# %% [markdown]
# ## The device
# Mean and standard deviation of a conductance at any time are computed by quadrature,
# not from samples.

# %%
device = anajax.devices.pcm()
g = jnp.linspace(0, 25, 26 if FAST else 101)
for t, name in ((1.0, "1 s"), (86400.0, "1 day"), (3.15e7, "1 year")):
    m = anajax.conductance_moments(device, g, t=t)
    sd = np.sqrt(m.var)
    plt.fill_between(g, m.mean - sd, m.mean + sd, alpha=0.2)
    plt.plot(g, m.mean, label=name)
plt.xlabel("target (µS)"), plt.ylabel("read, mean ± sd (µS)"), plt.legend()
plt.show()

# %% [markdown]
# ## Hand-designed strategies, and the optimum
# The error is the root mean square over the weights, after drift compensation.

# %%
times = jnp.array([1.0, 3600.0, 86400.0, 30 * 86400.0])
weights = anajax.density.gaussian(0.3)
tuned = strategies.tune_strategy(device, weights, times, build=strategies.lsp_first)
best = anajax.optimize_strategy(
    device,
    weights,
    times,
    key=jax.random.key(0),
    warm=[tuned.strategy],
    starts=2 if FAST else 8,
    steps=50 if FAST else 500,
)
table = moment_table(device, times)
shown = {
    "single pair": strategies.single_pair(device),
    "most significant first, F = 2": strategies.msp_first(device),
    "least significant first, F = 2": strategies.lsp_first(device),
    "least significant first, tuned": tuned.strategy,
    "optimized": best.strategy,
}
for name, strategy in shown.items():
    rms = 100 * anajax.weight_error(device, strategy, weights, times).rms
    print(f"{name:32}", np.round(rms, 3), "% of w_max")

# %%
u = jnp.linspace(-1, 1, 201)
plt.plot(u, anajax.encode(best.strategy, u), label=["G+", "G-", "g+", "g-"])
plt.xlabel("weight / w_max"), plt.ylabel("target (µS)"), plt.legend()
plt.title(f"F = {best.info['f'][0]:.2f}, K / K_max = {best.info['k']:.2f}")
plt.show()

# %% [markdown]
# ## Is there anything better?
# Enumerate every combination of targets on a grid, weight by weight. A gap near or
# below zero means that nothing on the grid is better.

# %%
few = anajax.density.gaussian(0.3, points=9 if FAST else 21)
check = anajax.certify_strategy(
    device, best.strategy, few, times, grid=21 if FAST else 41
)
print(f"gap {100 * check.gap:.2f} %")

# %% [markdown]
# ## Which imperfection matters?
# One backward pass gives the error's elasticity with respect to every parameter.


# %%
def error(device):
    return anajax.weight_error(device, best.strategy, weights, times).mse.mean()


value, slope = jax.value_and_grad(error)(device)
for name, leaf, grad in (
    ("programming error", device.programming.scale, slope.programming.scale),
    ("drift, mean", device.drift.mean_scale, slope.drift.mean_scale),
    ("drift, spread", device.drift.spread_scale, slope.drift.spread_scale),
    ("read noise", device.read.scale, slope.read.scale),
):
    print(f"{name:20} {leaf * grad / value:+.3f} % error per %")
