import gc
import os
from pathlib import Path

import jax
import jax.random as jr
import pytest

os.environ["ANAJAX_CACHE"] = "off"  # nothing is left in the folder of the user
jax.config.update("jax_default_matmul_precision", "highest")  # a GPU has TF32

if os.environ.get("ANAJAX_TYPECHECK"):  # shapes and types of every call, on demand
    from jaxtyping import install_import_hook

    install_import_hook("anajax", "typecheck.checked")


def pytest_configure(config):
    """Compile for a short wait: quick tests compile far longer than they run.

    Slow tests run as compiled for users.
    """
    if "not slow" in config.option.markexpr:
        flags = [os.environ.get("XLA_FLAGS", ""), "--xla_backend_optimization_level=0"]
        if jax.__version_info__ < (0, 11):  # a newer compiler refuses the option
            flags.append("--xla_cpu_use_fusion_emitters=false")
        os.environ["XLA_FLAGS"] = " ".join(flags).strip()
    gc.set_threshold(200_000, 50, 100)  # tracing allocates much that is freed at once


MAPS = Path("/proc/self/maps")
MOST = 32768
"""Half of the memory areas that Linux gives a process by default."""


@pytest.fixture(autouse=True)
def _few_memory_areas():
    """Every compiled function takes some, and a compiler that gets none crashes."""
    yield
    if MAPS.is_file() and MAPS.read_bytes().count(b"\n") > MOST:
        jax.clear_caches()


@pytest.fixture
def key():
    """A fixed typed key: statistics are tested at a known seed."""
    return jr.key(20220613)


@pytest.fixture
def x64():
    """Run one test in double precision."""
    with jax.enable_x64(True):
        yield
