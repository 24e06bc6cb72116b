"""Names for arrays and keys in signatures."""

from typing import Any

from jax import Array
from jaxtyping import Array as JArray
from jaxtyping import Float, Key, PyTree

PRNGKey = Key[JArray, "..."]
Conductance = Float[JArray, "*cells"]
"""Conductances in uS, any shape."""
Scalar = Float[JArray, ""]

__all__ = [
    "Any",
    "Array",
    "Conductance",
    "Float",
    "Key",
    "PRNGKey",
    "PyTree",
    "Scalar",
]
