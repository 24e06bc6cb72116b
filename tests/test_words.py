"""Words and kinds of arguments that are not known: each door says what to write."""

import importlib
import inspect
import pkgutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, get_args, get_origin

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import anajax
from anajax import chip, crossbar, devices, mapping
from anajax._core import checks
from anajax.analysis import expected, sharding
from anajax.analysis.designs import make_design
from anajax.analysis.evaluate import evaluate
from anajax.analysis.network import AnalogNetwork
from anajax.analysis.point import Point
from anajax.compensation import compensation_factor
from anajax.costs import costs, hermes, neurram
from anajax.costs.array import loads
from anajax.crossbar.periphery import IO
from anajax.crossbar.tiling import TileRule
from anajax.crossbar.wires import Wires
from anajax.devices.curves import Constant
from anajax.mapping import density
from anajax.mapping import hand as strategies
from anajax.mapping.selection import one_by_one
from anajax.mapping.weight_error import (
    error_of_moments,
    moment_table,
    tabulated_error,
    weight_error,
)
from anajax.nn.analog import Analog
from anajax.nn.calibration import calibrate_ranges
from anajax.nn.programmed import compensation_factors, read_outs, recalibrations
from anajax.programming import (
    ExactError,
    ProductDescent,
    SampledError,
    certify_strategy,
    closed_loop_layers,
    enumerate_levels,
    follow_open,
    make_objective,
    optimize_closed_loop,
    optimize_strategy,
    optimize_targets,
    program_by_products,
)
from anajax.programming.end_to_end.layer_by_layer import Unit, optimize_layer_by_layer
from anajax.programming.end_to_end.learnable import LearnOptions
from anajax.programming.loops.product_descent import product_descent_layers
from anajax.programming.search.gradient import SearchOptions
from anajax.programming.search.objective import combine
from anajax.studies import run
from anajax.studies.store import hosts
from anajax.studies.store.folder import check_resume, require_begun
from anajax.studies.ways.digital import TrainingOptions, need_labels
from anajax.studies.ways.learned import TargetsOptions
from anajax.training import device_noise
from anajax.transformation import Rule

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
    "chip.drawn": lambda **w: chip.drawn(
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
    "costs.estimate.costs": lambda **w: costs(
        UNIT.outputs, PARAMS, X, chip=hermes(), device=DEVICE, strategy=PAIR, **w
    ),
    "programming.end_to_end.learnable.LearnOptions": lambda **w: LearnOptions(**w),
    "programming.search.gradient.SearchOptions": lambda **w: SearchOptions(**w),
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
    "transformation.rules.Rule": lambda **w: Rule(".*", **w),
    "devices.models.pcm.pcm": lambda **w: devices.pcm(**w),
    "devices.read_noise.FlickerRead": lambda **w: devices.FlickerRead(
        q=Constant(value=1.0), g_max=1.0, t0=1.0, t_read=1e-3, **w
    ),
    "mapping.strategy.normalized": lambda **w: mapping.normalized(W, **w),
    "nn.analog.Analog": lambda **w: Analog(IO(), tiles=TileRule(), **w),
    "nn.calibration.calibrate_ranges": lambda **w: calibrate_ranges(NETWORK, [X], **w),
    "nn.programmed.read_outs": lambda **w: read_outs(NETWORK, key=KEY, **w),
    "nn.programmed.compensation_factors": lambda **w: compensation_factors({}, {}, **w),
    "nn.programmed.recalibrations": lambda **w: recalibrations(
        lambda t: NETWORK, [1.0], key=KEY, **w
    ),
    "programming.search.certify.certify_strategy": lambda **w: certify_strategy(
        DEVICE, PAIR, DENSITY, [1.0], **w
    ),
    "programming.loops.closed_loop.closed_loop_layers": lambda **w: closed_loop_layers(
        PARAMS, follow_open(strategies.lsp_first(DEVICE), DEVICE), **w
    ),
    "programming.search.gradient.optimize_strategy": lambda **w: optimize_strategy(
        DEVICE, DENSITY, [1.0], cell=CELL, key=KEY, steps=1, **w
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
    "training.device_noise": lambda **w: device_noise(DEVICE, PAIR, [1.0], **w),
    "mapping.weight_error.weight_error": lambda **w: weight_error(
        DEVICE, PAIR, DENSITY, [1.0], **w
    ),
    "mapping.weight_error.tabulated_error": lambda **w: tabulated_error(
        PAIR, TABLE, DENSITY, **w
    ),
    "mapping.weight_error.error_of_moments": lambda **w: error_of_moments(
        MOMENTS, jnp.ones(2), jnp.ones(2) / 2, jnp.zeros(()), **w
    ),
    "crossbar.wires.Wires": lambda **w: Wires(row=1.0, column=1.0, **w),
}  # fmt: skip
"""A call that works, of every public function or class with a word among its
arguments."""


def words(hint):
    """The words that an annotation allows."""
    if get_origin(hint) is Literal:
        return [word for word in get_args(hint) if isinstance(word, str)]
    return [word for part in get_args(hint) for word in words(part)]


def public():
    """Name and annotations of every public function and class of the package."""
    for info in pkgutil.walk_packages(anajax.__path__, "anajax."):
        module = importlib.import_module(info.name)
        for name, found in vars(module).items():
            own = getattr(found, "__module__", None) == info.name
            if name.startswith("_") or not own:
                continue
            plain = inspect.isclass(found) and "__dataclass_fields__" not in vars(found)
            if hasattr(found, "model_fields"):  # a section of a config, see test_config
                continue
            if inspect.isfunction(found) or inspect.isclass(found):
                target = found.__init__ if plain else found
                yield f"{info.name}.{name}", getattr(target, "__annotations__", {})


def arguments():
    """Every word among the arguments of the public surface."""
    for name, hints in public():
        for argument, hint in hints.items():
            if argument != "return" and words(hint):
                yield name.removeprefix("anajax."), argument


ARGUMENTS = sorted(arguments())


def test_the_words_are_found():
    assert ("chip.perturb", "scope") in ARGUMENTS and len(ARGUMENTS) > 40
    assert {name for name, _ in ARGUMENTS} == set(CALLS)


@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
def test_an_unknown_word_is_refused(name, argument):
    others = {a: OTHERS[a] for n, a in ARGUMENTS if n == name and a != argument}
    for wrong in ("layers", "", 3):
        if name.endswith("make_mesh") and wrong == 3:
            continue
        with pytest.raises(ValueError, match=f"`{argument}` must be one of"):
            CALLS[name](**{argument: wrong}, **others)


OTHERS = {
    "scope": "layer", "normalize": "layer", "compensation": "none",
    "aggregate": "mean", "drive": "left", "sense": "top", "layout": "separate",
    "by": "network", "goal": "digital",
}  # fmt: skip


@given(st.text(max_size=8), st.sampled_from([chip.Scope, ("a", "bc"), ["word"]]))
def test_a_word_is_known_or_refused_with_those_that_are(word, known):
    listed = get_args(known) or tuple(known)
    if word in listed:
        checks.word("name", word, known)
        return
    with pytest.raises(ValueError, match="`name` must be one of") as caught:
        checks.word("name", word, known)
    assert all(repr(w) in str(caught.value) for w in listed)


def test_the_closest_word_is_the_remedy():
    with pytest.raises(ValueError, match=r"got 'colums'. Use \"column\"."):
        checks.word("scope", "colums", chip.Scope)


# --- kinds ------------------------------------------------------------------------

DOORS = {
    "perturb": lambda d: anajax.perturb(PARAMS, d, PAIR, t=1.0, key=KEY),
    "evaluate": lambda d: evaluate(metric, PARAMS, d, PAIR, [1.0], chips=1, key=KEY),
    "program": lambda d: devices.program(d, W, key=KEY),
    "chip.program": lambda d: chip.program(d, LAYERS, key=KEY),
    "chip.read": lambda d: chip.read(d, CHIP, t=1.0, index=1),
    "moments": lambda d: anajax.conductance_moments(d, W, t=1.0),
    "moment_table": lambda d: moment_table(d, ONE),
    "single_pair": lambda d: strategies.single_pair(d),
    "lsp_first": lambda d: strategies.lsp_first(d),
    "equal_split": lambda d: strategies.equal_split(d),
    "offset_device": lambda d: strategies.offset_device(d),
    "tuned": lambda d: strategies.tune_strategy(
        d, DENSITY, [1.0], build=strategies.lsp_first
    ),
    "optimize_strategy": lambda d: optimize_strategy(
        d, DENSITY, [1.0], cell=CELL, key=KEY
    ),
    "enumerate_levels": lambda d: enumerate_levels(d, DENSITY, [1.0], cell=CELL),
    "device_noise": lambda d: device_noise(d, PAIR, [1.0]),
    "optimize_targets": lambda d: optimize_targets(
        UNIT.outputs, PARAMS, d, PAIR, X, [1.0], key=KEY
    ),
}


@pytest.mark.parametrize("name", DOORS)
def test_a_name_for_a_device_is_refused(name):
    for wrong in ("pcm", devices.pcm):
        with pytest.raises(ValueError, match=r"Pass anajax.devices.pcm\(\)"):
            DOORS[name](wrong)
    with pytest.raises(ValueError, match="`device` must be a Device: got None"):
        DOORS[name](None)


STRATEGY = {
    "perturb": lambda s: anajax.perturb(PARAMS, DEVICE, s, t=1.0, key=KEY),
    "evaluate": lambda s: evaluate(metric, PARAMS, DEVICE, s, [1.0], chips=1, key=KEY),
    "encode_weights": lambda s: chip.encode_weights(PARAMS, s),
    "encode": lambda s: anajax.encode(s, W),
    "weight_error": lambda s: tabulated_error(s, TABLE, DENSITY),
    "certify": lambda s: certify_strategy(DEVICE, s, DENSITY, [1.0]),
    "device_noise": lambda s: device_noise(DEVICE, s, [1.0]),
    "follow_open": lambda s: follow_open(s, DEVICE),
    "optimize_targets": lambda s: optimize_targets(
        UNIT.outputs, PARAMS, DEVICE, s, X, [1.0], key=KEY
    ),
    "products": lambda s: program_by_products(LOOP, DEVICE, s, W, key=KEY),
    "closed loop": lambda s: optimize_closed_loop(
        DEVICE, DENSITY, [1.0], start=s, key=KEY
    ),
    "warm": lambda s: optimize_strategy(
        DEVICE, DENSITY, [1.0], cell=CELL, key=KEY, warm=[s]
    ),
}


@pytest.mark.parametrize("name", STRATEGY)
def test_a_name_for_a_strategy_is_refused(name):
    for wrong in ("lsp_first", strategies.lsp_first):
        with pytest.raises(ValueError, match=r"it: anajax.strategies.lsp_first\(dev"):
            STRATEGY[name](wrong)
    with pytest.raises(ValueError, match="`strategy` must be a Strategy: got None"):
        STRATEGY[name](None)


def test_a_path_for_a_selection_is_refused():
    for call in (
        lambda: anajax.perturb(
            PARAMS, DEVICE, PAIR, t=1.0, key=KEY, select="kernel"  # pyright: ignore
        ),
        lambda: chip.weights(PARAMS, select="kernel"),  # pyright: ignore
        lambda: evaluate(
            metric, PARAMS, DEVICE, PAIR, [1.0], chips=1, key=KEY,
            select="kernel",  # pyright: ignore
        ),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="`select` must be a function.*lambda"):
            call()


# --- metrics ----------------------------------------------------------------------


class Tensor:
    """What another library makes of numbers: it needs their values."""

    def __init__(self, array):
        self.array = np.asarray(array)


METRICS = {
    "NumPy": lambda p: np.mean(np.asarray(p["w"])),
    "float": lambda p: float(jnp.mean(p["w"])),
    "item": lambda p: jnp.mean(p["w"]).item(),
    "if": lambda p: 1.0 if jnp.mean(p["w"]) > 0 else 0.0,
    "torch": lambda p: Tensor(p["w"]).array.mean(),
}


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_that_cannot_be_traced_is_named(name):
    with pytest.raises(ValueError, match="`metric` must compute with jax alone.*numpy"):
        evaluate(METRICS[name], PARAMS, DEVICE, PAIR, [1.0], chips=1, key=KEY)


@pytest.mark.parametrize(
    "value", [None, "good", {"accuracy": 1.0}, SimpleNamespace(mean=1.0), [1.0, 2.0]]
)
def test_a_metric_that_returns_no_number_is_named(value):
    with pytest.raises(ValueError, match="`metric` must return one number, or one per"):
        evaluate(lambda p: value, PARAMS, DEVICE, PAIR, [1.0], chips=1, key=KEY)


def test_a_metric_that_is_no_function_is_named():
    with pytest.raises(ValueError, match="`metric` must be a function: got 'accuracy'"):
        evaluate(
            "accuracy",  # pyright: ignore
            PARAMS, DEVICE, PAIR, [1.0], chips=1, key=KEY,
        )  # fmt: skip


def test_a_mistake_of_the_metric_itself_is_not_hidden():
    with pytest.raises(KeyError, match="missing"):
        evaluate(lambda p: p["missing"], PARAMS, DEVICE, PAIR, [1.0], chips=1, key=KEY)
