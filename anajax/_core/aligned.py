"""Tables as plain text."""

from collections.abc import Sequence
from typing import Any


def aligned(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table as text: names on the left, numbers on the right."""
    texts = [[str(cell) for cell in row] for row in (head, *rows)]
    width = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(w) if i else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(row, width, strict=True))
        ).rstrip()
        for row in texts
    )
