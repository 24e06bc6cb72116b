"""Compiled programs are kept from run to run, in the user's cache folder.

What jax compiles for this processor and these versions is read back instead of being
compiled again; results are the same bits. Only the command `anajax` turns this on: who
imports anajax sets jax's own `jax_compilation_cache_dir`.
"""

import contextlib
import hashlib
import os
import platform
import sys
import warnings
from pathlib import Path

MOST = 2**30
"""Bytes; the programs that were not used for longest go first."""
JAX = "JAX_COMPILATION_CACHE_DIR"
LEAST_SECONDS = "0.2"
"""What compiles faster than this is not kept."""
_HALF_WRITTEN = "Error (reading|writing) persistent compilation cache entry"
"""What jax warns of where two processes compile the same; then it compiles again."""


def turn_on(place: str | None = None) -> Path | None:
    """Keep programs for what this process compiles; call it before jax is imported.

    Does nothing where jax is told of a folder already, or the folder cannot be made.

    Args:
        place: of the folder, "off" for none; that of `ANAJAX_CACHE`, or of the user's
            caches, by default.

    Returns:
        The folder, if programs are kept.
    """
    place = place or os.environ.get("ANAJAX_CACHE") or str(_of_user() / "anajax")
    if place == "off" or JAX in os.environ:
        return None
    folder = Path(place) / f"jax-{_processor()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    trim(folder, MOST)
    warnings.filterwarnings("ignore", _HALF_WRITTEN)
    os.environ[JAX] = str(folder)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", LEAST_SECONDS)
    return folder


def trim(folder: Path, most: int) -> None:
    """Delete the files that were not used for longest, until `most` bytes are left."""
    used, kept = [], 0
    with contextlib.suppress(OSError):  # another process may trim, too
        for file in folder.iterdir():
            known = file.stat()
            used.append((max(known.st_atime, known.st_mtime), known.st_size, file))
    for _, size, file in sorted(used, reverse=True):
        kept += size
        if kept > most:
            with contextlib.suppress(OSError):
                file.unlink()


def _of_user() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    name = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"
    given = os.environ.get(name)
    return Path(given) if given else Path.home() / ".cache"


def _processor() -> str:
    """A mark of this kind of processor: programs of another might not run on it."""
    text = f"{platform.machine()} {platform.processor()}"
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        text += "".join(sorted({v for v in lines if v.startswith(("flags", "Feat"))}))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
