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
# # A chip's measured conductances
#
# Targets are exported as files, a laboratory programs a chip and measures it, and the
# measured conductances are read back. How accurate is this particular chip, which part
# of the device model does not fit, and how much would a second round of programming
# help? Here, a device that drifts more than the model stands in for the laboratory.

# %%
import os
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import anajax
from anajax import devices, strategies, workloads
from anajax.interop import image as images
from anajax.interop.image import Image, measured
from anajax.studies import measured as reports

FAST = bool(os.environ.get("FAST"))  # a small size, for tests

# %% [markdown]
# ## Export
# A chip image holds the target conductances by tile, how to read them back, and a
# manifest. From the command line, `anajax export` writes it.

# %%
work = workloads.load("digits", items=40 if FAST else None)
model = devices.pcm()
strategy = strategies.msp_first(model)
image = Image(
    layers=anajax.chip.encode_weights(work.params, strategy),
    device=model,
    digital=anajax.chip.others(work.params),
    network="digits",
    strategy="msp_first",
    tiles=anajax.crossbar.TileRule(rows=128, columns=64),
)
folder = Path(tempfile.mkdtemp()) / "image"
images.write(image, folder)
print(*(f"{p.name} {p.stat().st_size} bytes" for p in sorted(folder.iterdir())))

# %% [markdown]
# ## The laboratory
# *Replace this cell with your chip*: a CSV with a row for each cell, read and time.
# This one has 1.5 times the drift exponent of the model, and one cell in fifty is
# missing.

# %%
real = devices.scale_noise(model, drift_mean=1.5)
random = np.random.default_rng(0)
times = [0.0, 86400.0]
cells = {
    path: anajax.program(real, layer.targets, key=jax.random.fold_in(key, 1))
    for (path, layer), key in zip(
        image.layers.items(),
        jax.random.split(jax.random.key(0), len(image.layers)),
        strict=True,
    )
}


def reported(t, number):
    """One read-out of all cells."""
    found = {}
    for i, (path, c) in enumerate(cells.items()):
        key = jax.random.fold_in(jax.random.key(number), i)
        g = np.array(anajax.read(real, anajax.age(real, c, t=t), t=t, key=key))
        found[path] = np.where(random.random(g.shape) < 0.02, np.nan, g)
    return found


table = Path(tempfile.mkdtemp()) / "chip.csv"
measured.write(table, image, {t: [reported(t, i)] for i, t in enumerate(times)})
print(table.read_text().splitlines()[:3])

# %% [markdown]
# ## Import
# `anajax measured chip.csv --image image --config study.yaml` prints the same.

# %%
read = measured.read(table, images.read(folder))
found = reports.look(image, read, work)
print(reports.text(found, work))

# %% [markdown]
# ## Cell by cell
# Targets of the largest layer, and the conductances read a day later.

# %%
path = max(image.layers, key=lambda p: image.layers[p].targets.size)
targets = np.asarray(image.layers[path].targets).ravel()
late = np.asarray(anajax.age(real, cells[path], t=times[1]).g).ravel()
said = anajax.conductance_moments(model, jnp.linspace(0, 25, 26), t=times[1])
plt.plot(targets, late, ".", ms=2, alpha=0.4, label="this chip")
plt.plot(np.linspace(0, 25, 26), said.mean, "k", label="the model's mean")
plt.xlabel("target (µS)"), plt.ylabel("conductance after a day (µS)"), plt.legend()
plt.show()

# %% [markdown]
# ## A second round
# The significant pair is kept, and the other pair is programmed again to correct the
# remaining error. Weight errors right after programming, in the first and the second
# round:

# %%
again = reports.second_round(image, read)


def errors(image, key):
    found = []
    for i, (path, layer) in enumerate(image.layers.items()):
        kept = np.isclose(layer.targets, first.layers[path].targets)
        new = anajax.program(real, layer.targets, key=jax.random.fold_in(key, i)).g
        g = jnp.where(kept, cells[path].g, new)
        off = anajax.chip.finish(layer, anajax.layer.combined(g, layer)) - wanted[path]
        found.append(np.ravel(off / layer.w_max))
    return np.concatenate(found)


first, wanted = image, image.weights()
before, after = errors(image, jax.random.key(5)), errors(again, jax.random.key(6))
edges = np.linspace(-0.12, 0.12, 61)
for name, off in (("first round", before), ("second round", after)):
    rms = 100 * np.sqrt(np.mean(off**2))
    label = f"{name}, rms {rms:.2f} % of w_max"
    plt.hist(off, edges, histtype="step", label=label)
plt.xlabel("weight error / w_max"), plt.ylabel("weights")
plt.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=8)
plt.show()
