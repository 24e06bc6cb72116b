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
# # Which imperfection matters?
#
# A chip has a dozen of them: cells are programmed with an error, drift, are read with
# noise; some are stuck; converters have steps, amplifiers noise, wires resistance. A
# lab can improve one or two. Which? This notebook asks a small network on phase-change
# memory in four ways, from the cheapest to the most thorough: slopes, one at a time,
# all at once, and layer by layer. They answer different questions, and it pays to know
# which one was asked.

# %%
import os

import numpy as np

import anajax
from anajax.studies.kinds import sensitivity_page as draw

FAST = bool(os.environ.get("FAST"))  # a small size, for tests

# %% [markdown]
# ## One study
# The same YAML keys as in `configs/sensitivity.yaml`, as a mapping. Hardware is nothing
# but numbers in a pytree, so that thousands of variants share one compiled program.

# %%
config = {
    "study": "sensitivity",
    "workload": {"name": "digits", "items": 50 if FAST else 200},
    "device": {"name": "pcm"},
    "faults": {"stuck_low": 0.001, "stuck_high": 0.001},
    "periphery": {"dac_bits": 8, "adc_bits": 8, "output_noise": 0.01},
    "strategy": "lsp_first",
    "times": ["1 month"],
    "chips": 4 if FAST else 25,
    "chunk": 4 if FAST else 5,
    "one_at_a_time": {"gap": 0.01, "against": "nominal"},
    "gradients": {"chips": 2 if FAST else 16, "inputs": 16 if FAST else 128},
    "screening": None,
    "variance": {"samples": 2 if FAST else 64, "chips": 2 if FAST else 4},
    "layers": {"chips": 4 if FAST else 25},
}
if FAST:
    config["one_at_a_time"]["factors"] = [1.0, 4.0, 16.0, 64.0]
data = anajax.run(config)
print(f"digital accuracy {100 * data.attrs['digital_metric']:.1f} %")

# %% [markdown]
# ## Slopes
# One backward pass per chip tells the relative change of the network's loss per
# relative change of every number of the hardware, however many there are. Compare the
# two bars of a row: what disturbs the weights most need not disturb the network most.
# Numbers at the product (converters, output noise) change no weight at all.
#
# A slope speaks of small changes only. It is the right question when a process step
# could be made a few percent better.

# %%
draw.gradients_figure(data)

# %% [markdown]
# ## One at a time
# How far may one imperfection grow until the network has lost another point of
# accuracy? The least tolerated stands on top. This is the question of a specification.
# At full size the top of the list is that of the slopes: mean drift (one compensation
# factor per layer does not undo it) and cells stuck at the highest conductance. Further
# down it is not. The slope of the ADC's step is smaller than that of the DAC's, yet the
# ADC may lose two of its 8 bits and the DAC four: slopes do not see the cliff.

# %%
draw.tolerance_figure(data)

# %%
draw.curves_figure(data)

# %% [markdown]
# ## All at once
# Now all factors move together, from half to four times the nominal value. Sobol
# indices share out the variance of the outcome: what an imperfection explains alone,
# and what it has a part in. Where the second is larger, imperfections make each other
# worse, and a budget made of single tolerances is too optimistic. Over this range two
# of the nine imperfections explain nearly everything. Mind the intervals: few samples
# say little.

# %%
draw.indices_figure(data, "variance")

# %% [markdown]
# ## Where it hurts
# The left panel puts one layer at a time on the chip. The right one goes the other way:
# all layers start analog and are taken back one by one, each time the one that brings
# the loss down most. Here the last layer is nearly all there is: kept digital, the
# network on the same devices loses about one point in place of six. It also holds half
# of the weights, so weigh that against a better device.

# %%
draw.layers_figure(data)

# %%
for path, size in zip(data.layer.values, data["weights"].values, strict=True):
    place = list(data.order.values).index(path) + 1
    print(f"{path:16} {size:6} weights, digital as number {place}")

# %% [markdown]
# ## Do the answers agree?
# Rank the imperfections by slope and by tolerance. Agreement is not to be expected
# where the loss bends: that is what the curves above are for.

# %%
slopes = data.elasticity.sel(output="loss")
scales = {
    "programming": "device/programming/scale",
    "drift_mean": "device/drift/mean_scale",
    "drift_spread": "device/drift/spread_scale",
    "read": "device/read/scale",
    "stuck_low": "device/faults/stuck_low",
    "stuck_high": "device/faults/stuck_high",
    "output_noise": "periphery/noise/sd",
}
factor = data.largest_factor
for name in sorted(scales, key=lambda n: float(factor.sel(imperfection=n))):
    slope = float(slopes.sel(parameter=scales[name]))
    limit = float(factor.sel(imperfection=name))
    words = f"{limit:.2f}" if np.isfinite(limit) else "more than tried"
    print(f"{name:14} slope {slope:+.3f}   tolerated factor {words}")
