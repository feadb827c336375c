"""SIGTERM as an exception, so that a run that systemd or a container runtime ends leaves as one does on Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM came. Like Ctrl-C it is no `Exception`, so that no node takes it for a failure of its own."""


class Interruption:
    """What ended the block of an `interruptible`, if anything did."""

    def __init__(self) -> None:
        self._came: type[KeyboardInterrupt] | None = None

    def raise_if_it_came(self) -> None:
        """Raise once more what Beam has made a failure of the node that it ran.

        Raises:
            KeyboardInterrupt: Ctrl-C came; Terminated if it was SIGTERM.
        """
        if self._came is not None:
            raise self._came

    def come(self, number: int, _frame: FrameType | None) -> None:
        """Take a signal: end what this process has started, and raise. The next one ends the process at once."""
        signal.signal(number, signal.SIG_DFL)
        self._came = Terminated if number == signal.SIGTERM else KeyboardInterrupt
        _terminate_children()
        raise self._came


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Raise `Terminated` on SIGTERM and KeyboardInterrupt on SIGINT in the main thread, and end all child processes.

    Beam waits for its worker processes, which a signal to this process alone does not reach. In other threads, where
    Python lets nobody handle signals, nothing changes; nor does it for a signal that whoever started us has ignored.
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
    # Imported on the way out, so that start-up does not pay for it.
    import psutil

    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.terminate()
