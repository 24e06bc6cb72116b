"""A call that works, of every public door with a word among its arguments."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import jax.random as jr

import anajax
from anajax import chip, crossbar, devices, mapping
from anajax.analysis import expected, sharding
from anajax.analysis.designs import make_design
from anajax.analysis.evaluate import evaluate
from anajax.analysis.metrics import Metric
from anajax.analysis.network import AnalogNetwork
from anajax.analysis.point import Point
from anajax.compensation import compensation_factor
from anajax.costs import Energy, costs, hermes, neurram, spending
from anajax.costs.array import loads
from anajax.crossbar.wires import Wires
from anajax.devices.curves import Constant
from anajax.devices.fitting.judge import Judgement
from anajax.interop import image
from anajax.interop.image import storage
from anajax.interop.image.measured import Measured
from anajax.mapping import density
from anajax.mapping import hand as strategies
from anajax.mapping.selection import one_by_one
from anajax.mapping.weight_error import (
    error_of_moments,
    moment_table,
    tabulated_error,
    weight_error,
)
from anajax.mapping.weight_table import weight_table
from anajax.nn.calibration import calibrate_ranges
from anajax.programming import (
    ExactError,
    ProductDescent,
    SampledError,
    certify_strategy,
    closed_loop_layers,
    enumerate_levels,
    follow_open,
    make_objective,
    optimize_layers,
    optimize_strategy,
    optimize_targets,
)
from anajax.programming.end_to_end.layer_by_layer import Unit, optimize_layer_by_layer
from anajax.programming.end_to_end.learnable import LearnOptions
from anajax.programming.loops.product_descent import product_descent_layers
from anajax.programming.search.gradient import SearchOptions
from anajax.programming.search.objective import combine
from anajax.studies import run
from anajax.studies.measured import read_back
from anajax.studies.report import tables
from anajax.studies.store import hosts
from anajax.studies.store.folder import check_resume, require_begun
from anajax.studies.ways.digital import TrainingOptions, need_labels
from anajax.studies.ways.learned import TargetsOptions
from anajax.studies.ways.site import OptimizerOptions
from anajax.training import TrainOptions, device_noise, table_noise
from anajax.transformation import Rule
from anajax.transformation.calibrate import observer

KEY = jr.key(0)
DEVICE = devices.ideal()
LEVELS = anajax.replace(DEVICE, levels=[0.0, 10.0, 25.0])
PAIR, CELL = strategies.single_pair(DEVICE), mapping.pairs(1)
W = jnp.array([[0.3, -1.0], [0.7, 0.2]])
PARAMS, X = {"w": W}, jnp.ones((3, 2))
LAYOUTS = chip.layouts(PARAMS)
LAYERS = chip.encode_weights(PARAMS, PAIR)
CHIP = chip.program(DEVICE, LAYERS, key=KEY)
DENSITY = density.uniform(points=5)
TABLE = moment_table(DEVICE, jnp.ones(1), points=5)
MOMENTS = anajax.moments.Moments(mean=jnp.ones((2, 2)), var=jnp.ones((2, 2)))
ONE = jnp.ones(1)
UNIT = Unit(prefixes=("",), outputs=lambda params, x: x @ params["w"])
LOOP = ProductDescent(pulse=0.1)
NETWORK: Any = None
"""Stands for a network where a word is looked at before it."""


def metric(params):
    return jnp.sum(params["w"])


IMAGE = image.Image(layers={}, device=DEVICE)
CALLS = {
    "chip.check_columns": lambda **w: chip.check_columns(LAYERS, **w),
    "mapping.density.weight_density": lambda **w: anajax.weight_density(PARAMS, **w),
    "mapping.selection.normalized_weights": lambda **w: chip.normalized_weights(
        PARAMS, **w
    ),
    "studies.run.prepare": lambda **w: run.prepare(NETWORK, out=Path("out"), **w),
    "studies.store.folder.check_resume": lambda **w: check_resume(**w),
    "studies.store.folder.require_begun": lambda **w: require_begun(Path("out"), **w),
    "studies.store.hosts.open_folder": lambda **w: hosts.open_folder(
        Path("out"), {}, **w
    ),
    "chip.encode_weights": lambda **w: chip.encode_weights(PARAMS, PAIR, **w),
    "chip.read": lambda **w: chip.read(DEVICE, CHIP, t=1.0, index=1, **w),
    "chip.recalibrate": lambda **w: chip.recalibrate(DEVICE, CHIP, ONE, **w),
    "compensation.compensation": lambda **w: chip.compensation(
        CHIP.first, CHIP.first, LAYERS, **w
    ),
    "redrawn.drawn": lambda **w: chip.drawn(
        DEVICE, LAYERS, PARAMS, t=1.0, index=1, key=KEY, **w
    ),
    "chip.unwritten": lambda **w: chip.unwritten(PARAMS, PAIR, **w),
    "mapping.selection.one_by_one": lambda **w: dict(
        one_by_one(PARAMS, select=chip.default_select, layout=None, **w)
    ),
    "analysis.expected.ExpectedError": lambda **w: expected.ExpectedError(
        params=PARAMS, layouts=LAYOUTS, device=DEVICE, times=ONE, **w
    ),
    "costs.array.loads": lambda **w: loads(
        anajax.analog(UNIT.outputs), PARAMS, X, **w
    ),
    "costs.chips.ChipRecord": lambda **w: anajax.replace(hermes(), **w),
    "costs.chips.MeasuredChip": lambda **w: anajax.replace(neurram(), **w),
    "costs.objective.spending": lambda **w: spending(
        DEVICE, PAIR, [1.0], Energy(weight=1.0), **w
    ),
    "costs.estimate.costs": lambda **w: costs(
        UNIT.outputs, PARAMS, X, chip=hermes(), device=DEVICE, strategy=PAIR, **w
    ),
    "programming.end_to_end.learnable.LearnOptions": lambda **w: LearnOptions(**w),
    "programming.search.gradient.SearchOptions": lambda **w: SearchOptions(**w),
    "studies.ways.site.OptimizerOptions": lambda **w: OptimizerOptions(**w),
    "studies.ways.digital.TrainingOptions": lambda **w: TrainingOptions(**w),
    "studies.ways.digital.need_labels": lambda **w: need_labels(work=NETWORK, **w),
    "studies.ways.learned.TargetsOptions": lambda **w: TargetsOptions(**w),
    "chip.perturb": lambda **w: chip.perturb(
        PARAMS, DEVICE, PAIR, t=1.0, key=KEY, **w
    ),
    "compensation.compensation_factor": lambda **w: compensation_factor(W, W, **w),
    "transformation.on_chip.AnalogChip": lambda **w: anajax.analog(
        UNIT.outputs
    ).put_on_chip(PARAMS, X, device=DEVICE, strategy=PAIR, key=KEY, **w),
    "transformation.calibrate.observer": lambda **w: observer(1.0, 1.0, **w),
    "crossbar.tiling.from_groups": lambda **w: crossbar.from_groups(
        W[..., None], crossbar.TileRule(), digital=ONE, **w
    ),
    "transformation.rules.Rule": lambda **w: Rule(".*", **w),
    "devices.models.pcm.pcm": lambda **w: devices.pcm(**w),
    "devices.read_noise.FlickerRead": lambda **w: devices.FlickerRead(
        q=Constant(value=1.0), g_max=1.0, t0=1.0, t_read=1e-3, **w
    ),
    "mapping.strategy.normalized": lambda **w: mapping.normalized(W, **w),
    "mapping.weight_table.weight_table": lambda **w: weight_table(
        PAIR, TABLE, DENSITY, **w
    ),
    "nn.calibration.calibrate_ranges": lambda **w: calibrate_ranges(NETWORK, [X], **w),
    "programming.search.certify.certify_strategy": lambda **w: certify_strategy(
        DEVICE, PAIR, DENSITY, [1.0], **w
    ),
    "programming.loops.closed_loop.closed_loop_layers": lambda **w: closed_loop_layers(
        PARAMS, follow_open(strategies.lsp_first(DEVICE), DEVICE), **w
    ),
    "programming.search.gradient.optimize_strategy": lambda **w: optimize_strategy(
        DEVICE, DENSITY, [1.0], cell=CELL, key=KEY, steps=1, **w
    ),
    "programming.search.layers.optimize_layers": lambda **w: optimize_layers(
        DEVICE, {"": DENSITY}, [1.0], warm={"": [PAIR]}, cell=CELL, key=KEY, **w
    ),
    "programming.end_to_end.layer_by_layer.optimize_layer_by_layer": lambda **w: (
        optimize_layer_by_layer(
            [UNIT], PARAMS, DEVICE, PAIR, X, [1.0], key=KEY, steps=1, **w
        )
    ),
    "programming.search.levels.enumerate_levels": lambda **w: enumerate_levels(
        LEVELS, DENSITY, [1.0], cell=CELL, **w
    ),
    "programming.search.objective.ExactError": lambda **w: ExactError(
        table=TABLE, density=DENSITY, time_weights=ONE, **w
    ),
    "programming.search.objective.SampledError": lambda **w: SampledError(
        device=DEVICE, times=ONE, density=DENSITY, time_weights=ONE, key=KEY, **w
    ),
    "programming.search.objective.combine": lambda **w: combine(ONE, ONE, **w),
    "programming.search.objective.make_objective": lambda **w: make_objective(
        DEVICE, DENSITY, ONE, **w
    ),
    "programming.loops.product_descent.product_descent_layers": lambda **w: (
        product_descent_layers(PARAMS, PAIR, LOOP, **w)
    ),
    "programming.end_to_end.targets.optimize_targets": lambda **w: optimize_targets(
        UNIT.outputs, PARAMS, DEVICE, PAIR, X, [1.0], key=KEY, steps=1, **w
    ),
    "mapping.hand.tune_strategy": lambda **w: strategies.tune_strategy(
        DEVICE, DENSITY, [1.0], build=strategies.lsp_first, points=2, rounds=1, **w
    ),
    "analysis.designs.make_design": lambda **w: make_design(
        names=["a", "b"], bounds=[(0, 1), (0, 1)], samples=2, **w
    ),
    "analysis.evaluate.evaluate": lambda **w: evaluate(
        metric, PARAMS, DEVICE, PAIR, [1.0], chips=1, key=KEY, **w
    ),
    "analysis.expected.targets": lambda **w: expected.targets(
        PARAMS, PAIR, DEVICE, layouts=LAYOUTS, **w
    ),
    "analysis.point.Point": lambda **w: Point(
        measure=None, params=None, ideal={}, device=DEVICE, layers={}, times=ONE,
        count=ONE, **w,
    ),
    "analysis.network.AnalogNetwork": lambda **w: AnalogNetwork(work=NETWORK, **w),
    "analysis.sharding.make_mesh": lambda **w: sharding.make_mesh(**w),
    "analysis.sharding.place": lambda **w: sharding.place(
        PARAMS, sharding.make_mesh(1), **w
    ),
    "crossbar.tiling.from_weights": lambda **w: crossbar.from_weights(W, **w),
    "crossbar.tiling.from_planes": lambda **w: crossbar.from_planes(
        W[..., None], coefficients=(1.0,), **w
    ),
    "training.loop.TrainOptions": lambda **w: TrainOptions(**w),
    "training.noise.device_noise": lambda **w: device_noise(DEVICE, PAIR, [1.0], **w),
    "training.tables.table_noise": lambda **w: table_noise({}, {}, **w),
    "mapping.weight_error.weight_error": lambda **w: weight_error(
        DEVICE, PAIR, DENSITY, [1.0], **w
    ),
    "mapping.weight_error.tabulated_error": lambda **w: tabulated_error(
        PAIR, TABLE, DENSITY, **w
    ),
    "mapping.weight_error.error_of_moments": lambda **w: error_of_moments(
        MOMENTS, jnp.ones(2), jnp.ones(2) / 2, jnp.zeros(()), **w
    ),
    "analysis.metrics.Metric": lambda **w: Metric("mine", metric, **w),
    "devices.fitting.judge.Judgement": lambda **w: Judgement(
        what="mean", measured=0.0, expected=0.0, error=1.0, **w
    ),
    "interop.image.files.write": lambda **w: image.write(IMAGE, Path("out"), **w),
    "interop.image.image.Image": lambda **w: image.Image(layers={}, device=DEVICE, **w),
    "interop.image.storage.pack": lambda **w: storage.pack({}, **w),
    "studies.front.run": lambda **w: anajax.run({}, **w),
    "studies.measured.read_back": lambda **w: read_back(
        IMAGE, Measured(times=(0.0,), layers={}), **w
    ),
    "studies.report.tables.write": lambda **w: tables.write(Path("a"), Path("b"), **w),
    "workloads.own.workload": lambda **w: anajax.workload(
        UNIT.outputs, PARAMS, X, X, **w
    ),
    "crossbar.wires.Wires": lambda **w: Wires(row=1.0, column=1.0, **w),
}  # fmt: skip
"""A call that works, of every public function or class with a word among its
arguments."""
