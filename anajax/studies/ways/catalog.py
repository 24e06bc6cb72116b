"""The ways to program: built in, and registered by users.

`register` adds your own way, a class in a file of yours; a config can also name the
file. Neither changes this package.
"""

from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import (
    AfterValidator,
    Field,
    PlainValidator,
    SerializeAsAny,
    ValidationInfo,
)

from anajax._core import checks, python
from anajax.studies.config.sections import closest, one_of, refuse
from anajax.studies.ways import (
    budget,
    digital,
    learned,
    loops,
    recommended,
    tables,
)
from anajax.studies.ways.base import KNOWN, Family, Way

WAYS: tuple[type[Way], ...] = (
    *tables.WAYS,
    *budget.WAYS,
    *learned.WAYS,
    *loops.WAYS,
    *digital.WAYS,
    *recommended.WAYS,
)
EXAMPLE = "my_way.py:MyWay"


def name_of(way: type[Way]) -> str:
    """The name of a class of ways."""
    return str(way.model_fields["name"].default)


_ways: dict[str, type[Way]] = {name_of(way): way for way in WAYS}
KNOWN.update(_ways)


def ways() -> dict[str, type[Way]]:
    """Every way that a config may name, by name."""
    return dict(_ways)


def register(*classes: type[Way]) -> None:
    """Make your ways to program known by their names.

    Registering the same class again changes nothing; a class that was redefined, by
    running its file or notebook cell again, replaces the old one.

    Raises:
        ValueError: if something is not a complete subclass of `Way`, or a name is
            taken.
    """
    for cls in classes:
        _check(cls)
        name = name_of(cls)
        there = _ways.get(name, cls)
        if (there.__module__, there.__name__) != (cls.__module__, cls.__name__):
            taken = f"the name of {there.__module__}.{there.__name__}"
            checks.fail(name, "have a name of its own", taken, "Rename it.")
    _ways.update({name_of(cls): cls for cls in classes})
    KNOWN.update(_ways)


def _check(cls: Any) -> None:
    if not (isinstance(cls, type) and issubclass(cls, Way)):
        got = getattr(cls, "__name__", repr(cls))[:60]
        checks.fail("python", "be a class below Way", got, "Write class MyWay(Way).")
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        how = "Define them."
        checks.fail(cls.__name__, "define its methods", f"none of {missing}", how)
    if not isinstance(cls.model_fields["name"].default, str):
        how = 'Write name: str = "my_way".'
        checks.fail(cls.__name__, "have a name", "no default", how)
    if getattr(cls, "family", None) not in get_args(Family):
        how = 'Write family = "hand".'
        got = repr(getattr(cls, "family", None))
        checks.fail(cls.__name__, f"have a family of {get_args(Family)}", got, how)


def as_way(entry: Any, info: ValidationInfo) -> Way:
    """The way for a config entry: a name, or a section with a name or a file.

    Raises:
        FileNotFoundError: if it names a file that does not exist.
        ValueError: if it is not a way, or its options are not valid.
    """
    if isinstance(entry, Way):
        return entry
    data = {"name": entry} if isinstance(entry, str) else entry
    if not isinstance(data, dict):
        refuse("be a section of keys", repr(entry)[:60], "Give a name, or a section.")
    if data.get("python") is not None:
        data, cls = _of_file(data, (info.context or {}).get("folder", Path()))
    else:
        cls = _named(data)
    for option in data:
        if option not in cls.model_fields:
            _not_an_option(name_of(cls), str(option), data[option])
    context = {**(info.context or {}), recommended.ENTRY: as_way}
    return cls.model_validate(data, context=context)


def _named(data: dict[str, Any]) -> type[Way]:
    if "name" not in data:
        refuse("have a `name`, or a `python` file", sorted(map(str, data)), "Add one.")
    if not isinstance(data["name"], str):
        refuse("have a `name` that is text", repr(data["name"])[:60], "Correct it.")
    one_of(data["name"], _ways)
    return _ways[data["name"]]


def _of_file(data: dict[str, Any], folder: Path) -> tuple[dict[str, Any], type[Way]]:
    """The entry with the whole path of its file, and the class in it."""
    if not isinstance(data["python"], str):
        refuse("name a Python file and its class", data["python"], f"Write {EXAMPLE}.")
    file, name = python.split(data["python"], EXAMPLE)
    place = f"{(folder / file).resolve()}:{name}"
    cls = python.load(place, EXAMPLE)
    _check(cls)
    KNOWN[data["python"]] = cls
    if data.get("name", name_of(cls)) != name_of(cls):
        refuse(f"have the name {name_of(cls)!r} or none", data["name"], "Drop it.")
    return data | {"python": place}, cls


def _not_an_option(name: str, option: str, value: Any) -> None:
    takers = [n for n, way in _ways.items() if option in way.model_fields]
    if takers:
        remedy = f"Drop it: only {', '.join(takers)} take it."
    else:
        known = _ways[name].model_fields if name in _ways else {}
        remedy = f"{closest(option, known)}Known: {', '.join(known)}."
    refuse(f"have no `{option}` for {name}", f"{value!r:.60}", remedy)


Entry = Annotated[SerializeAsAny[Way], PlainValidator(as_way)]
"""A field for one way."""


def _distinct(entries: list[Way]) -> list[Way]:
    titles = [e.title for e in entries]
    twice = sorted({t for t in titles if titles.count(t) > 1})
    if twice:
        refuse("have distinct labels", twice, "Give each its own `label`.")
    return entries


Entries = Annotated[
    list[Entry],
    Field(min_length=1, description="a list of strategies"),
    AfterValidator(_distinct),
]


def entries(*names: str) -> Any:
    """A field with these ways as its default."""
    return Field(default_factory=lambda: [_ways[n]() for n in names])  # pyright: ignore
