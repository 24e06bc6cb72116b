"""The site and the README: every block runs, every public name has a page."""

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys

import matplotlib.image
import pages
import pytest
import test_browser
import yaml

import anajax

DOCS = pages.ROOT / "docs"
TEXT = [
    p for p in sorted(DOCS.rglob("*.md")) if p.parent.name not in ("api", "notebooks")
]


@pytest.mark.parametrize(
    "page",
    (pages.ROOT / "README.md", *TEXT),
    ids=lambda p: p.relative_to(pages.ROOT).as_posix(),
)
def test_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    pages.run(page, tmp_path)


README, CHANGELOG = pages.ROOT / "README.md", pages.ROOT / "CHANGELOG.md"
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


def test_the_version_to_cite_is_this_one():
    said = yaml.safe_load((pages.ROOT / "CITATION.cff").read_text())
    assert said["version"] == anajax.__version__
    assert f"## {anajax.__version__}" in CHANGELOG.read_text()
    names = set(re.findall(r"\| `anajax\.(\w+)` \| 20", CHANGELOG.read_text()))
    assert names == set(anajax._FORMER)


def test_links_of_files_beside_the_site_lead_somewhere():
    """Those between pages are checked by the build."""
    for page in (README, pages.ROOT / "CONTRIBUTING.md"):
        for link in re.findall(r"(?:\]\(|src(?:set)?=\")([^)#\"]+)", page.read_text()):
            assert (page.parent / link).exists(), link


BOOKS = sorted((pages.ROOT / "notebooks").glob("*.py"))


@pytest.mark.parametrize("book", BOOKS, ids=lambda p: p.stem)
def test_a_notebook_has_its_page_with_the_same_code(book):
    """The outputs are those of one run: `python docs/render.py NAME`."""
    jupytext = pytest.importorskip("jupytext")
    page = DOCS / "notebooks" / f"{book.stem}.md"
    code = [b.code.strip() for b in pages.blocks(page) if b.language == "python"]
    cells = jupytext.read(book).cells
    assert code == [c.source.strip() for c in cells if c.cell_type == "code"]
    for figure in re.findall(r"\]\((\w+\.png)\)", page.read_text()):
        assert (page.parent / figure).stat().st_size < 400_000


TWELVE = """
import resource, runpy, sys
runpy.run_path(sys.argv[1])
print("cpu", resource.getrusage(resource.RUSAGE_SELF).ru_utime)
"""


@pytest.mark.slow
def test_the_first_network_takes_a_minute(tmp_path):
    """Twelve lines in a process of their own: processor time, and what they find."""
    (code,) = (
        b.code for b in pages.blocks(DOCS / "index.md") if b.language == "python"
    )
    (tmp_path / "first.py").write_text(code)
    words = [sys.executable, "-c", TWELVE, "first.py"]
    done = subprocess.run(
        words, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert float(done.stdout.split("cpu")[1]) < 90
    found = dict(re.findall(r"(\w+) +2592000.0 +([\d.]+)", done.stdout))
    assert float(found["trained_digital"]) > 88 and float(found["lsp_first"]) > 86
    assert (tmp_path / "first" / "report.html").is_file()


@pytest.mark.slow
def test_the_site_is_built_strictly_and_opens_from_the_disk(tmp_path):
    """No warning, nothing from elsewhere, and a search finds a name."""
    pytest.importorskip("mkdocs")
    build = ("-m", "mkdocs", "build", "-q", "--strict", "-d", str(tmp_path / "site"))
    subprocess.run([sys.executable, *build], cwd=pages.ROOT, check=True)
    every = list((tmp_path / "site").rglob("*.html"))
    assert len(every) > 40
    for page in every:
        asked = re.findall(r"<(?:script|img|link|iframe)\b[^>]*>", page.read_text())
        assert not [tag for tag in asked if re.search(r"(?:src|href)=.https?:", tag)]
    if test_browser.BROWSER is None:
        pytest.skip("no Chromium or Chrome is installed")
    page = tmp_path / "site" / "index.html"
    for look in ("light", "dark"):
        dark = ("--force-dark-mode", "--blink-settings=preferredColorScheme=0")
        picture = tmp_path / f"{look}.png"
        _, log = test_browser.browse(  # a fresh profile: the last look is kept there
            tmp_path / look,
            page,
            f"--screenshot={picture}",
            "--window-size=1300,900",
            *(dark * (look == "dark")),
        )
        assert "CONSOLE" not in log, log
        corner = matplotlib.image.imread(picture)[-20:, :20, :3]
        assert (corner.mean() < 0.5) == (look == "dark")
    found = test_browser.browse(tmp_path, Searched(page), "--dump-dom")[0]
    assert re.search(r"<mark[^>]*>perturb", found)


class Searched:
    """A page with a question to its search."""

    def __init__(self, page):
        self.page = page

    def as_uri(self):
        return f"{self.page.as_uri()}?q=perturb"
