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
# # A tour of the devices
#
# Ten memories described in the same terms: a cell is programmed with an error, drifts,
# and is read with noise. This notebook plots each of the three for every preset, then
# compares all memories on one scale: the error of a weight. Bands are one standard
# deviation over cells, computed by quadrature, not from samples.

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import anajax
from anajax import devices, strategies
from anajax.devices.report import device_curves, time_grid

FAST = bool(os.environ.get("FAST"))  # a small size, for tests
names = list(devices.presets())
names = ["pcm", "reram_milo"] if FAST else [n for n in names if n != "ideal"]
models = {name: devices.presets()[name]() for name in names}
for name, device in models.items():
    print(f"{name:20} {float(device.g_min):6.4g} to {float(device.g_max):.4g} µS")


def panels(title):
    """One small axis per device."""
    rows = -(-len(models) // 3)
    figure, axes = plt.subplots(
        rows, min(3, len(models)), figsize=(8, 2.5 * rows), squeeze=False
    )
    figure.suptitle(title)
    for axis in axes.flat[len(models) :]:
        axis.axis("off")
    return figure, axes.flat


# %% [markdown]
# ## Programming
# The line is the mean programmed conductance over the target. Errors can be systematic
# (a bias) or vary from cell to cell (the band); some devices hit their target to within
# the width of the line. Memories with few levels are programmed to the level nearest
# the target.

# %%
points, times = (9, 5) if FAST else (65, 33)
curves = {n: device_curves(d, points=points, times=times) for n, d in models.items()}
figure, axes = panels("Programmed conductance: mean ± sd over cells")
for axis, (name, c) in zip(axes, curves.items(), strict=False):
    g, bias, sd = c["conductance"], c["programming_bias"], c["programming_sd"]
    mean = g + bias
    axis.fill_between(g, mean - sd, mean + sd, alpha=0.3)
    axis.plot(g, mean)
    axis.plot(g, g, "k:", lw=0.8)
    axis.set(title=name, xlabel="target (µS)", ylabel="programmed (µS)")
figure.tight_layout()
plt.show()

# %% [markdown]
# ## Drift
# A high and a middle target, over the times that the source of each model covers. Later
# times would be extrapolated, which is refused without `extrapolate=True`. If all cells
# drift by the same factor, little is lost, since one factor per layer compensates for
# it; the loss comes from the widening of the band.

# %%
figure, axes = panels("Conductance over time: mean ± sd over cells")
for axis, (name, c) in zip(axes, curves.items(), strict=False):
    t = c["device_time"]
    targets = {"highest target": points - 1, "middle target": points // 2}
    for label, place in targets.items():
        mean, sd = c["drift_mean"][place], c["drift_sd"][place]
        if len(t) == 1:  # the source covers programming alone
            axis.errorbar(t, mean, sd, fmt="o", capsize=4, label=label)
            continue
        axis.fill_between(t, mean - sd, mean + sd, alpha=0.3)
        axis.plot(t, mean, label=label)
    axis.set(title=name, xlabel="time (s)", ylabel="conductance (µS)")
    axis.set_xscale("log" if t[0] > 0 else "linear")
figure.legend(*axes[0].get_legend_handles_labels(), loc="lower right", ncols=2)
figure.tight_layout()
plt.show()

# %% [markdown]
# ## What a chip looks like
# The same as samples: cells of one chip, each with its own fixed drift exponent.
# Programming is random, aging is deterministic, and every read draws new noise.

# %%
device = models["pcm"]
g = jnp.full(12, 15.0)
cells = anajax.program(device, g, key=jax.random.key(1))
t = np.geomspace(1, 1e7, 8 if FAST else 40)


def trajectory(t, i):
    aged = anajax.age(device, cells, t=t)
    return aged.g, anajax.read(device, aged, t=t, key=jax.random.key(i))


quiet, noisy = jax.vmap(trajectory)(jnp.asarray(t), jnp.arange(len(t)))
plt.loglog(t, quiet, "C0", lw=1)
plt.loglog(t, noisy, "C1.", ms=3)
plt.minorticks_off(), plt.yticks([5, 7, 10, 15], ["5", "7", "10", "15"])
plt.xlabel("time since the first read (s)"), plt.ylabel("conductance (µS)")
plt.title("PCM: 12 cells of target 15 µS (lines), and single reads of them (dots)")
plt.show()

# %% [markdown]
# ## All on one scale
# Two pairs per weight, filled from the least significant one, with F and K tuned for
# each device on the exact expected error; normally distributed weights. The error is
# the root mean square after drift compensation. Circles: sources that cover one time
# only.

# %%
weights = anajax.density.gaussian(0.3, points=41 if FAST else 201)
for number, (name, device) in enumerate(models.items()):
    t = time_grid(device, 3 if FAST else 9)
    tuned = strategies.tune_strategy(device, weights, t, build=strategies.lsp_first)
    rms = 100 * anajax.weight_error(device, tuned.strategy, weights, t).rms
    style = dict(marker="o" if len(t) == 1 else ".", ls="-" if number < 5 else "--")
    plt.plot(np.maximum(t, 1), rms, color=f"C{number}", label=name, **style)
plt.xscale("log"), plt.yscale("log")
plt.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
plt.xlabel("time since the first read (s)"), plt.ylabel("rms weight error (% of w_max)")
plt.show()
