"""Imports go down only; the public surface is listed and documented."""

import ast
import inspect
from pathlib import Path

import pytest

import anajax

ROOT = Path(anajax.__file__).parent
FLOORS = {  # module or package under anajax -> floor
    "_tree": 0, "_types": 0, "_checks": 0, "_files": 0, "rng": 0,
    "devices": 1,
    "layout": 2, "selection": 2,
    "density": 2, "mapping": 2, "moments": 2, "weight_error": 2, "strategies": 2,
    "converters": 2, "periphery": 2, "tiling": 2, "crossbar": 2,
    "wires": 2, "wires_nonlinear": 2,
    "compensation": 2, "costs": 2,
    "chip": 3,
    "analog": 4, "nn": 4, "convert": 4, "on_chip": 4,
    "programming": 5, "training": 5,
    "studies": 6, "cli": 6,
    "workloads": 6, "interop": 6,
}  # fmt: skip
BESIDE = {"workloads", "interop"}
"""Stand beside the floors: nothing below the studies imports them."""


def room(path):
    name = path.relative_to(ROOT).parts[0].removesuffix(".py")
    return "__init__" if name == "__init__" else name


def floor(name):
    helper = name.startswith("_") and name not in FLOORS
    return 2 if helper else FLOORS[name]


def imported(path):
    """Names of rooms of anajax, and of other packages, that a module imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            parts = node.module.split(".")
            if parts[0] != "anajax":
                yield parts[0], None
            elif len(parts) > 1:
                yield "anajax", parts[1]
            else:
                yield from (("anajax", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                package, *rest = alias.name.split(".")
                yield package, rest[0] if rest else "__init__"


MODULES = sorted(p for p in ROOT.rglob("*.py") if room(p) != "__init__")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down_only(path):
    here = room(path)
    for package, name in imported(path):
        if package == "anajax" and name == "__init__":
            assert here in ("studies", "cli"), f"{here} imports the whole package"
        elif package == "anajax" and name != "__version__":
            assert floor(name) <= floor(here), f"{here} imports {name}"
            if name in BESIDE and here != name:
                assert here in ("studies", "cli"), f"{here} imports {name}"
        if package in ("flax", "optax"):
            assert floor(here) >= 4, f"{here} imports {package}"
        if here == "nn" and package == "anajax":
            assert name != "devices", "layers hold conductances, not physics"


def test_every_module_has_its_floor():
    assert {room(p) for p in MODULES if not room(p).startswith("_")} <= set(FLOORS)


def test_files_are_rooms_not_halls():
    long = {str(p): len(p.read_text().splitlines()) for p in ROOT.rglob("*.py")}
    assert {p: n for p, n in long.items() if n > 400} == {}


def test_public_names_are_documented():
    assert len(anajax.__all__) <= 40
    for name in anajax.__all__:
        thing = getattr(anajax, name)
        if inspect.ismodule(thing) or callable(thing):
            assert (thing.__doc__ or "").strip(), f"{name} has no docstring"
