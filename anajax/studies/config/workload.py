"""The section of a config for the network and its data."""

from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from anajax._core.python import names_a_place
from anajax.analysis.metrics import METRICS
from anajax.studies.config.sections import Section, one_of, one_source, refuse

NETWORK = "my_net.py:load"
"""A function that returns `anajax.workload(...)`, for messages."""
_OF_ONNX = ("data", "metric", "better", "unit", "output")


class WorkloadSection(Section):
    """The network and its data: a name, your own function, or an ONNX file."""

    name: str | None = Field(default=None, description="the name of a workload")
    python: str | None = Field(
        default=None, description=f"a Python file and its function: {NETWORK}"
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="arguments of the function by name"
    )
    onnx: str | None = Field(default=None, description="the path of an ONNX file")
    data: str | None = Field(
        default=None,
        description="an .npz with x and y, optionally train_x, train_y, calibration",
    )
    output: str | None = Field(
        default=None, description="the name of a value in the ONNX file"
    )
    """Value that the metric uses; by default the only output."""
    metric: str | None = Field(
        default=None, description="accuracy, another known metric, or my.py:my_metric"
    )
    better: Literal["higher", "lower"] | None = Field(
        default=None, description='"higher" or "lower", for your own metric'
    )
    unit: str | None = Field(default=None, description="the unit of your own metric")
    items: int | None = Field(
        default=None, ge=1, description="a number of test items, or null for all"
    )

    def with_file(self, find: Callable[..., str]) -> "WorkloadSection":
        """The section with `find(file, key)` instead of each of its files."""
        changes = {}
        for key in ("python", "onnx", "data", "metric"):
            text = getattr(self, key)
            if text is not None and ".py:" in text:
                file, _, name = text.rpartition(":")
                changes[key] = f"{find(file, f'workload.{key}')}:{name}"
            elif text is not None and key in ("onnx", "data"):
                changes[key] = find(text, f"workload.{key}")
        return self.model_copy(update=changes)

    @field_validator("name")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None:
            from anajax.workloads.catalog import names

            one_of(name, names())
        return name

    @field_validator("python")
    @classmethod
    def _function_of_a_file(cls, place: str | None) -> str | None:
        if place is not None and not names_a_place(place):
            rule = "name a Python file and its function"
            refuse(rule, place, f"Write {NETWORK}.")
        return place

    @field_validator("metric")
    @classmethod
    def _metric(cls, metric: str | None) -> str | None:
        if metric is not None and not names_a_place(metric):
            one_of(metric, METRICS)
        return metric

    @model_validator(mode="after")
    def _one_source(self) -> "WorkloadSection":
        one_source(
            self,
            ("name", "python", "onnx"),
            f"Name a workload, a function: {NETWORK}, or an ONNX file.",
        )
        if self.options and self.python is None:
            what = "have `options` of a `python` function only"
            refuse(what, sorted(self.options), "Remove them.")
        others = [k for k in _OF_ONNX if getattr(self, k) is not None]
        if self.onnx is None and others:
            rule = "have these keys for an `onnx` file only"
            refuse(rule, ", ".join(others), "Remove them.")
        if self.onnx is not None and self.data is None:
            refuse("have `data` for an `onnx` file", "none", "Write data: test.npz.")
        return self
