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
# A chip has about a dozen imperfections: cells are programmed with an error, drift, and
# are read with noise; some are stuck; converters quantize, amplifiers add noise, wires
# have resistance. A lab can improve one or two. Which? This notebook ranks them for a
# small network on phase-change memory in four ways, from the cheapest to the most
# thorough: slopes, one at a time, all at once, and layer by layer. The four answer
# different questions.

# %%
import os

import numpy as np

import anajax
from anajax.studies.kinds import sensitivity_page as draw

FAST = bool(os.environ.get("FAST"))  # a small size, for tests

# %% [markdown]
# ## One study
# The same keys as in `configs/sensitivity.yaml`, as a Python mapping. Hardware
# parameters are numbers in a pytree, so thousands of variants share one compiled
# function.

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
# One backward pass per chip gives the elasticity of the network's loss with respect to
# every hardware parameter: the relative change of the loss per relative change of the
# parameter. Compare the two bars of a row: the parameter that affects the weights most
# need not affect the network most. Parameters of the product (converters, output noise)
# change no weight.
#
# A slope holds for small changes only. Use it when a process step could be improved by
# a few percent.

# %%
draw.gradients_figure(data)

# %% [markdown]
# ## One at a time
# How large may one imperfection get before the network loses another point of accuracy?
# The least tolerated is on top. Use this for a specification. At full size, the top of
# the list agrees with the slopes: mean drift (one compensation factor per layer does
# not undo it) and cells stuck at the highest conductance. Further down it does not. The
# slope of the ADC step is smaller than that of the DAC step, yet the ADC can lose two
# of its 8 bits and the DAC four: slopes miss the cliff.

# %%
draw.tolerance_figure(data)

# %%
draw.curves_figure(data)

# %% [markdown]
# ## All at once
# Now all factors vary together, from half to four times the nominal value. Sobol
# indices decompose the variance of the outcome: the first-order index of an
# imperfection is the share that it explains alone, the total index also includes its
# interactions. Where the total index is larger, imperfections interact, and a budget
# made of single tolerances can be too optimistic. Over this range, two of the nine
# imperfections explain nearly everything. Note the confidence intervals: with few
# samples they are wide.

# %%
draw.indices_figure(data, "variance")

# %% [markdown]
# ## Which layers matter
# The left panel puts one layer at a time on the chip. The right panel starts with all
# layers analog and makes them digital one by one, each time the one that reduces the
# loss most. Here the last layer causes nearly all of the loss: if it is digital, the
# network loses about one point instead of six on the same devices. It also holds half
# of the weights, so consider a better device as well.

# %%
draw.layers_figure(data)

# %%
for path, size in zip(data.layer.values, data["weights"].values, strict=True):
    place = list(data.order.values).index(path) + 1
    print(f"{path:16} {size:6} weights, digital as number {place}")

# %% [markdown]
# ## Do the answers agree?
# Rank the imperfections by slope and by tolerance. The rankings need not agree where
# the loss is nonlinear, as the curves above show.

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
