"""Any JAX function on analog hardware: a transformation of functions."""

from anajax.analog.layout import Layout as Layout
from anajax.analog.report import ParameterReport as ParameterReport
from anajax.analog.report import Report as Report
from anajax.analog.rules import Rule as Rule
from anajax.analog.transform import AnalogFunction as AnalogFunction
from anajax.analog.transform import analog as analog

__all__ = ["AnalogFunction", "Layout", "ParameterReport", "Report", "Rule", "analog"]
