"""Compiled code is kept from run to run, in the user's cache folder.

Code compiled by jax for this processor and these versions is read back instead of being
compiled again; results are bit-identical. Only the command `anajax` turns this on: if
you import anajax, set jax's own `jax_compilation_cache_dir`.
"""

import contextlib
import hashlib
import os
import platform
import sys
import warnings
from pathlib import Path

MOST = 2**30
"""Most bytes; the least recently used files are deleted first."""
JAX = "JAX_COMPILATION_CACHE_DIR"
LEAST_SECONDS = "0.2"
"""Code that compiles faster than this is not kept."""
_HALF_WRITTEN = "Error (reading|writing) persistent compilation cache entry"
"""Warning of jax if two processes compile the same code; jax then compiles it again."""


def turn_on(place: str | None = None) -> Path | None:
    """Keep compiled code of this process; call it before jax is imported.

    Does nothing if jax has a folder already, or the folder cannot be made.

    Args:
        place: path of the folder, "off" for none; by default `ANAJAX_CACHE`, or the
            user's cache folder.

    Returns:
        The folder, or None if nothing is kept.
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
    """Delete the least recently used files until `most` bytes are left."""
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
