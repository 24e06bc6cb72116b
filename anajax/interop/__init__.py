"""Networks that were trained elsewhere: weights from files, ONNX files as functions."""

from anajax.interop.reading import read as read
