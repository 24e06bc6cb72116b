"""Atomic writes, and messages for writes that fail."""

import contextlib
import errno
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

TEMPORARY = ".anajax-"
"""Prefix of the names of incomplete files."""
BUSY = threading.RLock()
"""Held while files change, so that the process is not ended meanwhile."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a full disk."""
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NOWHERE = (errno.ENOENT, errno.ENOTDIR)


class WriteError(OSError):
    """A file could not be written; the previous file is intact."""


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Name the file and the remedy if a write fails.

    Raises:
        WriteError: for any error of the operating system in the body.
    """
    try:
        with BUSY:
            yield
    except WriteError:
        raise
    except OSError as error:
        remedy = "Check the disk"
        if error.errno in FULL:
            remedy = "Free space"
        elif error.errno in _REFUSED:
            remedy = "Make its folder writable"
        elif error.errno in _NOWHERE:
            remedy = "Make its folder"
        message = (
            f"`{path}` must be written: got {error.strerror or error}. {remedy}, then "
            "repeat the command; a study goes on with --resume."
        )
        raise WriteError(message) from None


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or nothing.

    Raises:
        WriteError: if the file cannot be written.
    """
    with writing(path):
        temporary = write_temporary(path, content)
        try:
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise


def write_temporary(path: Path, content: bytes) -> str:
    """The name of a new file in the folder of `path`, which it will replace."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
    except BaseException:
        os.unlink(name)
        raise
    return name
