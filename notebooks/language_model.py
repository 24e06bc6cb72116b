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
# # A language model
#
# A tiny network of the Llama family writes Shakespeare, character by character. It was
# trained for this package (`benchmarks/train/tinyshakespeare_llama.py`) and has the
# components of its large relatives: grouped-query attention, gated layers, a tied head.
# Which weights become analog, how much clipping is tolerable, and how much do more
# devices help? The data set is read from the folder `ANAJAX_DATA`; without it, the
# network is evaluated on text that it generated itself.

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import anajax
from anajax import strategies, workloads
from anajax.analysis.metrics import cross_entropy
from anajax.workloads import weights
from anajax.workloads.language.verses import NAME, NET, params_of

FAST = bool(os.environ.get("FAST"))  # a small size, for tests

# %% [markdown]
# ## The network and its text

# %%
params = params_of(weights.read(NAME)[0])
try:
    work = workloads.load(NAME, items=4 if FAST else 16)
    x, y = work.x, work.y
except FileNotFoundError:

    def write(key, text, length):
        """Continue texts `[texts start]` by drawing one character after the other."""
        step = jax.jit(lambda x, i: NET.logits(params, x)[:, i])
        x = jnp.zeros((len(text), length), jnp.int32).at[:, : text.shape[1]].set(text)
        for i in range(text.shape[1] - 1, length - 1):
            draw = jax.random.categorical(jax.random.fold_in(key, i), step(x, i))
            x = x.at[:, i + 1].set(draw)
        return x

    start = jax.random.randint(jax.random.key(0), (4 if FAST else 16, 1), 0, 60)
    text = write(jax.random.key(1), start, 17 if FAST else 129)
    x, y = text[:, :-1], text[:, 1:]


@jax.jit
def nats(params):
    return cross_entropy(NET.logits(params, x), y).mean()


digital = float(nats(params))
print(f"{x.shape[0]} texts of {x.shape[1]} characters, {digital:.3f} nats a character")

# %% [markdown]
# ## What becomes analog
# All matrices of the blocks, since they take part in products. The embedding is a
# lookup, and the head that shares its table stays digital.

# %%
rules = [anajax.Rule("embed", digital=True), anajax.Rule(".*")]
hardware = anajax.analog(NET.logits, rules)
report = hardware.report(params, x)
count = sum(entry.rows * entry.columns for entry in report.analog)
print(f"{len(report.analog)} matrices analog, {count} weights")

# %% [markdown]
# ## Scales, and clipping
# One scale per layer, per column, or per column of short tiles; then K above K_max,
# which clips large weights. The plot shows the increase in loss over the digital
# network, a month after programming, averaged over chips.

# %%
device = anajax.devices.pcm()
month, chips = [30 * 86400.0], 2 if FAST else 8


def gap(strategy, *, rows=None, normalize="layer"):
    tiles = anajax.crossbar.TileRule(rows=rows)
    cut = [rules[0], anajax.Rule(".*", tiles=tiles)] if rows else rules
    found = anajax.evaluate(
        nats, params, device, strategy, month, chips=chips, key=jax.random.key(0),
        select=anajax.analog(NET.logits, cut).report(params, x), normalize=normalize,
    )  # fmt: skip
    return np.asarray(found.metric)[:, 0] - digital


def bar(named):
    names = list(named)
    mean = [named[n].mean() for n in names]
    error = [2 * named[n].std(ddof=1) / np.sqrt(chips) for n in names]
    plt.barh(names, mean, xerr=error, capsize=3)
    plt.gca().invert_yaxis(), plt.xlabel("loss against digital (nats a character)")
    plt.tight_layout()
    plt.show()


two = strategies.lsp_first(device)
clipped = {k: strategies.lsp_first(device, k=k) for k in (1.2, 1.4)}
shown = {"a column": gap(two, normalize="column")}
if not FAST:
    shown = {
        "one scale a layer": gap(two),
        "a column of 16 rows": gap(two, rows=16, normalize="tile"),
    } | shown
    for k, way in clipped.items():
        shown[f"a column, K = {k} K_max"] = gap(way, normalize="column")
bar(shown)

# %% [markdown]
# ## More devices
# One to four pairs, least significant first.

# %%
factors = {1: None, 2: (2,), 3: (4, 2), 4: (4, 2, 2)}
shown = {}
for pairs, f in factors.items():
    if FAST and pairs > 1:
        continue
    way = strategies.lsp_first(device, f=f) if f else strategies.single_pair(device)
    shown[f"{pairs} pairs" if pairs > 1 else "1 pair"] = gap(way, normalize="column")
bar(shown)
