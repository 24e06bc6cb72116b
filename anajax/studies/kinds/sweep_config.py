"""Configs of sweeps: which keys change, over a grid, a list of points or a sample."""

import itertools
import json
from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from anajax.studies.config.messages import message
from anajax.studies.config.on_hardware import HardwareConfig
from anajax.studies.config.sections import Positive, Section, refuse

FIXED = ("study", "workload", "chips", "chunk", "stop_at_se", "look_every", "sweep")
"""Keys that are the same for all points of a sweep."""
Point = dict[str, Any]
"""Values by dotted key."""


class AxisSection(Section):
    """One axis of a grid: a key, or keys that change together."""

    key: str | list[str] = Field(description="a dotted key, or a list of keys")
    values: list[Any] = Field(
        min_length=1,
        description="a list of values; for a list of keys one for all, or one each",
    )

    @property
    def keys(self) -> list[str]:
        """The keys as a list."""
        return [self.key] if isinstance(self.key, str) else self.key

    def with_files(self, find: Callable[[str], str]) -> "AxisSection":
        """The axis with `find(file)` instead of every device file among its values."""
        points = [
            [_with_file(k, v, find) for k, v in point.items()]
            for point in self.settings()
        ]
        values = points if len(self.keys) > 1 else [v for (v,) in points]
        return self.model_copy(update={"values": values})

    def settings(self) -> list[Point]:
        """Settings at each position of the axis."""
        rows = []
        for value in self.values:
            each = value if isinstance(value, list) and len(self.keys) > 1 else None
            if each is not None and len(each) != len(self.keys):
                refuse(
                    f"have {len(self.keys)} values for its keys", each, "Give one each."
                )
            rows.append(
                dict(zip(self.keys, each or [value] * len(self.keys), strict=True))
            )
        return rows


def _with_file(key: str, value: Any, find: Callable[[str], str]) -> Any:
    """The value of a key, with `find(file)` in place of a device file in it."""
    if key == "device.file" and isinstance(value, str):
        return find(value)
    if key in ("device.python", "strategy.python") and isinstance(value, str):
        file, _, name = value.rpartition(":")
        return f"{find(file)}:{name}"
    if key in ("device", "strategy") and isinstance(value, dict):
        return {k: _with_file(f"{key}.{k}", v, find) for k, v in value.items()}
    return value


class SampleSection(Section):
    """Points of a Latin hypercube over ranges of keys."""

    samples: int = Field(ge=2, description="2 points or more")
    ranges: dict[str, list[float]] = Field(
        min_length=1, description="a low and a high end by dotted key"
    )
    scale: Literal["log", "linear"] = Field(
        default="log", description='"log" or "linear"'
    )

    @model_validator(mode="after")
    def _ordered(self) -> "SampleSection":
        for key, ends in self.ranges.items():
            low = 0.0 if self.scale == "log" else -float("inf")
            if len(ends) != 2 or not low < ends[0] < ends[1]:
                rule = "have a low end below a high end"
                refuse(
                    rule + (", above 0 for a log scale" if self.scale == "log" else ""),
                    f"{ends} for {key}",
                    "Correct the range.",
                )
        return self


class SweepSection(Section):
    """The points: one of a grid of axes, a list, or a sample."""

    axes: list[AxisSection] | None = Field(
        default=None, min_length=1, description="a list of axes, each with key, values"
    )
    points: list[dict[str, Any]] | None = Field(
        default=None, min_length=1, description="a list of values by dotted key"
    )
    sample: SampleSection | None = None
    program: Literal["once", "each"] = Field(
        default="once", description='"once" or "each"'
    )
    """Once: targets are those of the unchanged config, and new ones are chosen only if
    range, levels, strategy or weights change. Each: new targets for every point."""
    gap: Positive | None = Field(
        default=None, description="an accepted loss of the metric, or null"
    )
    """How far the first of the axes may go before the network has lost this at the last
    time, for all values of the others."""

    @model_validator(mode="before")
    @classmethod
    def _moved(cls, data: Any) -> Any:
        for old, new in (("stop_at_se", "stop_at_se"), ("batch", "look_every")):
            if isinstance(data, dict) and old in data:
                raise ValueError(
                    f"`{new}` must be outside of `sweep`, for all kinds of studies: "
                    f"got `sweep.{old}`. Move it to the top of the config."
                )
        return data

    @model_validator(mode="after")
    def _one_design(self) -> "SweepSection":
        given = [n for n in ("axes", "points", "sample") if getattr(self, n)]
        if len(given) != 1:
            refuse(
                "have one of `axes`, `points` and `sample`",
                ", ".join(given) or "none",
                "Keep one.",
            )
        if self.points is not None and len({tuple(sorted(p)) for p in self.points}) > 1:
            refuse(
                "have `points` with the same keys",
                [sorted(p) for p in self.points][:3],
                "Give every key in every point.",
            )
        if self.gap is not None:
            self._check_first()
        for key in self.keys:
            if key.split(".")[0] in FIXED:
                refuse(
                    f"leave {', '.join(FIXED)} alone",
                    repr(key),
                    "Make a study of its own for each value.",
                )
        return self

    def _check_first(self) -> None:
        """Refuse a gap without an axis of numbers in order."""
        first = self.axes[0].settings() if self.axes else []
        values = [next(iter(point.values())) for point in first]
        numbers = all(isinstance(v, int | float) and v > 0 for v in values)
        ordered = numbers and values in (sorted(set(values)), sorted(set(values))[::-1])
        if len(values) < 2 or not ordered:
            refuse(
                "have a first axis of positive numbers in order, for a `gap`",
                values or "no axes",
                "Order them, or leave `gap` out.",
            )

    def with_files(self, find: Callable[[str], str]) -> "SweepSection":
        """The section with `find(file)` instead of every device file in its points."""
        changes: dict[str, Any] = {}
        if self.axes is not None:
            changes["axes"] = [axis.with_files(find) for axis in self.axes]
        if self.points is not None:
            changes["points"] = [
                {k: _with_file(k, v, find) for k, v in point.items()}
                for point in self.points
            ]
        return self.model_copy(update=changes)

    @property
    def keys(self) -> list[str]:
        """All keys that change."""
        if self.axes is not None:
            return [key for axis in self.axes for key in axis.keys]
        if self.sample is not None:
            return list(self.sample.ranges)
        return sorted((self.points or [{}])[0])


class SweepConfig(HardwareConfig):
    """One network on hardware that changes from point to point."""

    study: Literal["sweep"]
    sweep: SweepSection

    def with_files(self, find: Callable[..., str]) -> "SweepConfig":
        """The config with `find(file)` instead of every device file that it names."""
        base = super().with_files(find)
        return base.model_copy(update={"sweep": self.sweep.with_files(find)})

    @model_validator(mode="after")
    def _same_count(self) -> "SweepConfig":
        keys = self.sweep.keys
        twice = sorted({k for k in keys if keys.count(k) > 1})
        if twice:
            raise ValueError(
                f"`sweep` must name a key once: got {twice} twice. Drop one."
            )
        return self


def settings(config: SweepConfig) -> list[Point]:
    """Settings of each point, in order: the last axis changes fastest.

    Raises:
        ModuleNotFoundError: if SALib is missing, for a sample.
    """
    sweep = config.sweep
    if sweep.axes is not None:
        rows = itertools.product(*(axis.settings() for axis in sweep.axes))
        return [{k: v for one in row for k, v in one.items()} for row in rows]
    if sweep.sample is not None:
        return _sampled(sweep.sample, config.seed)
    return list(sweep.points or [])


def _sampled(sample: SampleSection, seed: int) -> list[Point]:
    import numpy as np

    from anajax.analysis.designs import make_design

    bounds = np.asarray(list(sample.ranges.values()), float)
    log = sample.scale == "log"
    box = np.log(bounds) if log else bounds
    points = make_design(
        "latin", [*sample.ranges], box, sample.samples, seed=seed
    ).points
    points = np.exp(points) if log else points
    return [
        {k: float(v) for k, v in zip(sample.ranges, row, strict=True)} for row in points
    ]


def point_config(config: SweepConfig, point: Point) -> HardwareConfig:
    """The config of a point.

    Raises:
        ValueError: with one line per mistake, naming the point.
    """
    data = config.model_dump(mode="json", exclude={"sweep", "workload"})
    data["workload"] = config.workload
    for key, value in point.items():
        _set(data, key, value)
    try:
        return HardwareConfig.model_validate(data)
    except ValidationError as error:
        made = (message(e, HardwareConfig, data) for e in error.errors())
        lines = dict.fromkeys(made)
        text = json.dumps(point)
        raise ValueError(
            "\n".join(f"{line} In the sweep's point {text}." for line in lines)
        ) from None


def _set(data: Any, key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        if data.get(section) is None:
            data[section] = {}
        data = data[section]
        if not isinstance(data, dict):
            raise ValueError(
                f"`sweep` must name keys of sections: got {key!r}, where {section} is "
                "a value. Sweep that key as a whole."
            )
    data[last] = value
    if last == "name" and sections[-1:] == ["device"]:
        data["file"] = None
    if last == "file" and sections[-1:] == ["device"]:
        data["name"], data["options"] = None, {}
