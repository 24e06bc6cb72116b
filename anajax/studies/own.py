"""Networks that a config names by file: a Python function, or an ONNX file."""

from pathlib import Path
from typing import Any

from anajax import interop
from anajax._core import checks, python
from anajax.analysis.workload import Workload
from anajax.studies.config.workload import NETWORK, WorkloadSection
from anajax.workloads.own import first_items, workload

_METRIC = "my_metric.py:my_metric"
_ARRAYS = ("x", "y", "train_x", "train_y", "calibration")
"""What the data of an ONNX file may hold."""


def network(section: WorkloadSection) -> Workload:
    """The network from a user's function, or from an ONNX file.

    Raises:
        ValueError: if the function does not run or does not return a workload, or a
            file is damaged or does not fit the data.
    """
    if section.python is not None:
        found = python.call(section.python, NETWORK, section.options)
        if not isinstance(found, Workload):
            got, remedy = type(found).__name__, "Return anajax.workload(...)."
            checks.fail("workload.python", "return a workload", got, remedy)
    else:
        found = _of_onnx(section)
    return first_items(found, section.items)


def _of_onnx(section: WorkloadSection) -> Workload:
    path, place = Path(section.onnx or ""), Path(section.data or "")
    outputs = None if section.output is None else [section.output]
    apply, params = interop.onnx(path, outputs=outputs)
    if len(apply.outputs) != 1:
        got = ", ".join(apply.outputs)
        checks.fail("workload.output", "name one of the outputs", got, "Choose one.")
    if len(apply.inputs) != 1:
        rule, got = "be a network of one input", ", ".join(apply.inputs)
        remedy = "Write a function that takes one array, as `python`."
        checks.fail("workload.onnx", rule, got, remedy)
    arrays = _data(place)
    train = (arrays["train_x"], arrays["train_y"]) if "train_x" in arrays else None
    how: dict[str, Any] = {"better": section.better, "unit": section.unit}
    return workload(
        apply,
        params,
        arrays["x"],
        arrays["y"],
        metric=_metric(section.metric or "accuracy"),
        train=train,
        calibration=arrays.get("calibration"),
        name=_name(path.stem),
        source={"data": place.name, "split": "as in the file", "weights": path.name},
        **how,
    )


def _data(path: Path) -> dict[str, Any]:
    """The arrays of an .npz of test data."""
    if path.suffix != ".npz":
        checks.fail("workload.data", "be an .npz file", path.name, "numpy.savez(...)")
    arrays = interop.read(path)
    unknown = sorted(set(arrays) - set(_ARRAYS))
    missing = sorted({"x", "y"} - set(arrays))
    if "train_x" in arrays or "train_y" in arrays:
        missing += sorted({"train_x", "train_y"} - set(arrays))
    if unknown or missing:
        rule = f"hold arrays {', '.join(_ARRAYS)}, the first two at least"
        got = f"{', '.join(arrays) or 'none'} in {path.name}"
        checks.fail("workload.data", rule, got, "Rename them.")
    return arrays


def _metric(text: str) -> Any:
    return python.load(text, _METRIC) if python.names_a_place(text) else text


def _name(stem: str) -> str:
    """The name of a file, without what names of workloads have not."""
    return "".join(c if c.isalnum() or c in "._+-" else "_" for c in stem)
