"""The schema of manifests, and the subset of JSON Schema that it uses."""

import functools
import json
import math
from pathlib import Path
from typing import Any, NoReturn

from anajax._core import checks

FILE = Path(__file__).with_name("schema.json")
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,),
    "number": (int, float), "null": (type(None),),
}  # fmt: skip


@functools.cache
def schema() -> dict[str, Any]:
    """The published schema."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def check(value: Any) -> None:
    """Refuse a manifest that violates the schema.

    Raises:
        ValueError: naming the first violation.
    """
    _check(value, schema(), "manifest")


def _check(value: Any, rule: dict[str, Any], place: str) -> None:
    if "const" in rule and value != rule["const"]:
        _fail(place, f"be {rule['const']!r}", value)
    if "enum" in rule and value not in rule["enum"]:
        _fail(place, f"be one of {rule['enum']}", value)
    _check_type(value, rule, place)
    if isinstance(value, int | float) and value < rule.get("minimum", value):
        _fail(place, f"be at least {rule['minimum']}", value)
    if isinstance(value, dict):
        _check_object(value, rule, place)
    if isinstance(value, list):
        low, high = rule.get("minItems", 0), rule.get("maxItems", len(value))
        if not low <= len(value) <= high:
            _fail(place, f"have {low} to {high} entries", len(value))
        for i, item in enumerate(value):
            _check(item, rule.get("items", {}), f"{place}.{i}")


def _check_type(value: Any, rule: dict[str, Any], place: str) -> None:
    if "type" in rule:
        names = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
        known = tuple(kind for name in names for kind in _TYPES[name])
        odd = isinstance(value, bool) or (isinstance(value, float) and not _real(value))
        if odd or not isinstance(value, known):
            _fail(place, f"be of type {' or '.join(names)}", value)


def _check_object(value: dict[str, Any], rule: dict[str, Any], place: str) -> None:
    known, more = rule.get("properties", {}), rule.get("additionalProperties", {})
    missing = [name for name in rule.get("required", ()) if name not in value]
    if missing:
        _fail(place, f"have {missing[0]!r}", sorted(value))
    for name, item in value.items():
        if name not in known and more is False:
            _fail(place, f"have {', '.join(known)} alone", name)
        _check(item, known.get(name, more or {}), f"{place}.{name}")


def _real(value: float) -> bool:
    return math.isfinite(value)


def _fail(place: str, rule: str, got: object) -> NoReturn:
    checks.fail(f"{place:.100}", rule, f"{got!r:.80}", "Write the image again.")
