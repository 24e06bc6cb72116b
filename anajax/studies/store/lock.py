"""One process at a time in the folder of a study.

The lock is `flock` on a file in the folder: the operating system releases it when the
process ends, in whatever way. If there is no such lock (Windows, some network disks),
nothing is checked.
"""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from anajax._core.disk import TEMPORARY
from anajax.studies.store import stopping

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None

LOCK = f"{TEMPORARY}lock"
"""Name of the file, which holds the process and its host."""
_held: dict[Path, tuple[int, int]] = {}
"""Descriptors and how often they are held, by path."""


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock of a folder in the body."""
    take(path)
    try:
        yield
    finally:
        release(path)


def take(path: Path) -> None:
    """Take the lock of an existing folder; this process may take it again.

    Raises:
        ValueError: if another process holds it; the message names it.
    """
    path = path.resolve()
    descriptor, count = _held.get(path) or (_open(path), 0)
    if descriptor is not None:
        _held[path] = descriptor, count + 1


def release(path: Path) -> None:
    """Release the lock."""
    path = path.resolve()
    if path not in _held:
        return
    descriptor, count = _held.pop(path)
    if count > 1:
        _held[path] = descriptor, count - 1
        return
    with contextlib.suppress(OSError):
        os.unlink(path / LOCK)  # before it is free: nobody's else
    os.close(descriptor)


def _release_all() -> None:
    for path in list(_held):
        _held[path] = _held[path][0], 1
        release(path)


stopping.at_end(_release_all)


def _open(path: Path) -> int | None:
    """A descriptor that has the lock; None where there are no locks."""
    if fcntl is None:
        return None
    while True:
        try:
            descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError:  # whoever writes there will say so
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is(descriptor, path / LOCK):
                _sign(descriptor)
                return descriptor
        except BlockingIOError:
            other = os.pread(descriptor, 200, 0).decode(errors="replace")
            os.close(descriptor)
            raise ValueError(
                f"`--out` must be a folder that no other process is using: got {path}, "
                f"which {other or 'another process'} is using. Wait for it or stop it, "
                "or name another folder."
            ) from None
        except OSError:  # a disk without locks
            os.close(descriptor)
            return None
        os.close(descriptor)  # the file was given up just now


def _is(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one of this path."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _sign(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # a full disk: it is locked all the same
        os.ftruncate(descriptor, 0)
        text = f"process {os.getpid()} on {socket.gethostname()}"
        os.write(descriptor, text.encode())
