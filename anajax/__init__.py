"""anajax: analog in-memory computing in JAX, differentiable from end to end.

device = anajax.devices.pcm()
density = anajax.weight_density(params)
best = anajax.optimize_strategy(device, density, times, key=key)
noisy = anajax.perturb(params, device, best.strategy, t=86400.0, key=key)
hardware = anajax.analog(apply, anajax.Rule(".*", io=anajax.periphery.bits(8, 8)))
"""

import importlib
from typing import TYPE_CHECKING, Any

from anajax._core.version import VERSION

if TYPE_CHECKING:
    from anajax import chip as chip
    from anajax import crossbar as crossbar
    from anajax import devices as devices
    from anajax import interop as interop
    from anajax import mapping as mapping
    from anajax import rng as rng
    from anajax._core.tree import replace as replace
    from anajax.analysis.evaluate import Evaluation as Evaluation
    from anajax.analysis.evaluate import evaluate as evaluate
    from anajax.analysis.sharding import make_mesh as make_mesh
    from anajax.chip import LayerProgram as LayerProgram
    from anajax.chip import perturb as perturb
    from anajax.crossbar import periphery as periphery
    from anajax.devices import moments as moments
    from anajax.devices.base import Cells as Cells
    from anajax.devices.base import Device as Device
    from anajax.devices.base import age as age
    from anajax.devices.base import program as program
    from anajax.devices.base import read as read
    from anajax.devices.fitting.fit import fit_device as fit_device
    from anajax.devices.moments import conductance_moments as conductance_moments
    from anajax.mapping import density as density
    from anajax.mapping import hand as strategies
    from anajax.mapping.density import weight_density as weight_density
    from anajax.mapping.found import Found as Found
    from anajax.mapping.hand import tune_strategy as tune_strategy
    from anajax.mapping.strategy import Strategy as Strategy
    from anajax.mapping.strategy import UnitCell as UnitCell
    from anajax.mapping.strategy import decode as decode
    from anajax.mapping.strategy import encode as encode
    from anajax.mapping.strategy import pairs as pairs
    from anajax.mapping.weight_error import weight_error as weight_error
    from anajax.nn.calibration import calibrate_ranges as calibrate_ranges
    from anajax.nn.convert import to_analog as to_analog
    from anajax.nn.convert import to_digital as to_digital
    from anajax.nn.convert import with_key as with_key
    from anajax.programming import certify_strategy as certify_strategy
    from anajax.programming import fisher_information as fisher_information
    from anajax.programming import optimize_closed_loop as optimize_closed_loop
    from anajax.programming import optimize_strategy as optimize_strategy
    from anajax.programming import optimize_targets as optimize_targets
    from anajax.programming.end_to_end.layer_by_layer import (
        optimize_layer_by_layer as optimize_layer_by_layer,
    )
    from anajax.programming.strategy_file import load_strategies as load_strategies
    from anajax.programming.targets_file import load_targets as load_targets
    from anajax.rng import key as key
    from anajax.studies.front import run as run
    from anajax.training import device_noise as device_noise
    from anajax.transformation import Rule as Rule
    from anajax.transformation import analog as analog
    from anajax.workloads.own import workload as workload


__version__ = VERSION

_MODULES = {
    "costs": "anajax.costs",
    "interop": "anajax.interop",
    "chip": "anajax.chip",
    "crossbar": "anajax.crossbar",
    "density": "anajax.mapping.density",
    "devices": "anajax.devices",
    "mapping": "anajax.mapping",
    "moments": "anajax.devices.moments",
    "periphery": "anajax.crossbar.periphery",
    "rng": "anajax.rng",
    "strategies": "anajax.mapping.hand",
    "workloads": "anajax.workloads",
}
"""Modules by their short names."""
_LATER = {
    "Cells": "anajax.devices.base",
    "Device": "anajax.devices.base",
    "Evaluation": "anajax.analysis.evaluate",
    "Found": "anajax.mapping.found",
    "LayerProgram": "anajax.chip",
    "Rule": "anajax.transformation",
    "Strategy": "anajax.mapping.strategy",
    "UnitCell": "anajax.mapping.strategy",
    "age": "anajax.devices.base",
    "analog": "anajax.transformation",
    "calibrate_ranges": "anajax.nn.calibration",
    "certify_strategy": "anajax.programming",
    "conductance_moments": "anajax.devices.moments",
    "decode": "anajax.mapping.strategy",
    "device_noise": "anajax.training",
    "encode": "anajax.mapping.strategy",
    "evaluate": "anajax.analysis.evaluate",
    "fisher_information": "anajax.programming",
    "fit_device": "anajax.devices.fitting.fit",
    "key": "anajax.rng",
    "load_strategies": "anajax.programming.strategy_file",
    "load_targets": "anajax.programming.targets_file",
    "make_mesh": "anajax.analysis.sharding",
    "optimize_closed_loop": "anajax.programming",
    "optimize_layer_by_layer": "anajax.programming.end_to_end.layer_by_layer",
    "optimize_strategy": "anajax.programming",
    "optimize_targets": "anajax.programming",
    "pairs": "anajax.mapping.strategy",
    "perturb": "anajax.chip",
    "program": "anajax.devices.base",
    "read": "anajax.devices.base",
    "replace": "anajax._core.tree",
    "run": "anajax.studies.front",
    "to_analog": "anajax.nn.convert",
    "to_digital": "anajax.nn.convert",
    "tune_strategy": "anajax.mapping.hand",
    "weight_density": "anajax.mapping.density",
    "weight_error": "anajax.mapping.weight_error",
    "with_key": "anajax.nn.convert",
    "workload": "anajax.workloads.own",
}
"""Where each name stands. All are imported when first asked for: what they need (jax,
flax) takes time to load, and `anajax --help` needs none of it."""

_FORMER = {
    "certify": ("2026-11-27", "certify_strategy(device, strategy, density, times)"),
    "evolve_strategy": ("2026-11-27", "programming.evolve_strategy(objective, device)"),
}
"""Names of before: since when they are gone, and what to call instead."""

__all__ = [
    "Cells",
    "Device",
    "Evaluation",
    "Found",
    "LayerProgram",
    "Rule",
    "Strategy",
    "UnitCell",
    "age",
    "analog",
    "calibrate_ranges",
    "certify_strategy",
    "chip",
    "conductance_moments",
    "crossbar",
    "decode",
    "device_noise",
    "devices",
    "encode",
    "evaluate",
    "fisher_information",
    "fit_device",
    "key",
    "load_strategies",
    "load_targets",
    "make_mesh",
    "optimize_closed_loop",
    "optimize_layer_by_layer",
    "optimize_strategy",
    "optimize_targets",
    "pairs",
    "periphery",
    "perturb",
    "program",
    "read",
    "replace",
    "run",
    "strategies",
    "to_analog",
    "to_digital",
    "tune_strategy",
    "weight_density",
    "weight_error",
    "with_key",
    "workload",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return _kept(name, importlib.import_module(_MODULES[name]))
    if name in _LATER:
        return _kept(name, getattr(importlib.import_module(_LATER[name]), name))
    if name in _FORMER:
        since, now = _FORMER[name]
        raise AttributeError(f"anajax.{name} is gone since {since}: use anajax.{now}.")
    raise AttributeError(f"module 'anajax' has no attribute {name!r}")


def _kept(name: str, value: Any) -> Any:
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_LATER})
