"""Files of other tools: weights, ONNX files as functions, parameters of simulators."""

from anajax.interop.crosssim_file import CrossSim as CrossSim
from anajax.interop.crosssim_file import crosssim as crosssim
from anajax.interop.graph import onnx as onnx
from anajax.interop.reading import read as read
