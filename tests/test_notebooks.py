"""Notebooks run, at a small size; their outputs are not committed."""

from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
PAIRS = sorted(NOTEBOOKS.glob("*.py"))


@pytest.mark.parametrize("source", PAIRS, ids=lambda p: p.stem)
def test_cells_run_in_order(source, monkeypatch, tmp_path):
    """In this process, which shares what it has compiled; figures as in a notebook."""
    jupytext = pytest.importorskip("jupytext")
    import matplotlib.pyplot as plt

    monkeypatch.setenv("FAST", "1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    names = {"__name__": "notebook"}
    for cell in jupytext.read(source).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, str(source), "exec"), names)
    plt.close("all")


@pytest.mark.slow
@pytest.mark.parametrize("source", PAIRS, ids=lambda p: p.stem)
def test_notebook_runs(source, monkeypatch, tmp_path):
    jupytext = pytest.importorskip("jupytext")
    client = pytest.importorskip("nbclient")
    monkeypatch.setenv("FAST", "1")
    monkeypatch.setenv("MPLBACKEND", "agg")
    book = jupytext.read(source)
    client.NotebookClient(
        book, timeout=300, resources={"metadata": {"path": tmp_path}}
    ).execute()


@pytest.mark.parametrize("source", PAIRS, ids=lambda p: p.stem)
def test_pair_is_in_step_and_stripped(source):
    jupytext = pytest.importorskip("jupytext")
    text = jupytext.read(source)
    book = jupytext.read(source.with_suffix(".ipynb"))
    assert [c.source for c in text.cells] == [c.source for c in book.cells]
    assert all(not c.get("outputs") for c in book.cells)
