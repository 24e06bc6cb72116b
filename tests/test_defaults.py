"""A default stands once: a section of a config has that of what it is handed to."""

import dataclasses
import inspect

import jax
import pytest

from anajax.analysis.elasticities import elasticities
from anajax.analysis.hardware import Periphery
from anajax.analysis.tolerance import required_device
from anajax.devices.faults import Faults
from anajax.programming import ProductDescent, device_elasticities, optimize_strategy
from anajax.programming.end_to_end.layer_by_layer import optimize_layer_by_layer
from anajax.programming.end_to_end.targets import optimize_targets
from anajax.studies.config.sections import Options
from anajax.studies.config.study import RequiredSection
from anajax.studies.kinds.sensitivity_config import GradientsSection
from anajax.studies.ways.digital import TrainingOptions
from anajax.studies.ways.learned import TargetsOptions
from anajax.studies.ways.site import OptimizerOptions


@pytest.mark.parametrize(
    "record",
    [
        OptimizerOptions, TargetsOptions, TrainingOptions, ProductDescent, Periphery,
        Faults,
    ],
)  # fmt: skip
def test_a_section_is_the_record_of_the_library(record):
    section = Options[record]()
    assert section.record is section.record
    same = jax.tree.map(lambda a, b: bool(a == b), section.record, record())
    assert jax.tree.all(same)
    assert list(type(section).model_fields) == [
        f.name for f in dataclasses.fields(record)
    ]


@pytest.mark.parametrize(
    ("section", "function", "other"),
    [
        (TargetsOptions, optimize_targets, {"learn": "parts"}),
        (OptimizerOptions, optimize_strategy, {}),
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
