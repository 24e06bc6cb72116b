import jax
import jax.random as jr
import pytest
from jaxtyping import install_import_hook

# Shapes and types of every call are checked in tests (and only here).
_hook = install_import_hook("anajax", "beartype.beartype")


@pytest.fixture
def key():
    """A fixed typed key: statistics are tested at a known seed."""
    return jr.key(20220613)


@pytest.fixture
def x64():
    """Run one test in double precision."""
    with jax.enable_x64(True):
        yield
