"""The software that computed a result: versions of packages, and the commit."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path

from anajax._core.version import VERSION


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    packages = ("jax", "flax", "numpy")
    return {
        "anajax": VERSION,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages},
    }


def git_state() -> str:
    """Commit of the checkout that anajax runs from, with "+changes" if it is dirty."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return "not a git checkout"

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + (" +changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
