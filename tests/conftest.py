import os

import jax
import jax.random as jr
import pytest

jax.config.update("jax_default_matmul_precision", "highest")  # a GPU has TF32

if os.environ.get("ANAJAX_TYPECHECK"):  # shapes and types of every call, on demand
    from jaxtyping import install_import_hook

    install_import_hook("anajax", "beartype.beartype")


@pytest.fixture
def key():
    """A fixed typed key: statistics are tested at a known seed."""
    return jr.key(20220613)


@pytest.fixture
def x64():
    """Run one test in double precision."""
    with jax.enable_x64(True):
        yield
