"""Errors of pydantic about a config, rephrased in the style of anajax."""

import inspect
import reprlib
from typing import Any

from anajax._core.nearest import nearest
from anajax.studies.config.sections import Section

_RULES = {
    "missing": "be given",
    "int_type": "be a whole number",
    "int_from_float": "be a whole number",
    "float_type": "be a number",
    "bool_type": "be true or false",
    "string_type": "be text",
    "list_type": "be a list",
    "dict_type": "be a section of keys",
    "model_type": "be a section of keys",
    "model_attributes_type": "be a section of keys",
    "finite_number": "be finite",
}
_BOUNDS = {
    "greater_than": ("be above", "gt"),
    "greater_than_equal": ("be at least", "ge"),
    "less_than": ("be below", "lt"),
    "less_than_equal": ("be at most", "le"),
    "too_short": ("have entries, at least", "min_length"),
}


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200
_SHORT.maxlist = _SHORT.maxdict = 8


def message(error: Any, model: type[Section], data: object) -> str:
    """One line for one mistake: the key, the rule, the value received, a remedy.

    Args:
        error: one of the errors of pydantic.
        model: of the whole config.
        data: the config.
    """
    *way, last = error["loc"] or ("CONFIG",)
    given = error["type"] == "extra_forbidden"  # then the last is a key of the user's
    location = [p for p in way if not _is_branch(p)]
    location += [last] if given or not _is_branch(last) else []
    key = ".".join(map(str, location)) or "CONFIG"
    kind, got = error["type"], error["input"]
    if kind == "value_error":
        text = str(error["ctx"]["error"])
        return text if text.startswith("`") else f"`{key}` {text}"
    if kind == "extra_forbidden":
        known = list(_fields(model, location[:-1], data))
        below = dotted_keys(_model(model, location[:-1], data))
        close = nearest(location[-1], known) or below.get(str(location[-1]), "")
        close = ".".join([*map(str, location[:-1]), close]) if "." in close else close
        hint = f"Did you mean `{close}`? " if close else ""
        return (
            f"`{key}` must be a known key: got {_SHORT.repr(got)}. {hint}"
            f"Known here: {', '.join(known)}."
        )
    rule = _RULES.get(kind)
    if kind in _BOUNDS:
        words, bound = _BOUNDS[kind]
        rule = f"{words} {error['ctx'][bound]}"
    if kind == "literal_error":
        rule = f"be {error['ctx']['expected']}"
    came = "nothing" if kind == "missing" else _SHORT.repr(got)
    remedy = _as_written(model, location, data, kind, got)
    remedy = remedy or _remedy(model, location, data)
    return f"`{key}` must {rule or error['msg']}: got {came}. {remedy}"


def _as_written(
    model: type[Section], location: list[Any], data: object, kind: str, got: object
) -> str:
    """What to write in place of a word that stands alone; "" for anything else."""
    if not isinstance(got, str) or not location:
        return ""
    key = str(location[-1])
    if kind == "list_type":
        plain = _remedy(model, location, data).removesuffix(".")
        return f"{plain}, as in {key}=[{got}]."
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        named = "name" in _fields(model, location, data)
        return f"Write {'.'.join(map(str, location))}.name={got}." if named else ""
    if kind == "float_type":
        return _as_number(got)
    return ""


def _as_number(text: str) -> str:
    """How to write a number that YAML takes for text, as it does 1e-3; "" for words."""
    try:
        value = float(text)
    except ValueError:
        return ""
    digits, letter, power = text.lower().partition("e")
    written = f"{digits}.0e{power}" if letter and "." not in digits else f"{value!r}"
    return f"Write {written}: YAML reads {text} as text."


def _is_branch(part: object) -> bool:
    """Whether a part of a location is pydantic's name for a branch of a union."""
    if part == "constrained-float":
        return True
    return isinstance(part, str) and ("[" in part or "(" in part)


def _remedy(model: type[Section], location: list[Any], data: object) -> str:
    fields = _fields(model, location[:-1], data)
    field = fields.get(str(location[-1])) if location else None
    if field is None and location and isinstance(location[-1], int):
        return _remedy(model, location[:-1], data)
    if field is None or field.description is None:
        return "Correct this value."
    return f"Give {field.description}."


def dotted_keys(model: type[Section] | None) -> dict[str, str]:
    """Dotted keys of the fields of a model's sections, by their last names."""
    found: dict[str, str] = {}
    for name, field in (model.known_fields() if model else {}).items():
        inner = _section(field.annotation)
        for below in inner.known_fields() if inner else {}:
            found.setdefault(below, f"{name}.{below}")
    return found


def _fields(model: type[Section], location: list[Any], data: object) -> dict[str, Any]:
    """Fields of the section at `location` of a model."""
    found = _model(model, location, data)
    return found.known_fields() if found else {}


def _model(
    model: type[Section], location: list[Any], data: object
) -> type[Section] | None:
    """The section at `location` of a model, as the config names it there."""
    for part in location:
        data = _inside(data, part)
        if isinstance(part, int):
            model = model.of_entry(data)
            continue
        field = model.known_fields().get(part)
        inner = None if field is None else _section(field.annotation)
        if inner is None:
            return None
        model = inner.of_entry(data)
    return model


def _inside(data: object, part: object) -> object:
    """The value at a key or an index; None if there is none."""
    if isinstance(data, dict):
        return data.get(part)
    if isinstance(data, list) and isinstance(part, int) and part < len(data):
        return data[part]
    return None


def _section(annotation: Any) -> type[Section] | None:
    """The section that an annotation holds, directly or in a list."""
    if inspect.isclass(annotation) and issubclass(annotation, Section):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _section(inner)
        if found is not None:
            return found
    return None
