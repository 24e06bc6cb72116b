"""ONNX's own tests of single nodes, run on the function that anajax makes of them."""

import importlib
import warnings
from pathlib import Path

import numpy as np

from anajax.interop import onnx
from anajax.interop.onnx_file import Unread, tensor
from anajax.interop.operators import TABLE
from anajax.interop.protobuf import parse


def cases():
    """Cases whose operators are in the table and whose values are real numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        found = collect_testcases(None)
    return [c for c in found if "_expanded" not in c.name and covered(c)]


def of(modules):
    """The cases of a few modules of ONNX, which make them when they are imported."""
    from onnx.backend.test.case import node

    for name in modules:
        importlib.import_module(f"{node.__name__}.{name}")
    return list(node._NodeTestCases)


def covered(case):
    """Whether a case is one for this package."""
    nodes = case.model.graph.node
    if not all(node.op_type in TABLE and not node.domain for node in nodes):
        return False
    values = [v for pair in case.data_sets for part in pair for v in part]
    return not any(unlike_numbers(as_array(v)) for v in values)


def as_array(value):
    """The array of a message, as this package reads it."""
    if not hasattr(value, "SerializeToString"):
        return value
    raw = memoryview(value.SerializeToString())
    return tensor(Path("case"), parse(Path("case"), raw, "TensorProto"))


def unlike_numbers(value):
    """Lists, text, and types that the package does not read (of four bits and less)."""
    if not hasattr(value, "dtype") or isinstance(value, Unread):
        return True
    return value.dtype.kind in "OUS" or value.dtype.name.startswith("float8_e8m0")


def check(case, folder):
    """Compare the outputs, with the tolerance that the case names."""
    path = folder / "case.onnx"
    path.write_bytes(case.model.SerializeToString())
    apply, params = onnx(path)
    for inputs, wanted in case.data_sets:
        outs = apply(params, *map(as_array, inputs))
        outs = outs if isinstance(outs, tuple) else (outs,)
        for out, want in zip(outs, map(as_array, wanted), strict=True):
            got = np.asarray(out)
            assert got.shape == want.shape
            assert (got.dtype == bool) == (want.dtype == bool)
            if want.dtype.kind not in "biufc":
                got, want = got.astype(np.float32), want.astype(np.float32)
            np.testing.assert_allclose(got, want, rtol=case.rtol, atol=case.atol)
