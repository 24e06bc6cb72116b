"""Ctrl-C and SIGTERM: a command ends within seconds, with all that it saved.

Python would raise KeyboardInterrupt once a call into XLA returns, minutes later where
it compiles, and then tear down a runtime whose threads still compute: a segmentation
fault. Here a thread hears of the signal at once, waits for a file that is being
written, and ends the process without a teardown.
"""

import atexit
import contextlib
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from anajax._core.disk import BUSY

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 5.0
"""Seconds that a file has to become whole."""
_SHOW_CURSOR = "\x1b[?25h"
_words: list[str] = []
_duties: list[Callable[[], Any]] = []


def say(text: str) -> None:
    """What is said, in place of what was given before, when the command is stopped."""
    _words[:] = [text]


def at_end(duty: Callable[[], Any]) -> None:
    """Call this before the process ends, stopped or not."""
    _duties.append(duty)
    atexit.register(duty)


def listen(*, again: bool = False) -> None:
    """From now on signals end the process with 128 + their number, as shells have it.

    A second signal ends it without waiting for anything. A signal that is ignored
    (Ctrl-C, in a background job) stays so.

    Args:
        again: only if this process listened, before a library put its own handlers.
    """
    if again and not _open:
        return
    heard, told = socket.socketpair()
    told.setblocking(False)
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _keep_quiet)
    signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    _open[:] = [told]
    threading.Thread(target=_watch, args=(heard,), daemon=True).start()


_open: list[socket.socket] = []


def _keep_quiet(number: int, frame: Any) -> None:
    """Python's own handler does nothing: the thread knows already."""


def _watch(heard: socket.socket) -> None:
    while number := heard.recv(1):
        if number[0] in SIGNALS:
            break
    else:
        return
    last = threading.Thread(target=_part, args=(number[0],), daemon=True)
    last.start()
    end = time.monotonic() + 2 * PATIENCE
    while last.is_alive() and time.monotonic() < end:
        if select.select([heard], [], [], 0.02)[0]:
            break
    os._exit(128 + number[0])


def _part(number: int) -> None:
    """Let files become whole, say how to go on, and leave."""
    BUSY.acquire(timeout=PATIENCE)  # and keep it: nothing is begun any more
    for duty in _duties:
        duty()
    name = "Interrupted" if number == signal.SIGINT else "Terminated"
    cursor = f"{_SHOW_CURSOR}\n" if os.isatty(2) else "\n"
    with contextlib.suppress(OSError, ValueError):  # nobody listens
        os.write(2, f"{cursor}{' '.join([f'{name}.', *_words])}\n".encode())
        sys.stdout.flush()
