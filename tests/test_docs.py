"""The site and the README: every block runs, every public name has a page."""

import pytest

import pages

DOCS = pages.ROOT / "docs"
TEXT = [p for p in sorted(DOCS.rglob("*.md")) if p.parent.name not in ("api", "notebooks")]
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
