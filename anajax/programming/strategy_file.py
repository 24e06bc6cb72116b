"""Strategy files: target conductances with units as JSON, and back.

This file is for chip teams: for each strategy (and each layer that has its own), it
holds the targets of every device over normalized weights, F and K. Targets are linear
between the knots; those of a stepped strategy are constant from each knot to the next.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import jax.numpy as jnp
import numpy as np

from anajax.chip import Strategies
from anajax.mapping.strategy import Strategy, UnitCell

FILE = "strategy.json"
"""Name of the file in the folder of a study."""
FORMAT = "anajax-strategy"
VERSION = 2
"""Version 1 did not have `stepped`."""
UNITS = {
    "knots": "normalized weight, w / w_max of its layer",
    "targets": "uS, one row per knot, one column per device",
    "significance": "F of each pair, most significant first, dimensionless",
    "scale": "K, uS per unit of normalized weight",
    "offset": "uS",
}
"""Units of the numbers of an entry."""
_ARRAYS = ("knots", "targets", "significance", "scale", "offset")


def to_text(strategies: Mapping[str, Strategies]) -> str:
    """The JSON text of strategies by label; a label may have one per layer path."""
    entries = [
        {"label": label, "layer": layer} | _encode(strategy)
        for label, value in strategies.items()
        for layer, strategy in _by_layer(value)
    ]
    document = {
        "format": FORMAT,
        "version": VERSION,
        "units": UNITS,
        "strategies": entries,
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def load_strategies(path: str | Path) -> dict[str, Strategies]:
    """Read the strategies of a study from its file `strategy.json`.

    Returns:
        By label, a strategy, or a mapping from layer paths to strategies.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is truncated, of another format or version, or does not
            hold a valid strategy; the message names the file.

    Example:
        >>> from anajax.programming.strategy_file import to_text
        >>> _ = path.write_text(to_text({"mine": strategy}))
        >>> anajax.load_strategies(path)["mine"].name
        'lsp_first'
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"`{path}` must be a strategy file: got no file. Give its path."
        )
    return from_text(path.read_text(encoding="utf-8", errors="replace"), str(path))


def from_text(text: str, name: str) -> dict[str, Strategies]:
    """The strategies in a JSON text; messages call it `name`.

    Raises:
        ValueError: see `load_strategies`.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        _fail(name, "be complete JSON", error, "It is truncated: write it again.")
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        got = document.get("format") if isinstance(document, dict) else "no mapping"
        _fail(name, f"be a file of format {FORMAT!r}", got, "Give another file.")
    if document.get("version") not in (1, VERSION):
        got = document.get("version")
        _fail(
            name,
            f"have version 1 or {VERSION}",
            got,
            "Use the version of anajax that wrote it.",
        )
    found: dict[str, Any] = {}
    for number, entry in enumerate(document.get("strategies") or []):
        label, layer, strategy = _decode(entry, name, number)
        if layer is None:
            found[label] = strategy
        else:
            found.setdefault(label, {})[layer] = strategy
    return found


def _by_layer(value: Strategies) -> list[tuple[str | None, Strategy]]:
    return [(None, value)] if isinstance(value, Strategy) else list(value.items())


def _encode(strategy: Strategy) -> dict[str, Any]:
    arrays = {n: np.asarray(getattr(strategy, n)).tolist() for n in _ARRAYS}
    return {
        "name": strategy.name,
        "signs": list(strategy.cell.signs),
        "groups": list(strategy.cell.groups),
        "mirrored": strategy.mirrored,
        "stepped": strategy.stepped,
    } | arrays


def _decode(entry: Any, name: str, number: int) -> tuple[str, str | None, Strategy]:
    try:
        cell = UnitCell(signs=tuple(entry["signs"]), groups=tuple(entry["groups"]))
        strategy = Strategy(
            name=entry["name"],
            cell=cell,
            mirrored=entry["mirrored"],
            stepped=entry.get("stepped", False),
            **{n: jnp.asarray(entry[n], dtype=float) for n in _ARRAYS},
        )
        return entry["label"], entry["layer"], strategy
    except KeyError as error:
        _fail(name, f"have {error} in entry {number}", "none", "Write it again.")
    except (TypeError, ValueError, AttributeError) as error:
        _fail(name, f"hold a valid strategy in entry {number}", error, "Repair it.")


def _fail(name: str, rule: str, got: object, remedy: str) -> NoReturn:
    raise ValueError(f"`{name}` must {rule}: got {got}. {remedy}") from None
