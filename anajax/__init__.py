"""anajax: analog in-memory computing in JAX, differentiable from end to end.

device = anajax.devices.pcm()
density = anajax.weight_density(params)
best = anajax.optimize_strategy(device, anajax.pairs(2), density, times, key=key)
noisy = anajax.perturb(params, device, best.strategy, t=86400.0, key=key)
hardware = anajax.analog(apply, anajax.Rule(".*", io=anajax.periphery.bits(8, 8)))
"""

from anajax import chip as chip
from anajax import crossbar as crossbar
from anajax import devices as devices
from anajax import mapping as mapping
from anajax import rng as rng
from anajax._core.tree import replace as replace
from anajax.analysis.evaluate import evaluate as evaluate
from anajax.chip import perturb as perturb
from anajax.crossbar import periphery as periphery
from anajax.devices import moments as moments
from anajax.devices.base import Cells as Cells
from anajax.devices.base import Device as Device
from anajax.devices.base import age as age
from anajax.devices.base import program as program
from anajax.devices.base import read as read
from anajax.devices.moments import conductance_moments as conductance_moments
from anajax.mapping import density as density
from anajax.mapping import hand as strategies
from anajax.mapping.density import weight_density as weight_density
from anajax.mapping.strategy import Strategy as Strategy
from anajax.mapping.strategy import UnitCell as UnitCell
from anajax.mapping.strategy import decode as decode
from anajax.mapping.strategy import encode as encode
from anajax.mapping.strategy import pairs as pairs
from anajax.mapping.weight_error import weight_error as weight_error
from anajax.programming import certify as certify
from anajax.programming import evolve_strategy as evolve_strategy
from anajax.programming import optimize_strategy as optimize_strategy
from anajax.transformation import Rule as Rule
from anajax.transformation import analog as analog

__version__ = "0.1.0"

__all__ = [
    "Cells",
    "Device",
    "Rule",
    "Strategy",
    "UnitCell",
    "age",
    "analog",
    "certify",
    "chip",
    "conductance_moments",
    "crossbar",
    "decode",
    "density",
    "devices",
    "encode",
    "evaluate",
    "evolve_strategy",
    "mapping",
    "moments",
    "optimize_strategy",
    "pairs",
    "periphery",
    "perturb",
    "program",
    "read",
    "replace",
    "rng",
    "strategies",
    "weight_density",
    "weight_error",
]
