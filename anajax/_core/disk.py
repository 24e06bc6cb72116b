"""Files that are written all at once, and what is said where that fails."""

import contextlib
import errno
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

TEMPORARY = ".anajax-"
"""How names of files begin that are not whole yet."""
BUSY = threading.RLock()
"""Held while files change, so that nobody ends the process then."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a full disk."""
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NOWHERE = (errno.ENOENT, errno.ENOTDIR)


class WriteError(OSError):
    """A file could not be written; what was there before is whole."""


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Name the file and the remedy where the disk does not take it.

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
        WriteError: if the disk does not take it.
    """
    with writing(path):
        temporary = write_temporary(path, content)
        try:
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise


def write_temporary(path: Path, content: bytes) -> str:
    """The name of a new file beside `path` that is to replace it."""
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
