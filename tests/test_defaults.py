"""A default stands once: a section of a config has that of what it is handed to."""

import inspect

import pytest

from anajax.analysis.elasticities import elasticities
from anajax.analysis.tolerance import required_device
from anajax.programming import ProductDescent, device_elasticities, optimize_strategy
from anajax.programming.end_to_end.layer_by_layer import optimize_layer_by_layer
from anajax.programming.end_to_end.targets import optimize_targets
from anajax.studies.config.strategy import DescentSection, LearnSection, RequiredSection
from anajax.studies.config.study import OptimizerSection
from anajax.studies.kinds.sensitivity_config import GradientsSection


@pytest.mark.parametrize(
    ("section", "function", "other"),
    [
        (LearnSection, optimize_targets, {"learn": "parts"}),
        (OptimizerSection, optimize_strategy, {}),
        (DescentSection, ProductDescent, {}),
        (RequiredSection, required_device, {}),
        (GradientsSection, elasticities, {}),
        (GradientsSection, device_elasticities, {}),
    ],
)
def test_sections_have_the_defaults_of_functions(section, function, other):
    parameters = inspect.signature(function).parameters
    written = section()
    shared = []
    for name, parameter in parameters.items():
        field = other.get(name, name)
        if hasattr(written, field) and parameter.default not in (
            None,
            inspect.Parameter.empty,
        ):
            value = getattr(written, field)
            value = tuple(value) if isinstance(value, list) else value
            assert value == parameter.default, name
            shared.append(name)
    assert shared


def test_both_searches_move_weights_at_one_rate():
    rates = {
        inspect.signature(f).parameters["weight_rate"].default
        for f in (optimize_targets, optimize_layer_by_layer)
    }
    assert rates == {0.002}
