"""Raises SIGTERM as an exception, so that systemd and container runtimes end a run as Ctrl-C does."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM was received. Like Ctrl-C, it is not an `Exception`, so that no node reports it as its own failure."""


class Interruption:
    """The signal that ended an `interruptible` block, if any."""

    def __init__(self) -> None:
        self._came: type[KeyboardInterrupt] | None = None

    def raise_if_it_came(self) -> None:
        """Raise the interruption again if Beam turned it into a failure of its node.

        Raises:
            KeyboardInterrupt: SIGINT was received. `Terminated` for SIGTERM.
        """
        if self._came is not None:
            raise self._came

    def come(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal: terminate child processes, and raise. A second signal ends the process at once."""
        signal.signal(number, signal.SIG_DFL)
        self._came = Terminated if number == signal.SIGTERM else KeyboardInterrupt
        _terminate_children()
        raise self._came


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Raise `Terminated` on SIGTERM and KeyboardInterrupt on SIGINT in the main thread, and end all child processes.

    Beam waits for its worker processes, which a signal to this process alone does not reach. In other threads, Python
    cannot handle signals, so nothing changes. Signals that the parent process set to be ignored stay ignored.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    handled = {number: handler for number, handler in handlers.items() if handler is not signal.SIG_IGN}
    for number in handled:
        signal.signal(number, interruption.come)
    try:
        yield interruption
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)


def _terminate_children() -> None:
    # Imported here to keep startup fast.
    import psutil

    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.terminate()
