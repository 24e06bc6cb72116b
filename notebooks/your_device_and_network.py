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
# # Your device and your network
#
# You need a table of measurements (cell, target, programmed, time, read) and a network
# from any framework as a pytree of arrays. This notebook generates both, so that it
# runs anywhere and the true values are known: replace the two cells marked *yours*.

# %%
import os
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import anajax
from anajax import devices, strategies
from anajax.devices.report import device_curves

FAST = bool(os.environ.get("FAST"))  # a small size, for tests

# %% [markdown]
# ## Your measurements
# *Yours*: `table = "measurements.csv"`, or a mapping of columns. Here, cells of a ReRAM
# preset with known constants stand in for a wafer.

# %%
truth = devices.reram_milo()
low, high = float(truth.g_min), float(truth.g_max)
cells = 200 if FAST else 2000
targets = np.random.default_rng(0).uniform(low, high, cells)
table = devices.measure(truth, targets, (0.0,), key=jax.random.key(0))
print({name: column[:3] for name, column in table.items()})

# %% [markdown]
# ## A device fitted to them
# The form is that of a preset, whose constants are only the starting point of the
# search; with `table_form`, curves are tables instead. The fit reports standard errors
# and tests whether the form explains the data: a small p-value would mean that it does
# not.

# %%
form = devices.scale_noise(truth, programming=1.5)  # a start that is wrong by half
fit = anajax.fit_device(table, form=form, name="mine")
for p in fit.parameters:
    print(f"{p.name:40} {p.value:10.4g} ± {p.se:.2g}")
for test in fit.tests:
    print(f"{test.name:40} p = {test.p:.2g}")
path = Path(tempfile.mkdtemp()) / "mine.json"
devices.save_device(fit.device, path)  # in a config: `device: {file: mine.json}`
mine = devices.load_device(path)

# %% [markdown]
# Standard deviation of the programming error: dots are measured in bins of the target,
# with standard errors; the line is the fitted device.

# %%
curve = device_curves(mine, points=33)
error = table["programmed"] - table["target"]
edges = np.linspace(low, high, 9)
place = np.digitize(table["target"], edges[1:-1])
sd = np.array([error[place == i].std(ddof=1) for i in range(8)])
se = sd / np.sqrt(2 * np.array([(place == i).sum() - 1 for i in range(8)]))
middle = (edges[1:] + edges[:-1]) / 2
plt.errorbar(middle, sd, 2 * se, fmt="o", capsize=3, label="measured ± 2 se")
plt.plot(curve["conductance"], curve["programming_sd"], label="fitted")
plt.xlabel("target (µS)"), plt.ylabel("programming error, sd (µS)")
plt.ylim(0), plt.legend()
plt.show()

# %% [markdown]
# ## Your network
# *Yours*: any pytree of trained arrays and a function `metric(params)`. Here, a network
# of two layers learns to tell two spirals apart.

# %%
random = np.random.default_rng(1)
side = random.integers(0, 2, 600)
turn = random.uniform(0.5, 3.0, 600)
angle = np.pi * (turn + side)
x = np.stack([turn * np.cos(angle), turn * np.sin(angle)], -1)
x, y = jnp.asarray(x + random.normal(0, 0.08, x.shape), jnp.float32), jnp.asarray(side)
start = jax.random.split(jax.random.key(2), 3)
params = {
    f"layer{i}": {
        "kernel": jax.random.normal(k, s) / s[0] ** 0.5,
        "bias": jnp.zeros(s[1]),
    }
    for i, (k, s) in enumerate(zip(start, ((2, 32), (32, 32), (32, 2)), strict=True))
}


def apply(params, x):
    for i in range(3):
        x = x @ params[f"layer{i}"]["kernel"] + params[f"layer{i}"]["bias"]
        x = jnp.tanh(x) if i < 2 else x
    return x


def loss(params):
    logits = apply(params, x[:300])
    return optax.softmax_cross_entropy_with_integer_labels(logits, y[:300]).mean()


def metric(params):
    return jnp.mean(apply(params, x[300:]).argmax(-1) == y[300:])


optimizer = optax.adam(0.02)


@jax.jit
def train(params):
    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    carry = params, optimizer.init(params)
    return jax.lax.scan(step, carry, length=20 if FAST else 600)[0][0]


params = train(params)
print(f"digital accuracy {100 * float(metric(params)):.1f} %")

# %% [markdown]
# ## Your network on your device
# Accuracy over chips while the programming error is scaled: how good must the process
# be? Bars are two standard errors of the mean over chips.

# %%
density = anajax.weight_density(params)
t = [float(mine.valid_times[0])]
ways = {
    "single pair": strategies.single_pair(mine),
    "two pairs, tuned": strategies.tune_strategy(
        mine, density, t, build=strategies.lsp_first
    ).strategy,
}
factors = [1.0, 4.0] if FAST else [0.5, 1.0, 2.0, 4.0, 8.0]
chips = 3 if FAST else 50
for name, way in ways.items():
    found = []
    for factor in factors:
        worse = devices.scale_noise(mine, programming=factor)
        result = anajax.evaluate(
            metric, params, worse, way, t, chips=chips, key=jax.random.key(3)
        )
        found.append(100 * np.asarray(result.metric)[:, 0])
    mean, se = np.mean(found, 1), np.std(found, 1, ddof=1) / np.sqrt(chips)
    plt.errorbar(factors, mean, 2 * se, marker="o", capsize=3, label=name)
plt.axhline(100 * float(metric(params)), color="k", ls=":", label="digital")
plt.xscale("log"), plt.xticks(factors, factors), plt.minorticks_off(), plt.legend()
plt.xlabel("factor on the programming error of your device"), plt.ylabel("accuracy (%)")
plt.show()
