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
# # A linen network behind 8-bit converters
#
# A Flax linen network learns handwritten digits. One line puts its products on tiles
# with converters; a few more put its weights on the cells of a chip. How many bits does
# it need, and how accurate is it a year later?

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import linen as nn
from sklearn.datasets import load_digits

import anajax

FAST = bool(os.environ.get("FAST"))  # a small size, for tests

# %% [markdown]
# ## A trained network
# Nothing here is specific to analog hardware.

# %%
x, y = load_digits(return_X_y=True)
x, y = jnp.asarray(x / 16, jnp.float32), jnp.asarray(y)
train, test = slice(0, 1200), slice(1200, 1300 if FAST else None)
net = nn.Sequential([nn.Dense(64), nn.relu, nn.Dense(10)])


def loss(params):
    logits = net.apply(params, x[train])
    return optax.softmax_cross_entropy_with_integer_labels(logits, y[train]).mean()


@jax.jit
def fit(params):
    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    carry = params, optimizer.init(params)
    return jax.lax.scan(step, carry, length=20 if FAST else 300)[0][0]


optimizer = optax.adam(0.01)
params = fit(net.init(jax.random.key(0), x[:1]))


def accuracy(logits):
    return 100 * float(jnp.mean(logits.argmax(-1) == y[test]))


print(f"digital: {accuracy(net.apply(params, x[test])):.1f} %")

# %% [markdown]
# ## Behind converters
# The one line is `anajax.analog(...)`. It returns a function that is called like
# `net.apply`.

# %%
rule = anajax.Rule(".*", io=anajax.periphery.bits(dac=8, adc=8))
hardware = anajax.analog(net.apply, rule)
print(hardware.report(params, x[:1]))
print(f"8-bit converters: {accuracy(hardware(params, x[test])):.1f} %")

# %% [markdown]
# ## How many bits?
# The same number of bits for inputs and outputs, with ranges set by each vector.

# %%
bits = [3, 8] if FAST else [2, 3, 4, 5, 6, 8]
found = []
for b in bits:
    rule = anajax.Rule(".*", io=anajax.periphery.bits(dac=b, adc=b))
    found.append(accuracy(anajax.analog(net.apply, rule)(params, x[test])))
plt.plot(bits, found, marker="o")
plt.axhline(accuracy(net.apply(params, x[test])), color="k", ls=":", label="digital")
plt.xlabel("bits of DAC and ADC"), plt.ylabel("accuracy (%)"), plt.legend()
plt.show()

# %% [markdown]
# ## On a chip
# Two pairs of devices per weight. Every product uses the individual cells with fresh
# read noise; drift compensation is measured through the converters. One key is one
# chip.

# %%
device = anajax.devices.pcm_hermes()
strategy = anajax.strategies.lsp_first(device)
times = {"1 s": 1.0, "1 month": 30 * 86400.0, "1 year": 365 * 86400.0}


@jax.jit
def logits(key, t):
    chip, read = jax.random.split(key)
    part = hardware.put_on_chip(
        params, x[:1], device=device, strategy=strategy, key=chip
    )
    return hardware(part.at(t), x[test], key=read)


for name, t in times.items():
    keys = jax.random.split(jax.random.key(1), 2 if FAST else 10)
    each = [accuracy(logits(key, t)) for key in keys]
    error = np.std(each, ddof=1) / np.sqrt(len(each))
    print(f"{name:8} {np.mean(each):.2f} ± {error:.2f} %")
