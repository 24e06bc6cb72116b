"""Runs the notebooks at full size and writes their pages, with figures.

python docs/render.py            all of them; some minutes each on two cores
python docs/render.py NAME ...   these
"""

import base64
import sys
import tempfile
from pathlib import Path

import jupytext
import nbclient

ROOT = Path(__file__).parents[1]
PAGES = Path(__file__).parent / "notebooks"


def page(name):
    """The text of a page, its figures written beside it."""
    book = jupytext.read(ROOT / "notebooks" / f"{name}.py")
    with tempfile.TemporaryDirectory() as folder:
        place = {"metadata": {"path": folder}}
        nbclient.NotebookClient(book, timeout=3600, resources=place).execute()
    parts, title, figures = [], name, 0
    for cell in book.cells:
        if cell.cell_type == "markdown":
            title = next((x for x in cell.source.splitlines() if x[:1] == "#"), title)
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        printed = [o.text for o in cell.outputs if o.get("name") == "stdout"]
        if printed:
            parts.append(f"```text\n{''.join(printed).rstrip()}\n```")
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data:
                figures += 1
                file = PAGES / f"{name}_{figures}.png"
                file.write_bytes(base64.b64decode(data["image/png"]))
                parts.append(f"![{title.lstrip('# ')}: figure {figures}]({file.name})")
    return "\n\n".join(parts) + "\n"


def main(names):
    """Write the pages."""
    known = [p.stem for p in sorted((ROOT / "notebooks").glob("*.py"))]
    for name in names or known:
        (PAGES / f"{name}.md").write_text(page(name), encoding="utf-8")
        print(name, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
