"""Any JAX function on analog hardware: a transformation of functions."""

from anajax.mapping.layout import Layout as Layout
from anajax.transformation.calibrate import finished as finished
from anajax.transformation.calibrate import merged as merged
from anajax.transformation.function import AnalogFunction as AnalogFunction
from anajax.transformation.function import analog as analog
from anajax.transformation.inputs import second_moments as second_moments
from anajax.transformation.on_chip import AnalogChip as AnalogChip
from anajax.transformation.on_chip import OnChip as OnChip
from anajax.transformation.report import ParameterReport as ParameterReport
from anajax.transformation.report import Report as Report
from anajax.transformation.rules import Rule as Rule

__all__ = [
    "AnalogChip",
    "AnalogFunction",
    "OnChip",
    "Layout",
    "ParameterReport",
    "Report",
    "Rule",
    "analog",
    "finished",
    "merged",
    "second_moments",
]
