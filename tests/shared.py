"""Where tests find outputs of other simulators and real data, outside the tree."""

import os
from pathlib import Path

import pytest

ROOT = Path(
    os.environ.get("ANAJAX_SHARED", Path(__file__).resolve().parents[2] / "shared")
)


def oracle(name: str) -> Path:
    """The path of an oracle file; skips the test where it is absent."""
    return _find("oracles", name)


def data(name: str) -> Path:
    """The path of a data folder or file; skips the test where it is absent."""
    return _find("data", name)


def _find(kind: str, name: str) -> Path:
    path = ROOT / kind / name
    if not path.exists():
        pytest.skip(f"{kind}/{name} is not there (set ANAJAX_SHARED to its folder)")
    return path
