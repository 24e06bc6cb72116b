"""Base classes and checks of all sections of a config."""

import dataclasses
import functools
import operator
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    NoReturn,
    Optional,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

from anajax._core.nearest import did_you_mean
from anajax._core.tree import is_pytree

T = TypeVar("T")


class Section(BaseModel):
    """Base of all sections: unknown keys are refused, types are strict."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False
    )

    @classmethod
    def known_fields(cls) -> dict[str, Any]:
        """Known keys of the section, for messages."""
        return dict(cls.model_fields)

    @classmethod
    def of_entry(cls, entry: object) -> type["Section"]:
        """The section of an entry, for messages: a subclass, if the entry names one."""
        return cls


def refuse(rule: str, got: object, remedy: str) -> NoReturn:
    """Fail with the rule, the value received and a remedy; `message` adds the key."""
    raise ValueError(f"must {rule}: got {got}. {remedy}")


def one_of(name: str, known: Any, what: str = "be known") -> None:
    """Refuse a name that is not known, and suggest the closest one."""
    if name not in known:
        remedy = f"{closest(name, known)}Known: {', '.join(known)}."
        refuse(what, repr(name), remedy)


def one_source(section: Section, keys: tuple[str, ...], remedy: str) -> None:
    """Refuse a section with none of these keys, or several."""
    given = [key for key in keys if getattr(section, key) is not None]
    if len(given) != 1:
        listed = ", ".join(f"`{key}`" for key in keys[:-1])
        rule = f"have one of {listed} and `{keys[-1]}`"
        refuse(rule, " and ".join(given) or "none", remedy)


def closest(name: str, known: Any) -> str:
    """The question whether the closest known name was meant, if one is close."""
    return did_you_mean(name, known)


def require_small(data: Any, *, most: int = 100_000) -> None:
    """Refuse a config with more values than anyone writes by hand (YAML aliases can).

    Raises:
        ValueError: if it has more.
    """
    count, todo = 0, [data]
    while todo:
        value = todo.pop()
        count += 1
        if count > most:
            raise ValueError(
                f"`CONFIG` must hold at most {most} values: got more, with its aliases "
                "written out. Shorten it."
            )
        if isinstance(value, dict | list | tuple | set):
            todo += value.values() if isinstance(value, dict) else value


class Options(Section, Generic[T]):
    """A section with the fields, defaults and bounds of a record of the library."""

    made: ClassVar[Any]

    def __class_getitem__(cls, record: Any) -> Any:
        """The section of a record, a dataclass whose fields are made by `option`."""
        return cls if isinstance(record, TypeVar) else _section_of(record)

    @functools.cached_property
    def record(self) -> T:
        """The record of the library, with tuples for lists."""
        given = {name: getattr(self, name) for name in type(self).model_fields}
        lists = {n: tuple(v) for n, v in given.items() if isinstance(v, list)}
        return type(self).made(**given | lists)


@functools.cache
def _section_of(record: Any) -> type[Options]:
    hints, fields = get_type_hints(record), {}
    for field in dataclasses.fields(record):
        about, hint = dict(field.metadata["option"]), hints[field.name]
        if is_pytree(record) and not field.metadata["static"]:
            hint = float
        hint, about = _or_word(hint, about)
        several, hint = _as_list(hint, about)
        default = list(field.default) if field.default and several else field.default
        about = {"description": about["description"]} if several else about
        fields[field.name] = hint, Field(default=default, **about)
    doc = record.__doc__
    made = create_model(record.__name__, __base__=Options, __doc__=doc, **fields)
    made.made = record
    return made


def _or_word(hint: Any, about: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A number with bounds or a word: the bounds are the number's alone."""
    parts = get_args(hint)
    words = [part for part in parts if get_origin(part) is Literal]
    bounds = {k: v for k, v in about.items() if k != "description"}
    if not words or not bounds:
        return hint, about
    numbers = [Annotated[p, Field(**bounds)] for p in parts if p not in words]
    joined = functools.reduce(operator.or_, [*numbers, *words])
    return joined, {"description": about["description"]}


def _as_list(hint: Any, about: dict[str, Any]) -> tuple[bool, Any]:
    """Whether values are several of a kind, and then the list that YAML has of them."""
    for kind in (hint, *get_args(hint)):
        if get_origin(kind) is tuple:
            item = Annotated[get_args(kind)[0], Field(**about)]
            several = Annotated[list[item], Field(min_length=1)]
            return True, several if kind is hint else Optional[several]  # noqa: UP045
    return False, hint


Positive = Annotated[float, Field(gt=0, description="a number above 0")]
Factor = Annotated[float, Field(ge=0, description="a factor of 0 or more")]


def increasing(values: list[float]) -> list[float]:
    """Refuse numbers that do not increase strictly."""
    if any(b <= a for a, b in zip(values, values[1:], strict=False)):
        refuse("increase strictly", values, "Sort them, and drop duplicates.")
    return values


Factors = Annotated[
    list[Positive],
    Field(min_length=2, description="two or more increasing factors"),
    AfterValidator(increasing),
]
