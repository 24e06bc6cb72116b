"""The house: a folder is a floor, imports go down only, and no import is a circle."""

import ast
import inspect
from pathlib import Path

import pytest

import anajax

ROOT = Path(anajax.__file__).parent
FLOORS = {  # package or module under anajax -> floor
    "_core": 0, "rng": 0,
    "devices": 1,
    "mapping": 2, "crossbar": 2,
    "compensation": 3, "layer": 3, "redrawn": 3, "chip": 3,
    "nn": 4, "transformation": 4,
    "programming": 5, "training": 5, "analysis": 5, "costs": 5,
    "studies": 6, "cli": 6,
    "workloads": 6, "interop": 6,
}  # fmt: skip
BESIDE = {"workloads", "interop"}
"""Stand beside the floors: nothing below the studies imports them."""
HEAVY = {"pydantic", "xarray", "matplotlib", "typer", "rich", "yaml", "jinja2"}
"""What configs, results and figures are made with, and nothing below the studies."""
MOST_FILES, MOST_LINES = 16, 400


def name_of(path):
    """The dotted name of a module or package."""
    parts = ("anajax", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(p): p for p in sorted(ROOT.rglob("*.py"))}


def imports(path):
    """Modules that a file imports: at its top, in functions, for types."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


IMPORTS = {name: set(imports(path)) for name, path in MODULES.items()}


def room(name):
    """The package or module below anajax, or "" for anajax itself."""
    return (*name.split("."), "")[1]


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down_only(name):
    here = room(name)
    for other in IMPORTS[name]:
        package, there = other.split(".")[0], room(other)
        if package == "anajax" and here:
            if not there:
                assert here in ("studies", "cli"), "imports the whole package"
                continue
            assert FLOORS[there] <= FLOORS[here], f"imports {other}"
            if there in BESIDE and here != there:
                above = ("studies", "cli", *["workloads"] * (there == "interop"))
                assert here in above, f"imports {other}"
            if here == "nn" and there == "devices":
                raise AssertionError("layers hold no physics")
        if package in ("flax", "optax"):
            assert FLOORS[here] >= 4, f"imports {package}"
        if package in HEAVY and (package, name) != ("yaml", "anajax.costs.files"):
            assert here in ("studies", "cli"), f"imports {package}"


def test_every_room_has_its_floor():
    assert {room(name) for name in MODULES} - {""} == set(FLOORS)


def circles():
    """Sets of modules each of which imports the others, however far around."""
    reach = {name: others & set(MODULES) for name, others in IMPORTS.items()}
    for between in MODULES:
        for others in reach.values():
            if between in others:
                others |= reach[between]
    around = {frozenset(o for o in reach[n] if n in reach[o]) for n in MODULES}
    return sorted(sorted(circle) for circle in around if circle)


def test_no_import_is_a_circle():
    assert circles() == []


def test_files_are_rooms_not_halls():
    long = {n: len(p.read_text().splitlines()) for n, p in MODULES.items()}
    assert {n: k for n, k in long.items() if k > MOST_LINES} == {}


def test_folders_can_be_seen_at_a_glance():
    folders = {path.parent for path in MODULES.values()}
    crowded = {str(f): len(list(f.glob("*.py"))) for f in folders}
    assert {f: n for f, n in crowded.items() if n > MOST_FILES} == {}


def test_public_names_are_documented():
    assert len(anajax.__all__) <= 45
    for name in anajax.__all__:
        thing = getattr(anajax, name)
        if inspect.ismodule(thing) or callable(thing):
            assert (thing.__doc__ or "").strip(), f"{name} has no docstring"
