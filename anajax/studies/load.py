"""Read and validate the config of a study of any kind."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from anajax._core.nearest import did_you_mean
from anajax.studies.config.messages import message
from anajax.studies.config.overrides import override
from anajax.studies.config.sections import require_small
from anajax.studies.config.study import StudyConfig
from anajax.studies.kinds.catalog import kinds


def load_config(path: Path, changes: Sequence[str] = ()) -> StudyConfig:
    """Read and validate a config.

    Args:
        path: a YAML file. Paths in it are relative to its folder.
        changes: `key=value` texts that replace values, keys dotted, values in YAML.

    Raises:
        FileNotFoundError: if this file or one that it names does not exist.
        ValueError: with one line per mistake.
    """
    return validate(read_config(path, changes), folder=path.parent)


def read_config(path: Path, changes: Sequence[str] = ()) -> dict[str, Any]:
    """The keys and values of a config, before they are validated.

    Args:
        path: a YAML file.
        changes: `key=value` texts that replace values.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a YAML mapping, or a change is malformed.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"`CONFIG` must be a file: got {path}. Give the path of a YAML config, "
            "such as configs/quickstart.yaml."
        )
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        detail = " ".join(str(error).split())[:300]
        raise ValueError(
            f"`CONFIG` must be YAML: got {path.name}, {detail}. Correct that place."
        ) from None
    if not isinstance(data, dict):
        raise ValueError(
            f"`CONFIG` must be a mapping of keys: got {type(data).__name__} in "
            f"{path.name}. Start with `study: strategies`."
        )
    require_small(data)
    for change in changes:
        override(data, change)
    require_small(data)
    return data


def validate(data: dict[str, Any], *, folder: Path = Path()) -> StudyConfig:
    """The config of a mapping.

    Args:
        data: keys and values, as loaded from YAML.
        folder: base of relative paths.

    Raises:
        FileNotFoundError: if a file that it names does not exist.
        ValueError: with one line per mistake.
    """
    name, known = data.get("study"), kinds()
    if not isinstance(name, str) or name not in known:
        raise ValueError(
            f"`study` must name a kind of study: got {name!r}. "
            f"{did_you_mean(name, known)}Known: {', '.join(known)}."
        )
    schema = known[name].config
    try:
        config = schema.model_validate(data, context={"folder": folder})
    except ValidationError as error:
        lines = dict.fromkeys(message(e, schema, data) for e in error.errors())
        raise ValueError("\n".join(lines)) from None

    def find(file: str, key: str = "device.file") -> str:
        if not (folder / file).is_file():
            made = "; `anajax fit-device` makes such files" * (key == "device.file")
            raise FileNotFoundError(
                f"`{key}` must be a file: got {file}. Give a path relative to the "
                f"config{made}."
            )
        return str((folder / file).resolve())

    return config.with_files(find)
