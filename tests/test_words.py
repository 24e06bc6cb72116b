"""Words and kinds of arguments that are not known: each door says what to write."""

import importlib
import inspect
import pkgutil
from types import SimpleNamespace
from typing import Literal, get_args, get_origin

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from word_list import (
    CALLS,
    CELL,
    CHIP,
    DENSITY,
    DEVICE,
    KEY,
    LAYERS,
    LOOP,
    ONE,
    PAIR,
    PARAMS,
    TABLE,
    UNIT,
    W,
    X,
    metric,
)

import anajax
from anajax import chip, devices
from anajax._core import checks
from anajax.analysis.evaluate import evaluate
from anajax.mapping import hand as strategies
from anajax.mapping.weight_error import (
    moment_table,
    tabulated_error,
)
from anajax.programming import (
    certify_strategy,
    enumerate_levels,
    follow_open,
    optimize_closed_loop,
    optimize_strategy,
    optimize_targets,
    program_by_products,
)
from anajax.training import device_noise


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
        if wrong == 3 and (name.endswith("make_mesh") or argument.endswith("rate")):
            continue  # a number will do
        with pytest.raises(ValueError, match=f"`{argument}` must be one of"):
            CALLS[name](**{argument: wrong}, **others)


OTHERS = {
    "scope": "layer", "normalize": "layer", "compensation": "none",
    "aggregate": "mean", "drive": "left", "sense": "top", "layout": "separate",
    "by": "network", "goal": "digital", "objective": "output", "weight_rate": 0.1,
    "rate": 0.1, "parts": ("weights",), "optimizer": "adam", "chip_dtype": "float32",
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
