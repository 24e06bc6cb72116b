"""A command of `anajax` whose messages say what to do about an unknown word.

Options such as `--plot` and `--resume` may be given without a value.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TypeVar

import typer
from typer.core import TyperCommand

from anajax._core.nearest import nearest
from anajax.cli.base import app, fail

T = TypeVar("T", bound=Callable[..., Any])
USAGE: Any = typer.BadParameter.__mro__[1]
"""Errors of the option parser."""
PLOTS = (".png", ".svg", ".pdf")
_PICTURES = (*PLOTS, ".jpg", ".jpeg", ".eps", ".ps", ".gif", ".tif", ".tiff", ".webp")
"""How words end that are values of --plot, right or wrong."""


def command(name: str | None = None) -> Callable[[T], T]:
    """Make a function a command of `anajax`, like `app.command`."""
    return app.command(name, cls=_Command)


class _Command(TyperCommand):
    """A command whose messages name the rule and the remedy."""

    alone: ClassVar[dict[str, str]] = {"--plot": "auto", "--resume": "yes"}
    """Options that may stand alone, and what they mean then."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, self._completed(args))
        except USAGE as error:
            if type(error).__name__ == "NoArgsIsHelpError":
                raise
            self._refuse(error, args)

    def _completed(self, args: list[str]) -> list[str]:
        """Words with a value behind each option that stands alone."""
        own = {name for p in self.params for name in p.opts}
        words = list(args)
        for i, word in reversed(list(enumerate(words))):
            if word not in self.alone or word not in own:
                continue
            following = words[i + 1] if i + 1 < len(words) else ""
            if following != "auto" and Path(following).suffix not in _PICTURES:
                words[i] = f"{word}={self.alone[word]}"
        return words

    def _refuse(self, error: Any, args: list[str]) -> NoReturn:
        help = f"See `anajax {self.name} --help`."
        kind = type(error).__name__
        if kind == "NoSuchOption":
            self._unknown(str(error.option_name), args)
        if kind == "MissingParameter":
            name = _name(error.param)
            fail(f"`{name}` must be given: got nothing. {help}")
        if kind == "BadOptionUsage":
            option = str(error.option_name)
            fail(f"`{option}` must have a value: got none. Write it behind. {help}")
        loose = [a for a in args if "=" in a and not a.startswith("-")]
        if "extra argument" in error.format_message() and loose and self._sets():
            fail(
                f"`{loose[0]}` must follow --set: got it alone. Write --set {loose[0]}."
            )
        param, what = getattr(error, "param", None), str(error.message)
        if param is not None:
            got = repr(_value_of(_name(param), args))
            fail(f"`{_name(param)}` must be {_kind(what)}: got {got}. {help}")
        what = error.format_message()
        fail(f"`anajax {self.name}` must be called as it is: {what} {help}")

    def _unknown(self, option: str, args: list[str]) -> NoReturn:
        """Refuse an option that the command has not; a key of configs goes to --set."""
        own = sorted(name for p in self.params for name in p.opts if name[:2] == "--")
        close, keys = nearest(option, own), _config_keys() if self._sets() else {}
        wanted = option.lstrip("-").replace("-", "_").rpartition(".")[2]
        alike = wanted if wanted in keys else nearest(wanted, keys, cutoff=0.75)
        if alike and (alike == wanted or not close):
            key = keys[alike]
            value = _value_of(option, args)
            remedy = f"It is a key of the config: write --set {key}={value}."
        else:
            remedy = f"Did you mean {close}? " if close else ""
            remedy += f"It has {', '.join(own)}."
        rule = f"be an option of `anajax {self.name}`"
        fail(f"`{option}` must {rule}: got it on the command line. {remedy}")

    def _sets(self) -> bool:
        return any("--set" in p.opts for p in self.params)


def _name(param: Any) -> str:
    long = [name for name in param.opts if name.startswith("--")]
    return long[0] if long else str(param.metavar or param.name).upper()


def _kind(message: str) -> str:
    """What a value must be, from what the parser says of it."""
    if "integer" in message:
        return "a whole number"
    return "a number" if "number" in message or "float" in message else "valid"


def _value_of(option: str, args: list[str]) -> str:
    """What stands behind an option on the command line; VALUE if nothing does."""
    for i, word in enumerate(args):
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
        if word == option and i + 1 < len(args) and not args[i + 1].startswith("-"):
            return args[i + 1]
    return "VALUE"


def _config_keys() -> dict[str, str]:
    """The dotted keys of configs, by their last names."""
    from anajax.studies.config.messages import dotted_keys
    from anajax.studies.kinds.catalog import kinds

    configs = [kind.config for kind in kinds().values()]
    keys = {name: name for config in configs for name in config.known_fields()}
    for config in configs:
        keys = dotted_keys(config) | keys
    return keys
