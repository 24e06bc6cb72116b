"""Ctrl-C and SIGTERM: a command ends within seconds, with all saved work intact.

Python would raise KeyboardInterrupt only when a call into XLA returns, minutes later if
it compiles, and then tear down a runtime whose threads still compute: a segmentation
fault. Here, a thread receives the signal at once, waits for a file that is being
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
"""Seconds to wait for a file to be completed."""
_SHOW_CURSOR = "\x1b[?25h"
_words: list[str] = []
_duties: list[Callable[[], Any]] = []


def say(text: str) -> None:
    """Message to print when the command is stopped; replaces earlier ones."""
    _words[:] = [text]


def at_end(duty: Callable[[], Any]) -> None:
    """Function to call before the process ends, stopped or not."""
    _duties.append(duty)
    atexit.register(duty)


def listen(*, again: bool = False) -> None:
    """From now on, signals end the process with 128 + their number, as in shells.

    A second signal ends it without waiting. A signal that is ignored (Ctrl-C, in a
    background job) stays ignored.

    Args:
        again: only if this process was listening before a library set its own handlers.
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
    """Let files be completed, say how to continue, and exit."""
    BUSY.acquire(timeout=PATIENCE)  # and keep it: nothing is begun any more
    for duty in _duties:
        duty()
    name = "Interrupted" if number == signal.SIGINT else "Terminated"
    cursor = f"{_SHOW_CURSOR}\n" if os.isatty(2) else "\n"
    with contextlib.suppress(OSError, ValueError):  # nobody listens
        os.write(2, f"{cursor}{' '.join([f'{name}.', *_words])}\n".encode())
        sys.stdout.flush()
