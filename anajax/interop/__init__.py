"""Networks that were trained elsewhere: weights from files, ONNX files as functions."""

from anajax.interop.graph import onnx as onnx
from anajax.interop.reading import read as read
