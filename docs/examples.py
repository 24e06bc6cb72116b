"""Examples in docstrings, which begin with `Example:`, are code on the pages."""

from typing import Any

import griffe


class Examples(griffe.Extension):
    """Names the section as the parser of docstrings knows it."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename the section of one object."""
        if obj.docstring is not None:
            text = obj.docstring.value
            obj.docstring.value = text.replace("\nExample:\n", "\nExamples:\n")
