"""Records that devices are made of, and presets: built in, and registered by users.

Device files can only name these record classes, and configs and the command `anajax`
these presets. `register` adds your own memory, a class and a function in a file of
yours, without a change in this package.
"""

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from anajax._core import checks, python
from anajax._core.nearest import did_you_mean
from anajax.devices import (
    curves,
    drift,
    faults,
    programming,
    read_noise,
    relaxation,
    write_verify,
)
from anajax.devices.base import Device
from anajax.devices.models import flash, ideal, mram, pcm, reram

Preset = Callable[..., Device]

RECORDS: tuple[type, ...] = (
    Device,
    *curves.RECORDS,
    *drift.RECORDS,
    *faults.RECORDS,
    *programming.RECORDS,
    *read_noise.RECORDS,
    *relaxation.RECORDS,
    *write_verify.RECORDS,
    *flash.RECORDS,
    *mram.RECORDS,
)
PRESETS: tuple[Preset, ...] = (
    *ideal.PRESETS,
    *pcm.PRESETS,
    *reram.PRESETS,
    *flash.PRESETS,
    *mram.PRESETS,
)
_records: dict[str, type] = {cls.__name__: cls for cls in RECORDS}
_presets: dict[str, Preset] = {make.__name__: make for make in PRESETS}


def records() -> dict[str, type]:
    """Every record that a device file may name, by class name."""
    return dict(_records)


def presets() -> dict[str, Preset]:
    """Every preset that configs and `anajax devices` may name, by function name."""
    return dict(_presets)


def register(*things: type | Preset) -> None:
    """Make your records and presets known by their names.

    Records, such as a drift stage, can then be used in device files. Presets can be
    named in configs, listed by `anajax devices`, and fitted by `anajax fit-device`.
    Registering the same thing again changes nothing; a class or function that was
    redefined, by running its file or notebook cell again, replaces the old one.

    Args:
        things: classes decorated with `devices.pytree`, and functions that return a
            `Device` and have defaults for all options.

    Raises:
        ValueError: if something is neither, a name is taken, or a preset uses records
            that are not registered.
    """
    classes = {t.__name__: t for t in things if isinstance(t, type)}
    makers: dict[str, Any] = {
        getattr(t, "__name__", repr(t)): t for t in things if not isinstance(t, type)
    }
    for name, cls in classes.items():
        _check_record(name, cls)
        _check_free(name, cls, _records)
    for name, make in makers.items():
        _check_preset(name, make, _records | classes)
        _check_free(name, make, _presets)
    _records.update(classes)
    _presets.update(makers)


def find_preset(name: str) -> Preset:
    """The preset of that name, or from a Python file as in "my_memory.py:my_device".

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if there is no such preset.
    """
    if python.names_a_place(name):
        return python.load(name, "my_memory.py:my_device")
    if name not in _presets:
        known = f"{did_you_mean(name, _presets)}Known: {', '.join(_presets)}."
        checks.fail("name", "be a preset", name, known)
    return _presets[name]


def _check_record(name: str, cls: type) -> None:
    if not dataclasses.is_dataclass(cls) or "__post_init__" not in vars(cls):
        how = "Write @devices.pytree above it."
        checks.fail(name, "be a record", f"the class {name} alone", how)
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        checks.fail(name, "define its methods", f"none of {missing}", "Define them.")


def _check_preset(name: str, make: Any, known: dict[str, type]) -> None:
    if not callable(make) or not name.isidentifier() or name == "<lambda>":
        rule = "be a record or a function with a name"
        checks.fail("things", rule, name[:60], "Define one with def.")
    needed = [
        p.name
        for p in inspect.signature(make).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    if needed:
        checks.fail(name, "have defaults", f"none for {needed}", "Give each one.")
    device = make()
    if not isinstance(device, Device):
        checks.fail(name, "return a Device", type(device).__name__, "Return one.")
    for cls in _classes_of(device):
        if known.get(cls.__name__) is not cls:
            how = f"Register {cls.__name__}, too."
            checks.fail(name, "be made of registered records", cls.__name__, how)


def _check_free(name: str, thing: Any, known: dict[str, Any]) -> None:
    there = known.get(name, thing)
    if (there.__module__, there.__qualname__) != (thing.__module__, thing.__qualname__):
        taken = f"the name of {there.__module__}.{there.__qualname__}"
        checks.fail(name, "have a name of its own", taken, "Rename it.")


def _classes_of(record: Any) -> Iterator[type]:
    if dataclasses.is_dataclass(record):
        yield type(record)
        for field in dataclasses.fields(record):
            yield from _classes_of(getattr(record, field.name))
