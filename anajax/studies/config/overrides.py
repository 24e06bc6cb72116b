"""Changes to a config from the command line: `--set key=value`."""

from typing import Any

import yaml


def override(data: dict[str, Any], change: str) -> None:
    """Set one key of the nested `data`, in place, from `a.b=value` (a YAML value).

    Raises:
        ValueError: if it is not of that form, or a parent key is not a section.
    """
    key, sign, text = change.partition("=")
    parts = key.strip().split(".")
    if not sign or not all(parts):
        raise ValueError(
            f"`--set` must be key=value: got {change!r}. Write for example "
            "--set optimizer.steps=100."
        )
    here: Any = data
    for depth, part in enumerate(parts[:-1]):
        here = here.setdefault(part, {})
        if not isinstance(here, dict):
            raise ValueError(
                f"`--set {key}` must go through sections: got a value at "
                f"`{'.'.join(parts[: depth + 1])}`. Set that key as a whole."
            )
    try:
        here[parts[-1]] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ValueError(
            f"`--set {key}` must have a YAML value: got {text!r}. Quote it."
        ) from None
