"""The site and the README: every block runs, every public name has a page."""

import importlib
import inspect
import pkgutil
import re

import pages
import pytest

import anajax

DOCS = pages.ROOT / "docs"
TEXT = [
    p for p in sorted(DOCS.rglob("*.md")) if p.parent.name not in ("api", "notebooks")
]
SLOW = {"index.md"}


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(p, id=p.relative_to(pages.ROOT).as_posix(),
                     marks=pytest.mark.slow if p.name in SLOW else ())
        for p in (pages.ROOT / "README.md", *TEXT)
    ],
)  # fmt: skip
def test_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    pages.run(page, tmp_path)


README = pages.ROOT / "README.md"
MODULES = [
    info.name
    for info in pkgutil.walk_packages(anajax.__path__, "anajax.")
    if not any(part.startswith("_") for part in info.name.split("."))
    and ".template" not in info.name
]


def own_names(module):
    """Public classes and functions that a module defines."""
    return [
        name
        for name, thing in vars(importlib.import_module(module)).items()
        if not name.startswith("_") and getattr(thing, "__module__", "") == module
        and (inspect.isclass(thing) or inspect.isfunction(thing))
    ]  # fmt: skip


def test_every_public_name_has_one_page():
    """mkdocstrings shows all of a module; the top names have a table of their own."""
    text = "\n".join(p.read_text() for p in sorted((DOCS / "api").glob("*.md")))
    shown = re.findall(r"^::: (\S+)$", text, re.M)
    assert len(shown) == len(set(shown))
    missing = [m for m in MODULES if own_names(m) and m not in shown]
    assert not missing, "name these modules on their page of docs/api"
    index = (DOCS / "api" / "index.md").read_text()
    assert not [n for n in anajax.__all__ if f"| [`{n}`]" not in index]


def test_the_readme_is_short_and_the_first_network_too():
    assert len(README.read_text().splitlines()) <= 120
    code = [
        b.code.replace("\n\n", "\n")
        for b in pages.blocks(DOCS / "index.md")
        if b.language == "python"
    ]
    assert [len(c.splitlines()) for c in code] == [12]


def test_links_of_files_beside_the_site_lead_somewhere():
    """Those between pages are checked by the build."""
    for page in (README, pages.ROOT / "CONTRIBUTING.md"):
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (page.parent / link).exists(), link
