"""What all sections of a config are made of."""

import difflib
import inspect
from typing import Annotated, Any, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Section(BaseModel):
    """Base of all sections: unknown keys are refused, types are strict."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False
    )


def refuse(rule: str, got: object, remedy: str) -> NoReturn:
    """Fail with the rule, what came and a remedy; the key is added by `message`."""
    raise ValueError(f"must {rule}: got {got}. {remedy}")


def one_of(name: str, known: Any, what: str = "be known") -> None:
    """Refuse a name that is not among the known ones, with the closest of them."""
    if name not in known:
        close = difflib.get_close_matches(name, list(known), n=1)
        hint = f"Did you mean {close[0]!r}? " if close else ""
        refuse(what, repr(name), f"{hint}Known: {', '.join(known)}.")


def require_small(data: Any, *, most: int = 100_000) -> None:
    """Refuse a config that holds more values than anyone writes (YAML aliases can).

    Raises:
        ValueError: if it does.
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


def default(function: Any, name: str) -> Any:
    """The default of an argument: a section has that of what it is handed to."""
    return inspect.signature(function).parameters[name].default


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
